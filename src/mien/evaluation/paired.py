"""Paired tests: two sets of answers for the same faces, by McNemar's test and a bootstrap of the difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.evaluation.groups import holm
from mien.evaluation.result import Evaluation
from mien.pages.text import p_value

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class McNemar:
    """Two networks on the same faces (McNemar 1947): on how many only one of them is right, and the exact p-value.

    p_value: how often two equally good networks differ by this much or more: a two-sided binomial test.
    """

    only_first: int
    only_second: int
    p_value: float

    @property
    def may_be_chance(self) -> bool:
        """Whether the p-value is 0.05 or more."""
        return self.p_value >= 0.05

    @property
    def said(self) -> str:
        """What it says of the difference, after "that"."""
        words = "may be chance" if self.may_be_chance else "is more than chance"
        return f"{words} (McNemar's exact test, p = {p_value(self.p_value)})"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first's figure less the second's on the same faces, with 95 % intervals of 2,000 paired resamples.

    p_holm: McNemar's p-value after Holm's correction for all pairs of one table; the p-value itself for one pair.
    """

    first: str
    second: str
    accuracy: float
    accuracy_95: tuple[float, float]
    macro_recall: float
    macro_recall_95: tuple[float, float]
    mcnemar: McNemar
    p_holm: float


def mcnemar(first: Evaluation, second: Evaluation) -> McNemar | None:
    """The test between two evaluations; None where they did not measure the same faces by the same truth."""
    return _test(first, second) if same_faces(first, second) else None


def _test(first: Evaluation, second: Evaluation) -> McNemar:
    one, other = (e.truth_index == e.predicted_index for e in (first, second))
    only_first, only_second = int((one & ~other).sum()), int((other & ~one).sum())
    return McNemar(only_first, only_second, exact_p_value(only_first, only_second))


def same_faces(first: Evaluation, second: Evaluation) -> bool:
    """Whether two evaluations measured the same faces by the same truth."""
    if first.sources != second.sources:
        return False
    truths = [[e.labels[i] for i in e.truth_index] for e in (first, second)]
    return truths[0] == truths[1]


def differences(found: dict[str, Evaluation], *, seed: int = 0) -> tuple[Difference, ...]:
    """Every pair of evaluations of the same faces, in order; pairs of other faces are left out."""
    names = list(found)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if same_faces(found[a], found[b])]
    tests = [_test(found[a], found[b]) for a, b in pairs]
    adjusted = holm([test.p_value for test in tests])
    return tuple(
        _difference(a, b, found[a], found[b], test, p, seed)
        for (a, b), test, p in zip(pairs, tests, adjusted, strict=True)
    )


def exact_p_value(only_first: int, only_second: int) -> float:
    """The two-sided exact p-value of McNemar's test: a fair coin, thrown for each face that one alone gets right."""
    thrown, rarer = only_first + only_second, min(only_first, only_second)
    if 2 * rarer >= thrown - 1:  # the middle of the distribution, or no throw at all
        return 1.0
    ways, term = 0, 1
    for k in range(rarer + 1):  # whole numbers: nothing is rounded until the division
        ways += term
        term = term * (thrown - k) // (k + 1)
    return float(min(1.0, 2 * ways / 2**thrown))


def _difference(
    first: str, second: str, one: Evaluation, other: Evaluation, test: McNemar, p_holm: float, seed: int
) -> Difference:
    truth = np.array([one.labels[i] for i in one.truth_index])
    names, truth_index = np.unique(truth, return_inverse=True)
    right = np.stack([e.truth_index == e.predicted_index for e in (one, other)])
    rng, n, k = np.random.default_rng(seed), len(truth), len(names)
    accuracy, recall = np.empty(RESAMPLES), np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        rows = rng.integers(0, n, n)
        accuracy[i], recall[i] = _figures(right[:, rows], truth_index[rows], k)
    whole = _figures(right, truth_index, k)
    low_high = [(float(np.percentile(v, 2.5)), float(np.percentile(v, 97.5))) for v in (accuracy, recall)]
    return Difference(first, second, whole[0], low_high[0], whole[1], low_high[1], test, p_holm)


def _figures(right: NDArray[np.bool_], truth: NDArray[np.intp], classes: int) -> tuple[float, float]:
    """The differences of accuracy and of macro recall, over the classes that occur."""
    support = np.bincount(truth, minlength=classes)
    hits = [np.bincount(truth[row], minlength=classes) for row in right]
    present = support > 0
    recall = [(hit[present] / support[present]).mean() for hit in hits]
    return float(right[0].mean() - right[1].mean()), float(recall[0] - recall[1])
