"""`mien ensemble`: writes several model files as one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from mien.evaluation.ensemble import Ensemble
    from mien.model_file import ModelFile


def ensemble(
    models: Annotated[list[str], typer.Argument(help="Shipped models' names or model files, two or more.")],
    out: Annotated[Path, typer.Option(help="The model file to write.")],
    weights: Annotated[
        str, typer.Option(metavar="equal|fit|W,W,..", help="Each model's share; fit: the best on --data.")
    ] = "equal",
    data: Annotated[Path | None, typer.Option(help="A data set to fit the weights and compare the models on.")] = None,
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="The split of --data.")] = "validation",
    name: Annotated[str, typer.Option(help="The new model's name. [default: the file's]")] = "",
) -> None:
    """Write several models as one model file that says the mean of their probabilities.

    The models need the same labels, crop and target; sizes and channels may differ. Every command takes the file as it
    takes any other, at the cost of all its members. With --data a table shows how often members disagree: an ensemble
    of models that always agree gains nothing.

    Examples:

    `mien ensemble runs/a/a.onnx runs/b/b.onnx runs/c/c.onnx --out abc.onnx`

    `mien ensemble mien-small mien-nano --out both.onnx --weights fit --data fer2013/`

    `mien ensemble mien-small mien-nano --out both.onnx --weights 2,1`
    """
    from mien.evaluation.ensemble import write_ensemble
    from mien.evaluation.fitting import fitting_split
    from mien.model_file import open_model

    wanted = _weights(weights, len(models))
    if wanted == "fit" and data is None:
        raise typer.BadParameter("fit needs a data set: add --data", param_hint="--weights")
    opened = [open_model(model) for model in models]
    samples = None
    if data is not None:
        samples = fitting_split(
            data,
            split,
            size=max(model.info.size for model in opened),
            channels=max(model.info.channels for model in opened),
            warn=lambda line: typer.echo(line, err=True),
        )
    result = write_ensemble(
        opened, out, weights=wanted, samples=samples, source="" if data is None else str(data), split=split, name=name
    )
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
    """Members with their weights; with data, their figures and how often they disagree."""
    from rich.console import Console
    from rich.table import Table

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
            cells += ["" if i == j else f"{share:.1%}" for j, share in enumerate(compared.disagreement[i].tolist())]
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
