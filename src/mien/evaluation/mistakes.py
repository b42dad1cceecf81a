"""The faces that were called wrong: where the model seems to be at fault, and where the label does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.data.samples import VOTE_LABELS, vote_shares
from mien.data.suspects import find_suspects
from mien.errors import DataError, MissingExtraError
from mien.evaluation.result import Evaluation

_UNSURE_LABEL, _UNSURE_MAJORITY = 0.5, 0.6
"""A label is doubtful where less than this share of raters agree with it. A majority has more than half of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Mistakes:
    """Wrong answers, the most confident first; int64, indices of the evaluation's faces.

    model: the label is likely right. label: it is doubtful. why: how that was told.
    """

    model: NDArray[np.int64]
    label: NDArray[np.int64]
    why: str


def find_mistakes(evaluation: Evaluation, votes: NDArray[np.float32] | None = None) -> Mistakes:
    """Splits the wrong answers by whose fault they likely are.

    votes: float32 (n, 8), raters' of the measured faces. A label is doubtful where another expression has more votes,
    or less than half of the raters chose it (on the ruler `votes`: less than 60 %); never where nobody voted. Without
    votes it is told by confident learning over the very probabilities that are judged; without cleanlab by `doubted`.
    """
    e = evaluation
    wrong = np.flatnonzero(e.truth_index != e.predicted_index)
    if e.confidence is not None:
        wrong = wrong[np.argsort(-e.confidence[wrong], kind="stable")]
    doubtful, why = _doubtful(e, votes)
    return Mistakes(wrong[~doubtful[wrong]], wrong[doubtful[wrong]], why)


def doubted(truth: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Labels that the model contradicts with more than its usual confidence: a simple rule of confident learning.

    truth: int64 (n,). probabilities: float64 (n, K). A class's usual confidence is the mean probability that its own
    samples get. A label is doubtful where its probability is below the usual one of its class, and the likeliest
    class's reaches the usual one of that class. bool (n,).
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
        return np.zeros(e.n, bool), "Without votes and without probabilities no label is doubted."
    answered = np.flatnonzero(e.predicted_index >= 0)
    truth, probabilities, doubtful = e.truth_index[answered], e.probabilities[answered], np.zeros(e.n, bool)
    try:
        suspects = find_suspects(truth, probabilities.astype(np.float32))
    except (MissingExtraError, DataError):  # DataError: a single class, where no label can be another's
        rule = (
            "a label is doubtful where its probability is lower than that class's faces get in the mean, and that of "
            "the predicted class is as high as its own faces get"
        )
        doubtful[answered] = doubted(truth, probabilities)
        return doubtful, f"Told from the model's own probabilities: {rule}."
    doubtful[answered[suspects.rows]] = True
    return doubtful, (
        "Told by confident learning (Northcutt et al. 2021) from the model's own probabilities: a hint, no proof."
    )


def _by_votes(e: Evaluation, votes: NDArray[np.float32]) -> tuple[NDArray[np.bool_], str]:
    shares = vote_shares(votes)
    column = np.array([VOTE_LABELS.index(name) if name in VOTE_LABELS else -1 for name in e.labels])
    place = column[e.truth_index]
    own = shares[np.arange(e.n), place]
    least = _UNSURE_MAJORITY if e.truth == "votes" else _UNSURE_LABEL
    # float32 shares: 6 of 10 may lie a little below 0.6
    doubtful = (own < shares.max(1)) | (own < least - 1e-6)
    doubtful &= (shares.sum(1) > 0) & (place >= 0)
    if e.truth == "votes":
        return doubtful, f"Told from raters' votes: a majority of less than {least:.0%} is doubtful."
    rule = f"where they chose another expression more often, or less than {least:.0%} of them chose it"
    return doubtful, f"Told from raters' votes: a label is doubtful {rule}."
