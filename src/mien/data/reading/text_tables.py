"""Lists as text: CSV with any delimiter, TSV, blanks, JSON lines, JSON; with a header or none, in UTF-8 or UTF-16."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from mien.data.reading.archives import UNREADABLE
from mien.data.reading.reading import decode_text, encoding_of
from mien.data.reading.trees import Tree, split_named, suffix_of
from mien.errors import DataError
from mien.images import IMAGE_SUFFIXES

MAX_LINE = 16 * 1024 * 1024
"""A longer line is no row of an image; it would be a file without line ends."""

_DELIMITERS = (",", ";", "\t", "|", ":")
_SEP = re.compile(r"sep=.?", re.IGNORECASE)  # Excel writes it first
_NO_COLON = re.compile(r"(^|[\s\"'])[A-Za-z]:[\\/]|://|\d:\d")  # drives, addresses and times
_MOST_TITLES = 10  # lines above the header
_SNIFF = 64 * 1024
_ROWS = 50  # that are looked at
csv.field_size_limit(MAX_LINE)

LIST_SUFFIXES = (
    ".csv", ".tsv", ".txt", ".lst", ".list", ".json", ".jsonl", ".ndjson", ".tab", ".psv", ".dat", ".data", ".text",
    ".labels", ".manifest", "",
)  # fmt: skip
"""Suffixes of lists."""

Row = tuple[int, list[str]]
"""A line's number, from 1, and its cells, stripped."""

MAX_JSON = 4 * 1024**3
"""The most bytes of a JSON list."""
_VALUE_KEYS = (
    "name", "label", "class", "class-name", "class_name", "displayname", "emotion", "expression", "category", "title",
    "value",
)  # fmt: skip
"""Where in an object the one value is that it stands for, the most reliable first."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """A list as text. columns: the header's cells in lower case; (), where there is no header.

    delimiter: '' for JSON; ' ' for any blanks. first: the cells of the first line, as they are written. skipped: lines
    before it that are no rows: titles, comments, Excel's `sep=;`. width: how many cells a line of blanks has at least.
    """

    tree: Tree
    name: str
    encoding: str
    delimiter: str
    first: tuple[str, ...]
    columns: tuple[str, ...] = ()
    skipped: int = 0
    width: int = 0

    def with_header(self) -> TextTable:
        """The same, its first line the names of the columns."""
        return replace(self, columns=column_names(self.first))

    def rows(self) -> Iterator[Row]:
        """The lines behind the header, blank ones left out. Raises DataError where one can't be read."""
        where = self.tree.where(self.name)
        try:
            if not self.delimiter:
                for number, one in enumerate(json_objects(self.tree, self.name), start=1):
                    values = dict(zip(column_names(list(map(str, one))), one.values(), strict=False))
                    yield number, [json_cell(values.get(column)) for column in self.columns]
                return
            for number, cells in self._text_rows():
                if number > 1 or not self.columns:
                    yield number, cells
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: not UTF-8 text: {error}; save it as UTF-8") from error
        except (*UNREADABLE, csv.Error) as error:
            raise DataError(f"{where}: can't be read to its end ({error}); get a whole copy of the file") from error

    def _text_rows(self) -> Iterator[Row]:
        """All lines; the first one is line 1 wherever it is."""
        with self.tree.open(self.name) as raw:
            file = io.TextIOWrapper(raw, self.encoding, newline="")
            for _ in range(self.skipped):
                file.readline()
            first = True
            if self.delimiter == " ":
                for number, line in enumerate(file, start=1 + self.skipped):
                    if line.strip():
                        yield 1 if first else number, _words(line, self.width)
                        first = False
                return
            reader = csv.reader(file, delimiter=self.delimiter, skipinitialspace=True)
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield 1 if first else max(reader.line_num + self.skipped, 2), [cell.strip() for cell in row]
                    first = False


def column_names(cells: Sequence[str]) -> tuple[str, ...]:
    """Header cells as they are compared: `Image Path`, `'image-path'` and `#image path` are `image_path`."""
    return tuple("_".join(cell.strip(" \t\ufeff'#").lower().replace("-", " ").split()) for cell in cells)


