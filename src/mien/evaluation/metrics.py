"""Metrics as pure functions of NumPy arrays.

Conventions: `truth` and `predicted` are integer arrays (N,) of class indices 0 to K - 1; `probabilities` is a float
array (N, K) whose rows sum to 1. Confusion counts have truth in rows and predictions in columns. A ratio without a
denominator (precision of a class that was never predicted) is 0, as scikit-learn's `zero_division=0`; a class without
samples has recall and F1 of 0 in the per-class arrays and is left out of macro means. Nothing here returns NaN: input
that has no answer raises ValueError that says what is wrong.
"""

from __future__ import annotations

import math
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


def wilson_interval(right: int, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """The score interval of a proportion `right / n` (Wilson 1927); z = 1.96 gives 95 %. Low and high, 0 to 1."""
    if n < 1 or not 0 <= right <= n:
        raise ValueError(f"{right} right of {n} samples; expected at least one sample and 0 <= right <= n")
    share = right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def negative_log_likelihood(probabilities: NDArray[Any], truth: NDArray[Any]) -> float:
    """The mean of -ln p(truth), in nats."""
    p = check_probabilities(probabilities)
    _same_length(p, truth)
    _class_indices("truth", truth, p.shape[1])
    return float(-np.log(np.maximum(p[np.arange(len(p)), truth], _TINY)).mean())


def expected_calibration_error(probabilities: NDArray[Any], truth: NDArray[Any], *, bins: int = 15) -> float:
    """ECE of the top label (Guo et al. 2017): |accuracy - mean confidence| of each bin, weighted by its samples.

    truth: class indices (N,), or the shares (N, K) of raters who chose each class; then a prediction is as right as
    the share of raters who agree with it. Bins are equally wide over 0 to 1 and closed above, (0, 1/bins], ...,
    (1 - 1/bins, 1].
    """
    p = check_probabilities(probabilities)
    _same_length(p, truth)
    if bins < 1:
        raise ValueError(f"{bins} bins; expected at least 1")
    confidence = p.max(1)
    best = p.argmax(1)
    if truth.ndim == 2:
        right = check_probabilities(truth, "shares")[np.arange(len(p)), best]
    else:
        right = (best == truth).astype(np.float64)
    gap = right - confidence
    which = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(which, gap, minlength=bins)).sum() / len(p))


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
    ratios: Floats = np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
    return ratios


def _same_length(first: NDArray[Any], second: NDArray[Any]) -> None:
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} samples; expected as many predictions as truths")


def _class_indices(name: str, values: NDArray[Any], classes: int) -> None:
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} is {values.dtype} {values.shape}; expected integers (samples,)")
    if len(values) and (values.min() < 0 or values.max() >= classes):
        raise ValueError(f"{name} holds {values.min()} to {values.max()}; expected 0 to {classes - 1}")
