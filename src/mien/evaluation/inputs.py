"""Reads what an evaluation needs of a data set: one split, the columns to group it by, and the training faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.arrays import is_arrays
from mien.data.dataset import Dataset, Fitted, collect
from mien.data.readers import open_dataset, open_source
from mien.data.samples import Samples
from mien.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """The samples to measure; columns (N,) as long as they; the training faces, None where not wanted or not there."""

    samples: Samples
    columns: dict[str, NDArray[np.generic]]
    train: NDArray[np.uint8] | None


def read_inputs(
    data: Path,
    split: str,
    *,
    size: int,
    channels: int,
    groups: Sequence[str] = (),
    train: bool = False,
    warn: Callable[[str], None] = print,
) -> Inputs:
    """Reads one split with the faces fitted to size and channels, and with `train` the training split's faces, too.

    groups: columns of the data set. warn: is told each record that could not be used. The training faces need no
    labels. Raises DataError where the split or a column is missing, or a sample of the split has no label.
    """
    wanted = (split, "train") if train and split != "train" else (split,)
    dataset = _open(Path(data), wanted, size, channels, warn)
    found = set() if dataset is None else set(dataset.splits.tolist())
    if dataset is None or split not in found:
        has = "it has train" if "train" in found else "its others were not read"
        raise DataError(f"{data}: no split '{split}'; {has}; make splits with  mien data split")
    for name in groups:
        if name not in dataset.columns:
            raise DataError(f"{data}: no column '{name}' to group by; it has {', '.join(dataset.columns)}")
    rows, others = (np.flatnonzero(dataset.splits == name) for name in (split, "train"))
    return Inputs(
        dataset.samples(split, size=size, channels=channels),
        {name: dataset.columns[name][rows] for name in groups},
        dataset.faces(others, size=size, channels=channels) if len(wanted) == 2 and len(others) else None,
    )


def _open(data: Path, splits: Sequence[str], size: int, channels: int, warn: Callable[[str], None]) -> Dataset | None:
    """The data set's samples of these splits; None where it has none."""
    if data.is_dir() and is_arrays(data):
        return open_dataset(data, splits=splits, warn=warn)
    source = open_source(data, splits=splits)
    if source.total == 0:
        return None
    fitted = Fitted(source, size, channels)  # large pictures are not kept as they are
    return collect(fitted, problem=lambda p: warn(f"left out: {p.source}: {p.reason}"), name=str(data))
