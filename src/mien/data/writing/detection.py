"""Exports for training face detectors (YOLO and COCO, a box and a class per face) and for reviewing labels.

The boxes are those of the photographs that faces were cropped from, a detector's, or the whole image. Label
Studio and FiftyOne get samples that an audit flagged, with its suggestions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import Dataset
from mien.data.flags import source_text
from mien.data.reading.label_reading import DROPPED
from mien.data.settings import ExportSettings
from mien.data.source import CHUNK, Problem
from mien.data.writing.files import (
    NO_SPLIT,
    encode,
    file_names,
    folder_names,
    safe_stem,
    split_rows,
    write_images,
    write_plain,
)
from mien.errors import DataError, ImageError
from mien.faces import FaceDetector, make_detector
from mien.files import resumable_path
from mien.images import as_image, read_image
from mien.pages import plain
from mien.reporting import Progress


@dataclass(frozen=True, slots=True)
class _Image:
    """An image to write and the samples that are in it. photograph: its file; None where it is the sample itself."""

    file: Path
    rows: NDArray[np.intp]
    photograph: Path | None


@dataclass(frozen=True, slots=True)
class _Written:
    """Its size in pixels, the labels of its faces, and their boxes, float64 (k, 4), x1, y1, x2, y2."""

    width: int
    height: int
    labels: list[int]
    boxes: NDArray[np.float64]


def check_boxes(dataset: Dataset, photographs: Path | None, detector: str | None) -> None:
    """Raises DataError where no boxes can be had, or a face has no class."""
    without = np.flatnonzero(dataset.labels < 0)
    if len(without):
        raise DataError(
            f"{dataset.name}: {len(without):,} samples have no label, first {dataset.sources[without[0]]}; "
            "a box needs a class, and a face without one would count as background"
        )
    cropped = "box" in dataset.columns and "photograph" in dataset.columns
    if photographs and detector:
        raise DataError("--photographs takes the boxes from the crops, --detector detects them again; give one of them")
    if photographs and not cropped:
        raise DataError(
            f"{dataset.name}: was not made by `mien data crop`, so it has no boxes; leave --photographs out"
        )
    if cropped and not photographs and not detector:
        raise DataError(
            f"{dataset.name}: its boxes are in the photographs that it was cropped from; give their folder with "
            "--photographs, or let a detector find the faces in the crops with --detector"
        )
    if not photographs:
        return
    names = sorted(set(dataset.columns["photograph"].tolist()))
    outside = [name for name in names if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if outside:
        raise DataError(f"{dataset.name}: the photograph {outside[0]} lies outside {photographs}; crop it again")
    missing = [name for name in names if not (photographs / name).is_file()]
    if missing:
        raise DataError(
            f"{photographs}: {len(missing):,} of {len(names):,} photographs are not there, first {missing[0]}; "
            "expected the folder that was cropped"
        )
    pairs = sorted(set(zip(dataset.columns["photograph"].tolist(), dataset.splits.tolist(), strict=True)))
    for (name, split), (other, other_split) in pairwise(pairs):
        if name == other:
            raise DataError(
                f"{dataset.name}: the faces of {name} are in {split} and in {other_split}; "
                "divide it with  mien data split --again --group-by photograph"
            )


def write_detection(
    dataset: Dataset, folder: Path, settings: ExportSettings, progress: Progress | None
) -> tuple[Problem, ...]:
    """Writes yolo or coco into `folder`; returns the photographs that can't be read, and the images without a face."""
    jpeg, yolo = settings.jpeg, settings.as_ == "yolo"
    suffix = ".png" if jpeg is None else ".jpg"
    detect = make_detector(settings.detector, cascade=settings.cascade) if settings.detector else None
    splits = split_rows(dataset)
    titles = folder_names([split or NO_SPLIT for split in splits])
    problems: list[Problem] = []
    done = 0
    # A detector is used by one thread at a time: not all of them may be used by several.
    with ThreadPoolExecutor(1 if detect else os.cpu_count()) as pool:
        for title, rows in zip(titles, splits.values(), strict=True):
            (folder / "images" / title).mkdir(parents=True, exist_ok=True)
            images = _images(dataset, rows, folder / "images" / title, suffix, settings.photographs)
            written: list[tuple[_Image, _Written]] = []
            for first in range(0, len(images), CHUNK):
                batch = images[first : first + CHUNK]
                found = pool.map(lambda image: _write_image(dataset, image, jpeg, detect), batch)
                for image, result in zip(batch, found, strict=True):
                    if isinstance(result, Problem):
                        problems.append(result)
                    else:
                        written.append((image, result))
                        if not len(result.boxes):
                            sources = ", ".join(map(str, dataset.sources[image.rows].tolist()))
                            problems.append(Problem(sources, f"{_no_face(settings)}; {image.file.name} has no box"))
                    done += len(image.rows)
                if progress:
                    progress(done, len(dataset))
            if yolo:
                _write_yolo_labels(written, folder / "labels" / title)
            else:
                _write_coco(written, dataset.label_names, folder / "annotations" / f"{title}.json")
    if yolo:
        write_plain(folder / "data.yaml", _yolo_yaml(dict(zip(splits, titles, strict=True)), dataset.label_names))
    return tuple(problems)


