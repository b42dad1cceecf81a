"""The command `mien`: one module per command, each a thin layer that parses, calls one library function, and prints.

Command modules import nothing heavy before they run, so that `mien --help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mien.cli.calibrate import calibrate
from mien.cli.card import card
from mien.cli.compare import compare
from mien.cli.data import app as data_app
from mien.cli.demo import demo
from mien.cli.ensemble import ensemble
from mien.cli.evaluate import evaluate
from mien.cli.explain import explain
from mien.cli.export import app as export_app
from mien.cli.fetch import fetch
from mien.cli.import_weights import import_weights
from mien.cli.ladder import ladder
from mien.cli.models import app as models_app
from mien.cli.networks import networks
from mien.cli.predict import predict
from mien.cli.recipes import recipes
from mien.cli.run import init, run
from mien.cli.serve import serve
from mien.cli.train import train
from mien.cli.tune import tune
from mien.cli.watch import watch
from mien.errors import MienError
from mien.version import __version__

app = typer.Typer(
    name="mien",
    help="Facial expression recognition: train, evaluate and recognise. "
    "Outputs are apparent expressions as human raters label them, not what a person feels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mien {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


for command in (
    init,
    run,
    predict,
    watch,
    train,
    tune,
    ladder,
    compare,
    recipes,
    networks,
    import_weights,
    evaluate,
    explain,
    ensemble,
    calibrate,
    card,
    fetch,
    serve,
    demo,
):
    app.command(command.__name__.replace("_", "-"))(command)
app.add_typer(data_app)
app.add_typer(models_app)
app.add_typer(export_app)


def main() -> None:
    """Runs the command line. A user's mistake is one line on standard error and exit code 2, never a traceback."""
    try:
        app()
    except MienError as error:
        sys.stderr.write(f"mien: {error}\n")
        sys.exit(2)
    except BrokenPipeError:  # the reader of a pipe went away, as `head` does
        sys.stderr.close()
        sys.exit(0)
