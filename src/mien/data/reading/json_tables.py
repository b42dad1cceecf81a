"""Lists in JSON: the shapes in which programs write rows, each turned into a list of objects."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mien.data.reading.reading import decode_text
from mien.data.reading.trees import Tree, split_named, suffix_of
from mien.errors import DataError
from mien.images import IMAGE_SUFFIXES

MAX_JSON = 4 * 1024**3
"""The most bytes of a JSON list."""

_VALUE_KEYS = ("name", "label", "class", "emotion", "expression", "category", "title", "value")
"""Where in an object the one value is that it stands for, the most reliable first."""


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
        return _pairs(found) or found
    if not isinstance(found, dict):
        return [found]
    return _of_images(found) or _of_splits(found) or _of_columns(found) or _wrapped(found) or [found]


def _is_image(value: Any) -> bool:
    return isinstance(value, str) and suffix_of(value) in IMAGE_SUFFIXES


def _pairs(rows: Sequence[Any]) -> list[Any]:
    """[[image, label], ...] as objects."""
    if rows and all(isinstance(row, list) and len(row) == 2 and _is_image(row[0]) for row in rows):
        return [{"image": image, "label": label} for image, label in rows]
    return []


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
    """{"train": [{...}, ...], "test": ...} as objects with their split."""
    if found and all(split_named(key) and isinstance(rows, list) for key, rows in found.items()):
        rows = [(key, row) for key, rows in found.items() for row in _pairs(rows) or rows]
        if all(isinstance(row, dict) for _, row in rows):
            return [{"split": key} | row for key, row in rows]
    return []


def _of_columns(found: Mapping[str, Any]) -> list[Any]:
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
    """The one list of objects in an object, beside what is said of it: {"version": 1, "data": [{...}, ...]}."""
    lists = [v for v in found.values() if isinstance(v, list) and v and all(isinstance(one, dict) for one in v)]
    return lists[0] if len(lists) == 1 and any(map(_is_image, (str(x) for x in lists[0][0].values()))) else []
