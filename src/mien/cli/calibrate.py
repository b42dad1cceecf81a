"""`mien calibrate`: fits a model file's confidences to a data set and writes them as a new model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from mien.evaluation.recalibrate import Calibration


def calibrate(
    model: Annotated[str, typer.Argument(help="A shipped model's name or a model file.")],
    data: Annotated[Path, typer.Option(help="A data set like those that the model will see.")],
    out: Annotated[Path, typer.Option(help="The model file to write.")],
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="The split of --data.")] = "validation",
    method: Annotated[
        Literal["temperature", "vector"],
        typer.Option(help="One number, which keeps every answer; or a weight and a bias for each label."),
    ] = "temperature",
    name: Annotated[str, typer.Option(help="The new model's name. [default: the file's]")] = "",
) -> None:
    """Make a model's confidences honest on a data set, and write the result as a new model file.

    A model that learnt from votes is fitted to the share of raters, one that learnt from labels to the labels. The test
    split is refused: what was fitted to it can't be measured on it.

    Examples:

    `mien calibrate runs/a/a.onnx --data faces/ --out a-calibrated.onnx`

    `mien calibrate mien-small-fer2013 --data fer2013/ --method vector --out small-vector.onnx`
    """
    from mien.evaluation.fitting import fitting_split
    from mien.evaluation.recalibrate import write_calibrated
    from mien.model_file import open_model

    opened = open_model(model)
    samples = fitting_split(
        data,
        split,
        size=opened.info.size,
        channels=opened.info.channels,
        warn=lambda line: typer.echo(line, err=True),
    )
    result = write_calibrated(opened, samples, out, method=method, source=str(data), split=split, name=name)
    _print(result, method)
    typer.echo(str(out))


def _print(result: Calibration, method: str) -> None:
    """The figures before and after, and what was fitted."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("on the faces it was fitted to", "before", "after")
    for what, before, after in (
        ("NLL", result.before.nll, result.after.nll),
        ("ECE", result.before.ece, result.after.ece),
        (f"accuracy (n = {result.after.n})", result.before.accuracy, result.after.accuracy),
    ):
        table.add_row(what, f"{before:.4f}", f"{after:.4f}")
    console.print(table, markup=False)
    if method == "temperature":
        console.print(f"temperature times {1 / float(result.scale[0]):.4f}, now {result.info.temperature:.4f}")
    else:
        for label, scale, bias in zip(result.info.labels, result.scale.tolist(), result.bias.tolist(), strict=True):
            console.print(f"{label:10} weight {scale:6.3f}  bias {bias:+6.3f}", markup=False)
