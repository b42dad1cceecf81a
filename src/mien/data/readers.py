"""Reads data sets into `Samples`: Hugging Face image Parquet, Kaggle's fer2013.csv, and class folders.

Splits are called train, validation and test here, whatever the source calls them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.data.samples import Samples
from mien.errors import DataError, MissingExtraError, PictureError
from mien.labels import EIGHT, FER2013, FERPLUS_VOTES, canonical, canonical_all
from mien.pictures import PICTURE_SUFFIXES, decode_picture, read_picture

SPLITS = ("train", "validation", "test")

_SPLIT_NAMES = {
    "training": "train", "train": "train",
    "publictest": "validation", "public": "validation", "validation": "validation", "valid": "validation",
    "val": "validation", "dev": "validation",
    "privatetest": "test", "private": "test", "test": "test", "testing": "test",
}  # fmt: skip


def read_dataset(
    path: Path, *, size: int, channels: int, splits: Sequence[str] = SPLITS, warn: Callable[[str], None] = print
) -> dict[str, Samples]:
    """The wanted splits of a data set, those that it has.

    path: a Parquet file or a folder of them, a `fer2013.csv`, or a folder with a folder per split and class.
    size, channels: what the faces are resized and converted to. Files that can't be read are left out and told to
    `warn`, one line each. Raises DataError where nothing can be used, MissingExtraError for Parquet without pyarrow.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such data set; expected a Parquet file, a fer2013.csv, or a folder")
    parquet = [path] if path.suffix == ".parquet" else sorted(path.glob("*.parquet")) if path.is_dir() else []
    if parquet:
        found = _read_parquet(parquet, size, channels, splits)
    elif path.suffix.lower() == ".csv":
        found = _read_fer2013_csv(path, size, channels, splits)
    elif path.is_dir():
        found = _read_folders(path, size, channels, splits, warn)
    else:
        raise DataError(f"{path}: not a data set; expected a Parquet file, a fer2013.csv, or a folder")
    return {s: found[s] for s in splits if s in found}


def require_split(dataset: dict[str, Samples], split: str, path: Path) -> Samples:
    """One split of a data set. Raises DataError that says which splits there are."""
    if split not in dataset:
        has = f"it has {', '.join(dataset)}" if dataset else "it has none of train, validation, test"
        raise DataError(f"{path}: no split '{split}'; {has}")
    return dataset[split]


# Parquet, as Hugging Face `datasets` writes image classification sets


def _read_parquet(paths: list[Path], size: int, channels: int, splits: Sequence[str]) -> dict[str, Samples]:
    try:
        import pyarrow
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("data", f"reading {paths[0].name}") from error
    parts: dict[str, list[Samples]] = {}
    for path in paths:
        try:
            table = pq.read_table(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path}: can't read it as Parquet: {error}") from error
        for column in ("image", "label"):
            if column not in table.column_names:
                raise DataError(f"{path}: no column '{column}'; it has {', '.join(table.column_names)}")
        usage = _parquet_usage(table, path)
        names = _parquet_names(table, path)
        for split in splits:
            chosen = np.flatnonzero(usage == split)
            if len(chosen):
                samples = _parquet_samples(table.take(chosen), names, path, size, channels)
                parts.setdefault(split, []).append(samples)
    return {split: _join(same) for split, same in parts.items()}


def _parquet_usage(table: Any, path: Path) -> NDArray[np.str_]:
    """Each row's split: from a column `usage` or `split`, else from the file's name, as `train-00000-of-00001`."""
    for column in ("usage", "Usage", "split"):
        if column in table.column_names:
            names = [str(v) for v in table.column(column).to_pylist()]
            return np.array([_SPLIT_NAMES.get(n.lower(), n) for n in names])
    for word in path.stem.lower().replace("_", "-").split("-"):
        if word in _SPLIT_NAMES:
            return np.full(table.num_rows, _SPLIT_NAMES[word])
    raise DataError(f"{path}: can't tell its split; name it train-*, validation-*, test-*, or add a column 'usage'")


