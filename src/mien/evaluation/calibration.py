"""Temperature scaling (Guo et al. 2017): one number that calibrates confidences and keeps every ranking.

And what shows whether they are: the reliability diagram, and the calibration error of each class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.evaluation.metrics import check_probabilities, confidence_bins, top_label

LOWEST, HIGHEST = 0.05, 20.0
"""The search range of temperatures: logits that separate all samples would otherwise be sharpened without limit."""


def fit_temperature(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """The T that minimises the cross-entropy of softmax(logits / T) against the targets.

    logits: (N, K). targets: class indices (N,), or distributions (N, K); rows that sum to 0 (no rater voted) are left
    out. Which targets to take decides what is calibrated: distributions make the probability a share of raters,
    labels make it the chance of being right. Raises ValueError for NaN, mismatched shapes, or no samples.
    """
    z = np.asarray(logits, np.float64)
    if z.ndim != 2 or 0 in z.shape or not np.isfinite(z).all():
        raise ValueError(f"logits of shape {z.shape}; expected finite (samples, classes), at least one of each")
    t = _distributions(np.asarray(targets), z.shape[1])
    if t.shape != z.shape:
        raise ValueError(f"targets of shape {t.shape} for logits of shape {z.shape}")
    weight = t.sum()
    if weight <= 0:
        raise ValueError("no target has any weight: nothing to fit a temperature to")
    z = z - z.max(1, keepdims=True)
    row_weight, aligned = t.sum(1), float((t * z).sum())

    def loss(log_temperature: float) -> float:
        sharpness = math.exp(-log_temperature)
        return float((row_weight * np.log(np.exp(z * sharpness).sum(1))).sum() - sharpness * aligned) / float(weight)

    # The loss is convex in 1 / T, so it has one valley in log T as well, and golden sections close in on it.
    shrink = (math.sqrt(5) - 1) / 2
    low, high = math.log(LOWEST), math.log(HIGHEST)
    a, b = high - shrink * (high - low), low + shrink * (high - low)
    loss_a, loss_b = loss(a), loss(b)
    while high - low > 1e-6:
        if loss_a <= loss_b:
            high, b, loss_b = b, a, loss_a
            a = high - shrink * (high - low)
            loss_a = loss(a)
        else:
            low, a, loss_a = a, b, loss_b
            b = low + shrink * (high - low)
            loss_b = loss(b)
    return math.exp((low + high) / 2)


def undo_temperature(probabilities: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """softmax(logits) from softmax(logits / T), both (N, K): p^T, made to sum to 1 again.

    Exact, as T ln p equals the logits up to a constant, apart from probabilities too small for float32.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; expected above 0")
    p = np.asarray(probabilities, np.float64)
    powered = np.power(p / p.max(1, keepdims=True), temperature)
    raw: NDArray[np.float64] = powered / powered.sum(1, keepdims=True)
    return raw


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions with a confidence in (low, high]: how many, their mean confidence, how often they are right."""

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


def reliability(probabilities: NDArray[Any], truth: NDArray[Any], *, bins: int = 15) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram (Niculescu-Mizil & Caruana 2005): every bin of `metrics.expected_calibration_error`.

    probabilities (N, K); truth: class indices (N,), or raters' shares (N, K). Bins without predictions have None.
    """
    confidence, right = top_label(probabilities, truth)
    which = confidence_bins(confidence, bins)
    counts = np.bincount(which, minlength=bins).tolist()
    sums = zip(counts, *(np.bincount(which, v, minlength=bins).tolist() for v in (confidence, right)), strict=True)
    return tuple(
        ReliabilityBin(i / bins, (i + 1) / bins, n, c / n if n else None, r / n if n else None)
        for i, (n, c, r) in enumerate(sums)
    )


def classwise_calibration_error(
    probabilities: NDArray[Any], truth: NDArray[Any], *, bins: int = 15
) -> NDArray[np.float64]:
    """Per class (Kull et al. 2019): the ECE of its probability against how often it is the truth. Float64 (K,).

    Each sample counts for each class, in equal-width bins of that class's probability; the mean over classes is the
    class-wise ECE. truth: class indices (N,), or raters' shares (N, K).
    """
    p = check_probabilities(probabilities)
    t = _distributions(np.asarray(truth), p.shape[1])
    if t.shape != p.shape:
        raise ValueError(f"truth of shape {t.shape} for probabilities of shape {p.shape}")
    classes = p.shape[1]
    which = confidence_bins(p, bins) + np.arange(classes) * bins
    gaps = np.bincount(which.ravel(), (t - p).ravel(), minlength=classes * bins).reshape(classes, bins)
    errors: NDArray[np.float64] = np.abs(gaps).sum(1) / len(p)
    return errors


def _distributions(targets: NDArray[Any], classes: int) -> NDArray[np.float64]:
    if targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer):
        if len(targets) and (targets.min() < 0 or targets.max() >= classes):
            raise ValueError(f"labels of {targets.min()} to {targets.max()}; expected 0 to {classes - 1}")
        one_hot: NDArray[np.float64] = np.eye(classes)[targets]
        return one_hot
    if targets.ndim != 2 or not np.isfinite(targets).all() or (targets.size and targets.min() < 0):
        raise ValueError(f"targets are {targets.dtype} {targets.shape}; expected labels (N,) or distributions (N, K)")
    return targets.astype(np.float64)
