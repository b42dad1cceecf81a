"""Labels that are likely wrong, by confident learning (Northcutt, Jiang and Chuang 2021) as cleanlab computes it.

How many labels of each class are wrong, and for which other class, is estimated from out-of-fold predictions; that many
of the least believable labels are suspects. They are ranked by how far another label is ahead (cleanlab's normalised
margin): by FER+'s votes that is as good as the given label's probability for accurate networks, and better for quick
ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError, MissingExtraError


@dataclass(frozen=True, slots=True, eq=False)
class Suspects:
    """Samples whose label is likely wrong, the worst first.

    rows: int64 (n,). scores: float32 (n,), 0.5 where the most probable label is as probable as the given one, 1 where
    it is certain. suggested: int64 (n,), the most probable label. confidence: float32 (n,), its probability. given:
    float32 (n,), that of the given label.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    suggested: NDArray[np.int64]
    confidence: NDArray[np.float32]
    given: NDArray[np.float32]


def require_cleanlab() -> None:
    """Raises MissingExtraError where cleanlab is not installed: better before hours of training than after."""
    if find_spec("cleanlab") is None:
        raise MissingExtraError("train", "finding likely wrong labels")


def find_suspects(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> Suspects:
    """Likely wrong labels among int64 (N,), by class probabilities float32 (N, K) from networks that did not see them.

    Samples without a label (-1) or a prediction (NaN) are left out. Raises DataError where fewer than two classes are
    left, MissingExtraError without cleanlab.
    """
    require_cleanlab()
    from cleanlab.filter import find_label_issues  # type: ignore[import-untyped]

    judged = np.flatnonzero((labels >= 0) & np.isfinite(probabilities).all(1))
    classes, given = np.unique(labels[judged], return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"{len(classes)} label with predictions; likely wrong labels need two or more")
    # Classes without labels have no threshold: they are never suggested as the right label.
    shares = probabilities[np.ix_(judged, classes)].astype(np.float64)
    shares /= shares.sum(1, keepdims=True)
    issues = find_label_issues(given, shares, filter_by="prune_by_noise_rate", min_examples_per_class=0, n_jobs=1)
    wrong = np.flatnonzero(issues)
    most_likely = shares[wrong].argmax(1)
    own, best = shares[wrong, given[wrong]], shares[wrong, most_likely]
    scores = (1 + best - own) / 2
    order = np.argsort(-scores, kind="stable")
    return Suspects(
        judged[wrong][order],
        scores[order].astype(np.float32),
        classes[most_likely][order].astype(np.int64),
        best[order].astype(np.float32),
        own[order].astype(np.float32),
    )
