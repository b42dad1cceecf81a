"""Evaluates model files, or the predictions of another tool, on one split of a data set, and writes the results.

There are two kinds of ground truth. `label`: the data set's own labels. `votes`: the expression that more than half of
FER+'s raters chose among the eight; faces without such a majority are left out and counted. Labels of models and
ground truth are matched by name. Classes that the ground truth lacks are dropped, and the other probabilities
renormalised. Faces of classes that the model lacks count as wrong.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mien.crop import VIEWS, ten_views
from mien.data.dataset import Progress
from mien.data.samples import VOTE_LABELS, Samples, vote_majority
from mien.errors import DataError, MissingExtraError
from mien.evaluation import metrics
from mien.evaluation.calibration import undo_temperature
from mien.evaluation.fitting import fit_faces
from mien.evaluation.measure import Answers, GroundTruth, mapped, measure, share_right
from mien.evaluation.prediction_matching import called_among, match_sources, require_truth
from mien.evaluation.predictions import Predictions
from mien.evaluation.report import report_text
from mien.evaluation.result import Diversity, Evaluation, Truth, UsedModel
from mien.evaluation.robustness import choose_rows, measure_robustness
from mien.evaluation.speed import measure_speed
from mien.files import make_folder, write_bytes, write_text
from mien.labels import canonical_all
from mien.model_file import ModelFile

METRICS_FILE, PREDICTIONS_FILE, REPORT_FILE = "metrics.json", "predictions.csv", "report.txt"


@dataclass(frozen=True, slots=True)
class Extras:
    """Optional parts of an evaluation.

    columns: values (N,), one per sample, to group by. train: the faces of the training split, in the samples' size and
    channels, to count exact copies. target_accuracy: find the confidence threshold that reaches it. speed: time the
    models; takes some seconds. robustness_faces: the number of faces, chosen at random, to corrupt and measure again;
    0: none.
    """

    columns: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    train: NDArray[np.uint8] | None = None
    target_accuracy: float | None = None
    speed: bool = False
    robustness_faces: int = 0


def evaluate_samples(
    models: Sequence[ModelFile],
    samples: Samples,
    *,
    truth: Truth | None = None,
    batch_size: int = 256,
    tta: bool = False,
    data: str = "",
    split: str = "",
    extras: Extras = Extras(),
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluates one model, or several whose probabilities are averaged.

    truth: the kind of ground truth. None: what the first model was trained on, or the labels if the data have no votes.
    tta: averages ten views of each face, see `crop.ten_views`. data, split: names for the result. progress: receives
    the number of corrupted faces that are measured, and the total. Raises DataError if nothing can be measured: no
    samples, no votes, or no label in common.
    """
    labels = _common_labels(models)
    notes = []
    if truth is None:
        truth = "votes" if models[0].info.target == "votes" else "label"
        if truth == "votes" and samples.votes is None:
            truth = "label"
            notes.append("the model was trained on votes, which these data lack: the labels are the ground truth")
    truths = _truths(samples, truth, data, extras)
    members, raw = _predict(models, samples.images, labels, batch_size, tta)
    calibrated = members.mean(0)
    answers = Answers(labels, calibrated.argmax(1), calibrated.max(1), calibrated, raw)
    found = measure(answers, truths, target_accuracy=extras.target_accuracy, data=data)
    robustness = None
    if extras.robustness_faces:

        def call(faces: NDArray[np.uint8]) -> NDArray[np.int64]:
            seen = _predict(models, faces, labels, batch_size, tta)[0].mean(0)
            answers: NDArray[np.int64] = mapped(seen, labels, found.labels).argmax(1)
            return answers

        robustness = measure_robustness(
            call,
            samples.images,
            truths.index,
            rows=found.rows[choose_rows(found.n, extras.robustness_faces)],
            progress=progress,
        )
    return replace(
        found,
        models=tuple(UsedModel(m.info.name, m.sha256, m.info.temperature) for m in models),
        data=data,
        split=split,
        tta=tta,
        notes=tuple(notes),
        speed=measure_speed(models, samples.images) if extras.speed else None,
        diversity=_diversity(members[:, found.rows], labels, found) if len(models) > 1 else None,
        robustness=robustness,
    )


