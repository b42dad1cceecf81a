"""The samples of a data set (`SampleTable`), and of one split: in memory (`Samples`), or maybe on disk (`Split`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from mien.crop import fit_face
from mien.data.source import CHUNK, Chunk, Columns, Problem, Step, split_rank
from mien.errors import DataError
from mien.labels import EIGHT

ALL = "all"
"""In place of a split: all faces, of any split or none."""


@dataclass(frozen=True, slots=True, eq=False)
class MappedFaces:
    """Rows of a data set of arrays, read on access; otherwise like an array uint8 (N, S, S, C)."""

    dataset: SampleTable
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


@dataclass(frozen=True, slots=True, eq=False)
class SampleTable:
    """A manifest with a row per sample, and their pixels: what `Dataset`, which documents the attributes, adds to."""

    label_names: tuple[str, ...]
    columns: Columns
    pixels: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    shapes: NDArray[np.int32]
    steps: tuple[Step, ...] = ()
    name: str = "the data set"
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def total(self) -> int | None:
        """How many samples there are."""
        return len(self)

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 (N,), an index into `label_names`; -1 where a sample has no label."""
        return self.columns["label"]

    @property
    def splits(self) -> NDArray[Any]:
        """Text (N,): train, validation, test, or ''."""
        return self.columns["split"]

    @property
    def sources(self) -> NDArray[Any]:
        """Text (N,): the file, or file and row, that each sample came from."""
        return self.columns["source"]

    @property
    def votes(self) -> NDArray[np.float32] | None:
        """float32 (N, 8), raters' votes for `labels.EIGHT`; zeros where nobody voted; None where there are none."""
        return self.columns.get("votes")

    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, key: str | slice | Sequence[int] | NDArray[Any]) -> Self: ...

    def __getitem__(self, key: Any) -> Self | dict[str, Any]:
        """A split, a sample, or some of the samples.

        Args:
            key: "train", "validation", "test", or "" for samples without a split; a row, also counted from the end;
                a slice, rows, or bool (N,).

        Returns:
            The samples as a data set; of a row a dict with image (uint8 (H, W, C)), label (a name or None), and
            the other columns.

        Raises:
            DataError: There is no such split.
            IndexError: There is no such row.
        """
        if isinstance(key, str):
            rows = np.flatnonzero(self.splits == key)
            if not len(rows):
                has = ", ".join(sorted({str(s) or "'' (no split)" for s in self.splits.tolist()}, key=split_rank))
                raise DataError(f"{self.name}: no split {key!r}; it has {has or 'none'}")
            return self.take(rows)
        rows = np.arange(len(self))[key]
        if isinstance(rows, np.ndarray):
            return self.take(rows)
        label = self.label_name(rows) or None
        return {"image": self.image(rows), **{k: v[rows] for k, v in self.columns.items()}, "label": label}

    def __iter__(self) -> Iterator[str]:
        """The names of the splits, in the usual order, as a mapping of splits has them."""
        return iter(sorted(set(self.splits.tolist()), key=split_rank))

    def label_name(self, row: int) -> str:
        """One sample's label by its name; '' where it has none."""
        return (*self.label_names, "")[int(self.labels[row])]  # -1 is the last

    def image(self, row: int) -> NDArray[np.uint8]:
        """One sample's image, uint8 (H, W, C); a view of the pixels."""
        shape = tuple(int(n) for n in self.shapes[row])
        start = int(self.offsets[row])
        return self.pixels[start : start + shape[0] * shape[1] * shape[2]].reshape(shape)

    def faces(self, rows: NDArray[np.intp] | None = None, *, size: int, channels: int) -> NDArray[np.uint8]:
        """Those rows (None: all) as one array uint8 (n, size, size, channels), resized and converted where they differ.

        If they are contiguous and fit already, this is a view of the pixels and costs no memory.
        """
        rows = np.arange(len(self)) if rows is None else np.asarray(rows)
        length = size * size * channels
        fits = (self.shapes[rows] == (size, size, channels)).all() and not (self.offsets[rows] % length).any()
        if len(rows) and fits:
            places = self.offsets[rows] // length
            every = self.pixels[: len(self.pixels) // length * length].reshape(-1, size, size, channels)
            whole = bool((np.diff(places) == 1).all())
            return every[places[0] : places[-1] + 1] if whole else every[places]
        faces = np.empty((len(rows), size, size, channels), np.uint8)
        for i, row in enumerate(rows.tolist()):
            faces[i] = fit_face(self.image(row), size, channels)
        return faces

    def samples(self, split: str, *, size: int, channels: int) -> Samples:
        """One split as training and evaluation take it. Raises DataError where a sample of it has no label."""
        return self.split(split, size=size, channels=channels).loaded()

    def split(self, split: str, *, size: int, channels: int) -> Split:
        """One split, or `all`, with images that are resized and converted when they are read.

        Raises DataError where a sample of it has no label.
        """
        rows = np.arange(len(self)) if split == ALL else np.flatnonzero(self.splits == split)
        labels, votes = self.labels[rows], self.votes
        if (labels < 0).any():
            first = self.sources[rows[labels < 0][0]]
            raise DataError(f"{self.name}: {int((labels < 0).sum())} faces of {split} have no label, first {first}")
        return Split(
            MappedFaces(self, rows, size, channels), labels.astype(np.int64), self.label_names,
            tuple(self.sources[rows].tolist()), None if votes is None else votes[rows],
        )  # fmt: skip

    def take(self, rows: NDArray[Any]) -> Self:
        """The data set of these rows alone, in this order; the pixels are shared."""
        return replace(
            self,
            columns={name: values[rows] for name, values in self.columns.items()},
            offsets=self.offsets[rows],
            shapes=self.shapes[rows],
        )

    def with_columns(self, **columns: NDArray[Any]) -> Self:
        """The same samples with columns added or replaced."""
        return replace(self, columns={**self.columns, **columns})

    def with_step(self, step: Step) -> Self:
        """The same samples with one more step in their history."""
        return replace(self, steps=(*self.steps, step))

    def counts(self) -> dict[str, dict[str, int]]:
        """split -> label -> how many samples, splits in the usual order; unlabelled ones count under ''."""
        found: dict[str, dict[str, int]] = {}
        names = (*self.label_names, "")
        pairs = Counter(zip(self.splits.tolist(), self.labels.tolist(), strict=True))
        for split in sorted(set(self.splits.tolist()), key=split_rank):
            found[split] = {names[label]: pairs[split, label] for label in (*range(len(self.label_names)), -1)}
            if not found[split][""]:
                del found[split][""]
        return found

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The samples from row `start` on; images are views."""
        for first in range(start, len(self), CHUNK):
            rows = np.arange(first, min(first + CHUNK, len(self)))
            yield self.chunk(rows, len(rows))

    def chunk(self, rows: NDArray[np.intp], consumed: int, problems: tuple[Problem, ...] = ()) -> Chunk:
        """Some of the samples, out of `consumed`; images are views."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Chunk([self.image(row) for row in rows.tolist()], columns, problems, consumed)


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
