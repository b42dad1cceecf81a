"""Opens CSV of either kind: fer2013.csv with its pixels, or a list of picture files with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mien.data.reading.csv_rows import dict_rows, header_of
from mien.data.reading.fer2013 import Fer2013, open_fer2013
from mien.data.reading.layouts import affectnet_label
from mien.data.reading.trees import PictureFiles, Record, Tree, column_name, leads_out, ordered, split_named
from mien.errors import DataError
from mien.labels import EIGHT, FER2013, canonical

_PATHS = ("image", "path", "file", "filename", "file_name", "filepath", "image_path", "img", "subdirectory_filepath")
_LABELS = ("label", "emotion", "expression", "class")
_USAGES = ("split", "usage", "set")
_LEFT_OUT = {"facial_landmarks"}
_PICTURE_FOLDERS = (
    "", "images/", "Images/", "Manually_Annotated_Images/", "Manually_Annotated/Manually_Annotated_Images/",
)  # fmt: skip


def open_csv(
    tree: Tree, name: str, *, splits: Sequence[str] | None, ferplus: tuple[Tree, str] | None
) -> Fer2013 | PictureFiles:
    """Either kind of CSV as a source: with `pixels` in a column, or with paths of picture files.

    Raises DataError where it is neither.
    """
    header = header_of(tree, name)
    if "pixels" in header or name.rpartition("/")[2] in ("fer2013.csv", "icml_face_data.csv"):
        return open_fer2013(tree, name, splits=splits, ferplus=ferplus)
    if ferplus:
        raise DataError(f"{tree.where(name)}: has no pixels; votes of FER+ belong to the rows of fer2013.csv")
    if not is_picture_list(header):
        raise DataError(
            f"{tree.where(name)}: its columns are {', '.join(header) or 'none'}; expected those of fer2013.csv "
            f"(emotion, pixels, Usage), or one of {', '.join(_PATHS[:4])} and one of {', '.join(_LABELS)}"
        )
    return open_picture_list(tree, [name])


def is_picture_list(header: Sequence[str]) -> bool:
    """Whether a CSV of these columns lists picture files with labels."""
    return bool(set(header) & set(_PATHS) and set(header) & set(_LABELS))


@dataclass(frozen=True, slots=True)
class _ListColumns:
    """Which columns of a list of picture files hold what; usage '' where there is none."""

    path: str
    label: str
    usage: str
    others: tuple[str, ...]
    affectnet: bool


def open_picture_list(tree: Tree, names: Sequence[str]) -> PictureFiles:
    """CSVs with a column of paths, one of labels, and maybe one of splits, as one source.

    Paths are relative to the CSV, or to the folder `images` beside it. Labels are names in any spelling, or numbers in
    the order of `labels.EIGHT`. AffectNet's training.csv and validation.csv are read with its own numbers. Further
    columns are kept as text. Raises DataError.
    """
    header = header_of(tree, names[0])
    path, label, usage = (next((c for c in header if c in known), "") for known in (_PATHS, _LABELS, _USAGES))
    others = tuple(c for c in header if c and c not in {path, label, usage, *_LEFT_OUT})
    columns = _ListColumns(path, label, usage, others, path == "subdirectory_filepath")
    records: list[Record] = []
    spelled: list[str] = []
    for name in names:
        folder = name[: name.rfind("/") + 1]
        base: str | None = None  # found with the first picture that is there
        for number, row in dict_rows(tree, name, header):
            if base is None:
                base = next((b for b in _PICTURE_FOLDERS if row[path] and tree.has(folder + b + row[path])), None)
            records.append(_listed(row, columns, name[len(folder) :], number, folder + (base or "")))
            spelled.append(row[label])
    kept = {column_name(c): np.float32 if columns.affectnet and c in ("valence", "arousal") else object for c in others}
    stamp = " ".join(tree.stamp(name) for name in names)
    if columns.affectnet:
        records = [_of_affectnet(r, text) for r, text in zip(records, spelled, strict=True)]
        return PictureFiles(tree, records, EIGHT, "AffectNet CSV", kept, stamp=stamp)
    label_names, indices = _indices(spelled)
    records = [replace(r, label=i) for r, i in zip(records, indices, strict=True)]
    return PictureFiles(tree, records, label_names, "CSV of picture files", kept, stamp=stamp)


def _listed(row: dict[str, str], columns: _ListColumns, file: str, number: int, folder: str) -> Record:
    """One row as a record, without its label; `folder` is what its path is relative to."""
    path = row[columns.path].replace("\\", "/").removeprefix("./")
    usage = row[columns.usage] if columns.usage else file.partition(".")[0] if columns.affectnet else ""
    split = split_named(usage) if usage else ""
    wrong = ""
    if not path:
        wrong = "no path of a picture"
    elif leads_out(path):
        wrong = f"the path '{path}' leaves the folder of {file}"
    elif split is None:
        wrong = f"'{usage}' is no split; expected train, validation or test"
    values = (_value(row[c], columns) if c in ("valence", "arousal") else row[c] for c in columns.others)
    return Record(f"{file}:{number}" if wrong else folder + path, split or "", extra=tuple(values), wrong=wrong)


def _value(text: str, columns: _ListColumns) -> str | float:
    """AffectNet's valence or arousal as a number, -2 (none) as NaN; another list's as it is."""
    if not columns.affectnet:
        return text
    try:
        value = float(text)
    except ValueError:
        return float("nan")
    return value if -1 <= value <= 1 else float("nan")


def _of_affectnet(record: Record, text: str) -> Record:
    label = affectnet_label(int(text)) if text.isdigit() and len(text) < 9 else -1
    if label < 0 and not record.wrong:
        return replace(record, wrong=f"no expression: its label is '{text}'")
    return replace(record, label=label)


def _indices(spelled: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """Label names, and each row's index into them; -1 where it has no label."""
    found = {text for text in spelled if text}
    if found and all(text.isdigit() and len(text) < 9 and int(text) < len(EIGHT) for text in found):
        names = FER2013 if max(map(int, found)) < len(FER2013) else EIGHT
        return names, [int(text) if text else -1 for text in spelled]
    names = ordered({canonical(text) for text in found})
    place = {text: names.index(canonical(text)) for text in found}
    return names, [place.get(text, -1) for text in spelled]
