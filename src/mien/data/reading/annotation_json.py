"""Annotations in JSON: COCO, Create ML, VIA, LabelMe and FiftyOne."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mien.data.reading.annotations import NO_FACE, NO_IMAGE, Annotated, Mark, bounds, floats
from mien.data.reading.reading import Found, Scan
from mien.data.reading.sources import Box
from mien.data.reading.text_tables import open_text_table
from mien.data.reading.trees import base_name, first_of, folder_of, printable
from mien.errors import DataError

NO_LABEL_YET = "has no label"
"""Why an image that a file of labels leaves without one is no sample."""


def json_with(scan: Scan, *keys: str) -> Iterator[tuple[str, Any]]:
    """The JSON files that hold all these words in quotes: their names and contents; what can't be read is left out."""
    for name in scan.with_suffix(".json"):
        try:
            text = scan.text(name)
            if text.lstrip()[:1] in ("{", "[") and all(f'"{key}"' in text for key in keys):
                yield name, json.loads(text)
        except (DataError, ValueError, RecursionError):
            continue


def dicts(values: Any) -> list[dict[str, Any]]:
    """The objects of a JSON list; others are left out."""
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []


def text_of(value: Any) -> str:
    """A name or number of JSON as text; '' for anything else."""
    return "" if isinstance(value, bool) or not isinstance(value, str | int | float) else str(value).strip()


def texts_of(values: Any) -> list[str]:
    """The texts of a JSON list, stripped; others are left out."""
    return [v.strip() for v in values if isinstance(v, str)] if isinstance(values, list) else []


def attributes_of(value: Any) -> Mapping[str, str]:
    """The attributes of a mark that are texts."""
    return {str(k): v for k, v in value.items() if isinstance(v, str)} if isinstance(value, dict) else {}


def find_coco(scan: Scan) -> Found | None:
    """COCO: JSON files of images, annotations and categories. Raises DataError."""
    gathered = Annotated(scan, "COCO")
    categories: list[str] = []
    for name, data in json_with(scan, "images", "annotations", "categories"):
        if isinstance(data, dict) and all(
            isinstance(data.get(k), list) for k in ("images", "annotations", "categories")
        ):
            gathered.used.add(name)
            categories += _read_coco(gathered, name, data)
    if not gathered.used:
        return None
    return gathered.found("the categories of " + listed(gathered.used), also=categories)


def listed(names: Iterable[str]) -> str:
    """The first names of some files."""
    some = sorted(names)
    return first_of(list(map(printable, some)))


def _read_coco(gathered: Annotated, file: str, data: Mapping[str, Any]) -> list[str]:
    """Adds the images of one file; gives the names of its categories."""
    categories: dict[str, str] = {}
    for c in dicts(data["categories"]):
        key, called = text_of(c.get("id")), text_of(c.get("name"))
        if categories.setdefault(key, called) != called:
            where = gathered.scan.tree.where(file)
            raise DataError(f"{where}: its category {key} is {categories[key]} and {called}; give each its own id")
    split = gathered.split_of_list(file)
    marks: dict[str, list[Mark]] = {text_of(image.get("id")): [] for image in dicts(data["images"])}
    for number, annotation in enumerate(dicts(data["annotations"]), start=1):
        where = f"{file}, annotation {text_of(annotation.get('id')) or number}"
        of = text_of(annotation.get("image_id"))
        if of not in marks:
            gathered.wrong(where, f"image_id {of or 'missing'} is none of its images", split)
        else:
            marks[of].append(_coco_mark(gathered, annotation, categories, where))
    seen: set[str] = set()
    for number, image in enumerate(dicts(data["images"]), start=1):
        written, key = text_of(image.get("file_name")), text_of(image.get("id"))
        where = f"{file}, image {key or number}"
        if not key or key in seen:
            gathered.wrong(where, f"the id {key or 'is missing'}; expected one of its own for each image", split)
        else:
            gathered.place(written, file, split, where, marks[key])
        seen.add(key)
    return list(categories.values())


