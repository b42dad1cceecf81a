"""`mien ensemble`: writes several model files as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.model_options import ModelArguments, OwnBalance
from mien.cli.output_options import DataOption, NewModel, NewName, Split, print_table

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
    from mien.pages.text import percent

    compared, columns = result.comparison, ["", "model", "weight"]
    rows = [[i, m.info.name, f"{w:.3f}"] for i, (m, w) in enumerate(zip(models, result.weights, strict=True), start=1)]
    if compared:
        columns += ["accuracy", "NLL", "ECE", *(f"≠ {i}" for i in range(1, len(models) + 1))]
        rows.append(["", result.info.name, ""])
        for row, f in zip(rows, (*compared.members, compared.ensemble), strict=True):
            row += [f"{f.accuracy:.4f}", f"{f.nll:.4f}", f"{f.ece:.4f}"]
        for i, (row, shares) in enumerate(zip(rows, compared.disagreement.tolist(), strict=False)):
            row += ["" if i == j else percent(share) for j, share in enumerate(shares)]
    print_table(columns, rows, left=2)
    if compared:
        typer.echo("≠ n: the share of faces to which a model gives another label than model n")
    if fitted:
        typer.echo(f"the weights were fitted to these faces ({fitted}), which flatters the last row")
        for model, weight in zip(models, result.weights, strict=True):
            if weight < 0.01:
                typer.echo(f"note: {model.info.name} adds next to nothing; leave it out")