def _no_face(settings: ExportSettings) -> str:
    return f"no face found by {settings.detector}" if settings.detector else "its box is empty"


def _images(
    dataset: Dataset, rows: NDArray[np.intp], folder: Path, suffix: str, photographs: Path | None
) -> list[_Image]:
    if photographs is None:
        names = file_names(dataset)
        return [_Image(folder / (names[row] + suffix), rows[i : i + 1], None) for i, row in enumerate(rows.tolist())]
    together: dict[str, list[int]] = {}
    for row, name in zip(rows.tolist(), dataset.columns["photograph"][rows].tolist(), strict=True):
        together.setdefault(name, []).append(row)
    width = len(str(len(together) - 1))
    return [
        _Image(folder / f"{i:0{width}d}-{safe_stem(name)}{suffix}", np.array(same), photographs / name)
        for i, (name, same) in enumerate(together.items())
    ]


def _write_image(
    dataset: Dataset, image: _Image, jpeg: int | None, detector: FaceDetector | None
) -> _Written | Problem:
    try:
        pixels = read_image(image.photograph) if image.photograph else dataset.image(int(image.rows[0]))
    except ImageError as error:
        return Problem(str(image.photograph), str(error))
    if not image.file.exists():
        with resumable_path(image.file) as place:
            place.write_bytes(encode(pixels, jpeg))
    height, width = pixels.shape[:2]
    if image.photograph:
        boxes = dataset.columns["box"][image.rows]
    elif detector:
        boxes = detector.detect(as_image(pixels, image.file.name)).boxes[:1]  # a sample is one face: the best
    else:
        boxes = np.array([[0, 0, width, height]])
    boxes = np.clip(boxes.astype(np.float64), 0, [width, height, width, height])
    usable = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # not so for NaN either
    labels = dataset.labels[image.rows][: len(boxes)][usable[: len(image.rows)]]
    return _Written(width, height, labels.tolist(), boxes[usable])


def _write_yolo_labels(written: list[tuple[_Image, _Written]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image, found in written:
        size = np.array([found.width, found.height])
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2 / size
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]) / size
        lines = [
            f"{label} {cx:.6f} {cy:.6f} {w:.6f} {h:.6f}\n"
            for label, (cx, cy), (w, h) in zip(found.labels, centres.tolist(), sides.tolist(), strict=True)
        ]
        write_plain(folder / f"{image.file.stem}.txt", "".join(lines))


def _yolo_yaml(titles: dict[str, str], label_names: tuple[str, ...]) -> str:
    keys = {"train": "train", "validation": "val", "test": "test"}
    lines = ["path: ."]
    lines += [f"{keys[split]}: {json.dumps(f'images/{titles[split]}')}" for split in keys if split in titles]
    if "" in titles and "train" not in titles:
        lines.append(f"train: {json.dumps(f'images/{NO_SPLIT}')}")
    lines.append(f"nc: {len(label_names)}")
    lines.append("names:")
    lines += [f"  {number}: {json.dumps(name, ensure_ascii=False)}" for number, name in enumerate(label_names)]
    return "\n".join(lines) + "\n"


def _write_coco(written: list[tuple[_Image, _Written]], label_names: tuple[str, ...], place: Path) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (image, found) in enumerate(written, start=1):
        images.append({"id": number, "file_name": image.file.name, "width": found.width, "height": found.height})
        for label, (x1, y1, x2, y2) in zip(found.labels, found.boxes.tolist(), strict=True):
            sides = (round(x2 - x1, 3), round(y2 - y1, 3))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,  # COCO counts from 1
                    "bbox": [round(x1, 3), round(y1, 3), *sides],
                    "area": round(sides[0] * sides[1], 3),
                    "iscrowd": 0,
                    "segmentation": [],
                }
            )
    categories = [{"id": i, "name": name, "supercategory": "face"} for i, name in enumerate(label_names, start=1)]
    place.parent.mkdir(parents=True, exist_ok=True)
    about = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    write_plain(place, json.dumps(about, ensure_ascii=False))


