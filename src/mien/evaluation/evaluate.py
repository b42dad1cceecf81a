"""Measures model files on one split of a data set, and writes what was found.

Two rulers: `label`, the data set's own labels, and `votes`, the expression that more than half of FER+'s raters chose
among the eight (faces without such a majority are left out and counted). Models whose labels differ from the ruler's
are mapped by name: what the ruler lacks is dropped and the rest renormalised; what the model lacks it gets wrong.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.crop import VIEWS, ten_views
from mien.data.readers import fit_face
from mien.data.samples import VOTE_LABELS, Samples, vote_majority, vote_shares
from mien.errors import DataError
from mien.evaluation import metrics
from mien.evaluation.calibration import undo_temperature
from mien.evaluation.result import ClassScore, Evaluation, Truth, UsedModel
from mien.files import make_folder, write_text
from mien.labels import canonical_all
from mien.model_file import ModelFile

METRICS_FILE, PREDICTIONS_FILE = "metrics.json", "predictions.csv"


def evaluate(
    models: Sequence[ModelFile],
    samples: Samples,
    *,
    truth: Truth | None = None,
    batch_size: int = 256,
    tta: bool = False,
    data: str = "",
    split: str = "",
) -> Evaluation:
    """Measures one model, or several whose probabilities are averaged.

    truth: the ruler; None takes what the first model was trained for, or the labels where the data have no votes.
    tta: averages ten views of each face, see `crop.ten_views`. data, split: said in the result as they are.
    Raises DataError where nothing can be measured: no samples, no votes, or no label in common.
    """
    labels = _common_labels(models)
    notes = []
    if truth is None:
        truth = "votes" if models[0].info.target == "votes" else "label"
        if truth == "votes" and samples.votes is None:
            truth = "label"
            notes.append("the model was trained on votes, which these data lack: measured by their labels")
    names, index = _truth_of(samples, truth, data)
    if not set(labels) & set(names):
        raise DataError(f"the model's labels ({', '.join(labels)}) and the data's ({', '.join(names)}) share nothing")
    measured = np.flatnonzero(index >= 0)
    if len(measured) == 0:
        raise DataError(f"{data or 'the data'}: no samples to measure by {truth}; {len(samples)} were left out")

    calibrated, raw = _predict(models, samples.images, labels, batch_size, tta)
    right = index[measured]
    probabilities = _mapped(calibrated[measured], labels, names)
    confusion = metrics.confusion_counts(right, probabilities.argmax(1), len(names))
    sayable = np.isin(right, [i for i, name in enumerate(names) if name in labels])
    kl, kl_n = _kl_to_votes(samples, calibrated, labels)

    def calibration_error(p: NDArray[np.float64]) -> float:
        if truth == "votes" and samples.votes is not None:
            voted = samples.votes.sum(1) > 0
            return metrics.expected_calibration_error(
                _mapped(p[voted], labels, names), vote_shares(samples.votes[voted])
            )
        return metrics.expected_calibration_error(_mapped(p[measured], labels, names), right)

    return Evaluation(
        models=tuple(UsedModel(m.info.name, m.sha256, m.info.temperature) for m in models),
        data=data,
        split=split,
        truth=truth,
        labels=names,
        tta=tta,
        n=len(measured),
        n_left_out=len(samples) - len(measured),
        accuracy=metrics.accuracy(confusion),
        accuracy_95=metrics.wilson_interval(int(np.trace(confusion)), len(measured)),
        balanced_accuracy=metrics.balanced_accuracy(confusion),
        macro_f1=metrics.macro_f1(confusion),
        ece=calibration_error(calibrated),
        ece_before_temperature=calibration_error(raw),
        ece_majority=metrics.expected_calibration_error(probabilities, right) if truth == "votes" else None,
        nll=metrics.negative_log_likelihood(probabilities[sayable], right[sayable]) if sayable.any() else None,
        nll_n=int(sayable.sum()),
        kl_votes=kl,
        kl_n=kl_n,
        per_class=_class_scores(confusion, names),
        confusion=tuple(tuple(int(v) for v in row) for row in confusion),
        dropped_classes=tuple(name for name in labels if name not in names),
        missing_classes=tuple(name for name in names if name not in labels),
        notes=tuple(notes),
        sources=tuple(samples.sources[i] for i in measured),
        truth_index=right,
        probabilities=probabilities,
    )


def write_evaluation(evaluation: Evaluation, out: Path) -> None:
    """Writes metrics.json and predictions.csv into the folder `out`, each whole or not at all. Raises OutputError."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["source", "label", "expression", "confidence", *evaluation.labels])
    best = evaluation.probabilities.argmax(1)
    for source, right, called, row in zip(
        evaluation.sources, evaluation.truth_index, best, evaluation.probabilities.tolist(), strict=True
    ):
        figures = [f"{p:.6f}" for p in (row[called], *row)]
        writer.writerow([source, evaluation.labels[right], evaluation.labels[called], *figures])
    out = Path(out)
    make_folder(out)
    write_text(out / PREDICTIONS_FILE, table.getvalue())
    write_metrics(evaluation, out / METRICS_FILE)


