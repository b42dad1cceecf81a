"""Computes an `Evaluation` from predictions and ground truth, whether a model or a file of another tool predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.samples import VOTE_LABELS, vote_majority, vote_shares
from mien.errors import DataError
from mien.evaluation import calibration, curves, metrics
from mien.evaluation.groups import compare_groups
from mien.evaluation.result import (
    Abstention,
    Calibration,
    ClassCurves,
    ClassScore,
    ClassScores,
    Curves,
    Diversity,
    Evaluation,
    Selective,
    Share,
    TrainCopies,
    Truth,
    Votes,
)
from mien.intervals import wilson_interval

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

CAVEAT = "chosen on the measured faces, so expect slightly less on others; choose it on validation, not on test"


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Predictions for N faces.

    labels: the L classes in mien's spelling. called: int64 (N,), the predicted index into them; -1 for no prediction,
    or one that can't be right. confidence: float64 (N,). probabilities: float64 (N, L). raw: probabilities without
    temperature, float64 (N, L). None for what is not known.
    """

    labels: tuple[str, ...]
    called: Indices
    confidence: Floats | None
    probabilities: Floats | None
    raw: Floats | None = None

    def take(self, rows: NDArray[np.intp]) -> Answers:
        """The predictions of some of the faces."""
        figures = (None if f is None else f[rows] for f in (self.confidence, self.probabilities, self.raw))
        return Answers(self.labels, self.called[rows], *figures)


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """The ground truth of the same N faces.

    kind: label or votes. names: its K classes. index: int64 (N,) into them, -1 for none. votes: float32 (N, 8), as in
    `Samples`. columns: values (N,) to group by. copied: bool (N,), whether the face is also in the training split;
    n_train: the number of training faces.
    """

    kind: Truth
    names: tuple[str, ...]
    index: Indices
    sources: tuple[str, ...]
    votes: NDArray[np.float32] | None
    columns: dict[str, NDArray[np.generic]]
    copied: NDArray[np.bool_] | None = None
    n_train: int = 0

    def take(self, rows: NDArray[np.intp]) -> GroundTruth:
        """The ground truth of some of the faces."""
        return replace(
            self,
            index=self.index[rows],
            sources=tuple(self.sources[i] for i in rows.tolist()),
            votes=None if self.votes is None else self.votes[rows],
            columns={name: values[rows] for name, values in self.columns.items()},
            copied=None if self.copied is None else self.copied[rows],
        )


def measure(answers: Answers, truths: GroundTruth, *, target_accuracy: float | None, data: str) -> Evaluation:
    """Computes all figures. data: the name of the data in messages.

    Raises DataError if nothing can be measured: no samples, none with a ground truth, or no label in common.
    """
    labels, names = answers.labels, truths.names
    measured = _measurable(answers, truths, target_accuracy, data)
    right = truths.index[measured]
    called, confidence, probabilities = _predictions(answers, names, measured)
    unanswered = answers.called[measured] < 0
    confusion = metrics.counts_with_unanswered(right, called, len(names))
    known = np.array([name in labels for name in names])
    columns = {name: values[measured] for name, values in truths.columns.items()}
    return Evaluation(
        truth=truths.kind,
        labels=names,
        n=len(measured),
        n_left_out=len(truths.index) - len(measured),
        per_class=_class_scores(confusion, names),
        curves=None if probabilities is None else _curves(probabilities[~unanswered], right[~unanswered], names, known),
        selective=None if confidence is None else _selective(called == right, confidence, target_accuracy),
        votes=_votes(answers, truths),
        dropped_classes=tuple(name for name in labels if name not in names),
        missing_classes=tuple(name for name in names if name not in labels),
        rows=measured.astype(np.int64),
        sources=tuple(truths.sources[i] for i in measured),
        truth_index=right,
        predicted_index=called,
        confidence=confidence,
        probabilities=probabilities,
        train_copies=_train_copies(called == right, measured, truths),
        groups=compare_groups(columns, right, called, len(names)),
        accuracy_every_answer=_every_answer(answers, names, measured, right),
        **_confusion_figures(confusion, len(names)),
        **_likelihood_figures(probabilities, right, known, known[right] & ~unanswered),
        **_calibration_figures(answers, truths),
    )