Hints = Mapping[int, tuple[str, str]]
"""Row -> the suggested label and the reason of a flag; either may be ''."""


def write_review(
    dataset: Dataset, folder: Path, settings: ExportSettings, hints: Hints, progress: Progress | None
) -> None:
    """Writes the images, and each sample's label with its hint, for Label Studio or FiftyOne."""
    rows = np.array(list(hints), np.int64) if settings.flags else np.arange(len(dataset))
    part = dataset.take(rows)
    suffix = ".png" if settings.jpeg is None else ".jpg"
    names = [name + suffix for name in file_names(dataset, rows)]
    splits = split_rows(part)
    titles = folder_names([split or NO_SPLIT for split in splits])
    places: dict[int, Path] = {}
    for title, members in zip(titles, splits.values(), strict=True):
        inner = Path(title, "data") if settings.as_ == "fiftyone" else Path("images", title)
        places |= {row: inner / names[row] for row in members.tolist()}
    write_images(part, [folder / places[row] for row in range(len(part))], settings.jpeg, progress)
    kept = {row: hints[int(rows[row])] for row in range(len(part)) if int(rows[row]) in hints}
    for title, members in zip(titles, splits.values(), strict=True):
        if settings.as_ == "fiftyone":
            content: Any = _fiftyone(part, members, places, kept)
            write_plain(folder / title / "labels.json", json.dumps(content, ensure_ascii=False))
        else:
            content = [_task(part, row, places[row], kept.get(row)) for row in members.tolist()]
            write_plain(folder / f"{title}.json", json.dumps(content, ensure_ascii=False, indent=1))
    if settings.as_ == "label-studio":
        write_plain(folder / "label_config.xml", _config(dataset.label_names, review=bool(settings.flags)))


def _fiftyone(dataset: Dataset, rows: NDArray[np.intp], places: Mapping[int, Path], hints: Hints) -> dict[str, Any]:
    """labels.json of a FiftyOneImageClassificationDataset; a hint is attributes of the label."""
    labels: dict[str, Any] = {}
    for row in rows.tolist():
        number = int(dataset.labels[row])
        label: Any = number if number >= 0 else None
        if row in hints and label is not None:
            suggested, reason = hints[row]
            label = {"label": number, "attributes": {"suggested": suggested, "reason": reason}}
        labels[places[row].stem] = label
    return {"classes": list(dataset.label_names), "labels": labels}


def _task(dataset: Dataset, row: int, place: Path, hint: tuple[str, str] | None) -> dict[str, Any]:
    """A task: the label as its annotation, or, of a flagged sample, the suggestion as its prediction.

    Label Studio asks only for tasks without an annotation, so a flagged sample has none, and its label is in the
    reason. Other annotations state that they are no ground truth, which imported ones are otherwise; a reviewer's
    answer beside one would not count.
    """
    name, (suggested, reason) = dataset.label_name(row), hint or ("", "")
    reason = f"labelled {name or 'nothing'}: {reason}" if hint else ""
    data = {"image": f"/data/local-files/?d={place.as_posix()}", "source": source_text(dataset, row), "reason": reason}
    annotated = name and not hint
    return {
        "data": data,
        "annotations": [{"ground_truth": False, "result": [_choice(name)]}] if annotated else [],
        "predictions": [{"model_version": "mien data audit", "result": [_choice(suggested)]}] if suggested else [],
    }


def _choice(name: str) -> dict[str, Any]:
    return {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [name]}}


def _config(names: tuple[str, ...], *, review: bool) -> str:
    """The labelling interface, for Settings > Labeling Interface > Code; in a review, a sample can be dropped too."""
    from xml.sax.saxutils import quoteattr

    lines = [f"<Choice value={quoteattr(plain(name))}/>" for name in names]
    lines += [f'<Choice value="drop this image" alias="{DROPPED}"/>'] if review else []
    choices = "".join(f"    {line}\n" for line in lines)
    return (
        '<View>\n  <Image name="image" value="$image"/>\n  <Text name="why" value="$reason"/>\n'
        f'  <Choices name="label" toName="image" choice="single" required="true">\n{choices}  </Choices>\n</View>\n'
    )
