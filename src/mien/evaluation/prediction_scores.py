"""What the scores of other tools are: probabilities, percent or logits; and their probabilities."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mien.balance import softmax

Scores = Literal["probabilities", "percent", "logits"]

EXACT = 1e-3
"""Tolerance of the sum of a row that was not rounded, as a share of the sum."""
_NEGATIVE = -1e-6


class UnclearScoresError(ValueError):
    """The scores are none of the three; the message has their range."""


def to_probabilities(
    values: NDArray[np.float64], decimals: int, kind: Scores | None = None
) -> tuple[NDArray[np.float64], str, dict[int, str]]:
    """Converts scores (N, K), N at least 1, to rows that sum to 1. Also returns a note, and a reason for each bad row.

    The note is '' if nothing was changed. decimals: digits after the point in the file, which bound the rounding error
    of a row's sum. kind: the kind of scores; None: detected from the majority of rows. Raises UnclearScoresError if
    that fails.
    """
    if kind == "logits":
        return softmax(values), "its scores are read as logits: their softmax is measured", {}
    if kind is not None:
        return _divided(values), f"its scores are read as {kind}: each row is divided by its sum", _below(values)
    off = _allowed(values.shape[1], decimals)
    positive, sums = values.min(1) >= _NEGATIVE, values.sum(1)
    for total, name in ((1.0, "probabilities"), (100.0, "percent")):
        limit = max(EXACT * total, off if off < 0.5 * total else 0.0) + 1e-9  # larger gaps are not rounding
        right = positive & (np.abs(sums - total) <= limit)
        if right.mean() < 0.5:
            continue
        wrong = {
            int(row): f"its {name} add up to {sums[row]:.4g}; expected {total:g}, or give their kind with --scores"
            for row in np.flatnonzero(positive & ~right)
        }
        rest = np.abs(sums[right] - total).max() > total * EXACT
        note = f"its scores are {name}: they are divided by 100" if name == "percent" else ""
        if rest:
            seen = f"rows add up to {sums[right].min():.4g} to {sums[right].max():.4g}"
            note = f"its {name} are rounded ({seen}): each row is divided by its sum"
        wrong |= _below(values)
        return _divided(values), note, wrong
    negative = values.min(1) < -EXACT
    if negative.mean() > 0.5 and (np.abs(sums - 1) > EXACT).mean() > 0.5:
        seen = f"{values.min():.4g} to {values.max():.4g}"
        return softmax(values), f"its scores are logits ({seen}): their softmax is measured", {}
    raise UnclearScoresError(
        f"its scores are {values.min():.4g} to {values.max():.4g}, and rows add up to {sums.min():.4g} to "
        f"{sums.max():.4g}; expected probabilities (sum 1), percent (sum 100) or logits; give their kind: "
        "--scores logits takes the softmax, --scores probabilities or percent divides each row by its sum"
    )


def _allowed(classes: int, decimals: int) -> float:
    """The largest rounding error of a row's sum."""
    return 0.5 * classes * 10.0**-decimals


def _below(values: NDArray[np.float64]) -> dict[int, str]:
    rows = np.flatnonzero((values.min(1) < _NEGATIVE) | (values.sum(1) <= 0))
    return {int(row): f"its least score is {values[row].min():.4g}; expected 0 or more" for row in rows}


def _divided(values: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.maximum(values, 0.0)
    sums = kept.sum(1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(kept, sums, out=np.zeros(kept.shape), where=sums > 0)
    return shares
