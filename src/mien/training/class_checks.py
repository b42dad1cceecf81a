"""Checks that the classes can be trained and measured: fewer than two are an error, other gaps a warning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError
from mien.training.targets import HeadTargets

FEW = 10
"""With fewer training faces of a class, its recall is mostly chance."""


def require_two_classes(labels: NDArray[np.int64], names: Sequence[str], data: str) -> None:
    """Raises DataError unless training faces with these labels, int64 (N,), show two or more classes; -1 is none."""
    present = np.unique(labels[labels >= 0])
    if len(present) >= 2:
        return
    count = int((labels >= 0).sum())
    seen = f"all {count} faces to train on are {names[present[0]]}" if len(present) else "no face to train on has one"
    raise DataError(f"{data}: two or more expressions are needed; {seen}")


def check_classes(train: Sequence[HeadTargets], validation: Sequence[HeadTargets], data: str) -> list[str]:
    """Warnings about each head's classes, one line per kind of problem.

    Raises DataError if a head has fewer than two classes.
    """
    lines: list[str] = []
    for own, held in zip(train, validation, strict=True):
        require_two_classes(own.truth, own.labels, data)
        by = " by the votes" if own.head == "votes" else ""
        lines += _class_lines(_counts(own), _counts(held), by)
    return lines


def _counts(targets: HeadTargets) -> dict[str, int]:
    found = np.bincount(targets.truth[targets.truth >= 0], minlength=len(targets.labels))
    return dict(zip(targets.labels, found.tolist(), strict=True))


def _class_lines(train: Mapping[str, int], validation: Mapping[str, int], by: str) -> list[str]:
    nowhere = [name for name, count in train.items() if not count and not validation[name]]
    untrained = {name: validation[name] for name, count in train.items() if not count and validation[name]}
    unseen = {name: count for name, count in train.items() if count and not validation[name]}
    few = {name: count for name, count in train.items() if 0 < count < FEW}
    lines = []
    if nowhere:
        lines.append(f"no face of {_quoted(nowhere)} in train or validation{by}: the model can't learn {_it(nowhere)}")
    if untrained:
        lines.append(
            f"no face of {_quoted(untrained)} in train{by}: the model can't learn {_it(untrained)}; in validation "
            f"count as wrong: {_counted(untrained)}"
        )
    if unseen:
        lines.append(
            f"no face of {_quoted(unseen)} in validation{by}: nothing tells how well the model recognises "
            f"{_it(unseen)}; to train on: {_counted(unseen)}"
        )
    if few:
        lines.append(f"few faces in train{by}: {_counted(few)}; with fewer than {FEW} a class is hardly learned")
    return lines


def _quoted(names: Sequence[str] | Mapping[str, int]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _it(names: Sequence[str] | Mapping[str, int]) -> str:
    return "it" if len(names) == 1 else "them"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
