"""Accuracy and macro recall over the balance (see `mien.balance`), and the rule that chooses a model's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.balance import Balance
from mien.evaluation import metrics
from mien.evaluation.measure import GroundTruth, calibration_errors, mapped
from mien.evaluation.result import BalancePoint, BalanceReport

GRID = tuple(step / 20 for step in range(21))
"""The balances that are tried: 0, 0.05 ... 1."""

MOST_LOST = 0.005
"""The accuracy that the rule may lose against balance 0: half a point."""

FEWEST = 1000
"""Faces that the rule needs: of fewer, half a point is less than five faces, and chance would choose."""


def balance_points(
    probabilities: NDArray[np.float64],
    balance: Balance,
    truth: NDArray[np.int64],
    names: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> tuple[BalancePoint, ...]:
    """Accuracy and macro recall at each balance of `GRID`; empty where the training mix is unknown.

    probabilities: float64 (N, K) at balance 0. truth: int64 (N,), indices into `names`, -1 where none counts. names:
    the classes of the ground truth, where they differ from the model's `labels`.
    """  # fmt: skip
    if not balance.prior:
        return ()
    known = truth >= 0
    found, right, points = probabilities[known], truth[known], []
    for step in GRID:
        balanced = replace(balance, balance=step).apply(found)
        called = (mapped(balanced, labels, names) if names else balanced).argmax(1)
        confusion = metrics.confusion_counts(right, called, len(names) or found.shape[1])
        points.append(BalancePoint(step, metrics.accuracy(confusion), metrics.balanced_accuracy(confusion)))
    return tuple(points)


def choose_balance(points: Sequence[BalancePoint]) -> float:
    """The rule: the most macro recall at no more than half a point of accuracy lost against balance 0.

    points: as `balance_points` gives them, balance 0 first. Of equal ones the smallest balance; 0 without points.
    """
    if not points:
        return 0.0
    # Accuracies are ratios of whole numbers: a loss of exactly half a point may be a rounding error above it.
    allowed = [point for point in points if point.accuracy >= points[0].accuracy - MOST_LOST - 1e-9]
    return max(allowed, key=lambda point: (point.macro_recall, -point.balance)).balance


def default_balance(probabilities: NDArray[Any], prior: Sequence[float], truth: NDArray[np.int64]) -> float:
    """A model's own balance by the rule, from validation faces; 0 where they are fewer than `FEWEST`, or no prior.

    probabilities: (N, K) at balance 0. prior: the training mix, (K,). truth: int64 (N,), -1 where none counts.
    """
    if not prior or int((truth >= 0).sum()) < FEWEST:
        return 0.0
    return choose_balance(balance_points(probabilities.astype(np.float64), Balance(0.0, tuple(prior)), truth))


def training_mix(distribution: NDArray[Any]) -> tuple[float, ...]:
    """The mean target of the training faces: shares (K,) that sum to 1, six decimals; () if a label has no share.

    distribution: (N, K), the vote shares or labels of each face; rows of zeros (no rater voted) do not count.
    """
    voted = np.asarray(distribution, np.float64)
    voted = voted[voted.sum(1) > 0]
    if not len(voted) or not (voted.mean(0) >= 1e-6).all():
        return ()
    return tuple(round(share, 6) for share in voted.mean(0).tolist())


def balance_report(
    probabilities: NDArray[np.float64], labels: tuple[str, ...], truths: GroundTruth, balance: Balance
) -> BalanceReport:
    """The balance of an evaluation: what was used, and what others would give. probabilities: (N, K) at balance 0."""
    ece, majority = calibration_errors(probabilities, labels, truths)
    target = balance.target
    return BalanceReport(
        used=balance.balance,
        prior=dict(zip(labels, balance.prior, strict=True)) if balance.prior else None,
        target=None if target is None else dict(zip(labels, target, strict=True)),
        ece_at_0=ece,
        ece_majority_at_0=majority,
        points=balance_points(probabilities, balance, truths.index, truths.names, labels),
    )
