"""CSV whose rows are images: fer2013.csv and its kind, grey values in one cell or in a column each.

The three published forms of FER2013 (fer2013.csv, icml_face_data.csv, the challenge's own train.csv without Usage), CK+
extended, and tables that people made after them: names for numbers, values of 0 to 1, quoted cells with commas.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.data.reading.archives import UNREADABLE
from mien.data.reading.ferplus import check_join, read_ferplus, vote_columns
from mien.data.reading.label_reading import is_no_label, plain
from mien.data.reading.list_columns import BLANKS, PixelColumns, pixel_columns
from mien.data.reading.pixels import pixels_of, scaled_pixels
from mien.data.reading.reading import Found, Scan
from mien.data.reading.sources import Coded, ImageRows, Written, found_rows
from mien.data.reading.text_tables import MAX_LINE, column_names, open_text_table
from mien.data.reading.trees import Folder, Tree, base_name, folder_of
from mien.data.reading.unread import no_labels
from mien.data.source import CHUNK, SPLITS
from mien.errors import DataError, ImageError
from mien.labels import EIGHT

FER2013_NAMES = ("fer2013.csv", "icml_face_data.csv")
FERPLUS_NAME = "fer2013new.csv"

_LOOKED_AT = 100  # rows that are read for the size of the images and the scale of their values


class Fields(NamedTuple):
    """One row. split: None where it is unknown. reason: why it can't be used, '' where it can."""

    pixels: bytes = b""
    label: str = ""
    usage: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Cells:
    """The images of the rows of a CSV.

    side: of the images, in pixels. scale: what a value is multiplied by; 0 for whole numbers of 0 to 255, the usual
    ones.
    """

    tree: Tree
    name: str
    columns: PixelColumns
    side: int
    scale: float

    def read(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
        """Each row and its image, or why it has none; rows are parsed many at a time."""
        wanted = iter(rows.tolist())
        row = next(wanted, None)
        lines = (line for _, line in data_lines(self.tree, self.name, self.columns.skipped))
        held: list[tuple[int, bytes]] = []
        for place, line in enumerate(lines):
            if row is None:
                break
            if place == row:
                held.append((row, fields_of(line, self.columns).pixels))
                row = next(wanted, None)
                if len(held) == CHUNK:
                    yield from self._parsed(held)
                    held = []
        yield from self._parsed(held)

    def _parsed(self, held: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, Any]]:
        texts = [text for _, text in held]
        scale = self.scale
        images, wrong = scaled_pixels(texts, self.side, scale) if scale else pixels_of(texts, self.side)
        for i, (row, _) in enumerate(held):
            yield row, wrong.get(i, images[i])

    def decode(self, cell: Any, source: str) -> NDArray[np.uint8]:
        if isinstance(cell, str):
            raise ImageError(cell)
        image: NDArray[np.uint8] = cell
        return image


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
    tables = {name: found[1].label >= 0 for name in names if (found := pixel_columns(scan, name))}
    read = [name for name, labelled in tables.items() if labelled or not (scan.images or any(tables.values()))]
    if len(read) > 1:
        raise DataError(f"{scan.root}: {len(read)} tables of images ({', '.join(read[:3])}); import them one by one")
    return read_pixel_table(scan, read[0]) if read else None


def holds_pixels(scan: Scan, name: str) -> bool:
    """Whether a file is, or is called like, a CSV of images."""
    return base_name(name) in FER2013_NAMES or pixel_columns(scan, name) is not None


def read_pixel_table(scan: Scan, name: str, *, beside: bool = False) -> Found:
    """A CSV of images as a data set. beside: FER+'s votes are taken from a fer2013new.csv in the same folder.

    Raises DataError where it is no such CSV.
    """
    tree, where = scan.tree, scan.tree.where(name)
    found = pixel_columns(scan, name)
    if found is None or (base_name(name) in FER2013_NAMES and found[1].label < 0):
        table = open_text_table(tree, name)
        titles = ", ".join(column_names(table.first)) if table else "none"
        missing = "emotion" if found or not table else "pixels"
        raise DataError(
            f"{where}: no column '{missing}' in its header ({titles[:200]}); expected emotion, pixels, Usage"
        )
    table, columns = found
    if table.encoding != "utf-8-sig":
        raise DataError(f"{where}: not UTF-8 text but {table.encoding.upper()}; save it as UTF-8")
    written, texts = _read_rows(tree, name, columns)
    side, scale = _size_and_scale(texts, where)
    stamp, used, further = f"{tree.stamp(name)} {scan.choices.to_dict()}", {name}, {}
    votes_at = _votes_file(scan, name, beside=beside)
    if votes_at:
        votes, there = read_ferplus(*votes_at)
        stamp += f" {votes_at[0].stamp(votes_at[1])}"
        used |= {votes_at[1]}
        further = vote_columns(votes)
    notes = [f"values of 0 to 1 are multiplied by 255 ({name})"] if scale == 255 else []
    column = (table.columns[columns.label] if table.columns else f"{columns.label + 1}") if columns.label >= 0 else ""
    if not column:
        notes.append(f"the images of {name} have no labels: {no_labels(table.with_header())}")
    rows = replace(written, usual=_usual_order(scan, written.labels), further=further)
    read = found_rows(
        scan, rows, _Cells(tree, name, columns, side, scale), where=where, stamp=stamp, used=used, notes=notes,
        title="fer2013 CSV with FER+ votes" if votes_at else "fer2013 CSV",
        labels_from=f"column '{column}' of {name}" if column else "",
    )  # fmt: skip
    if votes_at and isinstance(read.source, ImageRows):
        splits, labels = (read.source.columns[key] for key in ("split", "label"))
        codes = np.array([SPLITS.index(s) if s in SPLITS else -1 for s in splits.tolist()], np.int8)
        check_join(where, votes_at[0].where(votes_at[1]), codes, there, labels, votes)
    return read


