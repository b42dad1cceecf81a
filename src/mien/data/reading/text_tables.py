"""Lists as text: CSV with any delimiter, TSV, blanks, JSON lines, JSON; with a header or none, in UTF-8 or UTF-16."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mien.data.reading.archives import UNREADABLE
from mien.data.reading.reading import decode_text
from mien.data.reading.trees import Tree, suffix_of
from mien.errors import DataError
from mien.images import IMAGE_SUFFIXES

MAX_LINE = 16 * 1024 * 1024
"""A longer line is no row of an image; it would be a file without line ends."""

_DELIMITERS = (",", ";", "\t", "|")
_SNIFF = 64 * 1024
csv.field_size_limit(MAX_LINE)

Row = tuple[int, list[str]]
"""A line's number, from 1, and its cells, stripped."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """A list as text. columns: the header's cells in lower case; (), where there is no header.

    delimiter: '' for JSON; ' ' for any blanks. first: the cells of the first line, as they are written.
    """

    tree: Tree
    name: str
    encoding: str
    delimiter: str
    first: tuple[str, ...]
    columns: tuple[str, ...] = ()

    def with_header(self) -> TextTable:
        """The same, its first line the names of the columns."""
        return TextTable(self.tree, self.name, self.encoding, self.delimiter, self.first, column_names(self.first))

    def rows(self) -> Iterator[Row]:
        """The lines behind the header, blank ones left out. Raises DataError where one can't be read."""
        where = self.tree.where(self.name)
        try:
            if not self.delimiter:
                yield from _json_rows(self.tree, self.name, self.columns)
                return
            for number, cells in _text_rows(self.tree, self.name, self.encoding, self.delimiter):
                if number > 1 or not self.columns:
                    yield number, cells
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: not UTF-8 text: {error}; save it as UTF-8") from error
        except (*UNREADABLE, csv.Error) as error:
            raise DataError(f"{where}: can't be read to its end ({error}); get a whole copy of the file") from error


def column_names(cells: Sequence[str]) -> tuple[str, ...]:
    """Header cells as they are compared: `Image Path` and `image-path` are `image_path`."""
    return tuple("_".join(cell.strip().strip("\ufeff").lower().replace("-", " ").split()) for cell in cells)


def open_text_table(tree: Tree, name: str) -> TextTable | None:
    """A file as a list, by its first lines; None where it is no text of rows. Never raises for its content."""
    try:
        with tree.open(name) as file:
            start = file.read(_SNIFF)
    except (*UNREADABLE, DataError):
        return None
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    whole = len(start) < _SNIFF
    text = start.decode(encoding, "replace")
    if "\0" in text or text.count("\ufffd") * 10 > len(text):  # fewer: text in another encoding, which `rows` says
        return None
    if suffix_of(name) in (".json", ".jsonl", ".ndjson") or text.lstrip()[:1] == "{":
        return _open_json(tree, name, encoding)
    lines = [line for line in text.splitlines() if line.strip()]
    if not whole and len(lines) > 1:
        lines.pop()
    if not lines:
        return None
    delimiter = _delimiter(lines[:50])
    first = tuple(cell.strip() for cell in next(_cells(lines[:1], delimiter)))
    return TextTable(tree, name, encoding, delimiter, first)


def _delimiter(lines: Sequence[str]) -> str:
    """What divides the cells of these lines into the same number each, the most frequent first; blanks otherwise."""
    best, cells = " ", 1
    for delimiter in _DELIMITERS:
        counts = Counter(len(row) for row in _cells(lines, delimiter))
        width, often = counts.most_common(1)[0]
        if width > cells and often * 2 >= len(lines):
            best, cells = delimiter, width
    return best


def _cells(lines: Sequence[str], delimiter: str) -> Iterator[list[str]]:
    if delimiter == " ":
        yield from (line.split() for line in lines)
        return
    try:
        yield from csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    except csv.Error:
        yield from (line.split(delimiter) for line in lines)


def _text_rows(tree: Tree, name: str, encoding: str, delimiter: str) -> Iterator[Row]:
    with tree.open(name) as raw:
        file = io.TextIOWrapper(raw, encoding, newline="")
        if delimiter == " ":
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.split()
            return
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        first = True
        for row in reader:
            if any(cell.strip() for cell in row):
                # The header is line 1 wherever it is: a list may begin with blank lines.
                yield 1 if first else max(reader.line_num, 2), [cell.strip() for cell in row]
                first = False


def _open_json(tree: Tree, name: str, encoding: str) -> TextTable | None:
    try:
        first = list(islice(_json_objects(tree, name), 20))
    except (DataError, *UNREADABLE, UnicodeDecodeError):
        return None
    keys = list(dict.fromkeys(key for one in first for key in one))
    return TextTable(tree, name, encoding, "", tuple(keys), tuple(keys)).with_header() if keys else None


def _json_objects(tree: Tree, name: str) -> Iterator[dict[str, Any]]:
    """The objects of JSON lines, or of one JSON list of objects. Raises DataError."""
    where = tree.where(name)
    with tree.open(name) as file:
        data = file.read(256 * MAX_LINE)
    text = decode_text(data, where)
    try:
        objects = _parsed(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}); expected a list of objects, or one a line") from error
    for one in objects:
        if not isinstance(one, dict):
            raise DataError(f"{where}: holds {type(one).__name__} where an object was expected")
        yield one


def _parsed(text: str) -> list[Any]:
    """A JSON list, JSON lines, or one object of image -> label as a list of such pairs. Raises ValueError."""
    if text.lstrip().startswith("["):
        found = json.loads(text)
        return found if isinstance(found, list) else [found]
    try:
        one = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(one, dict) and len(one) > 1 and all(suffix_of(key) in IMAGE_SUFFIXES for key in one):
        return [{"image": key, "label": label} for key, label in one.items()]
    return [one]


def _json_rows(tree: Tree, name: str, columns: Sequence[str]) -> Iterator[Row]:
    for number, one in enumerate(_json_objects(tree, name), start=1):
        values = dict(zip(column_names(list(one)), one.values(), strict=False))
        yield number, ["" if values.get(c) is None else str(values[c]).strip() for c in columns]
