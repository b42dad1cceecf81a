"""Describes a data set in figures: counts, sizes, columns, problems, and its history."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mien.data.arrays import is_arrays, open_arrays, read_problems
from mien.data.dataset import Dataset, collect
from mien.data.source import Problem, Step
from mien.reporting import Progress

_ALWAYS = ("source", "split", "label")


@dataclass(frozen=True, slots=True)
class ImageSize:
    """How many images have one size, in pixels."""

    height: int
    width: int
    channels: int
    samples: int


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """How many samples of one split ('' for none) each label has, in the order of the label names, and without one."""

    split: str
    labels: tuple[int, ...]
    unlabelled: int

    @property
    def samples(self) -> int:
        """All of the split."""
        return sum(self.labels) + self.unlabelled

    def counts(self, label_names: tuple[str, ...]) -> dict[str, int]:
        """label -> samples; '' for those without one, where there are any."""
        named = dict(zip(label_names, self.labels, strict=True))
        return {**named, "": self.unlabelled} if self.unlabelled else named


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What a data set holds.

    kind: its layout. sizes: the most frequent first. voted: how many samples raters voted on, None where there are no
    votes. columns: name and type of those beyond source, split, label and votes. problems: records that could not be
    used when it was made or, where it is no folder of arrays, now. disk_bytes: of all its files.
    """

    name: str
    kind: str
    samples: int
    label_names: tuple[str, ...]
    splits: tuple[SplitCounts, ...]
    sizes: tuple[ImageSize, ...]
    voted: int | None
    columns: tuple[tuple[str, str], ...]
    problems: tuple[Problem, ...]
    steps: tuple[Step, ...]
    disk_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON can have it."""
        return asdict(self)


def describe(data: Dataset | str | Path, *, progress: Progress | None = None) -> DatasetInfo:
    """The content of a data set, or of that at a path.

    Arrays are read from their manifest; of other layouts every image is read.
    Raises DataError where there is no data set that mien reads.
    """
    if isinstance(data, Dataset):
        return describe_dataset(data, kind="an open data set")
    path = Path(data)
    if is_arrays(path):
        return describe_dataset(open_arrays(path), kind="arrays", problems=read_problems(path), disk_bytes=_bytes(path))
    from mien.data.readers import open_source

    source = open_source(path)
    problems: list[Problem] = []
    dataset = collect(source, problem=problems.append, name=str(path), progress=progress)
    return describe_dataset(dataset, kind=source.kind, problems=tuple(problems), disk_bytes=_bytes(path))


def describe_dataset(
    dataset: Dataset, *, kind: str, problems: tuple[Problem, ...] = (), disk_bytes: int = 0
) -> DatasetInfo:
    """What an open data set holds."""
    counts = tuple(
        SplitCounts(split, tuple(of.get(name, 0) for name in dataset.label_names), of.get("", 0))
        for split, of in dataset.counts().items()
    )
    sizes = Counter((h, w, c) for h, w, c in dataset.shapes.tolist())
    others = [n for n in dataset.columns if n not in (*_ALWAYS, "votes")]
    return DatasetInfo(
        dataset.name,
        kind,
        len(dataset),
        dataset.label_names,
        counts,
        tuple(ImageSize(h, w, c, samples) for (h, w, c), samples in sizes.most_common()),
        None if dataset.votes is None else int(np.count_nonzero(dataset.votes.sum(1) > 0)),
        tuple((name, _type(dataset.columns[name])) for name in others),
        problems,
        dataset.steps,
        disk_bytes,
    )


def _type(values: np.ndarray[Any, Any]) -> str:
    name = "text" if values.dtype.kind in "OU" else str(values.dtype)
    return name if values.ndim == 1 else f"{name} x {' x '.join(map(str, values.shape[1:]))}"


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            total += (Path(folder) / name).lstat().st_size
    return total