def evaluate_predictions(
    predictions: Predictions,
    samples: Samples | None = None,
    *,
    truth: Truth | None = None,
    data: str = "",
    split: str = "",
    extras: Extras = Extras(),
) -> Evaluation:
    """Evaluates the predictions of another tool, see `predictions.read_predictions`.

    samples: the split that was predicted; None takes the ground truth from the file. With samples, each face that has a
    ground truth must be in the file, by its source; a label in the file must agree with it. truth: the kind of ground
    truth; None: `label`. Raises DataError if file and samples do not fit, or nothing can be measured.
    """
    notes = predictions.notes
    if samples is None:
        if truth == "votes" or extras.columns:
            wanted = "'votes' needs the data set's votes" if truth == "votes" else "groups need its columns"
            raise DataError(f"{predictions.name}: {wanted}; give the data set with --data")
        order = np.arange(len(predictions))
        truths = GroundTruth("label", predictions.truth_names, predictions.truth, predictions.sources, None, {})
    else:
        every = _truths(samples, truth or "label", data, extras)
        rows, order, matched = match_sources(predictions, every.sources, every.index >= 0, data)
        truths, notes = every.take(rows), (*notes, *matched)
        require_truth(predictions, order, truths.names, truths.index, truths.kind)
    labels, called = predictions.labels, predictions.called
    if predictions.probabilities is None and samples is not None:
        # The file has only the predicted classes, not all classes of the tool.
        labels = truths.names
        called, foreign = called_among(predictions, truths.names)
        notes = (*notes, *foreign)
    answers = Answers(
        labels,
        called[order],
        None if predictions.confidence is None else predictions.confidence[order],
        None if predictions.probabilities is None else predictions.probabilities[order],
    )
    found = measure(answers, truths, target_accuracy=extras.target_accuracy, data=data or predictions.name)
    left_out = 0 if samples is None else len(samples) - found.n
    absent = 0 if samples is None else len(samples) - len(order)
    if absent:
        notes = (*notes, f"{absent} faces without a ground truth are not in the file: votes are those of the rest")
    return replace(
        found,
        predictions=predictions.name,
        data=data,
        split=split,
        n_left_out=left_out,
        n_unanswered=int((predictions.called[order][found.rows] < 0).sum()),
        notes=notes,
        rows=found.rows if samples is None else rows[found.rows].astype(np.int64),
    )


def write_evaluation(evaluation: Evaluation, out: Path, *, table: Literal["csv", "parquet"] = "csv") -> None:
    """Writes metrics.json, report.txt and predictions.csv or .parquet into the folder `out`; each write is atomic.

    Raises OutputError, and MissingExtraError for Parquet without pyarrow.
    """
    data = _parquet(evaluation) if table == "parquet" else _csv(evaluation).encode()
    out = Path(out)
    make_folder(out)
    for kind in ("csv", "parquet"):
        place = (out / PREDICTIONS_FILE).with_suffix(f".{kind}")
        if kind == table:
            write_bytes(place, data)
        else:
            place.unlink(missing_ok=True)  # an earlier evaluation: its rows would contradict metrics.json
    write_text(out / REPORT_FILE, report_text(evaluation))
    write_metrics(evaluation, out / METRICS_FILE)


def _csv(evaluation: Evaluation) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    labels, p = evaluation.labels, evaluation.probabilities
    sure = evaluation.confidence
    shown = [] if sure is None else ["confidence"]
    writer.writerow(["source", "label", "expression", *shown, *(() if p is None else labels)])
    for i, (source, right, called) in enumerate(
        zip(evaluation.sources, evaluation.truth_index, evaluation.predicted_index, strict=True)
    ):
        figures = [*(() if sure is None else (sure[i],)), *(() if p is None else p[i])]
        cells = [f"{v:.6f}" for v in figures] if called >= 0 else [""] * len(figures)
        writer.writerow([source, labels[right], labels[called] if called >= 0 else "", *cells])
    return table.getvalue()