def _parquet_samples(table: Any, names: tuple[str, ...], path: Path, size: int, channels: int) -> Samples:
    images = np.empty((table.num_rows, size, size, channels), np.uint8)
    rows = table.column("row").to_pylist() if "row" in table.column_names else range(table.num_rows)
    sources = tuple(f"{path.name}:{r}" for r in rows)
    for i, cell in enumerate(table.column("image").to_pylist()):
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(data, bytes):
            raise DataError(f"{sources[i]}: the image holds no bytes; expected a struct with 'bytes'")
        try:
            images[i] = fit_face(decode_picture(data, sources[i], grey=channels == 1), size, channels)
        except PictureError as error:
            raise DataError(str(error)) from error
    votes = None
    if "ferplus_votes" in table.column_names:
        votes = ferplus_to_eight(_parquet_votes(table.column("ferplus_votes").to_pylist(), path))
    return Samples(images, np.array(table.column("label").to_pylist(), np.int64), names, sources, votes)


def _parquet_votes(rows: list[Any], path: Path) -> NDArray[np.float32]:
    """FER+'s votes (N, 10)."""
    expected = f"expected {len(FERPLUS_VOTES)} counts of 0 or more in each row"
    try:
        votes = np.array(rows, np.float32)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path}: ferplus_votes has rows of unequal length, or that hold no numbers; {expected}"
        ) from error
    if votes.ndim != 2 or votes.shape[1] != len(FERPLUS_VOTES) or not (votes >= 0).all():  # NaN is not >= 0
        raise DataError(f"{path}: ferplus_votes can't be read as votes; {expected}")
    return votes


def _parquet_names(table: Any, path: Path) -> tuple[str, ...]:
    """The labels' names: from the metadata that `datasets` writes, else FER2013's or FER+'s order."""
    import pyarrow

    column = table.column("label")
    if not pyarrow.types.is_integer(column.type) or column.null_count:
        raise DataError(f"{path}: 'label' is {column.type} with {column.null_count} empty rows; expected whole numbers")
    labels = np.array(column.to_pylist(), np.int64)
    features = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    written = features.get("info", {}).get("features", {}).get("label", {}).get("names")
    names = canonical_all(written, str(path)) if written else (FER2013 if labels.max(initial=0) < 7 else EIGHT)
    _checked(labels, names, str(path))
    return names