def _coco_mark(gathered: Annotated, annotation: Mapping[str, Any], categories: Mapping[str, str], where: str) -> Mark:
    category = text_of(annotation.get("category_id"))
    if not categories.get(category):
        return Mark("", wrong=f"category_id {category or 'missing'} is none of its categories", where=where)
    if annotation.get("iscrowd") in (1, True):
        return Mark("", wrong="marks a crowd, not a face", where=where)
    label = gathered.label_of(categories[category], attributes_of(annotation.get("attributes")))
    written = annotation.get("bbox")
    box = floats(written)
    if box and len(box) == 4:
        x, y, width, height = box
        return Mark(label, (x, y, x + width, y + height))
    if written:
        return Mark("", wrong=f"bbox is {str(written)[:60]}; expected x, y, width, height", where=where)
    outline = annotation.get("segmentation")
    points = [p for part in outline if (p := floats(part))] if isinstance(outline, list) else []
    points = [p for p in points if len(p) >= 6 and len(p) % 2 == 0]
    return Mark(label, bounds([v for p in points for v in p]) if points else None)


def find_create_ml(scan: Scan) -> Found | None:
    """Create ML: JSON lists of images, each with labels at the middle, width and height of a face. Raises DataError."""
    gathered = Annotated(scan, "Create ML")
    for file, data in json_with(scan, "image", "annotations", "coordinates"):
        split = gathered.split_of_list(file)
        for number, one in enumerate(dicts(data), start=1):
            gathered.used.add(file)
            where = f"{file}, image {number}"
            marks = [_create_ml_mark(mark, where) for mark in dicts(one.get("annotations"))]
            gathered.place(text_of(one.get("image")), file, split, where, marks)
    return gathered.found("the annotations of " + listed(gathered.used)) if gathered.used else None


def _create_ml_mark(mark: Mapping[str, Any], where: str) -> Mark:
    at = mark.get("coordinates")
    box = floats([at.get(key) for key in ("x", "y", "width", "height")] if isinstance(at, dict) else None)
    if box is None:
        return Mark("", wrong=f"coordinates are {str(at)[:60]}; expected x, y, width, height", where=where)
    x, y, width, height = box
    return Mark(text_of(mark.get("label")), (x - width / 2, y - height / 2, x + width / 2, y + height / 2))


def find_via(scan: Scan) -> Found | None:
    """VGG Image Annotator 1 and 2: its projects, and its exports as JSON and CSV. Raises DataError."""
    gathered = Annotated(scan, "VIA")
    for file, data in json_with(scan, "filename", "regions"):
        images = data.get("_via_img_metadata", data) if isinstance(data, dict) else {}
        for key, one in images.items() if isinstance(images, dict) else ():
            if isinstance(one, dict) and isinstance(regions := one.get("regions"), list | dict):
                marks = dicts(list(regions.values()) if isinstance(regions, dict) else regions)
                _place_via(gathered, file, key, one, marks)
    for name in scan.with_suffix(".csv"):
        table = open_text_table(scan.tree, name)
        if table and {"filename", "region_shape_attributes"} <= set((table := table.with_header()).columns):
            for number, cells in table.rows():
                row = {key: _object(cell) or cell for key, cell in zip(table.columns, cells, strict=False)}
                _place_via(gathered, name, str(number), row, [row])
    return gathered.found("the attributes in " + listed(gathered.used)) if gathered.used else None


def _place_via(
    gathered: Annotated, file: str, key: str, one: Mapping[str, Any], regions: Iterable[Mapping[str, Any]]
) -> None:
    """Adds an image, its regions, and the label of all of it, which is an attribute of the file."""
    gathered.used.add(file)
    where, whole = f"{file}, {key[:100]}", _attribute(gathered, one.get("file_attributes"))
    marks = [
        Mark(_attribute(gathered, region.get("region_attributes")) or whole, _via_box(shape))
        for region in regions
        if isinstance(shape := region.get("shape_attributes", region.get("region_shape_attributes")), dict)
    ]
    marks = marks or [Mark(whole)]
    gathered.place(text_of(one.get("filename")), file, gathered.split_of(file), where, marks)


