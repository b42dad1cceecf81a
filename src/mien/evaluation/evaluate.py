"""Evaluates model files, or the predictions of another tool, on one split of a data set, and writes the results.

There are two kinds of ground truth. `label`: the data set's own labels. `votes`: the expression that more than half of
FER+'s raters chose among the eight; faces without such a majority are left out and counted. Labels of models and
ground truth are matched by name. Classes that the ground truth lacks are dropped, and the other probabilities
renormalised. Faces of classes that the model lacks count as wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.balance import Prior, model_balance
from mien.data.dataset import Dataset
from mien.data.samples import VOTE_LABELS, Samples, vote_majority
from mien.errors import ArgumentError, DataError
from mien.evaluation.extremes import explain_extremes
from mien.evaluation.fitting import common_labels, predict_members
from mien.evaluation.folder import Table, write_folder
from mien.evaluation.inputs import Inputs, data_name, exact_copies, read_inputs
from mien.evaluation.measure import Answers, GroundTruth, diversity, mapped, measure
from mien.evaluation.operating_point import balance_report
from mien.evaluation.prediction_matching import called_among, match_sources, require_truth
from mien.evaluation.prediction_scores import Scores
from mien.evaluation.predictions import Predictions, read_predictions
from mien.evaluation.protocols import ProtocolName, find_protocol, with_protocol
from mien.evaluation.result import Evaluation, Truth, UsedModel
from mien.evaluation.robustness import FACES, choose_rows, measure_robustness
from mien.evaluation.speed import measure_speed
from mien.model_file import ModelFile, open_models
from mien.reporting import Progress

Model = str | Path | ModelFile
"""A model's name, `A+B` for the mean of two, a model file, or an opened one."""

Data = str | Path | Dataset
"""A data set: its file or folder, or an opened one."""


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


