"""`mien card`: shows a model's card, or writes one from its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def card(
    model: Annotated[str, typer.Argument(help="A shipped model's name or a model file.")],
    data: Annotated[Path | None, typer.Option(help="Measure on this data set and write a new card.")] = None,
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="The split of --data.")] = "validation",
    out: Annotated[
        Path | None, typer.Option(help="The model file to write, with the card inside; a .md appears beside it.")
    ] = None,
) -> None:
    """Show the model card that a file carries; or, with --data and --out, make one from what is measured there.

    A card says what the probabilities mean, how good they are by every ruler that the data have, on what data the model
    learnt, its limits, and what it must not be used for. Every figure is measured when the card is made.

    Examples:

    `mien card mien-small`

    `mien card runs/mine/mine.onnx --data my-faces/ --split test --out mine.onnx`
    """
    from mien.errors import DataError, ModelFileError
    from mien.model_file import open_model

    opened = open_model(model)
    if (data is None) != (out is None):
        raise DataError("--data and --out go together: what to measure on, and the model file to write")
    if data is None or out is None:
        if not opened.card:
            raise ModelFileError(f"{opened.path}: has no card; make one:  mien card {model} --data DATA --out FILE")
        typer.echo(opened.card, nl=False)
        return
    from mien.evaluation.card import measure_rulers, write_card

    figures = measure_rulers(opened, data, split, warn=lambda line: typer.echo(line, err=True))
    for path in write_card(opened, figures, out):
        typer.echo(str(path))
