"""What each stage does: calls the same library function as the stage's command, and says what came of it.

Each function takes the folder to build in, which may hold what a killed run of the same job left there.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mien.data.arrays import MANIFEST, PIXELS, PROBLEMS
from mien.data.dataset import Dataset, Progress
from mien.data.samples import Samples
from mien.errors import DataError
from mien.files import make_folder, write_bytes, write_text
from mien.pages import Page
from mien.pipeline import settings as config
from mien.pipeline.state import Outcome, Report

if TYPE_CHECKING:
    from mien.data.audit import OutOfFold
    from mien.data.crops import DetectorChoice
    from mien.data.reading.reading import Choices
    from mien.evaluation.result import Evaluation
    from mien.model_file import ModelFile
    from mien.training.recipe import Recipe

TOY, FLAGS, MODELS, INDEX = "faces", "flags.csv", "models", "index.html"


@dataclass(frozen=True, slots=True)
class Told:
    """Whom a stage tells how far it is, and lines worth reading. device, threads: what it may train on."""

    progress: Progress
    say: Callable[[str], None]
    device: str = "auto"
    threads: int = 0


# Data


def draw_toy(folder: Path, told: Told, *, settings: config.Toy, seed: int) -> Outcome:
    """Cartoon faces as class folders."""
    from mien.data.toy import write_toy_folders

    _clear(folder / TOY)
    count = settings.train + settings.validation + settings.test
    write_toy_folders(folder / TOY, train=settings.train, validation=settings.validation, test=settings.test, seed=seed)
    files = sorted(p.relative_to(folder).as_posix() for p in (folder / TOY).rglob("*.png"))
    return Outcome(tuple(files), samples_out=count)


def import_data(folder: Path, told: Told, *, source: Path, choices: Choices, name: str) -> Outcome:
    """Any layout as arrays."""
    from mien.data.importing import import_dataset

    dataset = import_dataset(source, folder / name, choices=choices, resume=True, progress=told.progress)
    return _data_outcome(dataset, name, problems=dataset.steps[-1].problems)


def crop_data(
    folder: Path, told: Told, *, source: Path, settings: config.Crop, detector: DetectorChoice, name: str
) -> Outcome:
    """Faces cut out of pictures."""
    from mien.data.crops import CropSettings, crop_dataset

    wanted = CropSettings(
        size=settings.size,
        channels=settings.channels,
        spec=settings.spec,
        faces=settings.faces,
        no_face=settings.no_face,
        min_face=settings.min_face,
        pad=settings.pad,
    )
    result = crop_dataset(
        source, folder / name, detector=detector, settings=wanted, resume=True, progress=told.progress
    )
    return _data_outcome(result.faces, name, problems=len(result.problems))


def screen_data(
    folder: Path,
    told: Told,
    *,
    source: Path,
    settings: config.Screen,
    detectors: Sequence[DetectorChoice],
    name: str,
) -> Outcome:
    """Samples in which a face is found."""
    from mien.data.screen import ScreenSettings, screen_dataset

    wanted = ScreenSettings(votes=settings.votes, keep_test=settings.keep_test, pad=settings.pad)
    result = screen_dataset(
        source, folder / name, detectors=detectors, settings=wanted, resume=True, progress=told.progress
    )
    reports = [
        Report(title, place.name)
        for title, place in (("rejected samples", result.sheet), ("list of them", result.listing))
        if place
    ]
    return _data_outcome(result.dataset, name, reports, problems=len(result.unreadable))


def dedupe_data(folder: Path, told: Told, *, source: Path, settings: config.Dedupe, name: str) -> Outcome:
    """Samples without their copies."""
    from mien.data.dedupe import dedupe

    result = dedupe(
        source,
        folder / name,
        near=settings.near,
        keep=settings.keep,
        conflicts=settings.conflicts,
        resume=True,
        progress=told.progress,
    )
    groups = [("groups of copies", result.sheet), ("list of them", result.table)]
    reports = [Report(title, place.name) for title, place in groups if place]
    return Outcome(
        _arrays(name),
        tuple(reports),
        samples_in=len(result.before),
        samples_out=len(result.rows),
        problems=len(result.problems),
        note=f"{result.groups.groups:,} groups of copies",
    )


def audit_data(
    folder: Path, told: Told, *, source: Path, settings: config.Audit, detector: DetectorChoice | None, recipe: Recipe
) -> Outcome:
    """Flags for what may be wrong; takes nothing away."""
    from mien.config import to_toml
    from mien.data.audit import AuditSettings, audit
    from mien.data.readers import open_dataset

    out_of_fold, wanted = None, AuditSettings(near=None if settings.near < 0 else settings.near)
    if settings.suspects:
        out_of_fold = _out_of_fold(recipe, settings.folds, told)
        wanted = AuditSettings(near=wanted.near, recipe=to_toml(recipe), folds=settings.folds)
    dataset = open_dataset(source, warn=told.say)
    summary = audit(
        dataset,
        folder / "audit",
        wanted,
        out_of_fold=out_of_fold,
        detector=detector,
        resume=True,
        progress=told.progress,
    )
    found = ", ".join(f"{kind.total:,} {kind.kind}" for kind in summary.kinds if kind.total)
    return Outcome(
        (f"audit/{FLAGS}",),
        (Report("audit", f"audit/{INDEX}"), Report("flags", f"audit/{FLAGS}")),
        samples_in=len(dataset),
        note=found or "nothing flagged",
    )


def drop_data(folder: Path, told: Told, *, source: Path, flags: Path, settings: config.Drop, name: str) -> Outcome:
    """Samples without those that were flagged."""
    from mien.data.flags import drop_flagged
    from mien.data.readers import open_dataset

    dropped = drop_flagged(
        open_dataset(source, warn=told.say),
        folder / name,
        flags=flags,
        only=settings.only,
        min_score=settings.min_score,
        from_test=settings.from_test,
        resume=True,
        progress=told.progress,
    )
    note = f"{dropped.spared:,} flagged samples of test stay" if dropped.spared else ""
    return Outcome(_arrays(name), samples_in=dropped.samples_in, samples_out=dropped.samples_out, note=note)


def split_data(folder: Path, told: Told, *, source: Path, settings: config.Division, seed: int, name: str) -> Outcome:
    """Samples divided into train, validation and test."""
    from mien.data.splits import SplitSettings, split_dataset

    wanted = SplitSettings(
        validation=settings.validation,
        test=settings.test,
        subset=settings.subset,
        group_by=settings.group_by,
        seed=seed,
        again=settings.again,
        keep_test=settings.keep_test,
    )
    before, division = split_dataset(source, folder / name, wanted, resume=True, progress=told.progress)
    if division.crossing:
        told.say(f"{division.crossing:,} groups of copies or persons reach across splits that were kept; add [dedupe]")
    counts = {split: sum(labels.values()) for split, labels in division.dataset.counts().items()}
    return Outcome(
        _arrays(name),
        samples_in=len(before),
        samples_out=sum(counts.values()),
        note=", ".join(f"{count:,} {split or 'of no split'}" for split, count in counts.items()),
    )


def explore_data(folder: Path, told: Told, *, source: Path, settings: config.Explore, seed: int) -> Outcome:
    """A page that shows the data."""
    from mien.data.explore import explore
    from mien.data.readers import open_dataset

    _clear(folder / "explore")
    dataset = open_dataset(source, warn=told.say)
    page = explore(dataset, folder / "explore", seed=seed, per_class=settings.per_class, progress=told.progress)
    place = f"explore/{page.name}"
    return Outcome((place,), (Report("the data", place),), samples_in=len(dataset))


# Models


def train_model(
    folder: Path, told: Told, *, source: Path, recipe: Recipe, changes: Sequence[str] = (), notes: Sequence[str] = ()
) -> Outcome:
    """A training run. changes: the `key=value` pairs that are in the recipe. notes: what to say of it."""
    from mien.training.loop import Watcher, pick_device
    from mien.training.run import train_run
    from mien.training.small_sets import given_keys

    for line in notes:
        told.say(line)
    epochs = recipe.optimizer.epochs

    def on_step(epoch: int, done: int, in_epoch: int, _rate: float) -> None:
        told.progress(epoch * in_epoch + done, epochs * in_epoch)

    run = train_run(
        recipe,
        source,
        folder / MODELS,
        resume=True,
        given=given_keys(changes),
        device=pick_device(told.device, threads=told.threads),
        watcher=Watcher(on_step),
        warn=told.say,
    )
    accuracies = {key: value for key, value in run.history[-1].items() if key.endswith("_accuracy")}
    return Outcome(
        tuple(f"{MODELS}/{path.name}" for path in run.models),
        (Report(f"curves of {recipe.name}", f"{MODELS}/curves.png"),),
        note=", ".join(
            f"{key.removesuffix('_accuracy')} {value:.1%} on validation" for key, value in accuracies.items()
        ),
    )


def compare_models(
    folder: Path, told: Told, *, models: Sequence[Path], data: Path, settings: config.Compare
) -> Outcome:
    """A page with a row for each trained model. models: the folders of the runs."""
    rows = []
    for run in models:
        seconds = _training_seconds(run / "timing.csv")
        for model in open_models([run]):
            found, _ = _measure(model, data, settings.split, None, told)
            low, high = found.accuracy_95
            interval = f"{low:.3f} to {high:.3f}"
            rows.append(
                (model.info.name, found.truth, found.n, found.accuracy, interval, found.balanced_accuracy,
                 model.info.parameters, seconds)
            )  # fmt: skip
    rows.sort(key=lambda row: -row[3])
    header = ("model", "ruler", "faces", "accuracy", "95 % interval", "macro recall", "parameters", "training, s")
    page = Page("Models compared", f"Measured on {settings.split}, each by the ruler that it was trained for.")
    page.section("Figures", "Models whose intervals overlap widely may well be equally good.")
    page.table(header, rows)
    page.write(folder / INDEX)
    best = rows[0]
    return Outcome((INDEX,), (Report("models compared", INDEX),), note=f"best: {best[0]}, accuracy {best[3]:.1%}")


def join_models(folder: Path, told: Told, *, models: Sequence[Path], data: Path, settings: config.Ensemble) -> Outcome:
    """An ensemble for each kind of target that several models learnt. models: the folders of the runs."""
    from mien.evaluation.ensemble import write_ensemble
    from mien.evaluation.fitting import fitting_split

    groups: dict[str, list[ModelFile]] = {}
    for model in open_models(models):
        groups.setdefault(model.info.target, []).append(model)
    groups = {target: group for target, group in groups.items() if len(group) > 1}
    if not groups:
        raise DataError("[ensemble]: no two models learnt the same target; train several with the same targets")
    made, notes = [], []
    for target, group in groups.items():
        name = settings.name if len(groups) == 1 else f"{settings.name}-{target}"
        samples = fitting_split(
            data,
            "validation",
            size=max(model.info.size for model in group),
            channels=max(model.info.channels for model in group),
            warn=told.say,
        )
        make_folder(folder / MODELS)
        out = folder / MODELS / f"{name}.onnx"
        result = write_ensemble(
            group, out, weights=settings.weights, samples=samples, source=data.name, split="validation", name=name
        )
        made.append(f"{MODELS}/{out.name}")
        shares = ", ".join(f"{m.info.name} {w:.2f}" for m, w in zip(group, result.weights, strict=True))
        accuracy = f"{result.comparison.ensemble.accuracy:.1%} on validation; " if result.comparison else ""
        notes.append(f"{name}: {accuracy}{shares}")
    return Outcome(tuple(made), note="; ".join(notes))


def evaluate_models(
    folder: Path, told: Told, *, models: Sequence[Path], data: Path, settings: config.Evaluate
) -> Outcome:
    """Figures and every prediction, for each model and split."""
    from mien.evaluation.evaluate import METRICS_FILE, write_evaluation
    from mien.evaluation.page import write_page

    products, reports, notes = [], [], []
    for model in open_models(models):
        for split in settings.splits:
            found, samples = _measure(model, data, split, settings, told)
            name = f"{model.info.name}-{split}"
            _clear(folder / name)
            write_evaluation(found, folder / name)
            page = write_page(found, folder / name, samples=samples)
            reports.append(Report(f"{model.info.name} on {split}", f"{name}/{page.name}"))
            products.append(f"{name}/{METRICS_FILE}")
            notes.append(f"{model.info.name} on {split}: {found.accuracy:.1%}")
    return Outcome(tuple(products), tuple(reports), note="; ".join(notes))


def export_all(folder: Path, told: Told, *, models: Sequence[Path], data: Path, settings: config.Export) -> Outcome:
    """Model files, and the data in other programs' layouts."""
    from mien.data.export import export_dataset
    from mien.data.readers import open_dataset

    made, files = [], ["contents.txt"]
    for model in open_models(models):
        write_bytes(folder / model.path.name, model.path.read_bytes())
        made.append(model.path.name)
        files.append(model.path.name)
    dataset = open_dataset(data, warn=told.say)
    for layout in settings.data:
        export_dataset(dataset, folder / layout, as_=layout, resume=True, progress=told.progress)
        made.append(layout)
    write_text(folder / "contents.txt", "".join(f"{name}\n" for name in made))
    return Outcome(tuple(files), samples_in=len(dataset) if settings.data else None, note=", ".join(made))