def open_text_table(tree: Tree, name: str) -> TextTable | None:
    """A file as a list, by its first lines; None where it is no text of rows. Never raises for its content."""
    try:
        with tree.open(name) as file:
            start = file.read(_SNIFF)
    except (*UNREADABLE, DataError):
        return None
    encoding = encoding_of(start)
    whole = len(start) < _SNIFF
    text = start.decode(encoding, "replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if "\0" in text or (text.count("\ufffd") * 10 > len(text) and "\ufffd" in lines[0]):
        return None  # with a readable header it is text in another encoding, which `rows` says
    if suffix_of(name) in (".json", ".jsonl", ".ndjson") or text.lstrip()[:1] == "{":
        return _open_json(tree, name, encoding)
    if not whole and len(lines) > 1:
        lines.pop()
    delimiter, skipped = _shape(lines)
    rows = [line for line in lines[skipped:] if line.strip()]
    if not rows:
        return None
    width = min(len(line.split()) for line in rows) if delimiter == " " else 0
    first = tuple(cell.strip() for cell in next(_cells(rows, delimiter, width)))
    return TextTable(tree, name, encoding, delimiter, first, skipped=skipped, width=width)


def _shape(lines: Sequence[str]) -> tuple[str, int]:
    """What divides the cells of these lines, and how many lines before the first row are none."""
    stated = next((i for i, line in enumerate(lines[:3]) if _SEP.fullmatch(line.strip())), -1)
    if stated >= 0:
        return lines[stated].strip()[4:] or "\t", stated + 1
    delimiter = _delimiter([line for line in lines if line.strip()])
    if delimiter == " ":
        count = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("# ")), 0)
        return delimiter, count
    widths = [len(next(_cells([line], delimiter))) if line.strip() else 0 for line in lines[:_ROWS]]
    usual = Counter(width for width in widths if width).most_common(1)[0][0]
    skipped = 0
    while skipped < min(len(widths), _MOST_TITLES) and (
        (widths[skipped] < min(2, usual) and suffix_of(lines[skipped].strip()) not in IMAGE_SUFFIXES)
        or (lines[skipped].startswith("#") and widths[skipped] != usual)
    ):
        skipped += 1
    return delimiter, skipped


def _delimiter(lines: Sequence[str]) -> str:
    """What divides the cells of these lines into the same number each, the most frequent first; blanks otherwise."""
    best, fits, cells = " ", False, 1
    for delimiter in _DELIMITERS:
        if delimiter == ":" and (cells > 1 or any(_NO_COLON.search(line) for line in lines[:_ROWS])):
            continue
        widths = [len(row) for row in islice(_cells(lines, delimiter), _ROWS)]
        width, often = Counter(widths).most_common(1)[0] if widths else (1, 0)
        first = bool(widths) and widths[0] == width  # not so where texts in a last column hold the delimiter
        if width > 1 and often * 2 >= len(widths) and (first, width) > (fits, cells):
            best, fits, cells = delimiter, first, width
    return best


def _cells(lines: Sequence[str], delimiter: str, width: int = 0) -> Iterator[list[str]]:
    if delimiter == " ":
        yield from (_words(line, width) for line in lines)
        return
    try:
        yield from csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    except csv.Error:
        yield from (line.split(delimiter) for line in lines)


def _words(line: str, width: int) -> list[str]:
    """The cells of a line of blanks: where it has more of them than others, the first cell has blanks in it."""
    words = line.rsplit(maxsplit=width - 1) if width else line.split()
    return [word.strip() for word in words]


def _open_json(tree: Tree, name: str, encoding: str) -> TextTable | None:
    try:
        first = list(islice(json_objects(tree, name), 20))
    except (DataError, *UNREADABLE, UnicodeDecodeError):
        return None
    keys = list(dict.fromkeys(str(key) for one in first for key in one))
    return TextTable(tree, name, encoding, "", tuple(keys), tuple(keys)).with_header() if keys else None


def json_objects(tree: Tree, name: str) -> Iterator[dict[str, Any]]:
    """The rows of JSON lines or of one JSON text. Raises DataError."""
    where = tree.where(name)
    with tree.open(name) as file:
        data = file.read(MAX_JSON)
    text = decode_text(data, where)
    try:
        objects = _parsed(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}); expected a list of objects, or one a line") from error
    for one in objects:
        if not isinstance(one, dict):
            raise DataError(f"{where}: holds {type(one).__name__} where an object was expected")
        yield one


