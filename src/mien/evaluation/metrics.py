"""Metrics as pure functions of NumPy arrays.

Conventions: `truth` and `predicted` are integer arrays (N,) of class indices 0 to K - 1; `probabilities` is a float
array (N, K) whose rows sum to 1. Confusion counts have truth in rows and predictions in columns. A ratio without a
denominator (precision of a class that was never predicted) is 0, as scikit-learn's `zero_division=0`; a class without
samples has recall and F1 of 0 in the per-class arrays and is left out of macro means. Nothing here returns NaN: input
that is undefined raises ValueError with the reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

_TINY = float(np.finfo(np.float64).eps)
"""Probabilities are raised to this before a logarithm, so that a single 0 does not make a mean infinite."""


def confusion_counts(truth: NDArray[Any], predicted: NDArray[Any], classes: int) -> Counts:
    """Counts int64 (K, K): [i, j] samples of class i that were called j."""
    _same_length(truth, predicted)
    for name, values in (("truth", truth), ("predicted", predicted)):
        _class_indices(name, values, classes)
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def counts_with_unanswered(truth: NDArray[Any], predicted: NDArray[Any], classes: int) -> Counts:
    """As `confusion_counts`, where predictions may be -1 for none: those are counted in an additional last column,
    (K + 1, K + 1), as predictions of a class without samples. They count as wrong in every figure.
    """
    if (predicted >= 0).all():
        return confusion_counts(truth, predicted, classes)
    return confusion_counts(truth, np.where(predicted < 0, classes, predicted), classes + 1)


def accuracy(confusion: Counts) -> float:
    """The share of samples that were called right, 0 to 1."""
    return float(np.trace(confusion) / _total(confusion))


def recall(confusion: Counts) -> Floats:
    """Per class: of its samples, the share that was called so. Float64 (K,)."""
    return _ratio(np.diagonal(confusion), confusion.sum(1))


def precision(confusion: Counts) -> Floats:
    """Per class: of the samples called so, the share that was so. Float64 (K,)."""
    return _ratio(np.diagonal(confusion), confusion.sum(0))


def f1(confusion: Counts) -> Floats:
    """Per class: the harmonic mean of precision and recall. Float64 (K,)."""
    return _ratio(2 * np.diagonal(confusion), confusion.sum(0) + confusion.sum(1))


def balanced_accuracy(confusion: Counts) -> float:
    """Macro recall: the mean of `recall` over the classes that have samples."""
    return _macro(recall(confusion), confusion)


def macro_f1(confusion: Counts) -> float:
    """The mean of `f1` over the classes that have samples."""
    return _macro(f1(confusion), confusion)


def weighted_f1(confusion: Counts) -> float:
    """The mean of `f1` over classes, each weighted by its samples."""
    return float((f1(confusion) * confusion.sum(1)).sum() / _total(confusion))


def normalised(confusion: Counts) -> Floats:
    """Shares of each class's samples: rows sum to 1, or to 0 where a class has none. Float64 (K, K)."""
    support = confusion.sum(1, keepdims=True)
    shares: Floats = np.divide(confusion, support, out=np.zeros(confusion.shape), where=support > 0)
    return shares


def cohen_kappa(confusion: Counts) -> float | None:
    """Agreement beyond chance (Cohen 1960), -1 to 1; None where all samples are of one class and called so."""
    n = float(_total(confusion))
    by_chance = float((confusion.sum(1) / n * (confusion.sum(0) / n)).sum())
    if by_chance >= 1:
        return None
    return (float(np.trace(confusion)) / n - by_chance) / (1 - by_chance)


def matthews_correlation(confusion: Counts) -> float:
    """The correlation of truth and prediction for K classes (Gorodkin 2004), -1 to 1; by convention 0 where one of
    them is constant.
    """
    n = float(_total(confusion))
    truth, called = confusion.sum(1) / n, confusion.sum(0) / n
    spread = (1 - float((truth * truth).sum())) * (1 - float((called * called).sum()))
    if spread <= 0:
        return 0.0
    return (float(np.trace(confusion)) / n - float((truth * called).sum())) / math.sqrt(spread)


def top_k_hits(scores: NDArray[Any], truth: NDArray[Any], k: int = 2) -> NDArray[np.bool_]:
    """Whether each sample's class is among the `k` highest of its scores (N, K). Bool (N,).

    Of equal scores the class with the lower index comes first, as in argmax, so that the top 1 is the prediction.
    """
    _same_length(scores, truth)
    _class_indices("truth", truth, scores.shape[1])
    own = scores[np.arange(len(scores)), truth][:, None]
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < truth[:, None]))
    hits: NDArray[np.bool_] = before.sum(1) < k
    return hits


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """95 % intervals by resampling the samples with replacement (Efron 1979, percentiles)."""

    accuracy: tuple[float, float]
    balanced_accuracy: tuple[float, float]
    macro_f1: tuple[float, float]
    resamples: int
    seed: int


def bootstrap(confusion: Counts, *, resamples: int = 2000, seed: int = 0) -> Bootstrap:
    """Intervals of three figures. The counts of a resample are a multinomial draw from the confusion's cells, so they
    are drawn as such; a class without samples in a resample is left out of its means, as in the figures themselves.
    """
    n, draws = _total(confusion), _resampled(confusion, resamples, seed)
    right, support, called = np.diagonal(draws, axis1=1, axis2=2), draws.sum(2), draws.sum(1)
    present = support > 0

    def interval(values: Floats) -> tuple[float, float]:
        low, high = np.percentile(values, (2.5, 97.5))
        return float(low), float(high)

    def macro(above: Counts, below: Counts) -> tuple[float, float]:
        each = np.divide(above, below, out=np.zeros(above.shape), where=present)
        return interval(each.sum(1) / present.sum(1))

    return Bootstrap(
        interval(right.sum(1) / n), macro(right, support), macro(2 * right, support + called), resamples, seed
    )