def ferplus_to_eight(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """FER+'s ten vote columns (N, 10) -> votes for the eight expressions (N, 8) in the order of `labels.EIGHT`."""
    votes = np.zeros((len(raw), len(EIGHT)), np.float32)
    for column, name in enumerate(FERPLUS_VOTES):
        if name is not None:
            votes[:, EIGHT.index(name)] = raw[:, column]
    return votes


# fer2013.csv


def _read_fer2013_csv(path: Path, size: int, channels: int, splits: Sequence[str]) -> dict[str, Samples]:
    rows: dict[str, list[tuple[int, NDArray[np.uint8], str]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # Excel puts a mark in front
            reader = csv.reader(file)
            header = [h.strip().lower() for h in next(reader, [])]
            for column in ("emotion", "pixels", "usage"):
                if column not in header:
                    raise DataError(f"{path}: no column '{column}' in its header; expected emotion, pixels, Usage")
            at = {name: header.index(name) for name in header}
            for row in reader:
                if not row:  # a blank line, often the last one
                    continue
                where = f"{path}:{reader.line_num}"
                if len(row) < len(header):
                    raise DataError(f"{where}: {len(row)} columns; expected {len(header)}")
                split = _SPLIT_NAMES.get(row[at["usage"]].strip().lower())
                if split is None or split not in splits:
                    continue
                try:
                    pixels = np.array(row[at["pixels"]].split(), np.uint8)
                    label = int(row[at["emotion"]])
                except (ValueError, OverflowError) as error:
                    raise DataError(f"{where}: {error}; expected a label number and pixels of 0 to 255") from error
                side = int(len(pixels) ** 0.5)
                if side == 0 or side * side != len(pixels):
                    raise DataError(f"{where}: {len(pixels)} pixels, which is no square; expected 2304 (48 x 48)")
                rows.setdefault(split, []).append((label, pixels.reshape(side, side), where))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error}") from error
    except (csv.Error, OSError) as error:
        raise DataError(f"{path}: can't read it as CSV: {error}") from error
    result = {}
    for split, items in rows.items():
        images = np.stack([fit_face(p[..., None], size, channels) for _, p, _ in items])
        labels = np.array([label for label, _, _ in items], np.int64)
        result[split] = Samples(images, _checked(labels, FER2013, str(path)), FER2013, tuple(s for _, _, s in items))
    return result


# Class folders


def _read_folders(
    root: Path, size: int, channels: int, splits: Sequence[str], warn: Callable[[str], None]
) -> dict[str, Samples]:
    split_folders = _split_folders(root)
    spelled = sorted({c.name for f in split_folders.values() for c in _folders(f)})
    if not spelled:
        folder = next(iter(split_folders.values()))
        raise DataError(f"{folder}: no class folders in it; expected one per expression, for example {folder}/happy")
    for folder in split_folders.values():
        canonical_all([c.name for c in _folders(folder)], str(folder))
    names = ordered({canonical(s) for s in spelled})
    result = {}
    for split, folder in split_folders.items():
        if split not in splits:
            continue
        images, labels, sources = [], [], []
        for class_folder in _folders(folder):
            label = names.index(canonical(class_folder.name))
            files = [p for p in sorted(class_folder.rglob("*")) if p.suffix.lower() in PICTURE_SUFFIXES]
            if not files:
                raise DataError(f"{class_folder}: no images in it; remove the folder or fill it")
            for file in files:
                try:
                    images.append(fit_face(read_picture(file, grey=channels == 1), size, channels))
                except PictureError as error:
                    warn(f"left out: {error}")
                    continue
                labels.append(label)
                sources.append(str(file))
        if not images:
            raise DataError(f"{folder}: none of its images can be read")
        result[split] = Samples(np.stack(images), np.array(labels, np.int64), names, tuple(sources))
    return result


def _split_folders(root: Path) -> dict[str, Path]:
    split_folders: dict[str, Path] = {}
    for folder in _folders(root):
        split_name = _SPLIT_NAMES.get(folder.name.lower())
        if split_name in split_folders:
            raise DataError(
                f"{root}: '{split_folders[split_name].name}' and '{folder.name}' are both {split_name}; keep one"
            )
        if split_name:
            split_folders[split_name] = folder
    if not split_folders:
        raise DataError(f"{root}: no folders train, validation or test in it (each with a folder per expression)")
    return split_folders


def _folders(parent: Path) -> list[Path]:
    """The folders in a folder, without what tools leave behind (.ipynb_checkpoints, __MACOSX)."""
    return sorted(f for f in parent.iterdir() if f.is_dir() and not f.name.startswith((".", "__")))


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Label names in mien's order (that of `labels.EIGHT`), unknown ones behind, by alphabet."""
    return tuple(sorted(names, key=lambda n: (EIGHT.index(n) if n in EIGHT else len(EIGHT), n)))


def fit_face(picture: NDArray[np.uint8], size: int, channels: int) -> NDArray[np.uint8]:
    """A face picture (H, W, 1 or 3) as (size, size, channels): resized by area when it shrinks, RGB -> grey by luma."""
    if picture.shape[2] == 3 and channels == 1:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].astype(np.uint8, copy=False)
    elif picture.shape[2] == 1 and channels == 3:
        picture = np.repeat(picture, 3, axis=2)
    if picture.shape[:2] != (size, size):
        shrinks = picture.shape[0] >= size and picture.shape[1] >= size
        resized = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        return resized.reshape(size, size, channels).astype(np.uint8, copy=False)
    return picture


def _checked(labels: NDArray[np.int64], names: Sequence[str], source: str) -> NDArray[np.int64]:
    wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(wrong):
        raise DataError(f"{source}: label {labels[wrong[0]]} in row {wrong[0]}; expected 0 to {len(names) - 1}")
    return labels


def _join(parts: list[Samples]) -> Samples:
    first = parts[0]
    if len(parts) == 1:
        return first
    if any(p.label_names != first.label_names for p in parts):
        raise DataError("the Parquet files name different labels; read them one by one")
    votes = [p.votes for p in parts if p.votes is not None]
    return Samples(
        np.concatenate([p.images for p in parts]),
        np.concatenate([p.labels for p in parts]),
        first.label_names,
        tuple(s for p in parts for s in p.sources),
        np.concatenate(votes) if len(votes) == len(parts) else None,
    )