def _parquet(evaluation: Evaluation) -> bytes:
    """The same columns, probabilities as float32."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("data", "writing Parquet") from error
    names = np.array((*evaluation.labels, None), object)  # -1, no prediction, indexes the last
    unanswered = evaluation.predicted_index < 0

    def column(values: NDArray[np.float64]) -> pa.Array:
        return pa.array(values.astype(np.float32), mask=unanswered)

    columns = {
        "source": list(evaluation.sources),
        "label": names[evaluation.truth_index],
        "expression": pa.array(names[evaluation.predicted_index], pa.string()),
    }
    if evaluation.confidence is not None:
        columns["confidence"] = column(evaluation.confidence)
    if evaluation.probabilities is not None:
        columns |= dict(zip(evaluation.labels, map(column, evaluation.probabilities.T), strict=True))
    data = io.BytesIO()
    pq.write_table(pa.table(columns), data, compression="zstd")
    return data.getvalue()


def write_metrics(evaluation: Evaluation, path: Path) -> None:
    """Writes metrics.json alone, to a file of any name, atomically. Raises OutputError."""
    make_folder(Path(path).parent)
    write_text(Path(path), json.dumps(evaluation.to_dict(), indent=2, allow_nan=False) + "\n")


def exact_copies(images: NDArray[np.uint8], train: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which faces uint8 (N, S, S, C) equal one of the training faces (M, S, S, C) pixel by pixel. Bool (N,)."""
    if images.shape[1:] != train.shape[1:]:
        raise ValueError(f"faces {images.shape[1:]} and training faces {train.shape[1:]}; expected the same size")
    seen = {_digest(face) for face in train}
    return np.array([_digest(face) in seen for face in images], bool)


def _digest(face: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(face).data, digest_size=16).digest()


def _common_labels(models: Sequence[ModelFile]) -> tuple[str, ...]:
    """The labels of the first model in mien's spelling; the other models must have the same, in any order."""
    if not models:
        raise DataError("no model to evaluate; give at least one")
    first, *others = (canonical_all(model.info.labels, str(model.path)) for model in models)
    for model, labels in zip(models[1:], others, strict=True):
        if set(labels) != set(first):
            raise DataError(
                f"{model.path} has the labels {', '.join(labels)} and {models[0].path} {', '.join(first)}; "
                "only models with the same labels can be averaged"
            )
    return first


def _truths(samples: Samples, truth: Truth, data: str, extras: Extras) -> GroundTruth:
    """The ground truth of the samples. Raises DataError if there are no samples, or no votes for `votes`."""
    if len(samples) == 0:
        raise DataError(f"{data or 'the data'}: the split has no faces; there is nothing to measure")
    names, index = samples.label_names, samples.labels
    if truth == "votes":
        if samples.votes is None:
            raise DataError(f"{data or 'the data'}: no ferplus_votes; use  --truth label")
        names, index = VOTE_LABELS, vote_majority(samples.votes)
    for name, values in extras.columns.items():
        if values.ndim != 1 or len(values) != len(samples):
            raise DataError(f"groups '{name}': {values.shape} for {len(samples)} faces; expected one value per face")
    train = extras.train
    copied = None if train is None or not len(train) else exact_copies(samples.images, train)
    n_train = 0 if train is None else len(train)
    return GroundTruth(truth, names, index, samples.sources, samples.votes, dict(extras.columns), copied, n_train)


def _predict(
    models: Sequence[ModelFile], images: NDArray[np.uint8], labels: tuple[str, ...], batch_size: int, tta: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities in the order of `labels`: of each model, float64 (M, N, K), and their mean without temperature,
    float64 (N, K)."""
    if batch_size < 1:
        raise DataError(f"batch size {batch_size}; expected at least 1")
    calibrated = np.zeros((len(models), len(images), len(labels)))
    raw = np.zeros(calibrated.shape[1:])
    views = VIEWS if tta else 1
    for model, own_calibrated in zip(models, calibrated, strict=True):
        info = model.info
        own = canonical_all(info.labels, str(model.path))
        order = [own.index(name) for name in labels]
        for start in range(0, len(images), batch_size):
            rows = slice(start, start + batch_size)
            faces = fit_faces(images[rows], model)
            seen = model.probabilities(ten_views(faces) if tta else faces)
            p = metrics.check_probabilities(seen, f"{info.name}: its probabilities")[:, order]
            plain = undo_temperature(p, info.temperature)
            own_calibrated[rows] = p.reshape(len(faces), views, len(labels)).mean(1)
            raw[rows] += plain.reshape(len(faces), views, len(labels)).mean(1) / len(models)
    return calibrated, raw


def _diversity(members: NDArray[np.float64], labels: tuple[str, ...], found: Evaluation) -> Diversity:
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
