"""`mien evaluate`: measures model files, or another tool's predictions, on a split of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.completion import complete_model
from mien.cli.output_options import TableOrJson
from mien.cli.training_options import RecipeChanges, TrainIfMissing, TrainingRecipe, train_missing_model

if TYPE_CHECKING:
    from mien.evaluation.result import Evaluation


def evaluate(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for report.html, metrics.json, report.txt, predictions.csv."),
    ],
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="Shipped models' names or model files, side by side; A+B: the mean of both models' probabilities.",
            autocompletion=complete_model,
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Any data set that mien reads: Parquet, fer2013.csv, class folders, arrays.")
    ] = None,
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="What to measure on.")] = "validation",
    predictions: Annotated[
        Path | None,
        typer.Option(help="Instead of models: CSV, JSON or Parquet with images, truth and a tool's predictions."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=NAME",
            help="Which column of --predictions is the image, truth, answer or confidence; repeatable.",
        ),
    ] = None,
    scores: Annotated[
        Literal["probabilities", "percent", "logits"] | None,
        typer.Option(help="What the scores in --predictions are. [default: by their values]"),
    ] = None,
    classes: Annotated[
        str, typer.Option(metavar="NAMES", help="The classes 0, 1, ... of --predictions, as angry,disgust,...")
    ] = "",
    truth: Annotated[
        Literal["label", "votes"] | None,
        typer.Option(help="The data's labels, or the majority of FER+'s raters. [default: as the model was trained]"),
    ] = None,
    groups: Annotated[
        list[str] | None, typer.Option(help="A column of the data set: compare its groups; repeatable.")
    ] = None,
    target_accuracy: Annotated[
        float | None, typer.Option(help="Find the confidence threshold that reaches this accuracy, as 0.9.")
    ] = None,
    tta: Annotated[bool, typer.Option("--tta", help="Average ten views of each face, mirrored and shifted.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Faces classified together.")] = 256,
    leak_check: Annotated[bool, typer.Option(help="Count faces that are also in the data's train split.")] = True,
    speed: Annotated[bool, typer.Option(help="Time the models on this machine.")] = True,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Measure also on blurred, dark, covered ... faces.")
    ] = False,
    robustness_faces: Annotated[int, typer.Option(min=1, help="How many faces, chosen at random.")] = 1000,
    explain: Annotated[
        int, typer.Option(min=0, metavar="N", help="Explain the N most confident correct and wrong predictions.")
    ] = 0,
    table: Annotated[Literal["csv", "parquet"], typer.Option(help="The format of the predictions file.")] = "csv",
    train_if_missing: TrainIfMissing = None,
    recipe: TrainingRecipe = "",
    set_: RecipeChanges = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")] = False,
    format_: TableOrJson = "table",
) -> None:
    """Measure models: accuracy with its interval, figures of each class, calibration, speed, and every prediction.

    All of it is on one page, DIR/report.html, whose figures are in DIR/figures/; the page shows faces of the data set.
    Several models are measured on the same faces: each in DIR/NAME/, and all in one table.

    A file of predictions has the image, the truth (label, y_true ...), and either a score for each class (happy,
    prob_happy, emotion.happy ...) or the answer (expression, y_pred, dominant_emotion ...); rows without an answer
    count as wrong. With --data it must have every face of the split, by its path, and needs no truth.

    Examples:

    `mien evaluate mien-small --data fer2013/ --split test --out results/small`

    `mien evaluate mien-small mien-base mien-small+mien-base --data fer2013/ --out results/three`

    `mien evaluate mien-small --data fer2013/ --truth label --target-accuracy 0.9 --out results/small-by-label`

    `mien evaluate mien-small --data fer2013/ --robustness --explain 8 --out results/all`

    `mien evaluate mien-small --data arrays/ --groups age --groups sex --out results/groups`

    `mien evaluate own.onnx --train-if-missing faces/ --out results/own`

    `mien evaluate --predictions other-tool.csv --out results/other --format json`

    `mien evaluate --predictions deepface.json --data faces/ --split test --out results/deepface`
    """
    from mien.cli.progress import progress_bar
    from mien.errors import DataError
    from mien.evaluation import evaluate as evaluation
    from mien.model_file import split_models

    models = list(models or ())
    _check_options(bool(models), predictions, target_accuracy, robustness=robustness, explain=explain)
    train_missing_model(models, train_if_missing, recipe, set_, quiet=quiet)
    if train_if_missing is not None:
        data = _held_out(Path(models[0]), data, train_if_missing, split)
    _refuse_without_predictions(predictions, {"--column": column, "--scores": scores, "--classes": classes})

    def warn(line: str) -> None:
        typer.echo(line, err=True)

    if predictions is not None:
        result = evaluation.evaluate_file(
            predictions,
            data,
            split,
            truth,
            out,
            columns=_named_columns(column or ()),
            scores=scores,
            classes=_listed(classes),
            groups=groups or (),
            target_accuracy=target_accuracy,
            leak_check=leak_check,
            table=table,
            warn=warn,
        )
        _print_one(result, format_)
        return
    if data is None:
        raise DataError("no data set to measure the models on; give one with --data")
    parts = [split_models(name) for name in models]
    one_truth = truth if truth or len(models) == 1 else _common_truth([m for names in parts for m in names])
    places = [out] if len(models) == 1 else [out / name for name in _folder_names(models)]
    results = []
    for names, place in zip(parts, places, strict=True):
        with progress_bar("corrupted faces", unit="faces", quiet=quiet or not robustness) as progress:
            results.append(
                evaluation.evaluate(
                    names,
                    data,
                    split,
                    one_truth,
                    place,
                    groups=groups or (),
                    target_accuracy=target_accuracy,
                    tta=tta,
                    batch_size=batch_size,
                    leak_check=leak_check,
                    speed=speed,
                    robustness=robustness,
                    robustness_faces=robustness_faces,
                    explain=explain,
                    table=table,
                    warn=warn,
                    progress=progress,
                )
            )
    if len(models) == 1:
        _print_one(results[0], format_)
    else:
        _report_side_by_side(models, results, places, format_)


def _print_one(result: Evaluation, format_: str) -> None:
    """Prints one evaluation, and where its files are."""
    import json

    if format_ == "json":
        typer.echo(json.dumps(result.to_dict(), indent=2))
        return
    print_evaluation(result)
    typer.echo(", ".join(str(place) for place in result.files))


def _common_truth(models: Sequence[str]) -> Literal["label", "votes"] | None:
    """The ground truth of models that were trained on different ones: labels; None lets the evaluation choose."""
    from mien.model_file import open_model

    if len({open_model(name).info.target == "votes" for name in models}) < 2:
        return None
    typer.echo("the models were trained on votes and on labels: all are measured by --truth label", err=True)
    return "label"


def _folder_names(models: Sequence[str]) -> list[str]:
    """A folder for each model: the name without path and suffix, numbered where it is taken."""
    from mien.model_file import split_models

    names: list[str] = []
    for model in models:
        stem = "+".join(Path(part).name.removesuffix(".onnx") for part in split_models(model))
        names.append(stem if stem not in names else f"{stem}-{len(names) + 1}")
    return names


def _refuse_without_predictions(predictions: Path | None, options: Mapping[str, object]) -> None:
    from mien.errors import DataError

    given = next((option for option, value in options.items() if value), None)
    if predictions is None and given:
        raise DataError(f"{given}: is for another tool's file; give that with  --predictions FILE")


def _named_columns(given: Iterable[str]) -> dict[str, str]:
    from mien.errors import DataError

    pairs = [text.partition("=") for text in given]
    for role, _, name in pairs:
        if not role.strip() or not name.strip():
            raise DataError(f"--column {role}: expected ROLE=NAME, for example  --column answer=emotion")
    return {role.strip(): name.strip() for role, _, name in pairs}


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _held_out(model: Path, data: Path | None, trained_on: Path, split: str) -> Path:
    """Where to measure a model that was trained on `trained_on`; prints what that is worth."""
    from mien.training.model_places import data_to_measure

    place = data_to_measure(model, data, trained_on)
    if place == data and place.resolve() != trained_on.resolve():
        return place
    worth = {
        "train": "what it was trained on; other faces may give other figures",
        "validation": "held out, but they chose the epoch and the calibration; a test split says more",
        "test": "held out, and not used in training",
    }
    typer.echo(f"measuring on the {split} faces of {place}: {worth[split]}", err=True)
    return place


def _check_options(
    models: bool, predictions: Path | None, target_accuracy: float | None, *, robustness: bool, explain: int
) -> None:
    from mien.errors import DataError
    from mien.pages import new_figure

    if models == (predictions is not None):
        raise DataError("give either models or --predictions FILE" + (", not both" if models else " to measure"))
    if target_accuracy is not None and not 0 < target_accuracy <= 1:
        raise DataError(f"--target-accuracy {target_accuracy}; expected above 0 and at most 1, for example 0.9")
    if predictions is not None and (robustness or explain):
        option = "--robustness" if robustness else "--explain"
        raise DataError(f"{option}: measures a model on other images; give models, not --predictions")
    if explain:
        new_figure(1, 1)  # without matplotlib there would be no page to show them on


def _report_side_by_side(
    models: Sequence[str], results: Sequence[Evaluation], places: Sequence[Path], format_: str
) -> None:
    """Prints a row for each model; as JSON a list of their metrics, each with the model and its folder."""
    import json

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if format_ == "json":
        rows = [
            {"model": model, "folder": str(place)} | result.to_dict()
            for model, result, place in zip(models, results, places, strict=True)
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    first = results[0]
    title = f"{first.n} faces of {first.split}, truth: {first.truth}"
    table = Table(
        "model", "accuracy", "95 %", "macro recall", "macro F1", "NLL", "ECE", title=title, title_justify="left"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for model, e in zip(models, results, strict=True):
        low, high = e.accuracy_95
        figures = ("-" if v is None else f"{v:.4f}" for v in (e.balanced_accuracy, e.macro_f1, e.nll, e.ece))
        table.add_row(Text(model), f"{e.accuracy:.4f}", f"{low:.3f}-{high:.3f}", *figures)
    Console(highlight=False).print(table)
    for place in places:
        typer.echo(str(place))


def print_evaluation(result: Evaluation) -> None:
    """A short table: a row per class, the figures below."""
    from rich.console import Console
    from rich.table import Table

    from mien.evaluation.report import key_figure_lines, title

    console = Console(highlight=False)
    table = Table("class", "faces", "recall", "precision", "F1", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    table.title = title(result)
    for c in result.per_class:
        recall, f1 = ("-" if v is None else f"{v:.3f}" for v in (c.recall, c.f1))
        table.add_row(c.label, str(c.support), recall, f"{c.precision:.3f}", f1)
    console.print(table, markup=False)
    console.print("\n".join(key_figure_lines(result)), markup=False, soft_wrap=True)