def _measurable(answers: Answers, truths: GroundTruth, target: float | None, data: str) -> NDArray[np.intp]:
    """The rows with a ground truth. Raises DataError if nothing can be measured."""
    labels, names = answers.labels, truths.names
    if target is not None and not 0 < target <= 1:
        raise DataError(f"target accuracy {target}; expected above 0 and at most 1, for example 0.9")
    if not set(labels) & set(names):
        raise DataError(f"the model's labels ({', '.join(labels)}) and the data's ({', '.join(names)}) share nothing")
    measured = np.flatnonzero(truths.index >= 0)
    if len(measured) == 0:
        raise DataError(
            f"{data or 'the data'}: no face with a ground truth '{truths.kind}'; {len(truths.index)} were left out"
        )
    return measured


def _predictions(
    answers: Answers, names: tuple[str, ...], rows: NDArray[np.intp]
) -> tuple[Indices, Floats | None, Floats | None]:
    """For some rows: the predicted index into `names` or -1, confidence, and probabilities, 0 without a prediction."""
    if answers.probabilities is None:
        place = np.array([*(names.index(name) for name in answers.labels), -1])
        return place[answers.called[rows]], None if answers.confidence is None else answers.confidence[rows], None
    probabilities = mapped(answers.probabilities, answers.labels, names)[rows]
    unanswered = answers.called[rows] < 0
    probabilities[unanswered] = 0.0
    return np.where(unanswered, -1, probabilities.argmax(1)), probabilities.max(1), probabilities


def _confusion_figures(confusion: Indices, classes: int) -> dict[str, Any]:
    """The figures that follow from the confusion matrix; its last row and column are faces without a prediction."""
    counts, shares = (c[:classes, :classes].tolist() for c in (confusion, metrics.normalised(confusion)))
    return {
        "accuracy": metrics.accuracy(confusion),
        "accuracy_95": wilson_interval(int(np.trace(confusion)), int(confusion.sum())),
        "bootstrap_95": metrics.bootstrap(confusion),
        "balanced_accuracy": metrics.balanced_accuracy(confusion),
        "macro_f1": metrics.macro_f1(confusion),
        "weighted_f1": metrics.weighted_f1(confusion),
        "cohen_kappa": metrics.cohen_kappa(confusion),
        "matthews_correlation": metrics.matthews_correlation(confusion),
        "confusion": tuple(tuple(row) for row in counts),
        "confusion_normalised": tuple(tuple(row) for row in shares),
    }


def _likelihood_figures(
    p: Floats | None, right: Indices, known: NDArray[np.bool_], possible: NDArray[np.bool_]
) -> dict[str, Any]:
    """Top-2 accuracy and log-likelihood. known: (K,), classes of the model; possible: (N,), answerable."""
    if p is None:
        return {"top_2_accuracy": None, "nll": None, "nll_n": 0}
    # Classes that the model lacks score -1: among zeros they would enter the top 2 by their index alone.
    hits = metrics.top_k_hits(np.where(known, p, -1.0), right)
    nll = metrics.negative_log_likelihood(p[possible], right[possible]) if possible.any() else None
    return {"top_2_accuracy": float((hits & possible).mean()), "nll": nll, "nll_n": int(possible.sum())}


def _calibration_figures(answers: Answers, truths: GroundTruth) -> dict[str, Any]:
    """Calibration errors and the divergence from the votes, on the faces that have a prediction."""
    said = np.flatnonzero(answers.called >= 0)
    answered, of_answered = answers.take(said), truths.take(said)
    held = np.flatnonzero(of_answered.index >= 0)
    names = truths.names
    everyone = raw = None
    if answered.probabilities is not None and len(held):
        everyone = mapped(answered.probabilities, answers.labels, names)
    if answered.raw is not None:
        raw = mapped(answered.raw, answers.labels, names)
    ece, ece_majority = _ece(everyone, of_answered, held)
    kl, kl_n = _kl_to_votes(answered, of_answered)
    return {
        "ece": ece,
        "ece_majority": ece_majority,
        "ece_before_temperature": _ece(raw, of_answered, held)[0],
        "calibration": _calibration(everyone, of_answered, held),
        "kl_votes": kl,
        "kl_n": kl_n,
    }


