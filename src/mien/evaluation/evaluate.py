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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mien.data.readers import fit_face
from mien.data.samples import VOTE_LABELS, Samples, vote_majority, vote_shares
from mien.errors import DataError, OutputError
from mien.evaluation import metrics
from mien.evaluation.calibration import undo_temperature
from mien.model_file import ModelFile

Truth = Literal["label", "votes"]
METRICS_FILE, PREDICTIONS_FILE = "metrics.json", "predictions.csv"


@dataclass(frozen=True, slots=True)
class UsedModel:
    """A model that took part: its name, what its probabilities were divided by, its file's checksum."""

    name: str
    sha256: str
    temperature: float


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: its samples, recall, precision and F1; recall and F1 are None where it has no samples."""

    label: str
    support: int
    recall: float | None
    precision: float
    f1: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What was measured, on what, and every prediction.

    labels: the ruler's K classes in order. n: samples measured; n_left_out: samples without a truth. accuracy_95:
    Wilson interval. ece, nll: see `metrics`; nll over the nll_n samples whose class the models can say. kl_votes: mean
    KL(votes || model) over the kl_n samples with votes, on the expressions that raters and models share; None without
    votes. dropped_classes: the models', which the ruler lacks; missing_classes: the ruler's, which the models lack.
    sources: (n,); truth_index: int64 (n,); probabilities: float64 (n, K), 0 for missing classes.
    """

    models: tuple[UsedModel, ...]
    data: str
    split: str
    truth: Truth
    labels: tuple[str, ...]
    tta: bool
    n: int
    n_left_out: int
    accuracy: float
    accuracy_95: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    ece: float
    ece_before_temperature: float
    nll: float | None
    nll_n: int
    kl_votes: float | None
    kl_n: int
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    dropped_classes: tuple[str, ...]
    missing_classes: tuple[str, ...]
    notes: tuple[str, ...]
    sources: tuple[str, ...] = field(repr=False)
    truth_index: NDArray[np.int64] = field(repr=False)
    probabilities: NDArray[np.float64] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """As metrics.json has it: everything but the single predictions, figures to six digits."""

        def short(value: float | None) -> float | None:
            return None if value is None else round(value, 6)

        return {
            "models": [{"name": m.name, "sha256": m.sha256, "temperature": m.temperature} for m in self.models],
            "data": self.data,
            "split": self.split,
            "truth": self.truth,
            "labels": list(self.labels),
            "tta": self.tta,
            "n": self.n,
            "n_left_out": self.n_left_out,
            "accuracy": short(self.accuracy),
            "accuracy_95": [short(v) for v in self.accuracy_95],
            "balanced_accuracy": short(self.balanced_accuracy),
            "macro_f1": short(self.macro_f1),
            "ece": short(self.ece),
            "ece_before_temperature": short(self.ece_before_temperature),
            "nll": short(self.nll),
            "nll_n": self.nll_n,
            "kl_votes": short(self.kl_votes),
            "kl_n": self.kl_n,
            "per_class": {
                c.label: {
                    "recall": short(c.recall), "precision": short(c.precision), "f1": short(c.f1), "support": c.support
                }
                for c in self.per_class
            },
            "confusion": [list(row) for row in self.confusion],
            "dropped_classes": list(self.dropped_classes),
            "missing_classes": list(self.missing_classes),
            "notes": list(self.notes),
        }  # fmt: skip


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
    tta: averages each face with its mirror image. data, split: said in the result as they are.
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
        ece=metrics.expected_calibration_error(probabilities, right),
        ece_before_temperature=metrics.expected_calibration_error(_mapped(raw[measured], labels, names), right),
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
    texts = {
        METRICS_FILE: json.dumps(evaluation.to_dict(), indent=2, allow_nan=False) + "\n",
        PREDICTIONS_FILE: table.getvalue(),
    }
    out = Path(out)
    parts = {out / f".{name}.part": out / name for name in texts}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for part, text in zip(parts, texts.values(), strict=True):
            part.write_text(text, "utf-8")
        for part, place in parts.items():
            part.replace(place)
    except OSError as error:
        for part in parts:
            if part.is_file():
                part.unlink()
        raise OutputError(f"{out}: can't write the results there ({error.strerror}); give another folder") from error


def _common_labels(models: Sequence[ModelFile]) -> tuple[str, ...]:
    if not models:
        raise DataError("no model to evaluate; give at least one")
    first = models[0].info
    for model in models[1:]:
        if set(model.info.labels) != set(first.labels):
            raise DataError(
                f"{model.info.name} says {', '.join(model.info.labels)} and {first.name} says "
                f"{', '.join(first.labels)}; models can be averaged only where they have the same labels"
            )
    return first.labels


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
    share = 1 / (len(models) * (2 if tta else 1))
    for model in models:
        info = model.info
        order = [info.labels.index(name) for name in labels]
        for start in range(0, len(images), batch_size):
            rows = slice(start, start + batch_size)
            faces = images[rows]
            if faces.shape[1:] != (info.size, info.size, info.channels):
                faces = np.stack([fit_face(face, info.size, info.channels) for face in faces])
            views = (faces, np.ascontiguousarray(faces[:, :, ::-1])) if tta else (faces,)
            for view in views:
                p = metrics.check_probabilities(model.probabilities(view), f"{info.name}: its probabilities")[:, order]
                calibrated[rows] += share * p
                raw[rows] += share * undo_temperature(p, info.temperature)
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
