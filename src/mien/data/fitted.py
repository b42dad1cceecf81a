"""Data sets as training and evaluation read them: some splits, fitted to a network, with a validation split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mien.data.dataset import Dataset, collect
from mien.data.readers import open_source
from mien.data.samples import Samples
from mien.data.settings import SplitSettings
from mien.data.source import SPLITS, Fitted
from mien.data.splits import DEFAULT_SHARE, divide
from mien.errors import DataError
from mien.reporting import log_warning


def read_dataset(path: Path, *, size: int, channels: int, splits: Sequence[str] = SPLITS) -> dict[str, Samples]:
    """The wanted splits of a data set, those that it has, as training and evaluation take them.

    size, channels: what the faces are resized and converted to. The images are in a temporary file or are views of the
    arrays, not to be written to. Otherwise as `open_fitted`; also raises DataError where a sample has no label.
    """
    dataset = open_fitted(path, size=size, channels=channels, splits=splits)
    found = set() if dataset is None else set(dataset.splits.tolist())
    return {s: dataset.samples(s, size=size, channels=channels) for s in splits if dataset and s in found}


def open_fitted(path: Path, *, size: int, channels: int, splits: Sequence[str]) -> Dataset | None:
    """A data set for training: some splits, with images that are not larger than needed. None where it has none.

    Arrays of mien are opened in place; other layouts are read once, resized, into a temporary file. If validation is
    wanted and missing, it is split off as in `with_validation`. How labels were read is logged, where that is not
    obvious. Otherwise as `open_dataset`.
    """
    wanted = tuple(splits)
    while True:
        opened = open_source(path, splits=wanted)
        if isinstance(opened.source, Dataset):
            dataset: Dataset | None = opened.source
        else:
            fitted = Fitted(opened, size, channels)
            empty = opened.source.total == 0
            dataset = None if empty else collect(fitted, name=str(path))
        cut = "validation" in splits and (dataset is None or "validation" not in dataset.splits)
        if not cut or "" in wanted:
            break
        wanted = (*{*splits, "train"}, "")  # what validation can be split off
    labels = opened.reading.labels
    for line in labels.said:
        if labels.assumed:
            log_warning(f"{path}: labels read as {line}")
        elif not labels.numbers:  # names: those that were translated, and those that are no expressions
            log_warning(f"{path}: labels: {line}")
    return with_validation(dataset) if dataset and cut else dataset


def with_validation(dataset: Dataset) -> Dataset:
    """The data set with a validation split: its own, or a tenth of train and of the samples without a split.

    The same faces each time: training, comparison and calibration of one data set agree on them. A line is
    logged where validation was split off.
    """
    source = np.isin(dataset.splits.astype(str), ("train", ""))
    if "validation" in dataset.splits or not source.any():
        return dataset
    divided = divide(dataset, SplitSettings(validation=DEFAULT_SHARE)).dataset
    count = int((divided.splits == "validation").sum())
    if not count:
        return dataset
    log_warning(
        f"{dataset.name}: has no split 'validation': {count:,} of {int(source.sum()):,} training faces are held out "
        f"for it ({100 * DEFAULT_SHARE:.0f} % of each class, seed 0); choose them yourself with  mien data split"
    )
    return divided


def require_split(dataset: dict[str, Samples], split: str, path: Path) -> Samples:
    """One split of a data set. Raises DataError, which lists the splits that exist."""
    if split not in dataset:
        has = f"it has {', '.join(dataset)}" if dataset else "it has none of train, validation, test"
        raise DataError(f"{path}: no split '{split}'; {has}; make splits with  mien data split")
    return dataset[split]