def calibration_errors(p: Floats, labels: Sequence[str], truths: GroundTruth) -> tuple[float | None, float | None]:
    """The ECE of probabilities (N, len(labels)) against the ground truth, and for `votes` also against the majority."""
    return _ece(mapped(p, labels, truths.names), truths, np.flatnonzero(truths.index >= 0))


def mapped(p: Floats, labels: Sequence[str], names: Sequence[str]) -> Floats:
    """Probabilities (N, len(labels)) as (N, len(names)): columns by name, 0 where `labels` lack one, renormalised."""
    placed = np.zeros((len(p), len(names)))
    for column, name in enumerate(names):
        if name in labels:
            placed[:, column] = p[:, labels.index(name)]
    total = placed.sum(1, keepdims=True)
    # All the probability may be on dropped classes. The rest is then unknown: equal shares.
    shared = np.array([name in labels for name in names]) / sum(name in labels for name in names)
    return np.where(total > 1e-12, placed / np.maximum(total, 1e-12), shared)


def share_right(hits: NDArray[np.bool_]) -> Share:
    """The accuracy on some samples. hits: bool (n,), whether each prediction is correct; n may be 0."""
    n, right = len(hits), int(hits.sum())
    return Share(n, right / n, wilson_interval(right, n)) if n else Share(0, None, None)


def diversity(members: NDArray[np.float64], labels: tuple[str, ...], found: Evaluation) -> Diversity:
    """How much the models' predictions differ; members: their probabilities (M, n, K) of the measured faces."""
    called = np.stack([mapped(p, labels, found.labels).argmax(1) for p in members])
    hits = called == found.truth_index
    differ = (called[:, None] != called[None]).mean(2)
    return Diversity(
        members=tuple(share_right(own) for own in hits),
        disagreement=tuple(tuple(row) for row in differ.tolist()),
        mean_disagreement=float(differ[np.triu_indices(len(differ), 1)].mean()),
        any_right=float(hits.any(0).mean()),
    )


def _against(p: Floats, truths: GroundTruth, measured: NDArray[np.intp]) -> tuple[Floats, Indices | Floats] | None:
    """Probabilities, and what their calibration is measured against: raters' shares for `votes`, else class indices."""
    if truths.kind == "votes" and truths.votes is not None:
        voted = truths.votes.sum(1) > 0
        return (p[voted], vote_shares(truths.votes[voted]).astype(np.float64)) if voted.any() else None
    return p[measured], truths.index[measured]


def _ece(p: Floats | None, truths: GroundTruth, measured: NDArray[np.intp]) -> tuple[float | None, float | None]:
    """The ECE against the ground truth, and for `votes` also against the majority."""
    pair = None if p is None else _against(p, truths, measured)
    if p is None or pair is None:
        return None, None
    majority = None
    if truths.kind == "votes":
        majority = metrics.expected_calibration_error(p[measured], truths.index[measured])
    return metrics.expected_calibration_error(*pair), majority


def _calibration(p: Floats | None, truths: GroundTruth, measured: NDArray[np.intp]) -> Calibration | None:
    pair = None if p is None else _against(p, truths, measured)
    if p is None or pair is None:
        return None
    own, right = p[measured], truths.index[measured]
    by_class = calibration.classwise_calibration_error(*pair)
    return Calibration(
        brier=metrics.brier_score(own, right),
        classwise_ece=float(by_class.mean()),
        classwise_ece_by_class=dict(zip(truths.names, by_class.tolist(), strict=True)),
        reliability=calibration.reliability(*pair),
        reliability_majority=calibration.reliability(own, right) if truths.kind == "votes" else None,
    )


