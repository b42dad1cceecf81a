"""A `Dataset` (a manifest and pixels), and a `Source`, which yields samples in chunks.

A reader of some layout is a source, a transformation of another source is one, and a `Dataset` is one too. `collect`
turns a source into a `Dataset`; `mien.data.arrays` keeps one on disk.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from mien.crop import fit_face
from mien.data.conversions import Conversions
from mien.data.samples import Samples, Split
from mien.errors import DataError
from mien.reporting import Progress, log_warning

SPLITS = ("train", "validation", "test")
"""What splits are called in mien. A sample of no split has the split ''."""

CHUNK = 512
"""The number of records that a source reads at a time: the most that a killed run loses."""

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


@dataclass(frozen=True, slots=True, eq=False)
class Dataset(Conversions):
    """The samples of a data set: a manifest with a row per sample, and their pixels, memory-mapped where they are many.

    `load_dataset`, `from_arrays`, `from_pandas` and `from_huggingface` make one. Its splits and slices are data sets
    too: `data["train"][:100]`; `data[3]` is one sample. Iterating gives the names of the splits. It is a `Source`.

    Attributes:
        label_names: The names of the classes; labels are indices into them.
        columns: Name -> array of length N: `source`, `split`, `label`, and others as in `Chunk`.
        pixels: uint8, flat: the pixels of all images, in rows, RGB or grey, 0 to 255.
        offsets: int64 (N,), where in `pixels` each image begins.
        shapes: int32 (N, 3): height, width, channels of each image, in pixels.
        steps: What was done to the samples, in order.
        name: The name in messages, the path where there is one.
        fingerprint: A text that changes with the content.

    Examples:
        >>> import tempfile, mien
        >>> from mien.data.toy import write_toy_folders
        >>> folder = tempfile.mkdtemp() + "/toy"
        >>> write_toy_folders(folder, train=14, validation=7, test=0)
        >>> data = mien.load_dataset(folder)
        >>> data["train"].to_pandas()["label"].nunique(), data["train"].image(0).shape
        (7, (48, 48, 1))
        >>> image, label = data["train"].to_torch()[0]
        >>> data.to_huggingface()["validation"].num_rows
        7
    """

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
    def __getitem__(self, key: str | slice | Sequence[int] | NDArray[Any]) -> Dataset: ...

    def __getitem__(self, key: Any) -> Dataset | dict[str, Any]:
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
        return Split.of(self, split, size=size, channels=channels).loaded()

    def take(self, rows: NDArray[Any]) -> Dataset:
        """The data set of these rows alone, in this order; the pixels are shared."""
        return replace(
            self,
            columns={name: values[rows] for name, values in self.columns.items()},
            offsets=self.offsets[rows],
            shapes=self.shapes[rows],
        )

    def with_columns(self, **columns: NDArray[Any]) -> Dataset:
        """The same samples with columns added or replaced."""
        return replace(self, columns={**self.columns, **columns})

    def with_step(self, step: Step) -> Dataset:
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
        return Selection(self, np.ones(len(self), bool)).chunks(start)


def split_rank(split: str) -> tuple[int, str]:
    """A key that sorts splits in the usual order: train, validation, test, then others, then ''."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS) + (not split), split)


def log_problem(problem: Problem) -> None:
    """Logs a record that can't be used."""
    log_warning(f"left out: {problem.source}: {problem.reason}")


def collect(
    source: Source, *, name: str, problem: Callable[[Problem], None] = log_problem, progress: Progress | None = None
) -> Dataset:
    """All of a source as a `Dataset`. The pixels are in an unnamed temporary file, not in memory.

    problem: called with each record that cannot be used. Raises DataError where all records are problems.
    """
    parts: list[Columns] = []
    shapes: list[NDArray[np.int32]] = []
    done = 0
    with tempfile.TemporaryFile(prefix="mien-") as file:
        for chunk in source.chunks():
            for one in chunk.problems:
                problem(one)
            shapes.append(append_pixels(file, chunk.images))
            parts.append(chunk.columns)
            done += chunk.consumed
            if progress:
                progress(done, source.total)
        file.flush()
        joined = np.concatenate(shapes) if shapes else np.zeros((0, 3), np.int32)
        if not len(joined):
            raise DataError(f"{name}: not one sample could be read")
        pixels = np.memmap(file, np.uint8, "r")
    columns = {key: np.concatenate([p[key] for p in parts if len(p["source"])]) for key in parts[0]}
    return Dataset(
        source.label_names, columns, pixels, offsets_of(joined), joined, source.steps, name, source.fingerprint
    )


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


@dataclass(frozen=True, slots=True, eq=False)
class Selection(SourceOver):
    """A source of some of a data set's samples, which counts the others as read: what cleaning leaves.

    staying: bool (N,). problems: of the records that were not read in the first place; they come with the first chunk.
    """

    source: Dataset
    staying: NDArray[np.bool_]
    problems: tuple[Problem, ...] = ()

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The samples that stay, from row `start` of all on; images are views."""
        for first in range(start, len(self.source), CHUNK):
            staying = self.staying[first : first + CHUNK]
            rows = first + np.flatnonzero(staying)
            columns = {name: values[rows] for name, values in self.source.columns.items()}
            images = [self.source.image(row) for row in rows.tolist()]
            yield Chunk(images, columns, self.problems if first == 0 else (), len(staying))


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
