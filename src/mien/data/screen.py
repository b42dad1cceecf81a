"""Keeps the samples of a face data set in which a face is found, and lists the others: `mien data screen`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.arrays import read_problems, write_arrays
from mien.data.crops import Workers, find_faces
from mien.data.dataset import Dataset
from mien.data.settings import ScreenSettings
from mien.data.source import Chunk, Problem, Source, SourceOver, split_rank
from mien.errors import DataError
from mien.faces import DetectorChoice, FaceDetector
from mien.files import csv_text, write_text
from mien.images import as_image
from mien.pages import Page, shrink
from mien.reporting import Progress

Image = NDArray[np.uint8]

MIN_FACE = 20
"""The smallest face to detect, in pixels of the image that the detector receives."""

SHOWN = 300
"""How many rejected samples the page shows at most."""

_SIDE = 192
_NO_FACE = "no face found by "
_TOO_FEW = "a face found only by "


@dataclass(frozen=True, slots=True)
class Rejected:
    """A sample without a detected face: its place, split, label name ('': none), and the reason."""

    source: str
    split: str
    label: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Screened:
    """What a screening gave. unreadable: records that could not be read at all. listing, page: where the rejected ones
    are listed (CSV) and shown (HTML); None where there are none.
    """

    dataset: Dataset
    rejected: tuple[Rejected, ...]
    unreadable: tuple[Problem, ...]
    listing: Path | None
    page: Path | None

    def rejected_by_split(self) -> list[tuple[str, int]]:
        """Each split that lost samples, in the usual order, and how many."""
        counts = Counter(one.split for one in self.rejected)
        return [(split, counts[split]) for split in sorted(counts, key=split_rank)]


def screen_dataset(
    source: Dataset | str | Path,
    out: Path,
    *,
    detectors: Sequence[DetectorChoice],
    settings: ScreenSettings,
    workers: int | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Screened:
    """Writes the samples of `source` in which a face is found to the folder `out`, with their `screen_score`.

    The others are listed in `OUT-rejected.csv` and shown in `OUT-rejected.html`, beside `out`. workers: threads; None:
    one per processor. resume: resume a killed run of the same settings.
    Raises DataError, DetectorError, OutputError, MissingExtraError.
    """
    from mien.data.readers import as_source, keep_apart

    keep_apart(source, out)
    _check(detectors, settings)
    opened = as_source(source)
    screened = ScreenedSource(opened, tuple(detectors), settings, workers or os.cpu_count() or 1)
    recorded = {
        "detectors": [choice.identity() for choice in detectors],
        "votes": settings.votes,
        "keep_test": settings.keep_test,
        "pad": settings.pad,
    }
    dataset = write_arrays(screened, out, command="screen", settings=recorded, resume=resume, progress=progress)
    problems = read_problems(out)
    reasons = {p.source: p.reason for p in problems if p.reason.startswith((_NO_FACE, _TOO_FEW))}
    unreadable = tuple(p for p in problems if p.source not in reasons)
    if not reasons:
        return Screened(dataset, (), unreadable, None, None)
    listing, page = (out.with_name(f"{out.name}-rejected{suffix}") for suffix in (".csv", ".html"))
    rejected = _list_rejected(opened, reasons, listing, page, kept=len(dataset))
    return Screened(dataset, rejected, unreadable, listing, page)


def face_scores(detectors: Sequence[FaceDetector], image: Image, *, pad: float | None = None) -> list[float]:
    """The best face's score of each detector, 0 to 1, 0 where it finds none. image: uint8 (H, W, 1 or 3)."""
    searched = as_image(image, "the image")
    return [float(find_faces(detector, searched, pad=pad).scores.max(initial=0)) for detector in detectors]


