"""Curves over all thresholds: ROC and precision-recall of one class, and risk over coverage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POINTS = 200
"""How many points of a curve are kept for drawing. Areas are always those of the whole curve."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Points (x, y), and the lowest score that is still taken at each; all float64 (P,), thresholds falling."""

    x: Floats
    y: Floats
    thresholds: Floats

    def thinned(self, points: int = POINTS) -> Curve:
        """At most that many points with both ends, evenly along the curve's length, so that steep parts keep theirs."""
        if len(self.x) <= points:
            return self
        way = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(self.x)) + np.abs(np.diff(self.y)))))
        chosen = np.searchsorted(way, np.linspace(0, way[-1], points - 1))
        rows = np.union1d(np.minimum(chosen, len(way) - 1), [0, len(way) - 1])
        return Curve(self.x[rows], self.y[rows], self.thresholds[rows])


def roc_curve(positive: NDArray[np.bool_], scores: NDArray[Any]) -> Curve | None:
    """x: false positive rate, y: true positive rate, from (0, 0) at an infinite threshold to (1, 1) (Fawcett 2006).

    positive: bool (N,). scores: (N,). Samples of equal score pass together. None where all samples are of one kind.
    """
    thresholds, hits, taken = _taken(positive, scores)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if positives == 0 or negatives == 0:
        return None
    start = np.zeros(1)
    return Curve(
        np.concatenate((start, (taken - hits) / negatives)),
        np.concatenate((start, hits / positives)),
        np.concatenate((start + np.inf, thresholds)),
    )


def roc_auc(positive: NDArray[np.bool_], scores: NDArray[Any]) -> float | None:
    """The area under `roc_curve` by trapezoids: the chance that a positive scores above a negative, ties half."""
    curve = roc_curve(positive, scores)
    if curve is None:
        return None
    return float((np.diff(curve.x) * (curve.y[1:] + curve.y[:-1]) / 2).sum())


def precision_recall_curve(positive: NDArray[np.bool_], scores: NDArray[Any]) -> Curve | None:
    """x: recall, y: precision at every score, from the highest down. None without positives."""
    thresholds, hits, taken = _taken(positive, scores)
    if not positive.any():
        return None
    return Curve(hits / int(positive.sum()), hits / taken, thresholds)


def average_precision(positive: NDArray[np.bool_], scores: NDArray[Any]) -> float | None:
    """Precision over the steps of recall, sum of (R_n - R_n-1) P_n, not interpolated. None without positives."""
    curve = precision_recall_curve(positive, scores)
    if curve is None:
        return None
    return float((np.diff(curve.x, prepend=0.0) * curve.y).sum())


def risk_coverage(right: NDArray[np.bool_], confidence: NDArray[Any]) -> Curve:
    """x: coverage, the share of samples kept; y: risk, the share of wrong ones among them (El-Yaniv & Wiener 2010).

    A point per confidence that occurs, from the highest down; the last has all samples. Raises ValueError for none.
    """
    thresholds, hits, taken = _taken(right, confidence)
    return Curve(taken / len(right), 1 - hits / taken, thresholds)


def area_under_risk_coverage(right: NDArray[np.bool_], confidence: NDArray[Any]) -> float:
    """AURC (Geifman, Uziel & El-Yaniv 2019): the mean risk when the 1, 2, ... N most confident samples are kept.

    Samples of equal confidence count as if in random order: the expected value over all orders, not that of one.
    """
    _, hits, taken = _taken(right, confidence)
    before = np.concatenate(([0.0], taken))
    wrong = np.concatenate(([0.0], taken - hits))
    kept = np.arange(1, len(right) + 1)
    return float((np.interp(kept, before, wrong) / kept).mean())


def threshold_for(right: NDArray[np.bool_], confidence: NDArray[Any], accuracy: float) -> float | None:
    """The smallest confidence that occurs from which on the kept samples reach `accuracy`; None where none does."""
    thresholds, hits, taken = _taken(right, confidence)
    reached = np.flatnonzero(hits >= accuracy * taken - 1e-9)
    return float(thresholds[reached[-1]]) if len(reached) else None


def _taken(positive: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """For each score that occurs, falling: the score, and of the samples that reach it, the positive ones and all."""
    if positive.shape != scores.shape or positive.ndim != 1 or positive.dtype != bool or len(scores) == 0:
        raise ValueError(
            f"{positive.dtype} {positive.shape} and scores {scores.shape}; expected bool (N,) and (N,), at least one"
        )
    if np.isnan(scores).any():
        raise ValueError("scores hold NaN")
    values, place = np.unique(-np.asarray(scores, np.float64), return_inverse=True)
    taken = np.cumsum(np.bincount(place, minlength=len(values)))
    hits = np.cumsum(np.bincount(place[positive], minlength=len(values)))
    return -values, hits, taken
