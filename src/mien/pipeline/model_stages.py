"""The stages on models: each calls the library function of its command.

A stage is a function of the folder to build in, which may hold the work of a killed run of the same job. It returns
what it made. models: the folders of the runs and ensembles that it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import DataError, TrainingError
from mien.files import make_folder, write_bytes, write_text
from mien.pages.text import percent
from mien.pipeline import settings as config
from mien.pipeline.state import MODELS, WEIGHTS, Context, Outcome, StageReport, clear

if TYPE_CHECKING:
    from mien.model_file import ModelFile
    from mien.training.recipe import Recipe


def train_model(
    folder: Path,
    context: Context,
    *,
    source: Path,
    recipe: Recipe,
    run: config.TrainTable,
    changes: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Outcome:
    """Trains a recipe. changes: the `key=value` pairs that it already contains. notes: lines to log first.

    Raises TrainingError for a run that falls short of `reach`.
    """
    from mien.model_file import ModelFile
    from mien.training.callbacks import Watcher
    from mien.training.recipe import given_keys
    from mien.training.train import train

    for line in notes:
        context.log(line)
    epochs = recipe.optimizer.epochs

    def on_step(epoch: int, done: int, in_epoch: int, _rate: float) -> None:
        context.progress(epoch * in_epoch + done, epochs * in_epoch)

    done = train(
        recipe, source, folder / MODELS, resume=True, stop_after=run.stop_after, given=given_keys(changes),
        device=context.device, threads=context.threads, progress=Watcher(on_step),
    )  # fmt: skip
    models = [
        _calibrated(model, source) if model.info.target in run.calibrate else model
        for model in map(ModelFile, done.models)
    ]
    reached = {model.info.target: model.info.scores["validation_accuracy"] for model in models}
    _require_reached(run, reached, folder / MODELS)
    curves = f"{MODELS}/curves.png"
    found = (name for name in WEIGHTS if (folder / MODELS / name).is_file())
    return Outcome(
        tuple(f"{MODELS}/{name}" for name in (*(path.name for path in done.models), *found)),
        (StageReport(f"curves of {recipe.name}", curves),) if done.models else (),
        note=", ".join(f"{head} {percent(value)} on validation" for head, value in reached.items()),
    )


def _calibrated(model: ModelFile, data: Path) -> ModelFile:
    """The model file with a vector calibration, fitted to validation, in its place."""
    from mien.evaluation.recalibrate import calibrate
    from mien.model_file import ModelFile

    made = calibrate(model, data, model.path.with_suffix(".new"), method="vector", name=model.info.name)
    return ModelFile(made.path.replace(model.path))


def _require_reached(run: config.TrainTable, reached: Mapping[str, float], folder: Path) -> None:
    for head, value in reached.items():
        wanted = getattr(run.reach, head)
        if wanted is not None and value < wanted - run.reach.within:
            raise TrainingError(
                f"train/{run.run}: {head} {value:.4f} on validation; 'reach' expects {wanted:g} within "
                f"{run.reach.within:g}. The run is in {folder}: look at run.html, or lower 'reach' to accept it"
            )


def compare_models(
    folder: Path,
    context: Context,
    *,
    models: Sequence[Path],
    data: Path,
    settings: config.CompareTable,
    names: Sequence[str],
) -> Outcome:
    """Compares runs on validation. names: of the runs, in the order of `models`."""
    from mien.evaluation.compare import compare
    from mien.evaluation.compare_page import PAGE_FILE

    comparison = compare(models, folder, names=names, head=settings.head, by=settings.by)
    best = comparison.runs[0]
    note = f"best: {best.name}, accuracy {percent(best.accuracy)}"
    return Outcome((PAGE_FILE,), (StageReport("runs compared", PAGE_FILE),), note=note)


def join_models(
    folder: Path, context: Context, *, models: Sequence[Path], data: Path, settings: config.EnsembleTable
) -> Outcome:
    """Writes an ensemble for each kind of target that several models were trained on."""
    from mien.evaluation.ensemble import ensemble

    groups: dict[str, list[ModelFile]] = {}
    for model in open_trained(models):
        groups.setdefault(model.info.target, []).append(model)
    groups = {target: group for target, group in groups.items() if len(group) > 1}
    if not groups:
        raise DataError(
            "[ensemble]: no two models were trained on the same target; train several with the same targets"
        )
    made, notes = [], []
    for target, group in groups.items():
        name = settings.name if len(groups) == 1 else f"{settings.name}-{target}"
        make_folder(folder / MODELS)
        out = folder / MODELS / f"{name}.onnx"
        result = ensemble(group, out, weights=settings.weights, data=data, name=name)
        made.append(f"{MODELS}/{out.name}")
        shares = ", ".join(f"{m.info.name} {w:.2f}" for m, w in zip(group, result.weights, strict=True))
        accuracy = f"{percent(result.comparison.ensemble.accuracy)} on validation; " if result.comparison else ""
        notes.append(f"{name}: {accuracy}{shares}")
    return Outcome(tuple(made), note="; ".join(notes))


def evaluate_models(
    folder: Path, context: Context, *, models: Sequence[Path], data: Path, settings: config.EvaluateTable
) -> Outcome:
    """Writes figures and all predictions, for each model and split."""
    from mien.evaluation.evaluate import evaluate
    from mien.evaluation.folder import METRICS_FILE
    from mien.evaluation.page import PAGE_FILE

    products, reports, notes = [], [], []
    for model in open_trained(models):
        for split in settings.splits:
            name = f"{model.info.name}-{split}"
            clear(folder / name)
            found = evaluate(
                model, data, split, settings.truth, folder / name, groups=settings.groups,
                target_accuracy=settings.target_accuracy, tta=settings.tta, balance=settings.balance,
                speed=settings.speed, robustness=settings.robustness > 0, robustness_faces=settings.robustness,
                title=data.name,
            )  # fmt: skip
            if folder / name / PAGE_FILE in found.files:
                reports.append(StageReport(f"{model.info.name} on {split}", f"{name}/{PAGE_FILE}"))
            products.append(f"{name}/{METRICS_FILE}")
            notes.append(f"{model.info.name} on {split}: {percent(found.accuracy)}")
    return Outcome(tuple(products), tuple(reports), note="; ".join(notes))


def export_all(
    folder: Path, context: Context, *, models: Sequence[Path], data: Path, settings: config.ExportTable
) -> Outcome:
    """Copies the model files, and writes the data in other layouts."""
    from mien.data.export import export_dataset
    from mien.data.readers import open_dataset

    made, files = [], ["contents.txt"]
    for model in open_trained(models):
        write_bytes(folder / model.path.name, model.path.read_bytes())
        made.append(model.path.name)
        files.append(model.path.name)
    dataset = open_dataset(data)
    for layout in settings.data:
        export_dataset(dataset, folder / layout, as_=layout, resume=True, progress=context.progress)
        made.append(layout)
    write_text(folder / "contents.txt", "".join(f"{name}\n" for name in made))
    return Outcome(tuple(files), samples_in=len(dataset) if settings.data else None, note=", ".join(made))


def write_cards(
    folder: Path, context: Context, *, models: Sequence[Path], data: Path, settings: config.CardTable
) -> Outcome:
    """Writes each model file with its card inside, and the card beside it."""
    from mien.evaluation.card import evaluate_for_card, write_card

    made, reports = [], []
    for model in open_trained(models):
        figures = evaluate_for_card(model, data, settings.split)
        file, card = write_card(model, figures, folder / f"{model.info.name}.onnx")
        made += [file.name, card.name]
        reports.append(StageReport(f"card of {model.info.name}", card.name))
    return Outcome(tuple(made), tuple(reports))


def open_trained(folders: Sequence[Path]) -> list[ModelFile]:
    """The models of runs and ensembles, in order. Raises DataError where two have the same name."""
    from mien.model_file import ModelFile

    models = [ModelFile(path) for folder in folders for path in sorted(folder.glob("*.onnx"))]
    names = [model.info.name.lower() for model in models]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"two models are called '{name}'; give the [[train]] tables other names")
    return models