def evaluate(
    model: Model | Sequence[Model],
    data: Data,
    split: str | None = None,
    truth: Truth | None = None,
    out: str | Path | None = None,
    *,
    protocol: ProtocolName | None = None,
    groups: Sequence[str] = (),
    target_accuracy: float | None = None,
    tta: bool = False,
    balance: float | None = None,
    prior: Prior | None = None,
    batch_size: int = 256,
    leak_check: bool = True,
    speed: bool = False,
    robustness: bool = False,
    robustness_faces: int = FACES,
    explain: int = 0,
    table: Table = "csv",
    vector_figures: bool = False,
    title: str = "",
    progress: Progress | None = None,
) -> Evaluation:
    """Measures one model, or several whose probabilities are averaged, on one split of a data set.

    Args:
        model: A model's name, a model file, an opened model, a list of them, or `A+B`, their mean.
        data: Any data set that mien reads, by its path, or an opened one.
        split: `train`, `validation`, `test`, or `all` faces. None: `test` if the data have it, else `validation`, else
            all faces of data without splits.
        truth: The ground truth: `label`, the data's labels, or `votes`, the majority of FER+'s raters. None: what the
            model was trained on, or the labels if the data have no votes.
        out: A folder for report.html, figures/, metrics.json, report.txt and the predictions; None writes nothing.
        protocol: A published way to measure, which sets split, truth and classes: `fer2013`, `ferplus-majority`,
            `ferplus-probability`, `raf-db`, `affectnet-7` or `affectnet-8`. A split that is given goes before its own.
        groups: Columns of the data set whose values form groups to compare.
        target_accuracy: Also find the confidence threshold that reaches this accuracy, above 0 and at most 1.
        tta: Classify ten views of each face, mirrored and shifted.
        balance: How far the model's training mix of expressions is evened out, 0 to 1; None: what the model states.
        prior: Your own mix of expressions: label -> count or share, or a JSON file of that.
        batch_size: Faces classified together.
        leak_check: Count the faces that are also in the training split.
        speed: Time the model on this machine; takes some seconds.
        robustness: Also measure on corrupted faces: blurred, dark, covered and others.
        robustness_faces: The number of faces for that, chosen at random.
        explain: Explain the N most confident correct and wrong predictions in report.html; needs `out`.
        table: The format of the predictions: `csv` or `parquet`.
        vector_figures: Write the figures also as SVG and PDF.
        title: The name of the data in the report; empty takes their path.
        progress: Receives the number of corrupted faces that are measured, and the total.

    Returns:
        Evaluation: `accuracy` with its 95 % `interval`, `per_class`, `confusion`, `calibration` and more; `files` are
        the paths that were written.

    Raises:
        DataError: The split or a column is missing, it has no faces or no votes, or no label in common with the model.
        ModelFileError: There is no such model, or it is not a model of mien.
        OutputError: The folder can't be written into.
        MissingExtraError: matplotlib is needed for `explain`, pyarrow for Parquet.
        ArgumentError: `explain` without `out`, or a balance or prior that can't be used.

    Examples:
        >>> import mien
        >>> report = mien.evaluate("mien-small", "fer2013.csv", out="report")
        >>> report.accuracy, report.interval
        (0..., (0..., 0...))
        >>> report.per_class.to_pandas().columns.tolist()[:2]
        ['label', 'support']
    """
    if explain and out is None:
        raise ArgumentError("explained faces are shown in report.html; give a folder with out")
    models, measured_by = open_models(model), find_protocol(protocol, split, truth)
    if measured_by is not None:
        split, truth = measured_by.split, measured_by.truth
    inputs = _inputs(data, split, models, groups, leak_check=leak_check)
    if measured_by is not None:
        inputs = with_protocol(inputs, measured_by, data_name(data))
    extras = Extras(inputs.columns, inputs.train, target_accuracy, speed, robustness_faces if robustness else 0)
    found = evaluate_samples(
        models,
        inputs.samples,
        truth=truth,
        batch_size=batch_size,
        tta=tta,
        balance=balance,
        prior=prior,
        data=title or data_name(data),
        split=inputs.split,
        extras=extras,
        progress=progress,
    )
    if measured_by is not None:
        note = f"protocol {protocol}: {measured_by.about}; papers report {measured_by.figure}"
        found = replace(found, notes=(*found.notes, note))
    if out is None:
        return found
    chosen = model_balance(models, balance, prior)
    extremes = explain_extremes(models, found, inputs.samples, count=explain, balance=chosen) if explain else None
    files = write_folder(
        found, Path(out), samples=inputs.samples, extremes=extremes, table=table, vector=vector_figures
    )
    return found.with_files(files)


def evaluate_file(
    predictions: str | Path,
    data: Data | None = None,
    split: str | None = None,
    truth: Truth | None = None,
    out: str | Path | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    scores: Scores | None = None,
    classes: Sequence[str] = (),
    groups: Sequence[str] = (),
    target_accuracy: float | None = None,
    leak_check: bool = True,
    table: Table = "csv",
    vector_figures: bool = False,
) -> Evaluation:
    """Measures the predictions of another tool: a CSV, JSON or Parquet file with a row for each face.

    Args:
        predictions: The file, see `mien.evaluation.predictions.read_predictions`.
        data: The data set that was predicted; None takes the ground truth from the file.
        split: The split of `data`, as for `evaluate`.
        truth: As for `evaluate`; None: the labels.
        out: As for `evaluate`.
        columns: Role -> column of the file, for roles that its names leave open: image, truth, answer, confidence.
        scores: `probabilities`, `percent` or `logits`; None: detected from the numbers.
        classes: The classes that the numbers 0, 1, ... mean in the file.
        groups: Columns of `data` whose values form groups to compare.
        target_accuracy: As for `evaluate`.
        leak_check: As for `evaluate`.
        table, vector_figures: As for `evaluate`.

    Returns:
        Evaluation, without what only a model can give: speed, robustness, explanations.

    Raises:
        DataError: The file can't be used, or it does not fit the data.
        OutputError: The folder can't be written into.
        MissingExtraError: pyarrow is needed for Parquet.
    """
    read = read_predictions(
        Path(predictions), columns=columns, scores=scores, classes=classes, with_data=data is not None
    )
    if data is None:
        if groups:
            raise DataError(f"--groups {groups[0]}: needs a data set with that column; give it with --data")
        inputs, extras = None, Extras(target_accuracy=target_accuracy)
    else:
        inputs = _inputs(data, split, (), groups, leak_check=leak_check)
        extras = Extras(inputs.columns, inputs.train, target_accuracy)
    samples = None if inputs is None else inputs.samples
    name, split = "" if data is None else data_name(data), "" if inputs is None else inputs.split
    found = evaluate_predictions(read, samples, truth=truth, data=name, split=split, extras=extras)
    if out is None:
        return found
    return found.with_files(write_folder(found, Path(out), samples=samples, table=table, vector=vector_figures))


