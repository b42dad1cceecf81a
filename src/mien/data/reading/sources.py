"""The two sources of what is read: images in files (`ImageFiles`, of `Record`s) and in rows of files (`ImageRows`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mien.data.reading.label_reading import Labels, plain
from mien.data.reading.reading import NOT_PART, Found, Reading, Scan, split_words
from mien.data.reading.trees import Tree, printable
from mien.data.source import CHUNK, Chunk, Columns, Problem, Step, text_column
from mien.errors import ImageError

CHUNK_BYTES = 64 * 1024 * 1024
"""A chunk ends early where its images are this large, so that photographs take no more memory than faces."""

_IDENTITIES = {"identity", "subject", "person", "user.id", "subject_id", "person_id", "actor"}
_TAKEN = {"source", "split", "label", "votes", "ferplus_other", "box", "height", "width", "channels"}

Box = tuple[float, float, float, float]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Record:
    """One face of a data set, in an image file: its name in the tree and what is known of it.

    label: as written, '' for none. extra: values of the source's extra columns. wrong: why it can't be used, if it
    can't; `name` is then a file, or a file and a line. box: of the face, x1, y1, x2, y2, in pixels of the image, or
    with `ImageFiles.fractions` in shares of its width and height. face: its number, from 1, among several in one image:
    such faces are cut out at their boxes; 0 where the image has one.
    """

    name: str
    split: str = ""
    label: str = ""
    extra: tuple[Any, ...] = ()
    wrong: str = ""
    box: Box | None = None
    face: int = 0

    @property
    def source(self) -> str:
        """What the sample is called: the file, with the face's number where it has several."""
        return printable(f"{self.name}#{self.face}" if self.face else self.name)


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """A `Source` of image files.

    extra: the further columns, name -> dtype: object for text, one with a shape for several numbers each. complete:
    looks up what is in files of its own, just before a record is read. stamp: of the files that the records were taken
    from. fractions: boxes are in shares.
    """

    tree: Tree
    records: Sequence[Record]
    labels: Labels
    kind: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    complete: Callable[[Tree, Record], Record] | None = None
    stamp: str = ""
    fractions: bool = False
    steps: tuple[Step, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The classes."""
        return self.labels.names

    @property
    def total(self) -> int | None:
        """How many records there are."""
        return len(self.records)

    @property
    def fingerprint(self) -> str:
        """Of all records, and of the sizes and times of their files."""
        digest = hashlib.blake2b(repr((self.kind, self.label_names, self.stamp)).encode(), digest_size=16)
        for r in self.records:
            about = (r.name, r.split, r.label, r.extra, r.wrong, r.box, "" if r.wrong else self.tree.stamp(r.name))
            digest.update(repr(about).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The records from `start` on, read in threads."""
        boxed = any(r.box is not None for r in self.records)
        for loaded in load_in_threads(islice(self.records, start, None), self._load):
            good = [(record, image) for record, image in loaded if image is not None]
            columns: dict[str, NDArray[Any]] = {
                "source": text_column([r.source for r, _ in good]),
                "split": text_column([r.split for r, _ in good]),
                "label": np.array([self.labels.index(r.label) for r, _ in good], np.int64),
            }
            for i, (name, dtype) in enumerate(self.extra.items()):
                values = [r.extra[i] for r, _ in good]
                kind = np.dtype(dtype)  # of one number, or with a shape of several
                columns[name] = (
                    text_column(values)
                    if dtype is object
                    else np.array(values, kind.base).reshape(len(values), *kind.shape)
                )
            if boxed:
                boxes = [r.box or (np.nan,) * 4 for r, _ in good]
                columns["box"] = np.array(boxes, np.float32).reshape(-1, 4)
            problems = tuple(Problem(r.source, r.wrong) for r, image in loaded if image is None)
            yield Chunk([image for _, image in good], columns, problems, len(loaded))

    def _load(self, record: Record) -> tuple[Record, NDArray[np.uint8] | None]:
        if self.complete and not record.wrong:
            record = self.complete(self.tree, record)
        if not record.wrong and self.labels.index(record.label) is None:
            record = replace(record, wrong=self.labels.wrong(record.label))
        if record.wrong:
            return record, None
        try:
            image = without_empty_colour(self.tree.image(record.name))
        except ImageError as error:
            reason = str(error).removeprefix(f"{self.tree.where(record.name)}: ")
            return replace(record, wrong=reason), None
        return _cut_out(record, image, fractions=self.fractions) if record.box else (record, image)


def _cut_out(record: Record, image: NDArray[np.uint8], *, fractions: bool) -> tuple[Record, NDArray[np.uint8] | None]:
    """The record with its box in pixels, and the image, or its part in the box where it shows several faces."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (float(v) for v in record.box or ())
    if fractions:
        x1, y1, x2, y2 = x1 * width, y1 * height, x2 * width, y2 * height
    record = replace(record, box=(x1, y1, x2, y2))
    left, top = max(0, round(x1)), max(0, round(y1))
    right, bottom = min(width, round(x2)), min(height, round(y2))
    if right - left < 1 or bottom - top < 1:
        if not record.face:  # lists of crops may have the boxes of their photographs
            return replace(record, box=None), image
        box = f"{x1:.0f},{y1:.0f},{x2:.0f},{y2:.0f}"
        return replace(record, wrong=f"its box {box} is empty or outside the image ({width} x {height})"), None
    return record, np.ascontiguousarray(image[top:bottom, left:right]) if record.face else image


def found_files(
    scan: Scan,
    records: Sequence[Record],
    labels: Labels,
    title: str,
    labels_from: str,
    *,
    splits: Mapping[str, str] = MappingProxyType({}),
    notes: Sequence[str] = (),
    used: Collection[str] = (),
    stray: str = NOT_PART,
    **more: Any,
) -> Found:
    """The records as a data set, with what was understood of them. more: as in `ImageFiles`; tree: where images are."""
    more.setdefault("tree", scan.tree)
    if "stamp" not in more:
        more["stamp"] = " ".join(scan.tree.stamp(name) for name in sorted(used))
    source = ImageFiles(records=records, labels=labels, kind=title, **more)
    return Found(source, Reading(title, labels_from, labels, split_words(splits), tuple(notes)), used, stray)


def number_faces(records: Iterable[Record]) -> list[Record]:
    """Records with boxes: those whose image has several are numbered, so that each face is cut out of it."""
    held = list(records)
    counts: dict[str, int] = {}
    for r in held:
        counts[r.name] = counts.get(r.name, 0) + (r.box is not None and not r.wrong)
    seen: dict[str, int] = {}
    for i, r in enumerate(held):
        if r.box is not None and not r.wrong and counts[r.name] > 1:
            seen[r.name] = seen.get(r.name, 0) + 1
            held[i] = replace(r, face=seen[r.name])
    return held


def load_in_threads(
    items: Iterable[Item], load: Callable[[Item], tuple[Result, NDArray[np.uint8] | None]]
) -> Iterator[list[tuple[Result, NDArray[np.uint8] | None]]]:
    """What `load` makes of the items, in order, in lists of at most `CHUNK`, of few where the images are large.

    load: gives what it likes and an image, or None where there is none; runs in threads, one per processor.
    """
    workers = os.cpu_count() or 1
    waiting = iter(items)
    held: list[tuple[Result, NDArray[np.uint8] | None]] = []
    size = 0

    with ThreadPoolExecutor(workers) as pool:
        count = workers  # as many at once as fit into CHUNK_BYTES, judged by those before
        while batch := list(islice(waiting, min(count, CHUNK - len(held)))):
            step = max(1, len(batch) // (4 * workers))
            parts = [batch[i : i + step] for i in range(0, len(batch), step)]
            loaded = [one for part in pool.map(lambda some: [load(item) for item in some], parts) for one in part]
            size_now = sum(p.nbytes for _, p in loaded if p is not None)
            held += loaded
            size += size_now
            if len(held) >= CHUNK or size >= CHUNK_BYTES:
                yield held
                held, size = [], 0
            room = CHUNK_BYTES - size
            count = min(max(room * len(batch) // max(size_now, 1), workers), 2 * count, CHUNK)
    if held:
        yield held


def without_empty_colour(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An RGB image (H, W, 3) without any colour as (H, W, 1); others as they are."""
    if image.shape[2] == 1:
        return image
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    if (red[0] != green[0]).any():  # most coloured images show it in their first row
        return image
    return image[..., :1] if bool((red == green).all() and (red == blue).all()) else image


def column_name(name: str) -> str:
    """The manifest's name of a further column: `identity` for who is shown; names that mien uses are kept free."""
    plain = name.strip()
    return "identity" if plain.lower() in _IDENTITIES else f"given_{plain}" if plain in _TAKEN else plain


class Cells(Protocol):
    """Where the images of rows are taken from."""

    def read(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
        """Each of these rows (ascending) and what its image is made of. Raises DataError."""

    def decode(self, cell: Any, source: str) -> NDArray[np.uint8]:
        """An image (H, W, 1 or 3), RGB, from what `read` gives. Raises ImageError that may begin with `source`."""


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
    if wanted is not None:  # rows of no split that can't be used stay in, to be reported as problems
        lost = np.isin(rows, list(wrong)) & (split == "")
        rows = rows[np.isin(split.astype(str), list(wanted)) | lost]
    fingerprint = f"{stamp} {labels.names} {sorted(splits.items(), key=str)} {wanted or 'all'}"
    source = ImageRows(cells, {**columns, **written.further}, rows, wrong, labels.names, title, fingerprint)
    said = split_words({word: split for word, split in splits.items() if word and split is not None})
    return Found(source, Reading(title, labels_from, labels, said, tuple(notes)), used)