def _attribute(gathered: Annotated, attributes: Any) -> str:
    """The attribute of a region or file that is its label: by its name, or the only one. A ticked box is its name."""
    values = {
        str(key): next((str(k) for k, ticked in value.items() if ticked), "") if isinstance(value, dict) else value
        for key, value in (attributes.items() if isinstance(attributes, dict) else ())
    }
    only = next(iter(values.values())) if len(values) == 1 else ""
    return gathered.label_of("", attributes_of(values)) or text_of(only)


def _via_box(shape: Mapping[str, Any]) -> Box | None:
    across, down = shape.get("all_points_x"), shape.get("all_points_y")
    if isinstance(across, list) and isinstance(down, list) and len(across) == len(down):
        points = floats([v for point in zip(across, down, strict=True) for v in point])
        return bounds(points) if points else None
    rectangle = floats([shape.get(key) for key in ("x", "y", "width", "height")])
    if rectangle:
        x, y, width, height = rectangle
        return x, y, x + width, y + height
    circle = floats([shape.get("cx"), shape.get("cy"), *(shape.get(key, shape.get("r")) for key in ("rx", "ry"))])
    if circle is None:
        return None
    x, y, wide, high = circle
    return x - wide, y - high, x + wide, y + high


def _object(cell: str) -> dict[str, Any] | None:
    try:
        found = json.loads(cell) if cell[:1] == "{" else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def find_labelme(scan: Scan) -> Found | None:
    """LabelMe: a JSON file of shapes, or of flags, for each image. Raises DataError."""
    gathered = Annotated(scan, "LabelMe")
    for file, data in json_with(scan, "shapes", "imagePath"):
        if not isinstance(data, dict) or not isinstance(data.get("shapes"), list):
            continue
        gathered.used.add(file)
        written = text_of(data.get("imagePath"))
        split = gathered.split_of(file)
        name = gathered.images.find(written, folder_of(file), split)
        name = name or gathered.images.find(base_name(file)[:-5], folder_of(file), split, stem=True)
        if name is None:
            gathered.wrong(file, f"'{written[:100]}': {NO_IMAGE}", split)
            continue
        flags = data.get("flags")
        marks = [_labelme_mark(shape, file) for shape in dicts(data["shapes"])]
        marks += [Mark(flag) for flag, given in (flags.items() if isinstance(flags, dict) else ()) if given is True]
        gathered.add(name, split or gathered.split_of(name), marks)
    return gathered.found("the shapes and flags of " + listed(gathered.used)) if gathered.used else None


def _labelme_mark(shape: Mapping[str, Any], file: str) -> Mark:
    label = text_of(shape.get("label"))
    points = shape.get("points")
    numbers = floats([v for point in points if isinstance(point, list) for v in point]) if points else None
    if not label or not numbers or len(numbers) < 4 or len(numbers) % 2:
        return Mark("", wrong="a shape of it has no label or no points", where=file)
    if shape.get("shape_type") == "circle":  # its middle, and a point on it
        x, y, *edge = numbers
        radius = ((edge[0] - x) ** 2 + (edge[1] - y) ** 2) ** 0.5
        return Mark(label, (x - radius, y - radius, x + radius, y + radius))
    return Mark(label, bounds(numbers))


