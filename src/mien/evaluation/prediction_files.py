"""Reads a file of predictions (CSV, JSON, JSON lines, Parquet) as a plain table of texts, whatever its columns mean.

JSON has many shapes: a list of records, records below one key (`mien predict`), records by image, values by column
(pandas). Nested objects become columns with dots (`emotion.happy`). A list of faces becomes one row for each face. A
list of names with scores (rmn, transformers) becomes one column for each name.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.data.reading.text_tables import rows_of_columns
from mien.data.reading.trees import suffix_of
from mien.errors import DataError, MissingExtraError
from mien.files import literal
from mien.images import IMAGE_SUFFIXES
from mien.signatures import HEAD_BYTES, describe_file

_HOLDERS = ("images", "results", "predictions", "data", "rows", "records", "items", "samples", "frames")
_NAMES = frozenset({"label", "class", "name", "emotion", "expression", "class_name", "type"})
_SCORES = frozenset({"score", "probability", "prob", "confidence", "value", "p"})
_TEXTS = ("text", "unknown", "a web page")  # unknown: text in another encoding


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts, each as long as `columns`; '' for an empty cell. places: each row's number in the file, from 1.

    wrong: one line for each row that is left out, with the reason. unit: what `places` count, as a word. decimal_comma:
    numbers may be written 0,5.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    places: list[int]
    wrong: list[str]
    unit: str = "line"
    decimal_comma: bool = False


def read_table(path: Path) -> Table:
    """Reads the table in a file; the format is detected from the content. In CSV and Parquet, line 1 is the header.

    Raises DataError for a file that can't be read, MissingExtraError for Parquet without pyarrow.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from error
    if data[:4] == b"PAR1" or path.suffix.lower() == ".parquet":
        return _parquet(path)
    text = _decoded(path, data)
    if path.suffix.lower() in (".json", ".jsonl", ".ndjson") or text.lstrip()[:1] in ("[", "{"):
        return _table_of(path, list(_records(_parsed(path, text))), "record", 1)
    return _csv(path, text)


def _decoded(path: Path, data: bytes) -> str:
    what = describe_file(data[:HEAD_BYTES])
    if data and what not in _TEXTS:
        raise DataError(f"{path}: is {what}; expected predictions as CSV, JSON, JSON lines or Parquet")
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error}; save it as UTF-8") from error


def _csv(path: Path, text: str) -> Table:
    first = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t|", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    places: list[int] = []
    wrong: list[str] = []
    try:
        header = [literal(name.strip()) for name in next(reader, [])]
        for cells in reader:
            if not cells:  # a blank line, often the last one
                continue
            if len(cells) != len(header):
                wrong.append(f"line {reader.line_num}: {len(cells)} columns; expected {len(header)}")
                continue
            rows.append([literal(cell.strip()) for cell in cells])
            places.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}: can't read it as CSV: {error}") from error
    return Table(path, tuple(header), rows, places, wrong, decimal_comma=delimiter != ",")


def _parquet(path: Path) -> Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("data", "reading Parquet") from error
    try:
        table = pq.read_table(path)
        names = [name for name in table.column_names if name != "__index_level_0__"]
        return _table_of(path, table.select(names).to_pylist(), "line", 2)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: can't read it as Parquet: {error}") from error


def _parsed(path: Path, text: str) -> Any:
    try:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            if not error.msg.startswith("Extra data"):
                raise
            return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: can't read it as JSON: {error}") from error


def _table_of(path: Path, records: list[Any], unit: str, first: int) -> Table:
    """Records as a table; a record with a list of faces becomes one row for each face."""
    flat: list[dict[str, str]] = []
    places: list[int] = []
    wrong: list[str] = []
    for place, record in enumerate(records, start=first):
        if not isinstance(record, Mapping):
            wrong.append(f"{unit} {place}: is {str(record)[:40]!r}; expected an object with names")
            continue
        for row in _faces(record):
            flat.append(row)
            places.append(place)
    columns = tuple(dict.fromkeys(name for row in flat for name in row))
    return Table(path, columns, [[row.get(name, "") for name in columns] for row in flat], places, wrong, unit)


def _records(data: Any) -> Iterator[Any]:
    if isinstance(data, list):
        for item in data:
            yield {"faces": item} if isinstance(item, list) else item
        return
    if not isinstance(data, Mapping):
        yield data
        return
    if not any(suffix_of(key) in IMAGE_SUFFIXES for key in data) and (rows := rows_of_columns(data)):
        yield from rows
        return
    for holder in _HOLDERS:
        if isinstance(data.get(holder), list):
            yield from _records(data[holder])
            return
    values = list(data.values())
    if values and all(isinstance(v, Mapping) and v and all(k.isdigit() for k in v) for v in values):
        keys = dict.fromkeys(key for column in values for key in column)
        yield from ({name: column.get(key) for name, column in data.items()} for key in keys)
    elif values and all(isinstance(v, Mapping | list | str | None) for v in values) and not _is_record(data):
        for image, value in data.items():
            if isinstance(value, Mapping):
                yield {"image": image, **value}
            else:
                yield {"image": image, "faces" if isinstance(value, list) else "prediction": value}
    else:
        yield data


def _is_record(data: Mapping[str, Any]) -> bool:
    """Whether an object is one record, not records by image: no key looks like a file name or a number."""
    return not any("." in key or "/" in key or key.isdigit() for key in data)


def _faces(record: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for key, value in record.items():
        inner = value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list) else value
        if isinstance(inner, list) and inner and all(isinstance(v, Mapping) for v in inner) and not _scores(inner):
            rest = {name: other for name, other in record.items() if name != key}
            for face in inner:
                yield from _faces({**rest, **face})
            return
    row: dict[str, str] = {}
    _flatten(record, "", row)
    yield row


def _flatten(value: Any, name: str, row: dict[str, str]) -> None:
    if isinstance(value, list):
        inner = value[0] if len(value) == 1 and isinstance(value[0], list) else value
        found = _scores(inner)
        if len(found) == 1:
            ((answer, sure),) = found.items()
            row["prediction"], row["confidence"] = answer, _text(sure)
            return
        value = found
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _flatten(inner, f"{name}.{key}" if name else str(key), row)
    else:
        row[name] = _text(value)


def _scores(items: list[Any]) -> dict[str, Any]:
    """Scores by name in a list: [{"happy": 0.9}, ...] or [{"label": "happy", "score": 0.9}, ...]; {} if none."""
    found: dict[str, Any] = {}
    for item in items:
        if not isinstance(item, Mapping):
            return {}
        keys = {str(key).lower(): key for key in item}
        if len(item) == 1 and len(items) > 1:
            ((name, score),) = item.items()
        elif len(item) == 2 and len(keys.keys() & _NAMES) == 1 and len(keys.keys() & _SCORES) == 1:
            name, score = (item[keys[next(iter(keys.keys() & kind))]] for kind in (_NAMES, _SCORES))
        else:
            return {}
        if not isinstance(score, int | float) or isinstance(score, bool) or name in found:
            return {}
        found[str(name)] = score
    return found


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
