"""`mien evaluate`: measures model files, or another tool's predictions, on a split of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.training_options import RecipeChanges, TrainIfMissing, TrainingRecipe, train_missing_model

if TYPE_CHECKING:
    from mien.data.samples import Samples
    from mien.evaluation.extremes import Extremes
    from mien.evaluation.result import Evaluation


def evaluate(
    out: Annotated[Path, typer.Option(help="Folder for report.html, metrics.json, report.txt, predictions.csv.")],
    models: Annotated[
        list[str] | None,
        typer.Argument(help="A shipped model's name or a model file; several = mean of their probabilities."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="The same as naming it as an argument; repeatable.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Any data set that mien reads: Parquet, fer2013.csv, class folders, arrays.")
    ] = None,
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="What to measure on.")] = "validation",
    predictions: Annotated[
        Path | None,
        typer.Option(help="Instead of models: CSV, JSON or Parquet with images, truth and what a tool said."),
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
        typer.Option(help="What the scores in --predictions are. [default: as the numbers look]"),
    ] = None,
    classes: Annotated[
        str, typer.Option(metavar="NAMES", help="What 0, 1, ... stand for in --predictions, as angry,disgust,...")
    ] = "",
    truth: Annotated[
        Literal["label", "votes"] | None,
        typer.Option(help="The data's labels, or the majority of FER+'s raters. [default: as the model was trained]"),
    ] = None,
    groups: Annotated[
        list[str] | None, typer.Option(help="A column of the data set: compare its groups. Can be given repeatedly.")
    ] = None,
    target_accuracy: Annotated[
        float | None, typer.Option(help="Find the confidence from which on answers are right so often, as 0.9.")
    ] = None,
    tta: Annotated[bool, typer.Option("--tta", help="Look at each face ten times, mirrored and shifted.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Faces classified together.")] = 256,
    leak_check: Annotated[bool, typer.Option(help="Count faces that are in the train split of the data, too.")] = True,
    speed: Annotated[bool, typer.Option(help="Time the models on this machine.")] = True,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Measure on blurred, dark, covered ... faces, too.")
    ] = False,
    robustness_faces: Annotated[int, typer.Option(min=1, help="On how many faces, chosen by chance.")] = 1000,
    explain: Annotated[
        int, typer.Option(min=0, help="Show what so many of the surest right and wrong answers hang on.")
    ] = 0,
    table: Annotated[Literal["csv", "parquet"], typer.Option(help="How to write the predictions.")] = "csv",
    train_if_missing: TrainIfMissing = None,
    recipe: TrainingRecipe = "",
    set_: RecipeChanges = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")] = False,
    format_: Annotated[Literal["table", "json"], typer.Option("--format", help="What to print.")] = "table",
) -> None:
    """Measure a model: accuracy with its interval, figures of each class, calibration, speed, and every prediction.

    All of it is on one page, DIR/report.html, whose figures are in DIR/figures/; the page shows faces of the data set.

    A file of predictions has the image, the truth (label, y_true ...), and either a score for each class (happy,
    prob_happy, emotion.happy ...) or the answer (expression, y_pred, dominant_emotion ...); rows without an answer
    count as wrong. With --data it must have every face of the split, by its path, and needs no truth.

    Examples:

    `mien evaluate mien-small --data fer2013/ --split test --out results/small`

    `mien evaluate mien-small --data fer2013/ --truth label --target-accuracy 0.9 --out results/small-by-label`

    `mien evaluate mien-small --data fer2013/ --robustness --explain 8 --out results/all`

    `mien evaluate mien-small --data arrays/ --groups age --groups sex --out results/groups`

    `mien evaluate runs/a/a.onnx runs/b/b.onnx --data faces/ --out results/both --format json`

    `mien evaluate --model own.onnx --train-if-missing faces/ --out results/own`

    `mien evaluate --predictions other-tool.csv --out results/other`

    `mien evaluate --predictions deepface.json --data faces/ --split test --out results/deepface`
    """
    import json

    from mien.cli.progress import progress_bar
    from mien.errors import DataError
    from mien.evaluation.evaluate import Extras, evaluate_predictions
    from mien.evaluation.evaluate import evaluate as measure
    from mien.evaluation.extremes import explain_extremes
    from mien.evaluation.inputs import read_inputs
    from mien.evaluation.predictions import read_predictions
    from mien.model_file import open_model

    models = [*(models or ()), *(model or ())]
    _check_options(bool(models), predictions, target_accuracy, robustness=robustness, explain=explain)
    train_missing_model(models, train_if_missing, recipe, set_, quiet=quiet)
    if train_if_missing is not None:
        data = _held_out(Path(models[0]), data, train_if_missing, split)
    _refuse_without_predictions(predictions, {"--column": column, "--scores": scores, "--classes": classes})
    said = None
    if predictions is not None:
        said = read_predictions(
            predictions,
            columns=_named_columns(column or ()),
            scores=scores,
            classes=_listed(classes),
            with_data=data is not None,
        )
    opened = [open_model(name) for name in models]
    samples = extremes = None
    if data is None:
        if said is None:
            raise DataError("no data set to measure the models on; give one with --data")
        if groups:
            raise DataError(f"--groups {groups[0]}: needs a data set with that column; give it with --data")
        result = evaluate_predictions(said, truth=truth, extras=Extras(target_accuracy=target_accuracy))
    else:
        size = max((model.info.size for model in opened), default=48)
        channels = max((model.info.channels for model in opened), default=1)
        found = read_inputs(
            data,
            split,
            size=size,
            channels=channels,
            groups=groups or (),
            train=leak_check,
            warn=lambda line: typer.echo(line, err=True),
        )
        samples = found.samples
        extras = Extras(found.columns, found.train, target_accuracy, speed, robustness_faces if robustness else 0)
        if said is not None:
            result = evaluate_predictions(said, samples, truth=truth, data=str(data), split=split, extras=extras)
        else:
            with progress_bar("corrupted faces", unit="faces", quiet=quiet or not robustness) as progress:
                result = measure(
                    opened,
                    samples,
                    truth=truth,
                    batch_size=batch_size,
                    tta=tta,
                    data=str(data),
                    split=split,
                    extras=extras,
                    progress=progress,
                )
            extremes = explain_extremes(opened, result, samples, count=explain) if explain else None
    written = _write(result, out, samples, extremes, table)
    if format_ == "json":
        typer.echo(json.dumps(result.to_dict(), indent=2))
    else:
        print_evaluation(result)
        typer.echo(", ".join(str(place) for place in written))


def _refuse_without_predictions(predictions: Path | None, options: Mapping[str, object]) -> None:
    from mien.errors import DataError

    given = next((option for option, value in options.items() if value), None)
    if predictions is None and given:
        raise DataError(f"{given}: says how to read another tool's file; give it with  --predictions FILE")


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
    """Where to measure a model that was trained on `trained_on`; says what that is worth."""
    from mien.training.model_places import data_to_measure

    place = data_to_measure(model, data, trained_on)
    if place == data and place.resolve() != trained_on.resolve():
        return place
    worth = {
        "train": "what it was trained on; this says nothing of other faces",
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
        raise DataError(f"{option}: asks a model about other pictures; give models, not --predictions")
    if explain:
        new_figure(1, 1)  # without matplotlib there would be no page to show them on


def _write(
    result: Evaluation, out: Path, samples: Samples | None, extremes: Extremes | None, table: Literal["csv", "parquet"]
) -> list[Path]:
    """Writes all files; without matplotlib all but the page, and says so."""
    from mien.errors import MissingExtraError
    from mien.evaluation.evaluate import METRICS_FILE, PREDICTIONS_FILE, REPORT_FILE, write_evaluation
    from mien.evaluation.page import PAGE_FILE, write_page

    write_evaluation(result, out, table=table)
    written = [out / METRICS_FILE, out / REPORT_FILE, (out / PREDICTIONS_FILE).with_suffix(f".{table}")]
    try:
        return [write_page(result, out, samples=samples, extremes=extremes), *written]
    except MissingExtraError as error:
        typer.echo(f"no {PAGE_FILE}: {error}", err=True)
        return written


def print_evaluation(result: Evaluation) -> None:
    """A short table: a row per class, the figures below."""
    from rich.console import Console
    from rich.table import Table

    from mien.evaluation.report import key_figures, title

    console = Console(highlight=False)
    table = Table("class", "faces", "recall", "precision", "F1", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    table.title = title(result)
    for c in result.per_class:
        recall, f1 = ("-" if v is None else f"{v:.3f}" for v in (c.recall, c.f1))
        table.add_row(c.label, str(c.support), recall, f"{c.precision:.3f}", f1)
    console.print(table, markup=False)
    console.print("\n".join(key_figures(result)), markup=False, soft_wrap=True)
