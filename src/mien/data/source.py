"""A `Source`, which yields samples in chunks: the ground that readers, transformations and data sets stand on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.crop import fit_face
from mien.reporting import log_warning

SPLITS = ("train", "validation", "test")
"""What splits are called in mien. A sample of no split has the split ''."""

CHUNK = 512
"""The number of records that a source reads at a time: the most that a killed run loses."""

PROBLEMS = "problems.csv"
"""The file of a data set on disk that lists the records that could not be used."""

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that could not be used: its file, or file and line, and the reason."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Consecutive records of a source: those that could be read, and the problems of those that could not.

    images: uint8 (H, W, C) each, grey (C = 1) or RGB (C = 3). columns: arrays as long as `images`; always `source`
    and `split` (text) and `label` (int64, an index into the source's label names, -1 for none). Others as the source
    has them, the same in each of its chunks: `votes` (float32 (n, 8), of `labels.EIGHT`), `identity`, `box`, ...
    consumed: the number of the source's records in this chunk, with problems.
    """

    images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
    columns: Columns
    problems: tuple[Problem, ...]
    consumed: int


@dataclass(frozen=True, slots=True)
class Step:
    """A step in a data set's history: the command, its settings, mien's version, and the counts before and after."""

    command: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    samples_in: int = 0
    samples_out: int = 0
    problems: int = 0


class Source(Protocol):
    """Yields samples in chunks, always in the same order.

    total: the number of records, None if unknown before reading. fingerprint: changes when the records do (sizes
    and times of files): work on one source is never resumed on another.
    """

    @property
    def label_names(self) -> tuple[str, ...]:
        """What the labels are called."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """What was done to the samples before."""

    @property
    def total(self) -> int | None:
        """The number of records; None where only reading shows it."""

    @property
    def fingerprint(self) -> str:
        """A text that changes with the records."""

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The records from `start` on."""


def log_problem(problem: Problem) -> None:
    """Logs a record that can't be used."""
    log_warning(f"left out: {problem.source}: {problem.reason}")


def split_rank(split: str) -> tuple[int, str]:
    """A key that sorts splits in the usual order: train, validation, test, then others, then ''."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS) + (not split), split)


def append_pixels(file: Any, images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.int32]:
    """Appends the pixels of images to a binary file; returns their shapes int32 (n, 3)."""
    if isinstance(images, np.ndarray):
        file.write(np.ascontiguousarray(images).data)
        return np.tile(np.array(images.shape[1:], np.int32), (len(images), 1)).reshape(-1, 3)
    for image in images:
        file.write(np.ascontiguousarray(image).data)
    return np.array([p.shape for p in images], np.int32).reshape(-1, 3)


def offsets_of(shapes: NDArray[np.int32]) -> NDArray[np.int64]:
    """The offset of each image of these shapes in a flat array of pixels, int64 (n,)."""
    lengths = shapes.astype(np.int64).prod(1)
    return np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(np.int64) if len(lengths) else lengths


def text_column(values: Sequence[str]) -> NDArray[Any]:
    """Text as a column: an object array, so that one long name does not widen all."""
    column = np.empty(len(values), object)
    column[:] = values
    return column


@dataclass(frozen=True, slots=True)
class SourceOver:
    """A source made from another one, with its labels, steps, number of records and fingerprint."""

    source: Source

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.source.label_names

    @property
    def steps(self) -> tuple[Step, ...]:
        """What was done to the records before."""
        return self.source.steps

    @property
    def total(self) -> int | None:
        """The number of records."""
        return self.source.total

    @property
    def fingerprint(self) -> str:
        """The inner source's."""
        return self.source.fingerprint


@dataclass(frozen=True, slots=True)
class Fitted(SourceOver):
    """A source whose images are resized and converted as they pass, so that large ones are never kept."""

    size: int
    channels: int

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The inner source's chunks, fitted."""
        for chunk in self.source.chunks(start):
            images = np.empty((len(chunk.images), self.size, self.size, self.channels), np.uint8)
            for i, image in enumerate(chunk.images):
                images[i] = fit_face(image, self.size, self.channels)
            yield replace(chunk, images=images)
