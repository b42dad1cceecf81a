"""Exports of Label Studio: JSON, JSON-MIN and CSV, of choices, rectangles and polygons."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from mien.data.reading.annotation_json import NO_LABEL_YET, dicts, json_with, listed, text_of, texts_of
from mien.data.reading.annotations import NO_FACE, NO_IMAGE, Annotated, Mark, bounds, floats
from mien.data.reading.label_reading import DROPPED
from mien.data.reading.list_columns import LABEL_COLUMNS
from mien.data.reading.reading import Found, Scan
from mien.data.reading.sources import Box
from mien.data.reading.text_tables import open_text_table
from mien.data.reading.trees import base_name, folder_of, suffix_of
from mien.errors import DataError
from mien.images import IMAGE_SUFFIXES
from mien.labels import EIGHT, canonical

_ABOUT = {
    "id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "predictions", "inner_id",
    "total_annotations", "cancelled_annotations", "project", "comment_count", "unresolved_comment_count",
}  # fmt: skip
_IMAGE_KEYS = ("image", "img", "picture", "photo", "url", "image_url", "captioning", "ocr")
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")
_SHAPES = ("rectanglelabels", "polygonlabels")


@dataclass(slots=True)
class _Task:
    """One image and the annotations of each annotator: control -> classes of the whole image, and the marked faces."""

    image: str
    where: str
    answers: list[tuple[dict[str, list[str]], list[Mark]]] = field(default_factory=list)


def find_label_studio(scan: Scan) -> Found | None:
    """An export of Label Studio. Raises DataError where several controls could hold the labels."""
    tasks: dict[str, list[_Task]] = {}
    unread: set[str] = set()
    for name, data in json_with(scan):
        ones = dicts(data)
        if ones and all(isinstance(one.get("data"), dict) and isinstance(one.get("annotations"), list) for one in ones):
            tasks[name] = [_full(one, f"{name}, task {one.get('id')}", unread) for one in ones]
        elif ones and all("annotation_id" in one or {"annotator", "lead_time"} <= one.keys() for one in ones):
            tasks[name] = _small(ones, name)
    for name in scan.with_suffix(".csv", ".tsv"):
        rows = _csv_rows(scan, name)
        if rows:
            tasks[name] = _small(rows, name)
    if not tasks:
        return None
    gathered = Annotated(scan, "Label Studio", fractions=True)
    gathered.used.update((*tasks, *scan.named("label_config.xml")))
    control = _control(scan, [task for some in tasks.values() for task in some])
    for name, some in tasks.items():
        split = gathered.split_of_list(name)
        for task in some:
            _add(gathered, task, control, folder_of(name), split)
    gathered.notes += [f"marks of the kind {kind} are not read" for kind in sorted(unread)]
    return gathered.found((f"'{control}' of " if control else "the marks of ") + listed(tasks))


def _add(gathered: Annotated, task: _Task, control: str, folder: str, split: str) -> None:
    name = _image(gathered, task.image, folder, split)
    if name is None:
        gathered.wrong(task.where, f"'{task.image[:100]}': {NO_IMAGE}", split)
        return
    split = split or gathered.split_of(name)
    said: list[list[Mark]] = []
    for classes, faces in task.answers:
        marks = [*faces, *(Mark(label) for label in classes.get(control, ()) if label != DROPPED)]
        if marks not in said:
            said.append(marks)
    if len(said) > 1:
        labels = " or ".join(", ".join(m.label for m in marks) or "none" for marks in said[:4])
        gathered.add(name, split, [Mark("", wrong=f"its annotators disagree: {labels}", where=name)])
    else:
        gathered.add(name, split, said[0] if said else (), NO_LABEL_YET if control or not said else NO_FACE)


def _image(gathered: Annotated, written: str, folder: str, split: str) -> str | None:
    """The image that a path of Label Studio's server means: an upload, a local file, or a URL."""
    try:
        parts = urlsplit(written.replace("\\", "/"))
    except ValueError:  # of a broken address
        return None
    local = parse_qs(parts.query).get("d", [])
    path = local[0] if local and "local-files" in parts.path else unquote(parts.path)
    last = base_name(path)
    if "upload/" in path:  # its folders are a project's number
        return gathered.images.find(last, folder, split) or gathered.images.find(_UPLOAD.sub("", last), folder, split)
    foreign = f"/{path.lstrip('/')}" if parts.scheme or local or path.startswith("/") else path
    return gathered.images.find(foreign, folder, split)


def _control(scan: Scan, tasks: Iterable[_Task]) -> str:
    """The control (from_name, column) that holds the labels of whole images; '' where none does. Raises DataError."""
    values: dict[str, set[str]] = {}
    for task in tasks:
        for classes, _ in task.answers:
            for control, labels in classes.items():
                values.setdefault(control, set()).update(labels)
    wanted = scan.choices.label_column
    if wanted and wanted in values:
        return wanted
    known = [c for c, labels in values.items() if any(canonical(label) in EIGHT for label in labels)]
    for fitting in (known or list(values), [] if known else [c for c in values if c.lower() in LABEL_COLUMNS]):
        if len(fitting) == 1:
            return fitting[0]
    if values:
        raise DataError(
            f"{scan.root}: Label Studio: several choices could be the labels ({', '.join(sorted(values)[:9])}); "
            "name one with --label-column"
        )
    return ""


