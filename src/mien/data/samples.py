"""The faces of one split with their labels, votes and sources: in memory (`Samples`), or maybe on disk (`Split`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError
from mien.labels import EIGHT

if TYPE_CHECKING:
    from mien.data.dataset import Dataset


ALL = "all"
"""In place of a split: all faces, of any split or none."""


@dataclass(frozen=True, slots=True, eq=False)
class MappedFaces:
    """Rows of a data set of arrays, read on access; otherwise like an array uint8 (N, S, S, C)."""

    dataset: Dataset
    rows: NDArray[np.intp]
    size: int
    channels: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: slice | NDArray[np.intp]) -> NDArray[np.uint8]:
        """The chosen faces, uint8 (n, S, S, C)."""
        return self.dataset.faces(self.rows[chosen], size=self.size, channels=self.channels)


Images = NDArray[np.uint8] | MappedFaces


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Faces of one split, in memory or still on disk.

    images: uint8 (N, S, S, C), grey (C = 1) or RGB (C = 3).
    labels: int64 (N,), an index into `label_names`.
    sources: where each face came from (a file, or file and row).
    votes: float32 (N, 8), raters' votes for the expressions of `labels.EIGHT`; None where there are none. A row of
    zeros is a face for which nobody voted for any of the eight.
    """

    images: Images
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    sources: tuple[str, ...]
    votes: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, dataset: Dataset, split: str, *, size: int, channels: int) -> Split:
        """One split of a data set, or `all` of it, resized and converted when it is read.

        Raises DataError where a sample of it has no label.
        """
        rows = np.arange(len(dataset)) if split == ALL else np.flatnonzero(dataset.splits == split)
        labels, votes = dataset.labels[rows], dataset.votes
        if (labels < 0).any():
            first = dataset.sources[rows[labels < 0][0]]
            raise DataError(f"{dataset.name}: {int((labels < 0).sum())} faces of {split} have no label, first {first}")
        return Split(
            MappedFaces(dataset, rows, size, channels), labels.astype(np.int64), dataset.label_names,
            tuple(dataset.sources[rows].tolist()), None if votes is None else votes[rows],
        )  # fmt: skip

    def take(self, rows: NDArray[np.intp]) -> Split:
        """These rows alone, in this order; images on disk stay there."""
        images = self.images
        return Split(
            replace(images, rows=images.rows[rows]) if isinstance(images, MappedFaces) else images[rows],
            self.labels[rows],
            self.label_names,
            tuple(self.sources[row] for row in rows.tolist()),
            None if self.votes is None else self.votes[rows],
        )

    def loaded(self) -> Samples:
        """The same with images as an array; a view of the pixels where they fit."""
        return Samples(self.images[:], self.labels, self.label_names, self.sources, self.votes)


@dataclass(frozen=True, slots=True, eq=False)
class Samples(Split):
    """A split in memory."""

    images: NDArray[np.uint8]


def of_labels(
    labels: NDArray[np.int64], names: Sequence[str], wanted: Sequence[str]
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The rows whose label is one of the `wanted`, all of which are in `names`; and their labels, indices into it."""
    numbers = np.full(len(names), -1, np.int64)
    numbers[[names.index(name) for name in wanted]] = np.arange(len(wanted))
    rows = np.flatnonzero(numbers[labels] >= 0)
    return rows, numbers[labels[rows]]


def vote_majority(votes: NDArray[np.float32]) -> NDArray[np.int64]:
    """For votes (N, 8): the index of the expression with more than half of each row's votes, -1 where none has."""
    total = votes.sum(1)
    best = votes.argmax(1)
    clear = votes[np.arange(len(votes)), best] * 2 > total
    return np.where(clear & (total > 0), best, -1).astype(np.int64)


def vote_shares(votes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Votes (N, 8) as distributions; rows without a vote stay zero."""
    total = votes.sum(1, keepdims=True)
    shares = np.zeros_like(votes)
    np.divide(votes, total, out=shares, where=total > 0)
    return shares


VOTE_LABELS = EIGHT
"""The expressions of the columns of `Samples.votes`."""
