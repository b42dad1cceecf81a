"""Splits wrong predictions into likely errors of the model and likely errors of the label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.data.findings import SUSPICION, find_suspects
from mien.data.samples import VOTE_LABELS, vote_shares
from mien.evaluation.result import Evaluation
from mien.pages.text import percent

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
    votes has no doubtful label. Without votes, the model's own probabilities decide (`find_suspects`), where the model
    is good enough: accuracy at least 0.7, and 0.5 of the class's faces right.
    """
    e = evaluation
    wrong = np.flatnonzero(e.truth_index != e.predicted_index)
    if e.confidence is not None:
        wrong = wrong[np.argsort(-e.confidence[wrong], kind="stable")]
    doubtful, why = _doubtful(e, votes)
    return Mistakes(wrong[~doubtful[wrong]], wrong[doubtful[wrong]], why)


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
    if len(np.unique(truth)) > 1:  # of a single class no label can be wrong
        doubtful[answered[find_suspects(truth, probabilities.astype(np.float32)).rows]] = True
    return doubtful, (
        "Decided by the model's own probabilities: another class is at least "
        f"{SUSPICION} times as probable as the label. A hint, not a proof."
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
        return doubtful, f"Decided by raters' votes: a majority of less than {percent(least, digits=0)} is doubtful."
    rule = f"if they chose another expression more often, or less than {percent(least, digits=0)} of them chose it"
    return doubtful, f"Decided by raters' votes: a label is doubtful {rule}."