def write_cards(folder: Path, told: Told, *, models: Sequence[Path], data: Path, settings: config.Card) -> Outcome:
    """Each model's file with its card inside, and the card beside it, by every ruler that the data have."""
    from mien.evaluation.card import measure_rulers, write_card

    made, reports = [], []
    for model in open_models(models):
        figures = measure_rulers(model, data, settings.split, warn=told.say)
        file, card = write_card(model, figures, folder / f"{model.info.name}.onnx")
        made += [file.name, card.name]
        reports.append(Report(f"card of {model.info.name}", card.name))
    return Outcome(tuple(made), tuple(reports))


# Parts


def open_models(folders: Sequence[Path]) -> list[ModelFile]:
    """The models of runs and ensembles, in order. Raises DataError where two have the same name."""
    from mien.model_file import ModelFile

    models = [ModelFile(path) for folder in folders for path in sorted(folder.glob("*.onnx"))]
    names = [model.info.name.lower() for model in models]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"two models are called '{name}'; give the [[train]] tables other names")
    return models


def _measure(
    model: ModelFile, data: Path, split: str, settings: config.Evaluate | None, told: Told
) -> tuple[Evaluation, Samples]:
    """The figures of a model on a split, and the samples; settings: None for the usual figures alone."""
    from mien.evaluation.evaluate import Extras, evaluate
    from mien.evaluation.inputs import read_inputs

    wanted = settings or config.Evaluate(speed=False)
    inputs = read_inputs(
        data,
        split,
        size=model.info.size,
        channels=model.info.channels,
        groups=wanted.groups,
        train=settings is not None,
        warn=told.say,
    )
    extras = Extras(
        inputs.columns, inputs.train, wanted.target_accuracy, wanted.speed, robustness_faces=wanted.robustness
    )
    found = evaluate(
        [model],
        inputs.samples,
        truth=wanted.truth,
        tta=wanted.tta,
        data=data.name,
        split=split,
        extras=extras,
    )
    return found, inputs.samples


def _out_of_fold(recipe: Recipe, folds: int, told: Told) -> OutOfFold:
    from mien.training.folds import out_of_fold_by
    from mien.training.loop import pick_device

    device = pick_device(told.device, threads=told.threads)
    return out_of_fold_by(recipe, folds=folds, device=device, progress=told.progress)


def _training_seconds(timing: Path) -> float:
    with timing.open(newline="", encoding="utf-8") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))


def _arrays(name: str) -> tuple[str, str]:
    return f"{name}/{MANIFEST}", f"{name}/{PIXELS}"


def _data_outcome(dataset: Dataset, name: str, reports: Sequence[Report] = (), *, problems: int) -> Outcome:
    step = dataset.steps[-1]
    listed = (Report("records that could not be used", f"{name}/{PROBLEMS}"),) if problems else ()
    return Outcome(_arrays(name), (*reports, *listed), step.samples_in, step.samples_out, problems)


def _clear(folder: Path) -> None:
    """Removes what a killed run left, where the stage can't go on with it."""
    if folder.exists():
        shutil.rmtree(folder)