def json_cell(value: Any) -> str:
    """A value of a JSON row as text. An object or list that holds one value is that value; others stay JSON."""
    if isinstance(value, dict):
        scalars = {str(k).lower(): v for k, v in value.items() if not isinstance(v, dict | list)}
        key = next((k for k in _VALUE_KEYS if k in scalars), "")
        if not key and len(scalars) == 1 == len(value):
            (key,) = scalars
        return json_cell(scalars[key]) if key else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return json_cell(value[0]) if len(value) == 1 else json.dumps(value, ensure_ascii=False) if value else ""
    return "" if value is None else str(value).strip()


def one_value(text: str) -> str | None:
    """What a cell such as `["happy"]` or `{"emotion": "happy"}` holds; other cells as they are.

    None where it holds several values.
    """
    if text[:1] not in "[{" or text[-1:] not in "]}":
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)  # as Python prints a list
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text
    found = json_cell(value)
    return None if found[:1] in ("[", "{") else found


def _parsed(text: str) -> list[Any]:
    """The rows of a JSON text, whatever its shape. Raises ValueError."""
    try:
        found = json.loads(text)
    except ValueError:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(found, list):
        return _pairs(found)
    if not isinstance(found, dict):
        return [found]
    return _of_images(found) or _of_splits(found) or rows_of_columns(found) or _wrapped(found) or [found]


def _is_image(value: Any) -> bool:
    return isinstance(value, str) and suffix_of(value) in IMAGE_SUFFIXES


def _pairs(rows: Sequence[Any]) -> list[Any]:
    """[[image, label], ...] as objects; others as they are."""
    if rows and all(isinstance(row, list) and len(row) == 2 and _is_image(row[0]) for row in rows):
        return [{"image": image, "label": label} for image, label in rows]
    return list(rows)


def _of_images(found: Mapping[str, Any]) -> list[Any]:
    """{image: label}, {image: {...}} and {label: [image, ...]} as objects."""
    if found and all(map(_is_image, found)):
        return [
            {"image": key} | (value if isinstance(value, dict) else {"label": value}) for key, value in found.items()
        ]
    if found and all(isinstance(images, list) and images and all(map(_is_image, images)) for images in found.values()):
        return [{"image": image, "label": label} for label, images in found.items() for image in images]
    return []


def _of_splits(found: Mapping[str, Any]) -> list[Any]:
    """{"train": [{...}, ...], "test": {image: label, ...}} as objects with their split."""
    if found and all(split_named(key) and isinstance(rows, list | dict) for key, rows in found.items()):
        rows = [
            (key, row)
            for key, rows in found.items()
            for row in (_pairs(rows) if isinstance(rows, list) else _of_images(rows) or [rows])
        ]
        if all(isinstance(row, dict) for _, row in rows):
            return [{"split": key} | row for key, row in rows]
    return []


def rows_of_columns(found: Mapping[str, Any]) -> list[Any]:
    """What pandas writes: columns of lists or of {row: value}, {row: {column: value}}, or columns beside data."""
    columns, data = found.get("columns"), found.get("data")
    if isinstance(columns, list) and isinstance(data, list) and all(isinstance(row, list) for row in data):
        return [dict(zip(map(str, columns), row, strict=False)) for row in data]
    values = list(found.values())
    if len(values) > 1 and all(isinstance(v, list) and len(v) == len(values[0]) for v in values):
        rows = [dict(zip(found, cells, strict=True)) for cells in zip(*values, strict=True)]
        return rows if not any(isinstance(v, dict | list) for row in rows for v in row.values()) else []
    if not values or not all(isinstance(v, dict) and v.keys() == values[0].keys() for v in values):
        return []
    if any(all(map(_is_image, column.values())) for column in values) and len(values) > 1:
        return [{key: column[row] for key, column in found.items()} for row in values[0]]
    return values if all(any(map(_is_image, row.values())) for row in values) else []


def _wrapped(found: Mapping[str, Any]) -> list[Any]:
    """The one list of objects, or pairs, in an object, beside what is said of it: {"labels": [[image, 3], ...]}."""
    lists = [_pairs(v) for v in found.values() if isinstance(v, list) and v]
    lists = [rows for rows in lists if all(isinstance(one, dict) for one in rows)]
    return lists[0] if len(lists) == 1 and any(map(_is_image, (str(x) for x in lists[0][0].values()))) else []
