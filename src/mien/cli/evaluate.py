"""`mien evaluate`: measures model files, or another tool's predictions, on a split of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.model_options import Balance, Prior, SomeModels
from mien.cli.option_groups import grouped
from mien.cli.output_options import DataOption, Labels, Quiet, TableOrJson, data_with, out_option, progress_bar, warn
from mien.cli.training_options import TrainIfMissing

if TYPE_CHECKING:
    from mien.evaluation.result import Evaluation


SomeSplit = Annotated[
    Literal["train", "validation", "test", "all"] | None,
    typer.Option(help="The split of --data. [default: test, else validation, else all of data without splits]"),
]


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How another tool's file of predictions is read."""

    predictions: Annotated[
        Path | None,
        typer.Option(help="Instead of models: CSV, JSON or Parquet with images, truth and a tool's predictions."),
    ] = None
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=NAME",
            help="Which column of --predictions is the image, truth, answer or confidence; repeatable.",
        ),
    ] = None
    scores: Annotated[
        Literal["probabilities", "percent", "logits"] | None,
        typer.Option(help="What the scores in --predictions are. [default: by their values]"),
    ] = None
    classes: Annotated[
        str, typer.Option(metavar="NAMES", help="The classes 0, 1, ... of --predictions, as angry,disgust,...")
    ] = ""


@dataclass(frozen=True, slots=True)
class CommonOptions:
    """What can be measured of models and of predictions."""

    truth: Annotated[
        Literal["label", "votes"] | None,
        typer.Option(help="The data's labels, or the majority of FER+'s raters. [default: as the model was trained]"),
    ] = None
    groups: Annotated[
        list[str] | None, typer.Option(help="A column of the data set: compare its groups; repeatable.")
    ] = None
    target_accuracy: Annotated[
        float | None, typer.Option(help="Find the confidence threshold that reaches this accuracy, as 0.9.")
    ] = None
    leak_check: Annotated[bool, typer.Option(help="Count faces that are also in the data's train split.")] = True
    table: Annotated[Literal["csv", "parquet"], typer.Option(help="The format of the predictions file.")] = "csv"
    vector_figures: Annotated[bool, typer.Option("--vector-figures", help="Figures also as SVG and PDF.")] = False


@dataclass(frozen=True, slots=True)
class ModelMeasures:
    """What can be measured of models only."""

    protocol: Annotated[
        Literal["fer2013", "ferplus-majority", "ferplus-probability", "raf-db", "affectnet-7", "affectnet-8"] | None,
        typer.Option(help="Measure as papers on this data set do: it sets split, truth and classes."),
    ] = None
    tta: Annotated[bool, typer.Option("--tta", help="Average ten views of each face, mirrored and shifted.")] = False
    balance: Balance = None
    prior: Prior = None
    batch_size: Annotated[int, typer.Option(min=1, help="Faces classified together.")] = 256
    speed: Annotated[bool, typer.Option(help="Time the models on this machine.")] = True
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Measure also on blurred, dark, covered ... faces.")
    ] = False
    robustness_faces: Annotated[int, typer.Option(min=1, help="How many faces, chosen at random.")] = 1000
    explain: Annotated[
        int, typer.Option(min=0, metavar="N", help="Explain the N most confident correct and wrong predictions.")
    ] = 0


@grouped
def evaluate(
    *,
    out: Annotated[Path, out_option("Folder for report.html, metrics.json, report.txt, predictions.csv.")],
    models: SomeModels = None,
    data: DataOption = None,
    labels: Labels = "",
    split: SomeSplit = None,
    file: FileOptions,
    common: CommonOptions,
    measures: ModelMeasures,
    missing: TrainIfMissing,
    quiet: Quiet = False,
    format_: TableOrJson = "table",
) -> None:
    """Measure models: accuracy with its interval, figures of each class, calibration, speed, and every prediction.

    All of it is on one page, DIR/report.html, whose figures are in DIR/figures/; the page shows faces of the data set.
    Several models are measured on the same faces: each in DIR/NAME/, and all in one table, with McNemar's test and the
    interval of the difference of each pair. Tables are Markdown, LaTeX and CSV, figures PNG.

    A file of predictions has the image, the truth (label, y_true ...), and either a score for each class (happy,
    prob_happy, emotion.happy ...) or the answer (expression, y_pred, dominant_emotion ...); rows without an answer
    count as wrong. With --data it must have every face of the split, by its path, and needs no truth.

    Examples:

    - `mien evaluate mien-small --data fer2013/ --split test --out results/small`
    - `mien evaluate mien-small mien-base mien-small+mien-base --data fer2013/ --vector-figures --out results/three`
    - `mien evaluate mien-small --data fer2013/ --truth label --target-accuracy 0.9 --out results/small-by-label`
    - `mien evaluate mien-small own.onnx --data raf-db/ --protocol raf-db --out results/raf-db`
    - `mien evaluate mien-small --data own-faces/ --split all --out results/own-faces`
    - `mien evaluate mien-small --data fer2013/ --robustness --explain 8 --out results/all`
    - `mien evaluate mien-small --data arrays/ --groups age --groups sex --out results/groups`
    - `mien evaluate own.onnx --train-if-missing faces/ --out results/own`
    - `mien evaluate --predictions other-tool.csv --out results/other --format json`
    - `mien evaluate --predictions deepface.json --data faces/ --split test --out results/deepface`
    """
    from mien.evaluation.evaluate import evaluate_file
    from mien.evaluation.side_by_side import evaluate_side_by_side

    named = models or []
    _check(named, file, common, measures)
    missing.train(named, quiet=quiet)
    options = {**asdict(common), "groups": common.groups or (), "out": out}
    if file.predictions is not None:
        options |= {"columns": _named_columns(file.column or ()), "scores": file.scores}
        truth = data_with(labels, data) if data else None
        results = {"": evaluate_file(file.predictions, truth, split, classes=_listed(file.classes), **options)}
    else:
        data = _data_to_measure(named[0], data, missing.train_if_missing, split)
        with progress_bar("corrupted faces", unit="faces", quiet=quiet or not measures.robustness) as progress:
            measured = data_with(labels, data)
            results = evaluate_side_by_side(named, measured, split, progress=progress, **options, **asdict(measures))
    _print(results, format_)