def write_metrics(evaluation: Evaluation, path: Path) -> None:
    """Writes metrics.json alone, to a file of any name, whole or not at all. Raises OutputError."""
    write_text(Path(path), json.dumps(evaluation.to_dict(), indent=2, allow_nan=False) + "\n")


def _common_labels(models: Sequence[ModelFile]) -> tuple[str, ...]:
    """The labels of the first model in mien's spelling, which all others must have too, in any order."""
    if not models:
        raise DataError("no model to evaluate; give at least one")
    first, *others = (canonical_all(model.info.labels, str(model.path)) for model in models)
    for model, labels in zip(models[1:], others, strict=True):
        if set(labels) != set(first):
            raise DataError(
                f"{model.path} says {', '.join(labels)} and {models[0].path} says {', '.join(first)}; "
                "models can be averaged only where they have the same labels"
            )
    return first


def _truth_of(samples: Samples, truth: Truth, data: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The ruler's classes, and each sample's index in them, -1 where it has none."""
    if truth == "label":
        return samples.label_names, samples.labels
    if samples.votes is None:
        raise DataError(f"{data or 'the data'}: no ferplus_votes to measure by; use  --truth label")
    return VOTE_LABELS, vote_majority(samples.votes)


def _predict(
    models: Sequence[ModelFile], images: NDArray[np.uint8], labels: tuple[str, ...], batch_size: int, tta: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean probabilities float64 (N, K) in the order of `labels`: as the models give them, and without temperature."""
    if batch_size < 1:
        raise DataError(f"batch size {batch_size}; expected at least 1")
    calibrated = np.zeros((len(images), len(labels)))
    raw = np.zeros_like(calibrated)
    views = VIEWS if tta else 1
    for model in models:
        info = model.info
        own = canonical_all(info.labels, str(model.path))
        order = [own.index(name) for name in labels]
        for start in range(0, len(images), batch_size):
            rows = slice(start, start + batch_size)
            faces = images[rows]
            if faces.shape[1:] != (info.size, info.size, info.channels):
                faces = np.stack([fit_face(face, info.size, info.channels) for face in faces])
            seen = model.probabilities(ten_views(faces) if tta else faces)
            p = metrics.check_probabilities(seen, f"{info.name}: its probabilities")[:, order]
            for total, each in ((calibrated, p), (raw, undo_temperature(p, info.temperature))):
                total[rows] += each.reshape(len(faces), views, len(labels)).mean(1) / len(models)
    return calibrated, raw


def _mapped(p: NDArray[np.float64], labels: tuple[str, ...], names: tuple[str, ...]) -> NDArray[np.float64]:
    """Probabilities (N, len(labels)) as (N, len(names)): columns by name, 0 where `labels` lack one, renormalised."""
    mapped = np.zeros((len(p), len(names)))
    for column, name in enumerate(names):
        if name in labels:
            mapped[:, column] = p[:, labels.index(name)]
    total = mapped.sum(1, keepdims=True)
    # All the probability may have been on dropped classes; then the model says nothing about the rest: equal shares.
    shared = np.array([name in labels for name in names]) / sum(name in labels for name in names)
    return np.where(total > 1e-12, mapped / np.maximum(total, 1e-12), shared)


def _kl_to_votes(samples: Samples, p: NDArray[np.float64], labels: tuple[str, ...]) -> tuple[float | None, int]:
    shared = tuple(name for name in VOTE_LABELS if name in labels)
    if samples.votes is None or not shared:
        return None, 0
    votes = samples.votes[:, [VOTE_LABELS.index(name) for name in shared]]
    voted = votes.sum(1) > 0
    if not voted.any():
        return None, 0
    return metrics.mean_kl(vote_shares(votes[voted]), _mapped(p[voted], labels, shared)), int(voted.sum())


def _class_scores(confusion: NDArray[np.int64], names: tuple[str, ...]) -> tuple[ClassScore, ...]:
    rows = zip(
        names,
        confusion.sum(1).tolist(),
        metrics.recall(confusion).tolist(),
        metrics.precision(confusion).tolist(),
        metrics.f1(confusion).tolist(),
        strict=True,
    )
    return tuple(ClassScore(name, n, r if n else None, p, f if n else None) for name, n, r, p, f in rows)
