"""Key figures for each group of faces, and whether gaps between the groups are more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError
from mien.evaluation import metrics
from mien.intervals import wilson_interval

MOST_GROUPS = 50
SMALL = 30
"""Groups of fewer faces are marked: their intervals are wide, and the z test is rough."""

NONE = "(none)"
"""The group of the faces that have no value."""


@dataclass(frozen=True, slots=True)
class Group:
    """One group's figures with 95 % intervals, and how it differs from all other faces.

    small: fewer than 30 faces. gap_to_rest: its accuracy less that of the other faces. p_value: of a two-sided
    two-proportion z test of that gap; p_holm: adjusted for testing every group (Holm 1979). None where there is nothing
    to compare with.
    """

    value: str
    n: int
    small: bool
    accuracy: float
    accuracy_95: tuple[float, float]
    balanced_accuracy: float
    balanced_accuracy_95: tuple[float, float]
    macro_f1: float
    macro_f1_95: tuple[float, float]
    gap_to_rest: float | None
    p_value: float | None
    p_holm: float | None


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """The groups of one column, largest first. p_value: the chance of gaps at least as large if none were real, by a
    permutation test of chi-squared over right and wrong; None for one group, or where all or none are right.
    """

    column: str
    p_value: float | None
    permutations: int
    seed: int
    groups: tuple[Group, ...]


def compare_groups(
    columns: Mapping[str, NDArray[Any]], truth: NDArray[np.int64], called: NDArray[np.int64], classes: int
) -> tuple[GroupComparison, ...]:
    """Compares the groups that each column (N,) makes of the samples; truth, called: class indices (N,), called -1 for
    no answer.

    Groups may differ in their expressions, so a gap in accuracy can come from harder expressions alone: compare the
    balanced accuracy too. Raises DataError for a column that does not group: of another length, of several numbers per
    sample, or of more than 50 values.
    """
    return tuple(_compare(name, values, truth, called, classes) for name, values in columns.items())


def gap_test(
    right: NDArray[np.int64], n: NDArray[np.int64], *, permutations: int = 10_000, seed: int = 0
) -> float | None:
    """The p-value of Pearson's chi-squared over right/wrong x group (G,), from permuting right and wrong among samples.

    How many right ones each group gets then is a multivariate hypergeometric draw, so no sample is moved. The observed
    table counts as one of the permutations, so the least p is 1 / (permutations + 1) (Phipson & Smyth 2010).
    """
    total, all_right = int(n.sum()), int(right.sum())
    if len(n) < 2 or all_right in (0, total):
        return None
    expected = n * (all_right / total)

    def chi_squared(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        # The wrong ones' part differs by a constant factor only, which no comparison sees.
        squares: NDArray[np.float64] = ((counts - expected) ** 2 / expected).sum(-1)
        return squares

    drawn = np.random.default_rng(seed).multivariate_hypergeometric(n, all_right, permutations, method="marginals")
    as_large = int((chi_squared(drawn) >= chi_squared(right) * (1 - 1e-9)).sum())
    return (1 + as_large) / (permutations + 1)


def two_proportion_p(right: int, n: int, other_right: int, other_n: int) -> float | None:
    """The two-sided p-value of the pooled two-proportion z test; None where a side is empty or all agree."""
    if n == 0 or other_n == 0:
        return None
    pooled = (right + other_right) / (n + other_n)
    variance = pooled * (1 - pooled) * (1 / n + 1 / other_n)
    if variance <= 0:
        return None
    return math.erfc(abs(right / n - other_right / other_n) / math.sqrt(2 * variance))


def holm(p_values: list[float]) -> list[float]:
    """p-values adjusted so that the chance of any false alarm among them stays what it was for one (Holm 1979)."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = highest
    return adjusted


def _compare(
    column: str, values: NDArray[Any], truth: NDArray[np.int64], called: NDArray[np.int64], classes: int
) -> GroupComparison:
    if values.ndim != 1 or len(values) != len(truth):
        raise DataError(f"groups '{column}': {values.shape} for {len(truth)} faces; expected one value per face")
    texts = [NONE if v is None or v == "" or v != v else str(v) for v in values.tolist()]  # noqa: PLR0124 - NaN
    names, place = np.unique(np.array(texts), return_inverse=True)
    if len(names) > MOST_GROUPS:
        raise DataError(
            f"groups '{column}': {len(names)} different values, first {names[0]}; "
            f"expected at most {MOST_GROUPS}: a column that puts faces into groups"
        )
    hit = truth == called
    n, right = np.bincount(place), np.bincount(place, hit).astype(np.int64)
    tests = [
        two_proportion_p(int(r), int(m), int(right.sum() - r), int(n.sum() - m)) for r, m in zip(right, n, strict=True)
    ]
    known = [i for i, p in enumerate(tests) if p is not None]
    ps = [p for p in tests if p is not None]
    # Of two groups each is the other's rest: one test, not two.
    adjusted = dict(zip(known, ps if len(names) == 2 else holm(ps), strict=True))
    found = []
    for i in sorted(range(len(names)), key=lambda i: (-n[i], names[i])):
        rows = place == i
        confusion = metrics.counts_with_unanswered(truth[rows], called[rows], classes)
        intervals = metrics.bootstrap(confusion)
        rest = int(n.sum() - n[i])
        gap = float(right[i] / n[i] - (right.sum() - right[i]) / rest) if rest else None
        found.append(
            Group(
                value=str(names[i]),
                n=int(n[i]),
                small=bool(n[i] < SMALL),
                accuracy=metrics.accuracy(confusion),
                accuracy_95=wilson_interval(int(right[i]), int(n[i])),
                balanced_accuracy=metrics.balanced_accuracy(confusion),
                balanced_accuracy_95=intervals.balanced_accuracy,
                macro_f1=metrics.macro_f1(confusion),
                macro_f1_95=intervals.macro_f1,
                gap_to_rest=gap,
                p_value=tests[i],
                p_holm=adjusted.get(i),
            )
        )
    permutations, seed = 10_000, 0
    p = gap_test(right, n, permutations=permutations, seed=seed)
    return GroupComparison(column, p, permutations, seed, tuple(found))