def _print(results: Mapping[str, Evaluation], format_: str) -> None:
    """The report of one evaluation, or a row for each model; as JSON, metrics, or a list with model and folder."""
    import json

    from mien.evaluation.report import report_text

    first, *others = results.values()
    if not others and format_ == "json":
        typer.echo(json.dumps(first.to_dict(), indent=2))
    elif not others:
        typer.echo(report_text(first), nl=False)
        typer.echo(", ".join(str(place) for place in first.files))
    elif format_ == "json":
        rows = [{"model": model, "folder": str(e.files[0].parent)} | e.to_dict() for model, e in results.items()]
        typer.echo(json.dumps(rows, indent=2))
    else:
        _print_rows(results)


def _print_rows(results: Mapping[str, Evaluation]) -> None:
    """The tables that are also in the folder."""
    from mien.evaluation.paired import differences
    from mien.evaluation.side_by_side import DIFFERENCE_COLUMNS, MODEL_COLUMNS, difference_rows, model_rows
    from mien.evaluation.tables import plain_table

    first = next(iter(results.values()))
    typer.echo(f"{first.n} faces of {first.split}, truth: {first.truth}")
    typer.echo(plain_table(MODEL_COLUMNS, model_rows(results)))
    if pairs := difference_rows(differences(dict(results))):
        typer.echo(f"differences on the same faces\n{plain_table(DIFFERENCE_COLUMNS, pairs, left=2)}")
    for e in results.values():
        typer.echo(str(e.files[0].parent))


def _check(models: Sequence[str], file: FileOptions, common: CommonOptions, measures: ModelMeasures) -> None:
    """Raises DataError for options that do not fit together."""
    from mien.errors import DataError

    wanted = common.target_accuracy
    if bool(models) == (file.predictions is not None):
        raise DataError("give either models or --predictions FILE" + (", not both" if models else " to measure"))
    given = {"--column": file.column, "--scores": file.scores, "--classes": file.classes}
    if models and (option := next((option for option, value in given.items() if value), None)):
        raise DataError(f"{option}: is for another tool's file; give it with  --predictions FILE")
    if wanted is not None and not 0 < wanted <= 1:
        raise DataError(f"--target-accuracy {wanted}; expected above 0 and at most 1, for example 0.9")
    of_models = {
        "--robustness": measures.robustness,
        "--explain": measures.explain,
        "--protocol": measures.protocol,
        "--balance": measures.balance is not None,
        "--prior": measures.prior,
    }
    if not models and (option := next((option for option, value in of_models.items() if value), None)):
        raise DataError(f"{option}: is for models, whose files are at hand; give models, not --predictions")


def _named_columns(given: Iterable[str]) -> dict[str, str]:
    from mien.errors import DataError

    pairs = [text.partition("=") for text in given]
    for role, _, name in pairs:
        if not role.strip() or not name.strip():
            raise DataError(f"--column {role}: expected ROLE=NAME, for example  --column answer=emotion")
    return {role.strip(): name.strip() for role, _, name in pairs}


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _data_to_measure(model: str, data: Path | None, trained_on: Path | None, split: str | None) -> Path:
    """Where to measure: `data`, or the faces held out by --train-if-missing. Prints what the latter is worth."""
    from mien.errors import DataError

    if trained_on is None:
        if data is None:
            raise DataError("no data set to measure the models on; give one with --data")
        return data
    from mien.training.model_places import data_to_measure

    place = data_to_measure(Path(model), data, trained_on)
    if place == data and place.resolve() != trained_on.resolve():
        return place
    worth = {
        "train": "the model was trained on them; other faces may give other figures",
        "validation": "held out, but they chose the epoch and the calibration; a test split tells more",
        "test": "held out, and not used in training",
    }
    split = split or "validation"
    warn(f"measuring on the {split} faces of {place}: {worth.get(split, worth['train'])}")
    return place