def _inputs(
    data: Data, split: str | None, models: Sequence[ModelFile], groups: Sequence[str], *, leak_check: bool
) -> Inputs:
    """The split, its faces as large as the largest model needs them."""
    size = max((model.info.size for model in models), default=48)
    channels = max((model.info.channels for model in models), default=1)
    return read_inputs(data, split, size=size, channels=channels, groups=groups, train=leak_check)


def evaluate_samples(
    models: Sequence[ModelFile],
    samples: Samples,
    *,
    truth: Truth | None = None,
    batch_size: int = 256,
    tta: bool = False,
    balance: float | None = None,
    prior: Prior | None = None,
    data: str = "",
    split: str = "",
    extras: Extras = Extras(),
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluates one model, or several whose probabilities are averaged.

    truth: the kind of ground truth. None: what the first model was trained on, or the labels if the data have no votes.
    tta: averages ten views of each face, see `crop.ten_views`. balance, prior: see `mien.balance`. data, split: names
    for the result. progress: receives the number of corrupted faces that are measured, and the total. Raises DataError
    if nothing can be measured: no samples, no votes, or no label in common.
    """
    labels = common_labels(models)
    notes = []
    if truth is None:
        truth = "votes" if models[0].info.target == "votes" else "label"
        if truth == "votes" and samples.votes is None:
            truth = "label"
            notes.append("the model was trained on votes, which these data lack: the labels are the ground truth")
    truths, chosen = _truths(samples, truth, data, extras), model_balance(models, balance, prior)
    members, raw = predict_members(models, samples.images, labels, batch_size, tta)
    plain = members.mean(0)
    balanced = chosen.apply(plain)
    answers = Answers(labels, balanced.argmax(1), balanced.max(1), balanced, raw)
    found = measure(answers, truths, target_accuracy=extras.target_accuracy, data=data)

    def call(faces: NDArray[np.uint8]) -> NDArray[np.int64]:
        seen = chosen.apply(predict_members(models, faces, labels, batch_size, tta)[0].mean(0))
        answers: NDArray[np.int64] = mapped(seen, labels, found.labels).argmax(1)
        return answers

    rows = found.rows[choose_rows(found.n, extras.robustness_faces)] if extras.robustness_faces else None
    return replace(
        found,
        models=tuple(UsedModel(m.info.name, m.sha256, m.info.temperature) for m in models),
        data=data,
        split=split,
        tta=tta,
        notes=tuple(notes),
        speed=measure_speed(models, samples.images) if extras.speed else None,
        diversity=diversity(np.stack([chosen.apply(p) for p in members[:, found.rows]]), labels, found)
        if len(models) > 1
        else None,
        balance=balance_report(plain, labels, truths, chosen),
        robustness=None
        if rows is None
        else measure_robustness(call, samples.images, truths.index, rows=rows, progress=progress),
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
