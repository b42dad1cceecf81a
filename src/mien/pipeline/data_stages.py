"""The stages on data: each calls the library function of its command.

A stage is a function of the folder to build in, which may hold the work of a killed run of the same job. It returns
what it made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mien.data.arrays import MANIFEST, PIXELS
from mien.data.dataset import Dataset
from mien.data.source import PROBLEMS
from mien.pipeline import settings as config
from mien.pipeline.settings import common_fields
from mien.pipeline.state import FLAGS, INDEX, TOY, Context, Outcome, StageReport, clear

if TYPE_CHECKING:
    from mien.data.reading.reading import Choices
    from mien.data.settings import SplitSettings
    from mien.faces import DetectorChoice


def draw_toy(folder: Path, context: Context, *, settings: config.ToyTable, seed: int) -> Outcome:
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
    folder: Path, context: Context, *, source: Path, settings: config.CropTable, detector: DetectorChoice, name: str
) -> Outcome:
    """Crops the faces of images."""
    from mien.data.crops import crop_dataset

    result = crop_dataset(
        source, folder / name, detector=detector, settings=settings.settings, resume=True, progress=context.progress
    )
    return _data_outcome(result.faces, name, problems=len(result.problems))


def screen_data(
    folder: Path,
    context: Context,
    *,
    source: Path,
    settings: config.ScreenTable,
    detectors: Sequence[DetectorChoice],
    name: str,
) -> Outcome:
    """Keeps the samples in which a face is detected."""
    from mien.data.screen import screen_dataset
    from mien.data.settings import ScreenSettings

    wanted = ScreenSettings(**common_fields(ScreenSettings, settings))
    result = screen_dataset(
        source, folder / name, detectors=detectors, settings=wanted, resume=True, progress=context.progress
    )
    reports = [
        StageReport(title, place.name)
        for title, place in (("rejected samples", result.page), ("list of them", result.listing))
        if place
    ]
    return _data_outcome(result.dataset, name, reports, problems=len(result.unreadable))


def dedupe_data(folder: Path, context: Context, *, source: Path, settings: config.DedupeTable, name: str) -> Outcome:
    """Removes copies."""
    from mien.data.dedupe import dedupe

    result = dedupe(
        source, folder / name, near=settings.near, keep=settings.keep, conflicts=settings.conflicts, resume=True,
        progress=context.progress,
    )  # fmt: skip
    groups = [("groups of copies", result.page), ("list of them", result.table)]
    reports = [StageReport(title, place.name) for title, place in groups if place]
    return Outcome(
        _arrays(name), tuple(reports), samples_in=len(result.before), samples_out=len(result.rows),
        problems=len(result.problems), note=f"{result.groups.groups:,} groups of copies",
    )  # fmt: skip


def audit_data(
    folder: Path, context: Context, *, source: Path, settings: config.AuditTable, detector: DetectorChoice | None
) -> Outcome:
    """Flags samples that may be wrong; removes none."""
    from mien.data.audit import audit

    report = audit(
        source, folder / "audit", near=settings.near, suspects=settings.suspects, model=settings.model,
        folds=settings.folds, detector=detector, resume=True, progress=context.progress,
    )  # fmt: skip
    summary = report.summary
    found = ", ".join(f"{kind.total:,} {kind.kind}" for kind in summary.kinds if kind.total)
    return Outcome(
        (f"audit/{FLAGS}",),
        (StageReport("audit", f"audit/{INDEX}"), StageReport("flags", f"audit/{FLAGS}")),
        samples_in=summary.samples,
        note=found or "nothing flagged",
    )


def drop_data(
    folder: Path, context: Context, *, source: Path, flags: Path, settings: config.DropTable, name: str
) -> Outcome:
    """Removes flagged samples."""
    from mien.data.flags import drop_flagged
    from mien.data.readers import open_dataset

    dropped = drop_flagged(
        open_dataset(source), folder / name, flags=flags, only=settings.only,
        min_score=settings.min_score, from_test=settings.from_test, resume=True, progress=context.progress,
    )  # fmt: skip
    note = f"{dropped.spared:,} flagged samples of test are kept" if dropped.spared else ""
    return Outcome(_arrays(name), samples_in=dropped.samples_in, samples_out=dropped.samples_out, note=note)


def split_data(folder: Path, context: Context, *, source: Path, settings: SplitSettings, name: str) -> Outcome:
    """Divides samples into train, validation and test."""
    from mien.data.splits import split_dataset

    before, division = split_dataset(source, folder / name, settings, resume=True, progress=context.progress)
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


def explore_data(folder: Path, context: Context, *, source: Path, settings: config.ExploreTable, seed: int) -> Outcome:
    """Writes a page about the data."""
    from mien.data.explore import explore
    from mien.data.readers import open_dataset

    clear(folder / "explore")
    dataset = open_dataset(source)
    page = explore(dataset, folder / "explore", seed=seed, per_class=settings.per_class, progress=context.progress)
    place = f"explore/{page.name}"
    return Outcome((place,), (StageReport("the data", place),), samples_in=len(dataset))


def _arrays(name: str) -> tuple[str, str]:
    return f"{name}/{MANIFEST}", f"{name}/{PIXELS}"


def _data_outcome(dataset: Dataset, name: str, reports: Sequence[StageReport] = (), *, problems: int) -> Outcome:
    step = dataset.steps[-1]
    listed = (StageReport("records that could not be used", f"{name}/{PROBLEMS}"),) if problems else ()
    return Outcome(_arrays(name), (*reports, *listed), step.samples_in, step.samples_out, problems)
