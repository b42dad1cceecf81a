"""The stages on data: each calls the library function of its command.

A stage is a function of the folder to build in, which may hold the work of a killed run of the same job. It returns
what it made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mien.data.arrays import MANIFEST, PIXELS, PROBLEMS
from mien.data.dataset import Dataset
from mien.pipeline import settings as config
from mien.pipeline.context import FLAGS, INDEX, TOY, Context, clear
from mien.pipeline.settings import common_fields
from mien.pipeline.state import Outcome, Report

if TYPE_CHECKING:
    from mien.data.audit import OutOfFold
    from mien.data.reading.reading import Choices
    from mien.faces import DetectorChoice
    from mien.training.recipe import Recipe


def draw_toy(folder: Path, context: Context, *, settings: config.Toy, seed: int) -> Outcome:
    """Draws cartoon faces into class folders."""
    from mien.data.toy import write_toy_folders

    clear(folder / TOY)
    count = settings.train + settings.validation + settings.test
    write_toy_folders(folder / TOY, train=settings.train, validation=settings.validation, test=settings.test, seed=seed)
    files = sorted(p.relative_to(folder).as_posix() for p in (folder / TOY).rglob("*.png"))
    return Outcome(tuple(files), samples_out=count)


def import_data(folder: Path, context: Context, *, source: Path, choices: Choices, name: str) -> Outcome:
    """Reads any layout and writes arrays."""
    from mien.data.importing import import_dataset

    dataset = import_dataset(source, folder / name, choices=choices, resume=True, progress=context.progress)
    return _data_outcome(dataset, name, problems=dataset.steps[-1].problems)


def crop_data(
    folder: Path, context: Context, *, source: Path, settings: config.Crop, detector: DetectorChoice, name: str
) -> Outcome:
    """Crops the faces of images."""
    from mien.data.crops import CropSettings, crop_dataset

    wanted = CropSettings(**common_fields(CropSettings, settings))
    result = crop_dataset(
        source, folder / name, detector=detector, settings=wanted, resume=True, progress=context.progress
    )
    return _data_outcome(result.faces, name, problems=len(result.problems))


def screen_data(
    folder: Path,
    context: Context,
    *,
    source: Path,
    settings: config.Screen,
    detectors: Sequence[DetectorChoice],
    name: str,
) -> Outcome:
    """Keeps the samples in which a face is detected."""
    from mien.data.screen import ScreenSettings, screen_dataset

    wanted = ScreenSettings(**common_fields(ScreenSettings, settings))
    result = screen_dataset(
        source, folder / name, detectors=detectors, settings=wanted, resume=True, progress=context.progress
    )
    reports = [
        Report(title, place.name)
        for title, place in (("rejected samples", result.sheet), ("list of them", result.listing))
        if place
    ]
    return _data_outcome(result.dataset, name, reports, problems=len(result.unreadable))


def dedupe_data(folder: Path, context: Context, *, source: Path, settings: config.Dedupe, name: str) -> Outcome:
    """Removes copies."""
    from mien.data.dedupe import dedupe

    result = dedupe(
        source,
        folder / name,
        near=settings.near,
        keep=settings.keep,
        conflicts=settings.conflicts,
        resume=True,
        progress=context.progress,
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
    folder: Path,
    context: Context,
    *,
    source: Path,
    settings: config.Audit,
    detector: DetectorChoice | None,
    recipe: Recipe,
) -> Outcome:
    """Flags samples that may be wrong; removes none."""
    from mien.config import to_toml
    from mien.data.audit import audit_dataset
    from mien.data.audit_settings import AuditSettings
    from mien.data.readers import open_dataset

    out_of_fold, wanted = None, AuditSettings(near=None if settings.near < 0 else settings.near)
    if settings.suspects:
        out_of_fold = _out_of_fold(recipe, settings.folds, context)
        wanted = AuditSettings(near=wanted.near, recipe=to_toml(recipe), folds=settings.folds)
    dataset = open_dataset(source, warn=context.log)
    report = audit_dataset(
        dataset,
        folder / "audit",
        wanted,
        out_of_fold=out_of_fold,
        detector=detector,
        resume=True,
        progress=context.progress,
    )
    found = ", ".join(f"{kind.total:,} {kind.kind}" for kind in report.summary.kinds if kind.total)
    return Outcome(
        (f"audit/{FLAGS}",),
        (Report("audit", f"audit/{INDEX}"), Report("flags", f"audit/{FLAGS}")),
        samples_in=len(dataset),
        note=found or "nothing flagged",
    )


def drop_data(
    folder: Path, context: Context, *, source: Path, flags: Path, settings: config.Drop, name: str
) -> Outcome:
    """Removes flagged samples."""
    from mien.data.flags import drop_flagged
    from mien.data.readers import open_dataset

    dropped = drop_flagged(
        open_dataset(source, warn=context.log),
        folder / name,
        flags=flags,
        only=settings.only,
        min_score=settings.min_score,
        from_test=settings.from_test,
        resume=True,
        progress=context.progress,
    )
    note = f"{dropped.spared:,} flagged samples of test are kept" if dropped.spared else ""
    return Outcome(_arrays(name), samples_in=dropped.samples_in, samples_out=dropped.samples_out, note=note)


def split_data(
    folder: Path, context: Context, *, source: Path, settings: config.Division, seed: int, name: str
) -> Outcome:
    """Divides samples into train, validation and test."""
    from mien.data.splits import SplitSettings, split_dataset

    wanted = SplitSettings(**common_fields(SplitSettings, settings), seed=seed)
    before, division = split_dataset(source, folder / name, wanted, resume=True, progress=context.progress)
    if division.crossing:
        context.log(
            f"{division.crossing:,} groups of copies or persons are in several splits that were kept; add [dedupe]"
        )
    counts = {split: sum(labels.values()) for split, labels in division.dataset.counts().items()}
    return Outcome(
        _arrays(name),
        samples_in=len(before),
        samples_out=sum(counts.values()),
        note=", ".join(f"{count:,} {split or 'without a split'}" for split, count in counts.items()),
    )


def explore_data(folder: Path, context: Context, *, source: Path, settings: config.Explore, seed: int) -> Outcome:
    """Writes a page about the data."""
    from mien.data.explore import explore
    from mien.data.readers import open_dataset

    clear(folder / "explore")
    dataset = open_dataset(source, warn=context.log)
    page = explore(dataset, folder / "explore", seed=seed, per_class=settings.per_class, progress=context.progress)
    place = f"explore/{page.name}"
    return Outcome((place,), (Report("the data", place),), samples_in=len(dataset))


def _out_of_fold(recipe: Recipe, folds: int, context: Context) -> OutOfFold:
    from mien.training.devices import pick_device
    from mien.training.folds import out_of_fold_by

    device = pick_device(context.device, threads=context.threads)
    return out_of_fold_by(recipe, folds=folds, device=device, progress=context.progress)


def _arrays(name: str) -> tuple[str, str]:
    return f"{name}/{MANIFEST}", f"{name}/{PIXELS}"


def _data_outcome(dataset: Dataset, name: str, reports: Sequence[Report] = (), *, problems: int) -> Outcome:
    step = dataset.steps[-1]
    listed = (Report("records that could not be used", f"{name}/{PROBLEMS}"),) if problems else ()
    return Outcome(_arrays(name), (*reports, *listed), step.samples_in, step.samples_out, problems)