def _curves(p: Floats, right: Indices, names: tuple[str, ...], known: NDArray[np.bool_]) -> Curves:
    per_class = {}
    for k, name in enumerate(names):
        if not known[k]:  # its probability is always 0, so it ranks nothing
            per_class[name] = ClassCurves(None, None, None, None)
            continue
        positive, scores = right == k, p[:, k]
        roc, recall = curves.roc_curve(positive, scores), curves.precision_recall_curve(positive, scores)
        per_class[name] = ClassCurves(
            curves.roc_auc(positive, scores),
            curves.average_precision(positive, scores),
            roc and roc.thinned(),
            recall and recall.thinned(),
        )
    aucs = [c.auc for c in per_class.values() if c.auc is not None]
    precisions = [c.average_precision for c in per_class.values() if c.average_precision is not None]
    return Curves(
        sum(aucs) / len(aucs) if aucs else None, sum(precisions) / len(precisions) if precisions else None, per_class
    )


def _selective(hits: NDArray[np.bool_], confidence: Floats, target: float | None) -> Selective:
    abstention = None
    if target is not None:
        threshold = curves.threshold_for(hits, confidence, target)
        if threshold is None:
            abstention = Abstention(target, None, 0, 0.0, None, None, CAVEAT)
        else:
            kept = hits[confidence >= threshold]
            n, right = len(kept), int(kept.sum())
            low, _ = wilson_interval(right, n, z=1.644854)  # one-sided 95 %
            abstention = Abstention(target, threshold, n, n / len(hits), right / n, low, CAVEAT)
    return Selective(
        curves.area_under_risk_coverage(hits, confidence), curves.risk_coverage(hits, confidence).thinned(), abstention
    )


def _votes(answers: Answers, truths: GroundTruth) -> Votes | None:
    """Accuracy on the raters' majority; None without votes, or if no label is one of theirs."""
    if truths.votes is None or not set(answers.labels) & set(VOTE_LABELS):
        return None
    if answers.probabilities is not None:
        called = mapped(answers.probabilities, answers.labels, VOTE_LABELS).argmax(1)
        called = np.where(answers.called < 0, -1, called)
    else:
        place = [VOTE_LABELS.index(n) if n in VOTE_LABELS else -1 for n in answers.labels]
        called = np.array([*place, -1])[answers.called]
    majority = vote_majority(truths.votes)
    agreement = vote_shares(truths.votes).max(1)
    hits = called == majority
    # float32 shares: 6 of 10 may be slightly below 0.6
    subsets = (share_right(hits[(majority >= 0) & (agreement >= least - 1e-6)]) for least in (0.0, 0.6, 0.8))
    return Votes(*subsets)


def _kl_to_votes(answers: Answers, truths: GroundTruth) -> tuple[float | None, int]:
    shared = tuple(name for name in VOTE_LABELS if name in answers.labels)
    if truths.votes is None or answers.probabilities is None or not shared:
        return None, 0
    votes = truths.votes[:, [VOTE_LABELS.index(name) for name in shared]]
    voted = votes.sum(1) > 0
    if not voted.any():
        return None, 0
    p = mapped(answers.probabilities[voted], answers.labels, shared)
    return metrics.mean_kl(vote_shares(votes[voted]), p), int(voted.sum())


def _train_copies(hits: NDArray[np.bool_], measured: NDArray[np.intp], truths: GroundTruth) -> TrainCopies | None:
    if truths.copied is None:
        return None
    copied = truths.copied[measured]
    return TrainCopies(truths.n_train, int(copied.sum()), share_right(hits[~copied]))


def _every_answer(answers: Answers, names: tuple[str, ...], rows: NDArray[np.intp], right: Indices) -> Share | None:
    """The accuracy with answers that the ground truth lacks; None if it has all of them."""
    if answers.probabilities is None or not set(answers.labels) - set(names):
        return None
    place = np.array([*(names.index(name) if name in names else -1 for name in answers.labels), -1])
    return share_right(place[answers.called[rows]] == right)


def _class_scores(confusion: Indices, names: tuple[str, ...]) -> ClassScores:
    rows = zip(
        names,
        confusion.sum(1).tolist(),
        metrics.recall(confusion).tolist(),
        metrics.precision(confusion).tolist(),
        metrics.f1(confusion).tolist(),
        confusion.sum(0).tolist(),
        metrics.f1_intervals(confusion),
        strict=False,  # the last row and column, faces without a prediction, are no class
    )
    return ClassScores(
        ClassScore(name, n, r if n else None, p, f if n else None, called, span if n else None)
        for name, n, r, p, f, called, span in rows
    )
