"""`mien ensemble`: writes several model files as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.model_options import ModelArguments, OwnBalance
from mien.cli.output_options import DataOption, NewModel, NewName, Split

if TYPE_CHECKING:
    from mien.evaluation.ensemble import Ensemble
    from mien.model_file import ModelFile


def ensemble(
    models: ModelArguments,
    out: NewModel,
    weights: Annotated[
        str, typer.Option(metavar="equal|fit|W,W,..", help="Each model's share; fit: the best on --data.")
    ] = "equal",
    data: DataOption = None,
    split: Split = "validation",
    name: NewName = "",
    balance: OwnBalance = None,
) -> None:
    """Write several models as one model file that predicts the mean of their probabilities.

    The models need the same labels, crop and target; sizes and channels may differ. Every command takes the file like
    any other model, at the cost of all its members. With --data a table shows how often members disagree: models that
    always agree gain nothing. To try an ensemble without a file: `mien predict --model A+B`, `mien evaluate A+B`.

    Examples:

    - `mien ensemble runs/a/a.onnx runs/b/b.onnx runs/c/c.onnx --out abc.onnx`
    - `mien ensemble mien-small mien-nano --out both.onnx --weights fit --data fer2013/`
    - `mien ensemble mien-small mien-nano --out both.onnx --weights 2,1`
    """
    import mien
    from mien.model_file import load_model

    wanted = _weights(weights, len(models))
    if wanted == "fit" and data is None:
        raise typer.BadParameter("fit needs a data set: add --data", param_hint="--weights")
    opened = [load_model(model) for model in models]
    result = mien.ensemble(opened, out, weights=wanted, data=data, split=split, name=name, balance=balance)
    _print(result, opened, fitted=split if wanted == "fit" else "")
    typer.echo(str(out))


def _weights(text: str, count: int) -> Literal["equal", "fit"] | list[float]:
    if text == "equal":
        return "equal"
    if text == "fit":
        return "fit"
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(0 < number < float("inf") for number in numbers):
        raise typer.BadParameter(
            f"'{text}'; expected equal, fit, or {count} numbers above 0 with commas between them",
            param_hint="--weights",
        )
    return numbers


def _print(result: Ensemble, models: list[ModelFile], *, fitted: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from mien.pages.text import percent

    console, compared = Console(highlight=False), result.comparison
    table = Table("", "model", "weight", *(("accuracy", "NLL", "ECE") if compared else ()))
    if compared:
        for i in range(len(models)):
            table.add_column(f"≠ {i + 1}")
    for column in table.columns[2:]:
        column.justify = "right"
    for i, (model, weight) in enumerate(zip(models, result.weights, strict=True)):
        cells = [str(i + 1), model.info.name, f"{weight:.3f}"]
        if compared:
            f = compared.members[i]
            cells += [f"{f.accuracy:.4f}", f"{f.nll:.4f}", f"{f.ece:.4f}"]
            cells += ["" if i == j else percent(share) for j, share in enumerate(compared.disagreement[i].tolist())]
        table.add_row(*cells)
    if compared:
        f = compared.ensemble
        table.add_row("", result.info.name, "", f"{f.accuracy:.4f}", f"{f.nll:.4f}", f"{f.ece:.4f}")
    console.print(table, markup=False)
    if compared:
        console.print("≠ n: the share of faces to which a model gives another label than model n", soft_wrap=True)
    if fitted:
        console.print(f"the weights were fitted to these faces ({fitted}), which flatters the last row", soft_wrap=True)
        for model, weight in zip(models, result.weights, strict=True):
            if weight < 0.01:
                console.print(
                    f"note: {model.info.name} adds next to nothing; leave it out", markup=False, soft_wrap=True
                )