def f1_intervals(confusion: Counts, *, resamples: int = 2000, seed: int = 0) -> list[tuple[float, float]]:
    """The 95 % interval of each class's F1, by the resamples of `bootstrap`."""
    draws = _resampled(confusion, resamples, seed)
    right, both = np.diagonal(draws, axis1=1, axis2=2), draws.sum(2) + draws.sum(1)
    low, high = np.percentile(_ratio(2 * right, both), (2.5, 97.5), axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _resampled(confusion: Counts, resamples: int, seed: int) -> Counts:
    """Confusion counts of resamples, int64 (resamples, K, K)."""
    n = _total(confusion)
    draws = np.random.default_rng(seed).multinomial(n, confusion.ravel() / n, resamples)
    return draws.reshape(resamples, *confusion.shape)


def negative_log_likelihood(probabilities: NDArray[Any], truth: NDArray[Any]) -> float:
    """The mean of -ln p(truth), in nats."""
    p = check_probabilities(probabilities)
    _same_length(p, truth)
    _class_indices("truth", truth, p.shape[1])
    return float(-np.log(np.maximum(p[np.arange(len(p)), truth], _TINY)).mean())


def brier_score(probabilities: NDArray[Any], truth: NDArray[Any]) -> float:
    """The mean over samples of the squared error summed over classes (Brier 1950): 0 is perfect, 2 the worst.

    Libraries that halve it for two classes, or divide it by K, give other numbers.
    """
    p = check_probabilities(probabilities)
    _same_length(p, truth)
    _class_indices("truth", truth, p.shape[1])
    return float(((p - np.eye(p.shape[1])[truth]) ** 2).sum(1).mean())


def confidence_bins(confidence: NDArray[Any], bins: int) -> NDArray[np.int64]:
    """The bin of each value: equally wide over 0 to 1, closed above, (0, 1/bins], ..., (1 - 1/bins, 1]."""
    if bins < 1:
        raise ValueError(f"{bins} bins; expected at least 1")
    which: NDArray[np.int64] = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return which


def expected_calibration_error(probabilities: NDArray[Any], truth: NDArray[Any], *, bins: int = 15) -> float:
    """ECE of the top label (Guo et al. 2017): |accuracy - mean confidence| of each bin, weighted by its samples.

    truth: class indices (N,), or the shares (N, K) of raters who chose each class; then a prediction is as right as
    the share of raters who agree with it. Bins as in `confidence_bins`.
    """
    confidence, right = top_label(probabilities, truth)
    sums = np.bincount(confidence_bins(confidence, bins), right - confidence, minlength=bins)
    return float(np.abs(sums).sum() / len(right))


def top_label(probabilities: NDArray[Any], truth: NDArray[Any]) -> tuple[Floats, Floats]:
    """The confidence of each prediction, and how right it is: 0 or 1, or for `truth` as shares (N, K) its share."""
    p = check_probabilities(probabilities)
    _same_length(p, truth)
    best = p.argmax(1)
    if truth.ndim == 2:
        right: Floats = check_probabilities(truth, "shares")[np.arange(len(p)), best]
    else:
        right = (best == truth).astype(np.float64)
    return p.max(1), right


def mean_kl(shares: NDArray[Any], probabilities: NDArray[Any]) -> float:
    """The mean of KL(shares || probabilities) over samples, in nats; both (N, K) with rows that sum to 1."""
    p, q = check_probabilities(shares, "shares"), check_probabilities(probabilities)
    if p.shape != q.shape:
        raise ValueError(f"shares are {p.shape} and probabilities {q.shape}; expected the same shape")
    logs = np.log(np.maximum(p, _TINY)) - np.log(np.maximum(q, _TINY))
    return float((p * logs).sum(1).mean())


def check_probabilities(values: NDArray[Any], name: str = "probabilities") -> Floats:
    """`values` as float64 (N, K). Raises ValueError unless N and K are at least 1 and every row is a distribution."""
    p = np.asarray(values, np.float64)
    if p.ndim != 2 or 0 in p.shape:
        raise ValueError(f"{name} have the shape {p.shape}; expected (samples, classes), at least one of each")
    if not np.isfinite(p).all():
        raise ValueError(f"{name} hold NaN or infinity in row {int(np.flatnonzero(~np.isfinite(p).all(1))[0])}")
    wrong = np.flatnonzero((p.min(1) < -1e-6) | (np.abs(p.sum(1) - 1) > 1e-3))
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(f"{name} in row {row} are no distribution (sum {p[row].sum():.4g}, least {p[row].min():.4g})")
    return p


def _total(confusion: Counts) -> int:
    total = int(confusion.sum())
    if total == 0:
        raise ValueError("no samples: nothing to measure")
    return total


def _macro(values: Floats, confusion: Counts) -> float:
    _total(confusion)
    return float(values[confusion.sum(1) > 0].mean())


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    ratios: Floats = np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)
    return ratios


def _same_length(first: NDArray[Any], second: NDArray[Any]) -> None:
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} samples; expected as many predictions as truths")


def _class_indices(name: str, values: NDArray[Any], classes: int) -> None:
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} is {values.dtype} {values.shape}; expected integers (samples,)")
    if len(values) and (values.min() < 0 or values.max() >= classes):
        raise ValueError(f"{name} holds {values.min()} to {values.max()}; expected 0 to {classes - 1}")