def _read_rows(tree: Tree, name: str, columns: PixelColumns) -> tuple[Written, list[bytes]]:
    """All rows but their images, and the first rows' pixels as text. Raises DataError."""
    where = tree.where(name)
    sources: list[str] = []
    usages: list[str] = []
    written: list[str] = []
    texts: list[bytes] = []
    wrong: dict[int, str] = {}
    for number, line in data_lines(tree, name, columns.skipped):
        fields = fields_of(line, columns)
        if fields.reason:
            _check_text(line, f"{where}:{number}")
            wrong[len(sources)] = fields.reason
        elif "\ufffd" in fields.label + fields.usage:
            raise DataError(f"{where}:{number}: not UTF-8 text; save the file as UTF-8")
        elif columns.label >= 0 and is_no_label(fields.label):
            wrong[len(sources)] = "has no label"
        sources.append(f"{base_name(name)}:{number}")
        usages.append(fields.usage)
        written.append(fields.label)
        if len(texts) < _LOOKED_AT and not fields.reason:
            texts.append(fields.pixels)
    if not usages:
        raise DataError(f"{where}: holds no rows; expected a header and a line for each image")
    return Written(sources, Coded.of(written), Coded.of(usages), "Usage", wrong=wrong), texts


def _votes_file(scan: Scan, name: str, *, beside: bool) -> tuple[Tree, str] | None:
    if scan.choices.ferplus:
        return Folder(scan.choices.ferplus.parent), scan.choices.ferplus.name
    votes = folder_of(name) + FERPLUS_NAME
    return (scan.tree, votes) if beside and scan.tree.has(votes) else None


def _usual_order(scan: Scan, labels: Coded) -> str:
    """The order that numbers are in: FER2013's, with 7 for contempt where it occurs, as in CK+ extended; '' for none.

    Rows of other numbers are problems of their own; a file that counts from 1 is no file of this kind.
    """
    counts = np.bincount(labels.codes, minlength=len(labels.values)).tolist()
    written = {text: n for text, n in zip(labels.values, counts, strict=True) if not is_no_label(text)}
    fitting = {plain(t) for t in written} & {str(i) for i in range(len(EIGHT))}
    rows = sum(n for t, n in written.items() if plain(t) in fitting)
    if 2 * rows <= sum(written.values()) or scan.choices.labels or ("7" in fitting and "0" not in fitting):
        return ""
    return "ckextended" if "7" in fitting else "fer2013"


def _size_and_scale(texts: Sequence[bytes], where: str) -> tuple[int, float]:
    """The side of the images, and what their values are multiplied by; 0 for whole numbers. By most rows, not by all.

    Raises DataError where most rows hold values below 0, as scaled to -1 to 1 or to a mean of 0.
    """
    counts = Counter(len(text.split()) for text in texts)
    squares = [n for n, _ in counts.most_common() if n and round(n**0.5) ** 2 == n]
    side = round(squares[0] ** 0.5) if squares else 48
    if not any(b"." in text for text in texts):
        return side, 0.0
    try:
        rows = [np.array(text.split(), np.float64) for text in texts]
    except ValueError:
        return side, 0.0
    rows = [finite for row in rows if (finite := row[np.isfinite(row)]).size]
    if not rows:
        return side, 0.0
    low, high = (float(np.median([of_row(row) for row in rows])) for of_row in (np.min, np.max))
    if low < 0:
        raise DataError(f"{where}: its pixels are from {low:g} to {high:g}; expected 0 to 255, or fractions of 0 to 1")
    return side, 255.0 if high <= 1 else 1.0


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
                number = at = number + 1
                while (
                    b"[" in line and line.count(b'"') % 2 and len(line) < MAX_LINE and (more := file.readline(MAX_LINE))
                ):
                    line += more  # a cell of several lines, as NumPy prints arrays
                    at += 1
                if len(line) >= MAX_LINE:
                    raise DataError(f"{where}:{number}: a line of more than {MAX_LINE:,} bytes; expected a row a line")
                if not line.isspace():
                    yield number, line
                number = at
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
        pixels = pixels.translate(BLANKS)
    cut = "its pixels are cut short (...), as NumPy prints long arrays; save all of them" * (b"..." in pixels)
    return Fields(pixels, label, usage, cut)


def _quoted(line: bytes, delimiter: bytes) -> list[bytes]:
    """The cells of a line with quotes, in which delimiters may be."""
    text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
    try:
        cells = next(csv.reader([text], delimiter=delimiter.decode(), skipinitialspace=True), [])
    except csv.Error:
        return line.rstrip(b"\r\n").split(delimiter)
    return [cell.strip().encode("utf-8", "surrogateescape") for cell in cells]


def _check_text(line: bytes, where: str) -> None:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text: {error}; save the file as UTF-8") from error
