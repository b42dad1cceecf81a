"""The `Source` of data sets whose images lie in rows of files (Parquet, Arrow, NumPy, MATLAB, HDF5): `ImageRows`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import Chunk, Columns, Problem, Step, text_column
from mien.data.reading.image_files import load_in_threads
from mien.data.reading.label_reading import plain
from mien.data.reading.reading import Found, Reading, Scan, split_words
from mien.errors import ImageError


class Cells(Protocol):
    """Where the images of rows are taken from."""

    def read(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
        """Each of these rows (ascending) and what its image is made of. Raises DataError."""
        ...

    def decode(self, cell: Any, source: str) -> NDArray[np.uint8]:
        """An image (H, W, 1 or 3), RGB, from what `read` gives. Raises ImageError that may begin with `source`."""
        ...


class Coded(NamedTuple):
    """A column of text that holds few distinct values: the values, and each row's index among them."""

    values: Sequence[str]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Coded:
        """A column, as it is."""
        places = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        return cls(list(places), np.array([places[text] for text in texts], np.int64))


@dataclass(frozen=True, slots=True)
class Written:
    """The columns of a file's rows, as written.

    splits_in: what the splits were taken from, for errors. declared: names of the labels 0, 1, 2, ... usual: the order
    of numbers that such files use, as in `read_labels`. further: columns beside these. wrong: row -> why it can't be
    used.
    """

    sources: Sequence[str]
    labels: Coded
    splits: Coded
    splits_in: str = "split"
    declared: Sequence[str] = ()
    usual: str = ""
    further: Columns = field(default_factory=dict)
    wrong: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageRows:
    """A `Source` of images in rows.

    cells: where the images are. columns: of all rows. rows: those that are read, ascending. wrong: row -> why it can't
    be used.
    """

    cells: Cells
    columns: Columns
    rows: NDArray[np.int64]
    wrong: Mapping[int, str]
    label_names: tuple[str, ...]
    kind: str
    fingerprint: str
    steps: tuple[Step, ...] = ()

    @property
    def total(self) -> int | None:
        """How many rows are read."""
        return len(self.rows)

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The rows from `start` on, decoded in threads."""
        sources = self.columns["source"]
        for loaded in load_in_threads(self.cells.read(self.rows[start:]), self._load):
            good = np.array([row for (row, _), image in loaded if image is not None], np.intp)
            problems = tuple(Problem(sources[row], reason) for (row, reason), image in loaded if image is None)
            images = [image for _, image in loaded if image is not None]
            yield Chunk(images, {n: v[good] for n, v in self.columns.items()}, problems, len(loaded))

    def _load(self, found: tuple[int, Any]) -> tuple[tuple[int, str], NDArray[np.uint8] | None]:
        row, cell = found
        if row in self.wrong:
            return (row, self.wrong[row]), None
        source = self.columns["source"][row]
        try:
            return (row, ""), self.cells.decode(cell, source)
        except ImageError as error:
            return (row, str(error).removeprefix(f"{source}: ")), None


def found_rows(
    scan: Scan,
    written: Written,
    cells: Cells,
    *,
    title: str,
    where: str,
    labels_from: str,
    stamp: str,
    used: Collection[str],
    notes: Sequence[str] = (),
) -> Found:
    """The rows as a source, with what their labels and splits mean. Raises DataError where labels mean nothing."""
    wrong = dict(written.wrong)
    values, declared = written.labels.values, written.declared
    if declared and all(plain(name).isdecimal() for name in declared):  # numbers, called by their own digits
        numbers = {str(i): name for i, name in enumerate(declared)}
        values = [numbers.get(plain(v), v) for v in values]
        declared = ()
    labels = scan.labels(values, where, declared=declared, usual=written.usual)
    meaning = [labels.index(value) for value in values]
    for code, index in enumerate(meaning):
        if index is None:
            strange = np.flatnonzero(written.labels.codes == code).tolist()
            wrong |= dict.fromkeys(strange, labels.wrong(values[code]))
    splits = {word: scan.choices.split(word) for word in written.splits.values}
    for code, word in enumerate(written.splits.values):
        if splits[word] is None:
            reason = f"{written.splits_in} '{word[:40]}'; expected train, validation or test (--split-map names others)"
            wrong |= dict.fromkeys(np.flatnonzero(written.splits.codes == code).tolist(), reason)
    of_values = np.array([-1 if i is None else i for i in meaning] or [-1], np.int64)
    of_words = text_column([splits[word] or "" for word in written.splits.values] or [""])
    split = of_words[written.splits.codes]
    columns = {"source": text_column(written.sources), "split": split, "label": of_values[written.labels.codes]}
    rows = np.arange(len(written.sources), dtype=np.int64)
    wanted = scan.choices.splits
    if wanted is not None:  # rows that can't be used stay in, to be reported as problems
        rows = rows[np.isin(split.astype(str), list(wanted)) | np.isin(rows, list(wrong))]
    fingerprint = f"{stamp} {labels.names} {sorted(splits.items(), key=str)} {wanted or 'all'}"
    source = ImageRows(cells, {**columns, **written.further}, rows, wrong, labels.names, title, fingerprint)
    said = split_words({word: split for word, split in splits.items() if word and split is not None})
    return Found(source, Reading(title, labels_from, labels, said, tuple(notes)), used)
