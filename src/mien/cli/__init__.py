"""The command `mien`: one module per command, each a thin layer that parses, calls one library function, and prints.

Only the module of the command that was typed is imported, and command modules import nothing heavy before they run.
`mien --help` and each command therefore start fast.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mien.errors import MienError, TruncatedVideoError
from mien.reporting import warnings_to
from mien.version import __version__

PANELS = {
    "Recognise": ("predict", "watch", "serve", "explain"),
    "Train": ("train", "tune", "ladder", "compare", "recipes", "networks", "import-weights"),
    "Data": ("data",),
    "Models": ("models", "evaluate", "calibrate", "ensemble", "export"),
    "More": ("demo", "init", "run"),
}
"""The commands, in the panels and the order of the help page.

A command is the function of its name, with underscores, in the module of its name.
"""

GROUPS = ("data", "models", "export")
"""Each is the `app` in the module of its name."""

COMMANDS = tuple(name for names in PANELS.values() for name in names)

UsageError: Any = typer.BadParameter.__mro__[1]
"""That of click, which recent versions of typer contain."""

_MODULES = {"init": "run"}  # where a command is not in the module of its name


class _InOrder(TyperGroup):
    """Lists commands and groups in the order of `PANELS`; typer would put groups first."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in COMMANDS if name in self.commands]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mien {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    context.with_resource(warnings_to(lambda line: typer.echo(line, err=True)))


def make_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with these commands and groups."""
    app = typer.Typer(
        name="mien",
        cls=_InOrder,
        help="Facial expression recognition: train, evaluate and recognise. "
        "Outputs are apparent expressions as human raters label them, not what a person feels.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="markdown",
    )
    app.callback()(_root)
    panels = {name: panel for panel, members in PANELS.items() for name in members}
    for name in names:
        attribute = name.replace("-", "_")
        module = import_module(f"mien.cli.{_MODULES.get(name, attribute)}")
        if name in GROUPS:
            app.add_typer(module.app, rich_help_panel=panels[name])
        else:
            app.command(name, rich_help_panel=panels[name])(getattr(module, attribute))
    return app


def main() -> None:
    """Runs the command line. A user's mistake is one line on standard error and exit code 2, never a traceback.

    A truncated video is exit code 3, also where not even its first frame can be read.
    """
    word = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    try:
        app = make_app([word]) if word in COMMANDS else make_app()
        sys.exit(app(standalone_mode=False) or 0)
    except UsageError as error:
        _refuse(error)
    except MienError as error:
        from mien.cli.output_options import NOT_ALL_READ

        sys.stderr.write(f"mien: {error}\n")
        sys.exit(NOT_ALL_READ if isinstance(error, TruncatedVideoError) else 2)
    except BrokenPipeError:  # the reader of a pipe has gone, as `head` does
        sys.stderr.close()
        sys.exit(0)


def _refuse(error: Any) -> None:
    """Prints a mistake in the words of a command as one line, with the command that helps; the help for no words."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        command = error.ctx.command_path if error.ctx else "mien"
        message = " ".join(error.format_message().split()).rstrip(".")
        sys.stderr.write(f"mien: {message}{'' if message.endswith('?') else ';'} see  {command} --help\n")
    sys.exit(2)


def __getattr__(name: str) -> Any:
    if name == "app":
        return make_app()
    raise AttributeError(f"module 'mien.cli' has no attribute '{name}'")
