"""`mien calibrate`: fits a model file's confidences to a data set and writes them as a new model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.model_options import ModelArgument, OwnBalance
from mien.cli.output_options import NewModel, NewName, Split, print_table

if TYPE_CHECKING:
    from mien.evaluation.recalibrate import CalibratedModel


def calibrate(
    model: ModelArgument,
    data: Annotated[Path, typer.Option(help="A data set like the images that the model will classify.")],
    out: NewModel,
    split: Split = "validation",
    method: Annotated[
        Literal["temperature", "vector"],
        typer.Option(help="One number, which keeps every prediction; or a weight and a bias for each label."),
    ] = "temperature",
    name: NewName = "",
    balance: OwnBalance = None,
) -> None:
    """Calibrate a model's confidences on a data set, and write the result as a new model file.

    A model trained on votes is fitted to the share of raters, one trained on labels to the labels. The test split is
    refused: a model that was fitted to it cannot be measured on it.

    Examples:

    - `mien calibrate runs/a/a.onnx --data faces/ --out a-calibrated.onnx`
    - `mien calibrate mien-small-fer2013 --data fer2013/ --method vector --out small-vector.onnx`
    """
    import mien

    result = mien.calibrate(model, data, out, split=split, method=method, name=name, balance=balance)
    _print(result, method)
    typer.echo(str(out))


def _print(result: CalibratedModel, method: str) -> None:
    rows = (
        ("NLL", result.before.nll, result.after.nll),
        ("ECE", result.before.ece, result.after.ece),
        (f"accuracy (n = {result.after.n})", result.before.accuracy, result.after.accuracy),
    )
    cells = [(what, f"{before:.4f}", f"{after:.4f}") for what, before, after in rows]
    print_table(("on the faces it was fitted to", "before", "after"), cells)
    typer.echo(f"these figures are at balance 0; the balance of the new file is {result.info.balance:g}")
    if method == "temperature":
        typer.echo(f"temperature times {1 / float(result.scale[0]):.4f}, now {result.info.temperature:.4f}")
    else:
        for label, scale, bias in zip(result.info.labels, result.scale.tolist(), result.bias.tolist(), strict=True):
            typer.echo(f"{label:10} weight {scale:6.3f}  bias {bias:+6.3f}")
