"""Reads what an evaluation needs of a data set: one split, the columns to group it by, and the training faces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.arrays import is_arrays
from mien.data.dataset import Dataset, collect
from mien.data.fitted import open_fitted, with_validation
from mien.data.readers import open_dataset, open_source
from mien.data.samples import ALL, Samples
from mien.data.source import Fitted
from mien.errors import DataError
from mien.reporting import log_warning


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """The N samples to measure, the columns (N,) to group by, and the training faces.

    split: where the samples are from: a split, or `all`. train: uint8 (M, H, W, C); None if they were not wanted, or
    the data have none.
    """

    split: str
    samples: Samples
    columns: dict[str, NDArray[np.generic]]
    train: NDArray[np.uint8] | None


def data_name(data: str | Path | Dataset) -> str:
    """The name of a data set in reports and messages: its path, or the name of an opened one."""
    return data.name if isinstance(data, Dataset) else str(data)


def read_inputs(
    data: str | Path | Dataset,
    split: str | None,
    *,
    size: int,
    channels: int,
    groups: Sequence[str] = (),
    train: bool = False,
) -> Inputs:
    """Reads one split, with the faces resized and converted to size and channels.

    data: a path, or an opened data set. split: `all` takes all faces; None the first that the data have of test and
    validation, or all faces of data without splits. groups: columns of the data set. train: also reads the faces of the
    training split, which need no labels. Records that could not be used are
    logged. Raises DataError if the split or a column is missing, or a sample of the split has no label.
    """
    train = train and split not in ("train", ALL)
    name = data_name(data)
    dataset, split = _chosen(data, split, train, size, channels)
    for column in groups:
        if column not in dataset.columns:
            raise DataError(f"{name}: no column '{column}' to group by; it has {', '.join(dataset.columns)}")
    others = np.flatnonzero(dataset.splits == "train")
    measured = dataset if split == ALL else dataset[split]
    return Inputs(
        split,
        dataset.samples(split, size=size, channels=channels),
        {column: measured.columns[column] for column in groups},
        dataset.faces(others, size=size, channels=channels) if train and split != ALL and len(others) else None,
    )


def exact_copies(images: NDArray[np.uint8], train: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which faces uint8 (N, S, S, C) equal one of the training faces (M, S, S, C) pixel by pixel. Bool (N,)."""
    if images.shape[1:] != train.shape[1:]:
        raise ValueError(f"faces {images.shape[1:]} and training faces {train.shape[1:]}; expected the same size")
    seen = {_digest(face) for face in train}
    return np.array([_digest(face) in seen for face in images], bool)


def _digest(face: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(face).data, digest_size=16).digest()


def _chosen(
    data: str | Path | Dataset, split: str | None, train: bool, size: int, channels: int
) -> tuple[Dataset, str]:
    """The data with the wanted split, and its name. Raises DataError if they have none."""
    if split == "validation":
        dataset = _with_validation(data, train, size, channels)
        if dataset is not None and split in dataset.splits:
            return dataset, split
    dataset, found = None, set[str]()
    for wanted in (split,) if split else ("test", "validation", ALL):
        read = None if wanted == ALL else (wanted, "train") if train else (wanted,)
        dataset = _open(data, read, size, channels)
        found = set() if dataset is None else set(dataset.splits.tolist())
        if dataset is not None and (wanted in found or (wanted == ALL and (split == ALL or found == {""}))):
            if split is None and wanted == ALL:
                log_warning(
                    f"{data_name(data)}: the data have no splits: all their faces are measured; those that training "
                    "holds out of such data are  --split validation"
                )
            return dataset, wanted
    has = ", ".join(sorted(found - {""})) or ("no splits" if split in (None, ALL) else "others were not read")
    missing = f"no split '{split}'" if split else "neither 'test' nor 'validation'"
    raise DataError(
        f"{data_name(data)}: {missing} (found: {has}); measure all faces with  --split all,  or make splits with  "
        "mien data split"
    )


def _with_validation(data: str | Path | Dataset, train: bool, size: int, channels: int) -> Dataset | None:
    """The data with the validation split that training uses, which may have been split off; None without samples."""
    if isinstance(data, Dataset):
        return with_validation(data)
    splits = ("validation", "train") if train else ("validation",)
    return open_fitted(Path(data), size=size, channels=channels, splits=splits)


def _open(data: str | Path | Dataset, splits: Sequence[str] | None, size: int, channels: int) -> Dataset | None:
    """The samples of these splits, or of all; None if there are none."""
    if isinstance(data, Dataset):
        return data
    data = Path(data)
    if data.is_dir() and is_arrays(data):
        return open_dataset(data, splits=splits)
    source = open_source(data, splits=splits)
    if source.total == 0:
        return None
    fitted = Fitted(source, size, channels)  # large images are resized as they are read
    return collect(fitted, name=str(data))