def find_fiftyone(scan: Scan) -> Found | None:
    """FiftyOne's own exports: labels.json of classes and labels, or samples.json. Raises DataError."""
    gathered = Annotated(scan, "FiftyOne", fractions=True)
    matched = False
    for name, data in json_with(scan, "labels"):
        named = base_name(name).lower() == "labels.json" and isinstance(data, dict)
        if named and isinstance(data.get("labels"), dict) and isinstance(data.get("classes"), list | None):
            matched |= _read_labels_json(gathered, name, data)
    for name, data in json_with(scan, "samples", "filepath"):
        if isinstance(data, dict) and dicts(data.get("samples")):
            matched |= _read_samples_json(gathered, name, dicts(data["samples"]))
    if not matched:
        return None
    gathered.used.update(scan.named("metadata.json") if scan.named("samples.json") else ())
    return gathered.found("the labels of " + listed(gathered.used - set(scan.named("metadata.json"))))


def _read_labels_json(gathered: Annotated, file: str, data: Mapping[str, Any]) -> bool:
    """Adds the images of a labels.json; False where it names none that is there."""
    classes = [text_of(c) for c in data.get("classes") or ()]
    split = gathered.split_of(file)
    folder, find = folder_of(file), gathered.images.find
    found = False
    for key, target in data["labels"].items():
        where = f"{file}, {key}"
        name = find(key, folder, split, inner="data/", stem=True) or find(key, folder, split, inner="data/")
        if name is None:
            gathered.wrong(where, NO_IMAGE, split)
            continue
        found = True
        several = isinstance(target, list)
        marks = [_fiftyone_mark(one, classes, where) for one in (target if several else [target]) if one is not None]
        gathered.add(name, split or gathered.split_of(name), marks, NO_FACE if several else NO_LABEL_YET)
    if found:
        gathered.used.add(file)
    return found


def _fiftyone_mark(target: Any, classes: list[str], where: str) -> Mark:
    box = None
    if isinstance(target, dict):
        corner = floats(target.get("bounding_box"))
        if corner and len(corner) == 4:
            box = (corner[0], corner[1], corner[0] + corner[2], corner[1] + corner[3])
        target = target.get("label")
    label = text_of(target)
    if classes and isinstance(target, int):
        if not 0 <= target < len(classes):
            return Mark("", wrong=f"class {label}; expected 0 to {len(classes) - 1}", where=where)
        label = classes[target]
    if not label:
        return Mark("", wrong=NO_LABEL_YET, where=where)
    return Mark(label, box)


def _read_samples_json(gathered: Annotated, file: str, samples: list[dict[str, Any]]) -> bool:
    """Adds the images of a samples.json; False where it holds no labels."""
    field = _label_field(gathered.scan, file, samples)
    if not field:
        return False
    gathered.used.add(file)
    for number, sample in enumerate(samples, start=1):
        where = f"{file}, sample {number}"
        splits = [t for t in texts_of(sample.get("tags")) if gathered.scan.choices.split(t)]
        split = gathered.split_word(splits[0]) if len(splits) == 1 else gathered.split_of(file)
        label = sample.get(field)
        if len(splits) > 1:
            gathered.wrong(where, f"has the tags {', '.join(splits)}; expected one split")
            continue
        several = isinstance(label, dict) and label.get("_cls") == "Detections"
        ones = dicts(label.get("detections")) if several and label else [label]
        marks = [_fiftyone_mark(one, [], where) for one in ones if one is not None]
        why = NO_FACE if several else NO_LABEL_YET
        gathered.place(text_of(sample.get("filepath")), file, split, where, marks, why, inner="data/")
    return True


def _label_field(scan: Scan, file: str, samples: list[dict[str, Any]]) -> str:
    """The field of the labels: ground_truth, or the only one. Raises DataError where several could be it."""
    kinds = ("Classification", "Detections", "Detection")
    fields = sorted({
        key for s in samples for key, v in s.items() if isinstance(v, dict) and v.get("_cls") in kinds
    })  # fmt: skip
    wanted = scan.choices.label_column or "ground_truth"
    if wanted in fields:
        return wanted
    if len(fields) > 1:
        raise DataError(
            f"{scan.tree.where(file)}: has several fields of labels ({', '.join(fields)}); name one with --label-column"
        )
    return fields[0] if fields else ""
