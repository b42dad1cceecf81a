"""`mien compare`: finished training runs side by side, and which one to keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from mien.cli.output_options import Quiet, TableOrJson, out_option


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs; unfinished ones are listed.", metavar="RUN...")],
    out: Annotated[Path, out_option("The folder for the page, the table and the figures.")],
    data: Annotated[
        Path | None, typer.Option(help="Measure the model files on this data set's validation split instead.")
    ] = None,
    head: Annotated[
        Literal["", "label", "votes"], typer.Option(help="Which head. [default: the labels, where all runs have them]")
    ] = "",
    by: Annotated[
        Literal["accuracy", "macro", "gap", "loss-gap"],
        typer.Option(help="What the best is chosen by: accuracy, macro recall, or the smallest gap to training."),
    ] = "accuracy",
    format_: TableOrJson = "table",
    quiet: Quiet = False,
) -> None:
    """Compare training runs: which one to keep, and why.

    Reads the predictions that each run kept of its validation faces: accuracy with its 95 % interval, the gap to
    training faces, macro recall, size, cost and time, McNemar's test between the best two, learning curves.

    Examples:

    - `mien compare runs/a runs/b runs/c --out compared`
    - `mien compare runs/* --out compared --by loss-gap`
    - `mien compare runs/* --out compared --data other-faces/`
    """
    import mien
    from mien.evaluation.compare_page import PAGE_FILE
    from mien.evaluation.comparison import comparison_text

    comparison = mien.compare(runs, out, head=head, by=by, data=data)
    if format_ == "json":
        typer.echo(json.dumps(comparison.to_dict(), indent=2))
        return
    if not quiet:
        typer.echo(comparison_text(comparison))
    typer.echo(str(out / PAGE_FILE))
