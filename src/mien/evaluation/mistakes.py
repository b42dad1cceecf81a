"""Splits wrong predictions into likely errors of the model and likely errors of the label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.data.findings import find_suspects
from mien.data.samples import VOTE_LABELS, vote_shares
from mien.errors import DataError, MissingExtraError
from mien.evaluation.result import Evaluation

_UNSURE_LABEL, _UNSURE_MAJORITY = 0.5, 0.6
"""A label is doubtful if a smaller share of raters agrees with it. A majority always has more than half."""

_JUDGE_ACCURACY, _JUDGE_RECALL = 0.7, 0.5
"""A model judges labels only where it is more often right than labels are: raters agree with three of four labels of
FER2013, so below that accuracy most contradictions are errors of the model; and so they are for a class most of whose
faces it misses."""


@dataclass(frozen=True, slots=True, eq=False)
class Mistakes:
    """Wrong predictions, the most confident first; int64, indices of the evaluation's faces.

    model: the label is likely correct. label: the label is doubtful. why: the rule that decided, as a sentence.
    """

    model: NDArray[np.int64]
    label: NDArray[np.int64]
    why: str


def find_mistakes(evaluation: Evaluation, votes: NDArray[np.float32] | None = None) -> Mistakes:
    """Splits the wrong predictions by their likely cause.

    votes: float32 (n, 8), raters' votes for the measured faces. A label is doubtful if another expression has more
    votes, or if less than half of the raters chose it (for the ground truth `votes`: less than 60 %). A face without
    votes has no doubtful label. Without votes, confident learning on the model's own probabilities decides (without
    cleanlab, `doubted`), where the model is good enough: accuracy at least 0.7, and 0.5 of the class's faces right.
    """
    e = evaluation
    wrong = np.flatnonzero(e.truth_index != e.predicted_index)
    if e.confidence is not None:
        wrong = wrong[np.argsort(-e.confidence[wrong], kind="stable")]
    doubtful, why = _doubtful(e, votes)
    return Mistakes(wrong[~doubtful[wrong]], wrong[doubtful[wrong]], why)


def doubted(truth: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Labels that the model contradicts with at least its usual confidence: a simple rule of confident learning.

    truth: int64 (n,). probabilities: float64 (n, K). The usual confidence of a class is the mean probability of that
    class over its own samples. A label is doubtful if its probability is below the usual one of its class, and the
    probability of the most likely class reaches the usual one of that class. Returns bool (n,).
    """
    n, classes = probabilities.shape
    sums = np.bincount(truth, probabilities[np.arange(n), truth], minlength=classes)
    counts = np.bincount(truth, minlength=classes)
    usual = np.divide(sums, counts, out=np.full(classes, np.inf), where=counts > 0)
    called, own = probabilities.argmax(1), probabilities[np.arange(n), truth]
    contradicted: NDArray[np.bool_] = (called != truth) & (own < usual[truth])
    contradicted &= probabilities.max(1) >= usual[called]
    return contradicted


def _doubtful(e: Evaluation, votes: NDArray[np.float32] | None) -> tuple[NDArray[np.bool_], str]:
    if votes is not None:
        return _by_votes(e, votes)
    if e.probabilities is None:
        return np.zeros(e.n, bool), "Without votes and probabilities, no label is marked as doubtful."
    right = e.truth_index == e.predicted_index
    if right.mean() < _JUDGE_ACCURACY:
        return np.zeros(e.n, bool), (
            f"At an accuracy of {right.mean():.2f} the model can't judge labels (it needs {_JUDGE_ACCURACY}): none is "
            "marked as doubtful."
        )
    found, faces = np.bincount(e.truth_index, right, len(e.labels)), np.bincount(e.truth_index, minlength=len(e.labels))
    known = (found >= _JUDGE_RECALL * faces)[e.truth_index]
    doubtful, why = _by_probabilities(e, e.probabilities)
    return doubtful & known, f"{why} Labels of classes of which the model finds less than half are not doubted."


def _by_probabilities(e: Evaluation, p: NDArray[np.float64]) -> tuple[NDArray[np.bool_], str]:
    answered = np.flatnonzero(e.predicted_index >= 0)
    truth, probabilities, doubtful = e.truth_index[answered], p[answered], np.zeros(e.n, bool)
    try:
        suspects = find_suspects(truth, probabilities.astype(np.float32))
    except (MissingExtraError, DataError):  # DataError: there is a single class, so no label can be wrong
        rule = (
            "a label is doubtful if its probability is below the mean of that class's faces, and that of the predicted "
            "class is at least the mean of its faces"
        )
        doubtful[answered] = doubted(truth, probabilities)
        return doubtful, f"Decided by the model's own probabilities: {rule}."
    doubtful[answered[suspects.rows]] = True
    return doubtful, (
        "Decided by confident learning (Northcutt et al. 2021) on the model's own probabilities: a hint, not a proof."
    )


def _by_votes(e: Evaluation, votes: NDArray[np.float32]) -> tuple[NDArray[np.bool_], str]:
    shares = vote_shares(votes)
    column = np.array([VOTE_LABELS.index(name) if name in VOTE_LABELS else -1 for name in e.labels])
    place = column[e.truth_index]
    own = shares[np.arange(e.n), place]
    least = _UNSURE_MAJORITY if e.truth == "votes" else _UNSURE_LABEL
    # float32 shares: 6 of 10 may be slightly below 0.6
    doubtful = (own < shares.max(1)) | (own < least - 1e-6)
    doubtful &= (shares.sum(1) > 0) & (place >= 0)
    if e.truth == "votes":
        return doubtful, f"Decided by raters' votes: a majority of less than {least:.0%} is doubtful."
    rule = f"if they chose another expression more often, or less than {least:.0%} of them chose it"
    return doubtful, f"Decided by raters' votes: a label is doubtful {rule}."