@dataclass(frozen=True, slots=True)
class ScreenedSource(SourceOver):
    """A source of those of another source's samples in which a face is found; the others are problems.

    Adds the column `screen_score`, float32 (n,): the best face's score of all detectors, 0 where none found one.
    """

    detectors: tuple[DetectorChoice, ...]
    settings: ScreenSettings
    workers: int = 1

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The samples of the inner source from its record `start` on."""
        with Workers(self._make, self.workers) as workers:
            for chunk in self.source.chunks(start):
                yield self._screened(chunk, workers.map(self._scores, chunk.images))

    def _make(self) -> list[FaceDetector]:
        return [choice.make(min_face=MIN_FACE, threads=1 if self.workers > 1 else 0) for choice in self.detectors]

    def _scores(self, detectors: list[FaceDetector], image: Image) -> list[float]:
        return face_scores(detectors, image, pad=self.settings.pad)

    def _screened(self, chunk: Chunk, scores: Sequence[list[float] | str]) -> Chunk:
        names = [choice.name for choice in self.detectors]
        best = np.array([max(s) if isinstance(s, list) else 0.0 for s in scores], np.float32)
        reasons = [s if isinstance(s, str) else _reason(names, s, self.settings.votes) for s in scores]
        if self.settings.keep_test:
            reasons = ["" if split == "test" else r for r, split in zip(reasons, chunk.columns["split"], strict=True)]
        keep = np.flatnonzero([not reason for reason in reasons])
        columns: dict[str, NDArray[Any]] = {name: values[keep] for name, values in chunk.columns.items()}
        columns["screen_score"] = best[keep]
        problems = [Problem(str(s), r) for s, r in zip(chunk.columns["source"], reasons, strict=True) if r]
        images = [chunk.images[row] for row in keep.tolist()]
        return Chunk(images, columns, (*chunk.problems, *problems), chunk.consumed)


def _reason(names: Sequence[str], scores: Sequence[float], votes: int) -> str:
    """Why a sample is rejected; '' where enough detectors found a face in it."""
    found = [f"{name} ({score:.2f})" for name, score in zip(names, scores, strict=True) if score > 0]
    if len(found) >= votes:
        return ""
    if found:
        return f"{_TOO_FEW}{', '.join(found)}; {votes} of {len(names)} detectors must"
    return f"{_NO_FACE}{', '.join(names)}"


def _check(detectors: Sequence[DetectorChoice], settings: ScreenSettings) -> None:
    names = [choice.name for choice in detectors]
    if "none" in names:
        raise DataError("--detector none takes every image for a face; name auto, mtcnn, yunet, centerface or haar")
    if len(set(names)) < len(names):
        raise DataError(f"--detector: {', '.join(names)}; name each once")
    if not 1 <= settings.votes <= len(names):
        raise DataError(f"--votes is {settings.votes}; expected 1 to {len(names)}, the number of detectors")


def _list_rejected(
    source: Source, reasons: dict[str, str], listing: Path, page: Path, *, kept: int
) -> tuple[Rejected, ...]:
    """Reads the source once more for what the rejected samples are, and writes them, the clearest cases first."""
    wanted = set(_evenly(sorted(reasons, key=lambda name: not reasons[name].startswith(_NO_FACE)), SHOWN))
    rejected: list[Rejected] = []
    shown: dict[str, Image] = {}
    names = (*source.label_names, "")
    for chunk in source.chunks():
        columns = (chunk.columns[name].tolist() for name in ("source", "split", "label"))
        for row, (name, split, label) in enumerate(zip(*columns, strict=True)):
            if name in reasons:
                rejected.append(Rejected(name, split, names[label], reasons[name]))
            if name in wanted:
                shown[name] = shrink(chunk.images[row], _SIDE).copy()
    rejected.sort(key=lambda one: not one.reason.startswith(_NO_FACE))
    rows = ((r.source, r.split, r.label, r.reason) for r in rejected)
    write_text(listing, csv_text([("source", "split", "label", "reason"), *rows]))
    rejected_page(rejected, shown, kept).write(page)
    return tuple(rejected)


def rejected_page(rejected: Sequence[Rejected], shown: dict[str, Image], kept: int) -> Page:
    """The rejected samples, those without any face first. shown: the images of some, by source."""
    clear = sum(one.reason.startswith(_NO_FACE) for one in rejected)
    page = Page(
        "Rejected samples",
        f"{len(rejected):,} of {len(rejected) + kept:,} samples were rejected: {clear:,} without any face, "
        f"{len(rejected) - clear:,} with a face that too few detectors found. Detectors miss faces too: look at these "
        "before you trust the choice.",
        kind="Screening",
    )
    for title, start in (("No face found", _NO_FACE), ("Found by too few detectors", _TOO_FEW)):
        own = [one for one in rejected if one.reason.startswith(start)]
        tiles = [one for one in own if one.source in shown]
        if not tiles:
            continue
        page.section(f"{title}: {len(own):,}", f"{len(tiles):,} are shown." if len(tiles) < len(own) else "")
        captions = [", ".join(filter(None, (one.label or "no label", one.split))) for one in tiles]
        alts = [f"{one.source}: {one.reason}" for one in tiles]
        page.gallery([shown[one.source] for one in tiles], captions, alts=alts)
    return page


def _evenly(names: Sequence[str], count: int) -> list[str]:
    """At most `count` of them, spread over the whole."""
    if len(names) <= count:
        return list(names)
    return [names[i] for i in np.linspace(0, len(names) - 1, count).round().astype(int)]
