"""The command `mien`: one module per command, each a thin layer that parses, calls one library function, and prints.

Only the module of the command that is asked for is imported, and command modules import nothing heavy before they run,
so that both `mien --help` and a command answer soon.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer

from mien.errors import MienError, TruncatedVideoError
from mien.version import __version__

COMMANDS = (
    *("init", "run", "predict", "watch", "train", "tune", "ladder", "compare", "recipes", "networks"),
    *("import-weights", "evaluate", "explain", "ensemble", "calibrate", "card", "fetch", "serve", "demo"),
)
"""In the order of the help page. Each is the function of its name, with underscores, in the module of its name."""

GROUPS = ("data", "models", "export")
"""Each is the `app` in the module of its name."""

_MODULES = {"init": "run"}  # where a command is not in the module of its name


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mien {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def make_app(names: Iterable[str] = (*COMMANDS, *GROUPS)) -> typer.Typer:
    """The command line with these commands and groups."""
    app = typer.Typer(
        name="mien",
        help="Facial expression recognition: train, evaluate and recognise. "
        "Outputs are apparent expressions as human raters label them, not what a person feels.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="markdown",
    )
    app.callback()(_root)
    for name in names:
        attribute = name.replace("-", "_")
        module = import_module(f"mien.cli.{_MODULES.get(name, attribute)}")
        if name in GROUPS:
            app.add_typer(module.app)
        else:
            app.command(name)(getattr(module, attribute))
    return app


def main() -> None:
    """Runs the command line. A user's mistake is one line on standard error and exit code 2, never a traceback.

    A video that is truncated before its first frame is 3, as it is after it.
    """
    word = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    try:
        (make_app([word]) if word in (*COMMANDS, *GROUPS) else make_app())()
    except MienError as error:
        from mien.cli.exit_codes import NOT_ALL_READ

        sys.stderr.write(f"mien: {error}\n")
        sys.exit(NOT_ALL_READ if isinstance(error, TruncatedVideoError) else 2)
    except BrokenPipeError:  # the reader of a pipe went away, as `head` does
        sys.stderr.close()
        sys.exit(0)


def __getattr__(name: str) -> Any:
    if name == "app":
        return make_app()
    raise AttributeError(f"module 'mien.cli' has no attribute '{name}'")
