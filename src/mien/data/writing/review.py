"""Exports for tools in which people look at labels: Label Studio and FiftyOne; `mien data relabel` reads them back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import Dataset
from mien.data.flags import source_text
from mien.data.settings import ExportSettings
from mien.data.writing.files import NO_SPLIT, file_names, folder_names, split_rows, write_images, write_plain
from mien.pages import plain
from mien.reporting import Progress

Hints = Mapping[int, tuple[str, str]]
"""Row -> the suggested label and the reason of a flag; either may be ''."""


def write_review(
    dataset: Dataset, folder: Path, settings: ExportSettings, hints: Hints, progress: Progress | None
) -> None:
    """Writes the images, and each sample's label with its hint, for Label Studio or FiftyOne."""
    rows = np.array(sorted(hints), np.int64) if settings.flags else np.arange(len(dataset))
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
            content = [_task(part, row, places[row], kept.get(row, ("", ""))) for row in members.tolist()]
            write_plain(folder / f"{title}.json", json.dumps(content, ensure_ascii=False, indent=1))
    if settings.as_ == "label-studio":
        write_plain(folder / "label_config.xml", _config(dataset.label_names))


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


def _task(dataset: Dataset, row: int, place: Path, hint: tuple[str, str]) -> dict[str, Any]:
    """A task whose annotation is the label, and whose prediction is the suggestion."""
    suggested, reason = hint
    data = {"image": f"/data/local-files/?d={place.as_posix()}", "source": source_text(dataset, row), "reason": reason}
    name = dataset.label_name(row)
    return {
        "data": data,
        "annotations": [{"result": [_choice(name)]}] if name else [],
        "predictions": [{"model_version": "mien data audit", "result": [_choice(suggested)]}] if suggested else [],
    }


def _choice(name: str) -> dict[str, Any]:
    return {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [name]}}


def _config(names: tuple[str, ...]) -> str:
    """The labelling interface, for Settings > Labeling Interface > Code."""
    from xml.sax.saxutils import quoteattr

    choices = "".join(f"    <Choice value={quoteattr(plain(name))}/>\n" for name in names)
    return (
        '<View>\n  <Image name="image" value="$image"/>\n  <Text name="why" value="$reason"/>\n'
        f'  <Choices name="label" toName="image" choice="single" required="true">\n{choices}  </Choices>\n</View>\n'
    )