def choices_of(task: Mapping[str, Any], where: str) -> set[str]:
    """The different choices of a task's annotators for the whole image; several of one are joined by commas."""
    return {
        ", ".join(labels) for classes, _ in _full(task, where, set()).answers for labels in classes.values() if labels
    }


def _full(task: Mapping[str, Any], where: str, unread: set[str]) -> _Task:
    done = [a for a in dicts(task["annotations"]) if not a.get("was_cancelled")]
    truth = [a for a in done if a.get("ground_truth") is True]
    answers = [_answer(dicts(a.get("result")), where, unread) for a in truth or done]
    return _Task(_image_value(task["data"]), where, answers)


def _answer(results: list[dict[str, Any]], where: str, unread: set[str]) -> tuple[dict[str, list[str]], list[Mark]]:
    """What one annotator says: choices for the whole image, and shapes; a choice for a shape is an attribute of it."""
    classes: dict[str, list[str]] = {}
    shapes: dict[str, dict[str, Any]] = {}
    of_shapes: dict[str, str] = {}
    for number, result in enumerate(results):
        kind, value = result.get("type"), result.get("value")
        if not isinstance(kind, str) or not isinstance(value, dict):
            continue
        key = text_of(result.get("id")) or str(number)
        if kind in _SHAPES:
            shapes[key] = {**result, **value}
        elif kind == "choices" and ("x" in value or "points" in value):
            of_shapes[key] = ", ".join(texts_of(value.get("choices")))
        elif kind == "choices":
            classes.setdefault(text_of(result.get("from_name")), []).extend(texts_of(value.get("choices")))
        elif kind not in ("rectangle", "polygon", "textarea", "rating", "number"):
            unread.add(kind)
    return classes, [_mark(shape, of_shapes.get(key, ""), where) for key, shape in shapes.items()]


def _mark(shape: Mapping[str, Any], choice: str, where: str) -> Mark:
    labels = next((texts_of(shape[kind]) for kind in _SHAPES if kind in shape), [])
    labels = [choice] if choice and not any(canonical(label) in EIGHT for label in labels) else labels
    box = _box(shape)
    if len(labels) != 1 or box is None:
        return Mark("", wrong=f"a mark in it has the labels {', '.join(labels) or 'none'}, or no place", where=where)
    return Mark(labels[0], box)


def _box(shape: Mapping[str, Any]) -> Box | None:
    """The box of a shape in shares, from percents of the image's size; of a turned rectangle, the one around it."""
    points = shape.get("points")
    if points is not None:
        numbers = [v for p in points if (q := floats(p)) for v in q[:2]] if isinstance(points, list) else []
        return bounds([v / 100 for v in numbers]) if len(numbers) >= 6 else None
    numbers = floats([shape.get(key) for key in ("x", "y", "width", "height")]) or []
    if len(numbers) != 4:
        return None
    x, y, width, height = (v / 100 for v in numbers)
    turned = floats([shape.get("rotation") or 0])
    if not turned or not turned[0]:
        return x, y, x + width, y + height
    size = floats([shape.get("original_width"), shape.get("original_height")])
    if not size or min(size) <= 0:
        return None
    cos, sin = math.cos(math.radians(turned[0])), math.sin(math.radians(turned[0]))
    corners = [(0.0, 0.0), (width, 0.0), (0.0, height), (width, height)]
    around = []
    for dx, dy in corners:  # turned around its first corner, in pixels
        px, py = dx * size[0], dy * size[1]
        around += [x + (px * cos - py * sin) / size[0], y + (px * sin + py * cos) / size[1]]
    return bounds(around)


def _small(rows: Iterable[Mapping[str, Any]], name: str) -> list[_Task]:
    """The tasks of a JSON-MIN or CSV export: a row for each annotation; rows of one image are one task."""
    tasks: dict[str, _Task] = {}
    for number, row in enumerate(rows, start=1):
        image = _image_value(row)
        task = tasks.setdefault(image or str(number), _Task(image, f"{name}, row {number}"))
        classes: dict[str, list[str]] = {}
        faces: list[Mark] = []
        for key, value in row.items():
            if key in _ABOUT or value == image or value in (None, ""):
                continue
            if isinstance(value, dict):
                classes[key] = texts_of(value.get("choices"))
            elif dicts(value):
                faces += [_mark(shape, "", task.where) for shape in dicts(value) if set(_SHAPES) & shape.keys()]
            elif isinstance(value, str):
                classes[key] = [value.strip()]
        task.answers.append((classes, faces))
    return list(tasks.values())


def _csv_rows(scan: Scan, name: str) -> list[dict[str, Any]]:
    """The rows of a CSV export, lists and objects in its cells read; none where it is another list."""
    table = open_text_table(scan.tree, name)
    if table is None:
        return []
    table = table.with_header()
    if "annotation_id" not in table.columns and not {"annotator", "lead_time"} <= set(table.columns):
        return []
    return [dict(zip(table.columns, map(_cell, cells), strict=False)) for _, cells in table.rows()]


def _cell(text: str) -> Any:
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


def _image_value(values: Mapping[str, Any]) -> str:
    """The path of a task's image: the value of a key that is called so, or one that ends like an image."""
    texts = {key.lower(): v for key, v in values.items() if isinstance(v, str)}

    def shown() -> Iterator[str]:
        yield from (texts[key] for key in _IMAGE_KEYS if key in texts)
        yield from (v for v in texts.values() if suffix_of(urlsplit(v).path) in IMAGE_SUFFIXES)

    try:
        return next(shown(), "")
    except ValueError:  # a text that urlsplit takes for a broken address
        return ""
