"""CSV whose rows are images: fer2013.csv and its kind, grey values in one cell or in a column each.

The three published forms of FER2013 (fer2013.csv, icml_face_data.csv, the challenge's own train.csv without Usage), CK+
extended, and tables that people made after them: names for numbers, values of 0 to 1, quoted cells with commas.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import CHUNK, SPLITS, Chunk, Problem, Step, text_column
from mien.data.reading.archives import UNREADABLE
from mien.data.reading.fer2013 import check_join, read_ferplus, vote_columns
from mien.data.reading.label_reading import Labels, is_no_label, plain
from mien.data.reading.list_columns import first_rows, label_column, split_column
from mien.data.reading.pixel_texts import pixels_of, scaled_pixels
from mien.data.reading.reading import Found, Reading, Scan, split_words
from mien.data.reading.text_tables import MAX_LINE, TextTable, column_names, open_text_table
from mien.data.reading.trees import Folder, Tree
from mien.errors import DataError
from mien.labels import EIGHT

FER2013_NAMES = ("fer2013.csv", "icml_face_data.csv")
FERPLUS_NAME = "fer2013new.csv"
PIXEL_COLUMNS = ("pixels", "pixel", "pixel_values", "image_pixels")

_LOOKED_AT = 100  # rows that are read for the size of the images and the scale of their values
_LEAST_PIXELS = 64  # of an image that no column's name tells
_DELIMITERS = (",", ";", "\t")
_PIXEL_TITLE = re.compile(r"(?:pixel|pix|px|p)?_?(?:(?P<row>\d+)x)?(?P<number>\d+)")
_BLANKS = bytes.maketrans(b',;[]()"', b"       ")


@dataclass(frozen=True, slots=True)
class PixelColumns:
    """Where in a row what is. pixels: of the first value. each: how many columns hold a value each; 0: one holds all.

    count: how many columns there are. usage, label: -1 where there is none. delimiter: between columns. skipped: lines
    before the first row.
    """

    label: int
    pixels: int
    usage: int
    count: int
    each: int = 0
    delimiter: bytes = b","
    skipped: int = 1


class Fields(NamedTuple):
    """One row. split: None where it is unknown. reason: why it can't be used, '' where it can."""

    pixels: bytes = b""
    label: str = ""
    usage: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PixelTable:
    """The `Source` of a CSV with the images' grey values in it.

    splits: usage as written -> split. side: of the images, in pixels. scale: what a value is multiplied by; 0 for whole
    numbers of 0 to 255, the usual ones. wanted: bool, rows to read. votes: FER+'s, float32 (rows, 10).
    """

    tree: Tree
    name: str
    columns: PixelColumns
    labels: Labels
    splits: dict[str, str | None]
    side: int
    scale: float
    wanted: NDArray[np.bool_]
    fingerprint: str
    votes: NDArray[np.float32] | None = None
    steps: tuple[Step, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The classes."""
        return self.labels.names

    @property
    def total(self) -> int | None:
        """How many rows are read."""
        return int(self.wanted.sum())

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The wanted rows from `start` on; rows before are only skipped."""
        places = np.flatnonzero(self.wanted)[start:]
        if not len(places):
            return
        held: list[tuple[int, int, bytes]] = []
        wanted = self.wanted.copy()
        wanted[: places[0]] = False
        for row, (number, line) in enumerate(data_lines(self.tree, self.name, self.columns.skipped)):
            if row < len(wanted) and wanted[row]:
                held.append((row, number, line))
                if len(held) == CHUNK:
                    yield self._chunk(held)
                    held = []
        if held:
            yield self._chunk(held)

    def _chunk(self, lines: list[tuple[int, int, bytes]]) -> Chunk:
        file = self.name.rpartition("/")[2]
        problems: dict[int, str] = {}
        kept: list[int] = []
        texts: list[bytes] = []
        labels: list[int] = []
        splits: list[str] = []
        for i, (_, number, line) in enumerate(lines):
            fields = fields_of(line, self.columns)
            label = self.labels.index(fields.label)
            reason = fields.reason or self._wrong(fields, label)
            if not reason:
                kept.append(i)
                texts.append(fields.pixels)
                labels.append(-1 if label is None else label)
                splits.append(self.splits[fields.usage] or "")
            else:
                _check_text(line, f"{self.tree.where(self.name)}:{number}")
                problems[i] = reason
        images, wrong = scaled_pixels(texts, self.side, self.scale) if self.scale else pixels_of(texts, self.side)
        problems |= {kept[i]: reason for i, reason in wrong.items()}
        good = np.array([i for i in range(len(kept)) if i not in wrong], np.intp)
        rows = np.array([lines[i][0] for i in kept], np.intp)[good]
        columns: dict[str, NDArray[Any]] = {
            "source": text_column([f"{file}:{lines[kept[i]][1]}" for i in good.tolist()]),
            "split": text_column([splits[i] for i in good.tolist()]),
            "label": np.array(labels, np.int64)[good],
        }
        if self.votes is not None:
            columns |= vote_columns(self.votes[rows])
        reported = tuple(Problem(f"{file}:{lines[i][1]}", problems[i]) for i in sorted(problems))
        return Chunk(images[good], columns, reported, len(lines))

    def _wrong(self, fields: Fields, label: int | None) -> str:
        if self.splits.get(fields.usage) is None:
            return (
                f"Usage '{fields.usage[:40]}'; expected Training, PublicTest or PrivateTest (--split-map names others)"
            )
        if label is None:
            return self.labels.wrong(fields.label)
        return "has no label" if label < 0 and self.columns.label >= 0 else ""


def find_fer2013(scan: Scan) -> Found | None:
    """fer2013.csv or icml_face_data.csv in a tree, with fer2013new.csv beside it or where the user says."""
    for wanted in FER2013_NAMES:
        found = scan.named(wanted)
        if found:
            return read_pixel_table(scan, found[0], beside=True)
    return None


def find_pixel_table(scan: Scan) -> Found | None:
    """The one CSV of a tree with labelled images in it; of several the challenge's own train.csv."""
    names = scan.with_suffix(".csv", ".tsv", ".txt", ".data", "")
    labelled = [name for name in names if (found := _pixel_columns(scan, name)) and found[1].label >= 0]
    if len(labelled) > 1:
        raise DataError(
            f"{scan.root}: {len(labelled)} tables of images ({', '.join(labelled[:3])}); import them one by one"
        )
    return read_pixel_table(scan, labelled[0]) if labelled else None


def holds_pixels(scan: Scan, name: str) -> bool:
    """Whether a file is, or is called like, a CSV of images."""
    return name.rpartition("/")[2] in FER2013_NAMES or _pixel_columns(scan, name) is not None


def read_pixel_table(scan: Scan, name: str, *, beside: bool = False) -> Found:
    """A CSV of images as a data set. beside: FER+'s votes are taken from a fer2013new.csv in the same folder.

    Raises DataError where it is no such CSV.
    """
    tree, where = scan.tree, scan.tree.where(name)
    found = _pixel_columns(scan, name)
    if found is None or (name.rpartition("/")[2] in FER2013_NAMES and found[1].label < 0):
        table = open_text_table(tree, name)
        titles = ", ".join(column_names(table.first)) if table else "none"
        missing = "emotion" if found or not table else "pixels"
        raise DataError(
            f"{where}: no column '{missing}' in its header ({titles[:200]}); expected emotion, pixels, Usage"
        )
    table, columns = found
    if table.encoding != "utf-8-sig":
        raise DataError(f"{where}: not UTF-8 text but {table.encoding.upper()}; save it as UTF-8")
    usages: list[str] = []
    written: list[str] = []
    texts: list[bytes] = []
    for number, line in data_lines(tree, name, columns.skipped):
        fields = fields_of(line, columns)
        if not fields.reason:
            _check_cells(fields, f"{where}:{number}")
        usages.append(fields.usage)
        written.append(fields.label)
        if len(texts) < _LOOKED_AT and not fields.reason:
            texts.append(fields.pixels)
    if not usages:
        raise DataError(f"{where}: holds no rows; expected a header and a line for each image")
    side, scale = _size_and_scale(texts)
    splits = {usage: scan.choices.split(usage) for usage in set(usages)}
    wanted = np.ones(len(usages), bool)
    if scan.choices.splits is not None:  # rows of an unknown split stay in, to be reported as problems
        taken = {usage for usage, split in splits.items() if split is None or split in scan.choices.splits}
        wanted = np.array([usage in taken for usage in usages], bool)
    labels = _labels(scan, Counter(written), where)
    fingerprint = f"{tree.stamp(name)} {scan.choices.to_dict()} {scan.choices.splits}"
    votes, used = None, {name}
    votes_at = _votes_file(scan, name, beside=beside)
    if votes_at:
        votes, there = read_ferplus(*votes_at)
        codes = np.array([SPLITS.index(s) if (s := splits[u]) else -1 for u in usages], np.int8)
        indices = np.array([-1 if (i := labels.index(w)) is None else i for w in written])
        check_join(where, votes_at[0].where(votes_at[1]), codes, there, indices, votes)
        fingerprint += f" {votes_at[0].stamp(votes_at[1])}"
        used |= {votes_at[1]}
    title = "fer2013 CSV" if votes is None else "fer2013 CSV with FER+ votes"
    source = PixelTable(tree, name, columns, labels, splits, side, scale, wanted, fingerprint, votes)
    notes = [f"values of 0 to 1 are multiplied by 255 ({name})"] if scale == 255 else []
    column = (table.columns[columns.label] if table.columns else f"{columns.label + 1}") if columns.label >= 0 else ""
    come_from = f"column '{column}' of {name}" if column else ""
    if not column:
        notes.append(f"the images have no labels: none of the columns of {name} is known as labels: --label-column")
    read_splits = split_words({usage: split or "" for usage, split in splits.items() if usage and split is not None})
    return Found(source, Reading(title, come_from, labels, read_splits, tuple(notes)), used)


def _pixel_columns(scan: Scan, name: str) -> tuple[TextTable, PixelColumns] | None:
    """Where in a CSV what is; None where it holds no pixels. Raises DataError where columns of pixels are shuffled."""
    table = open_text_table(scan.tree, name)
    if table is None or table.delimiter not in _DELIMITERS:
        return None
    named = table.with_header()
    titles = named.columns
    where = scan.tree.where(name)
    pixels = next((titles.index(c) for c in PIXEL_COLUMNS if c in titles), -1)
    each, header = 0, True
    if pixels < 0:
        pixels, each = _columns_of_pixels(titles, where)
    if pixels < 0:
        rows = [cells for _, cells in islice(first_rows(table), 3)]
        pixels = next((i for i in range(len(titles)) if _are_pixels([row[i] for row in rows[1:] if i < len(row)])), -1)
        header = pixels < 0 or not _are_pixels(table.first[pixels : pixels + 1])
    if pixels < 0:
        return None
    rest = [i for i in range(len(titles)) if not pixels <= i < pixels + max(1, each)]
    rows = [[row[i] if i < len(row) else "" for i in rest] for _, row in first_rows(named if header else table)]
    places = _places([titles[i] for i in rest] if header else [""] * len(rest), rows, scan, where)
    label, usage = (rest[i] if i >= 0 else -1 for i in places)
    skipped = table.skipped + header
    delimiter = table.delimiter.encode()
    return named if header else table, PixelColumns(label, pixels, usage, len(titles), each, delimiter, skipped)


def _places(titles: Sequence[str], rows: Sequence[Sequence[str]], scan: Scan, where: str) -> tuple[int, int]:
    """Which of the columns beside the pixels hold the label and the split; -1 where none does."""
    choice = "_".join(scan.choices.label_column.lower().split())
    if choice and choice not in titles:
        raise DataError(f"{where}: no column '{scan.choices.label_column}'; it has {', '.join(titles)[:200]}")
    usage = split_column(titles, rows, ())
    label = titles.index(choice) if choice else label_column(titles, rows, usage)
    left = [i for i in range(len(titles)) if i != usage]
    if label < 0 and len(left) == 1 and not any(titles):
        label = left[0]
    return label, usage


def _columns_of_pixels(titles: Sequence[str], where: str) -> tuple[int, int]:
    """The first of the columns that hold a pixel each (pixel0, p_1, 2, 28x28), and how many there are; -1 and 0.

    Raises DataError where they are in another order than their names.
    """
    matches = [(i, m) for i, title in enumerate(titles) if (m := _PIXEL_TITLE.fullmatch(title))]
    if len(matches) < _LEAST_PIXELS:
        return -1, 0
    numbers = [(int(m["row"] or 0), int(m["number"])) for _, m in matches]
    places = [i for i, _ in matches]
    if numbers != sorted(numbers) and len(set(numbers)) == len(numbers) and {r for r, _ in numbers} != {0}:
        numbers = [(c, r) for r, c in numbers]
    steps = {b[1] - a[1] for a, b in pairwise(numbers) if a[0] == b[0]}
    if len(set(numbers)) < len(numbers) or places != list(range(places[0], places[0] + len(places))):
        return -1, 0
    if numbers != sorted(numbers) or steps - {1}:
        first = titles[places[0]]
        raise DataError(
            f"{where}: its {len(places)} columns of pixels ({first}, ...) are not in their order; sort them"
        )
    return places[0], len(places)


def _are_pixels(cells: Sequence[str]) -> bool:
    """Whether cells are the grey values of an image each."""
    texts = [cell.encode("utf-8", "replace").translate(_BLANKS).split() for cell in cells]
    return bool(texts) and all(
        len(text) >= _LEAST_PIXELS and all(value.replace(b".", b"", 1).isdigit() for value in text) for text in texts
    )


def _votes_file(scan: Scan, name: str, *, beside: bool) -> tuple[Tree, str] | None:
    if scan.choices.ferplus:
        return Folder(scan.choices.ferplus.parent), scan.choices.ferplus.name
    votes = name[: name.rfind("/") + 1] + FERPLUS_NAME
    return (scan.tree, votes) if beside and scan.tree.has(votes) else None


def _labels(scan: Scan, written: Counter[str], where: str) -> Labels:
    """The meaning of the labels: numbers are FER2013's, with 7 for contempt where it occurs, as in CK+ extended.

    Rows of other numbers are problems of their own; a file that counts from 1 is no file of this kind.
    """
    texts = [text for text in written if not is_no_label(text)]
    fitting = {plain(t) for t in texts} & {str(i) for i in range(len(EIGHT))}
    rows = sum(n for t, n in written.items() if plain(t) in fitting)
    if 2 * rows <= sum(written[t] for t in texts) or scan.choices.labels:
        return scan.labels(texts, where)
    if "7" in fitting and "0" not in fitting:
        return scan.labels([t for t in texts if plain(t).isdecimal()], where)
    return scan.labels(texts, where, usual="ckextended" if "7" in fitting else "fer2013")


def _size_and_scale(texts: Sequence[bytes]) -> tuple[int, float]:
    """The side of the images, and what their values are multiplied by; 0 for whole numbers."""
    counts = Counter(len(text.split()) for text in texts)
    squares = [n for n, _ in counts.most_common() if n and round(n**0.5) ** 2 == n]
    side = round(squares[0] ** 0.5) if squares else 48
    if not any(b"." in text for text in texts):
        return side, 0.0
    try:
        highest = max(float(max(text.split(), key=float)) for text in texts if text.strip())
    except ValueError:
        return side, 0.0
    return side, 255.0 if highest <= 1 else 1.0


def data_lines(tree: Tree, name: str, skipped: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a CSV behind those that are skipped, with their numbers from 1, without blank ones.

    Raises DataError where the file can't be read to its end.
    """
    where = tree.where(name)
    with tree.open(name) as file:
        try:
            for _ in range(skipped):
                file.readline(MAX_LINE)
            number = skipped
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE:
                    raise DataError(f"{where}:{number}: a line of more than {MAX_LINE:,} bytes; expected a row a line")
                if not line.isspace():
                    yield number, line
        except UNREADABLE as error:
            raise DataError(f"{where}: can't be read to its end ({error}); get a whole copy of the file") from error


def fields_of(line: bytes, columns: PixelColumns) -> Fields:
    """One line; its pixels are not looked at."""
    cells = line.split(columns.delimiter)
    cells[-1] = cells[-1].rstrip(b"\r\n")
    if b'"' in line:
        cells = _quoted(line, columns.delimiter)
    if len(cells) < columns.count:
        return Fields(reason=f"{len(cells)} columns; expected {columns.count}")
    usage = cells[columns.usage].decode("utf-8", "replace").strip() if columns.usage >= 0 else ""
    label = cells[columns.label].decode("utf-8", "replace").strip() if columns.label >= 0 else ""
    if columns.each:
        return Fields(b" ".join(cells[columns.pixels : columns.pixels + columns.each]), label, usage)
    pixels = cells[columns.pixels]
    if pixels[:1] in (b"[", b"(", b'"') or b"," in pixels or b";" in pixels:
        pixels = pixels.translate(_BLANKS)
    return Fields(pixels, label, usage)


def _quoted(line: bytes, delimiter: bytes) -> list[bytes]:
    """The cells of a line with quotes, in which delimiters may be."""
    text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
    try:
        cells = next(csv.reader([text], delimiter=delimiter.decode(), skipinitialspace=True), [])
    except csv.Error:
        return line.rstrip(b"\r\n").split(delimiter)
    return [cell.strip().encode("utf-8", "surrogateescape") for cell in cells]


def _check_cells(fields: Fields, where: str) -> None:
    """Raises DataError where a label or a split is not UTF-8."""
    if "\ufffd" in fields.label or "\ufffd" in fields.usage:
        raise DataError(f"{where}: not UTF-8 text; save the file as UTF-8")


def _check_text(line: bytes, where: str) -> None:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text: {error}; save the file as UTF-8") from error
