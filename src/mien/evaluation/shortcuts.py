"""`mien.evaluate`, `compare`, `explain`, `calibrate` and `ensemble`: each command of that name as one call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mien.data.dataset import Dataset, Progress
from mien.errors import DataError
from mien.evaluation.compare import Comparison, compare_runs
from mien.evaluation.ensemble import Ensemble, write_ensemble
from mien.evaluation.evaluate import Extras, evaluate_predictions, evaluate_samples
from mien.evaluation.explain import Explanation, MapMaker, crop_images, explain_faces, write_explanation
from mien.evaluation.extremes import explain_extremes
from mien.evaluation.fitting import fitting_split
from mien.evaluation.folder import Table, write_folder
from mien.evaluation.inputs import Inputs, data_name, read_inputs
from mien.evaluation.prediction_scores import Scores
from mien.evaluation.predictions import read_predictions
from mien.evaluation.recalibrate import CalibratedModel, Method, write_calibrated
from mien.evaluation.result import Evaluation, Truth
from mien.evaluation.robustness import FACES
from mien.faces import FaceDetector, make_detector
from mien.media.skipped import SkippedFiles
from mien.media.sources import expand_sources
from mien.model_file import ModelFile, open_model

Model = str | Path | ModelFile
"""A shipped model's name, a model file, or an opened one."""

Data = str | Path | Dataset
"""A data set: its file or folder, or an opened one."""

Warn = Callable[[str], None]
Split = Literal["train", "validation", "test"]


def evaluate(
    model: Model | Sequence[Model],
    data: Data,
    split: str = "test",
    truth: Truth | None = None,
    out: str | Path | None = None,
    *,
    groups: Sequence[str] = (),
    target_accuracy: float | None = None,
    tta: bool = False,
    batch_size: int = 256,
    leak_check: bool = True,
    speed: bool = False,
    robustness: bool = False,
    robustness_faces: int = FACES,
    explain: int = 0,
    table: Table = "csv",
    title: str = "",
    warn: Warn | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measures one model, or several whose probabilities are averaged, on one split of a data set.

    Args:
        model: A shipped model's name, a model file, an opened model, or a list of them.
        data: Any data set that mien reads, by its path, or an opened one.
        split: `train`, `validation` or `test`.
        truth: The ground truth: `label`, the data's labels, or `votes`, the majority of FER+'s raters. None: what the
            model was trained on, or the labels if the data have no votes.
        out: A folder for report.html, figures/, metrics.json, report.txt and the predictions; None writes nothing.
        groups: Columns of the data set whose values form groups to compare.
        target_accuracy: Also find the confidence threshold that reaches this accuracy, above 0 and at most 1.
        tta: Classify ten views of each face, mirrored and shifted.
        batch_size: Faces classified together.
        leak_check: Count the faces that are also in the training split.
        speed: Time the model on this machine; takes some seconds.
        robustness: Also measure on corrupted faces: blurred, dark, covered and others.
        robustness_faces: The number of faces for that, chosen at random.
        explain: Explain the N most confident correct and wrong predictions in report.html; needs `out`.
        table: The format of the predictions: `csv` or `parquet`.
        title: The name of the data in the report; empty takes their path.
        warn: Receives one line for each record that could not be used; None logs a warning to the logger `mien`.
        progress: Receives the number of corrupted faces that are measured, and the total.

    Returns:
        Evaluation: `accuracy` with its 95 % `interval`, `per_class`, `confusion`, `calibration` and more; `files` are
        the paths that were written.

    Raises:
        DataError: The split or a column is missing, it has no faces or no votes, or no label in common with the model.
        ModelFileError: There is no such model, or it is not a model of mien.
        OutputError: The folder can't be written into.
        MissingExtraError: matplotlib is needed for `explain`, pyarrow for Parquet.
        ValueError: `explain` without `out`.

    Example:
        >>> import mien
        >>> report = mien.evaluate("mien-small", "fer2013/", out="report")  # doctest: +SKIP
        >>> report.accuracy, report.interval, report.per_class.to_pandas()  # doctest: +SKIP
    """
    if explain and out is None:
        raise ValueError("explained faces are shown in report.html; give a folder with out")
    models = _opened(model)
    inputs = _inputs(data, split, models, groups, leak_check=leak_check, warn=warn)
    extras = Extras(inputs.columns, inputs.train, target_accuracy, speed, robustness_faces if robustness else 0)
    found = evaluate_samples(
        models,
        inputs.samples,
        truth=truth,
        batch_size=batch_size,
        tta=tta,
        data=title or data_name(data),
        split=split,
        extras=extras,
        progress=progress,
    )
    if out is None:
        return found
    extremes = explain_extremes(models, found, inputs.samples, count=explain) if explain else None
    files = write_folder(found, Path(out), samples=inputs.samples, extremes=extremes, table=table, warn=_logged(warn))
    return found.with_files(files)


def evaluate_file(
    predictions: str | Path,
    data: Data | None = None,
    split: str = "test",
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
    warn: Warn | None = None,
) -> Evaluation:
    """Measures the predictions of another tool: a CSV, JSON or Parquet file with a row for each face.

    Args:
        predictions: The file, see `mien.evaluation.predictions.read_predictions`.
        data: The data set that was predicted; None takes the ground truth from the file.
        split: The split of `data`.
        truth: As for `evaluate`; None: the labels.
        out: As for `evaluate`.
        columns: Role -> column of the file, for roles that its names leave open: image, truth, answer, confidence.
        scores: `probabilities`, `percent` or `logits`; None: detected from the numbers.
        classes: The classes that the numbers 0, 1, ... mean in the file.
        groups: Columns of `data` whose values form groups to compare.
        target_accuracy: As for `evaluate`.
        leak_check: As for `evaluate`.
        table: As for `evaluate`.
        warn: As for `evaluate`.

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
        inputs = _inputs(data, split, (), groups, leak_check=leak_check, warn=warn)
        extras = Extras(inputs.columns, inputs.train, target_accuracy)
    samples = None if inputs is None else inputs.samples
    found = evaluate_predictions(
        read,
        samples,
        truth=truth,
        data="" if data is None else data_name(data),
        split="" if data is None else split,
        extras=extras,
    )
    if out is None:
        return found
    return found.with_files(write_folder(found, Path(out), samples=samples, table=table, warn=_logged(warn)))


def compare(
    runs: Iterable[Any],
    out: str | Path | None = None,
    *,
    head: str = "",
    data: str | Path | None = None,
    warn: Warn | None = None,
) -> Comparison:
    """Compares finished training runs on the validation faces: which one to keep, and why.

    Args:
        runs: The runs' folders, or what `mien.train` returns.
        out: A folder for compare.html, .txt, .csv, .json and figures/; None writes nothing.
        head: `label` or `votes`; empty takes the first head that all runs have.
        data: Measure the model files on this data set's validation split. None: compare each run's stored
            predictions for its validation faces.
        warn: Receives one line for each record that could not be used; None logs a warning to the logger `mien`.

    Returns:
        Comparison: `runs`, the best first, `test` between the best two, `verdict`, and `to_pandas()`.

    Raises:
        DataError: A folder has no finished run, or no head is in all of them.
        OutputError: The folder can't be written into.
        MissingExtraError: matplotlib is needed for `out`.

    Example:
        >>> import mien
        >>> print(mien.compare(["runs/a", "runs/b"]).verdict)  # doctest: +SKIP
    """
    folders = [Path(getattr(run, "folder", run)) for run in runs]
    comparison = compare_runs(folders, head=head, data=None if data is None else Path(data), warn=_logged(warn))
    if out is not None:
        from mien.evaluation.compare_page import write_comparison

        write_comparison(comparison, Path(out))
    return comparison


def explain(
    model: Model,
    images: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    expression: str | None = None,
    detector: str | FaceDetector = "mtcnn",
    maps_of: MapMaker | None = None,
    warn: Warn | None = None,
) -> Explanation:
    """Finds which parts of each face a prediction depends on, and tests whether the maps mean anything.

    Args:
        model: A shipped model's name, a model file, or an opened model.
        images: Files, folders or patterns.
        out: A folder for sheet.png, explain.json and an image for each face; None writes nothing.
        expression: The expression to explain; None: each face's most likely one.
        detector: `mtcnn`, `yunet`, `haar`, `none` for images that are face crops, or an object.
        maps_of: Makes the maps, as `mien.training.gradcam.RunMaps.maps` does for a training run; None: occlusion, which
            works for any model.
        warn: Receives one line if files in folders were skipped; None logs a warning to the logger `mien`.

    Returns:
        Explanation: `maps` float32 (N, H, W) of the N `faces`, `expressions`, the `test` of the maps, and `problems`,
        one line for each image that could not be read or has no face.

    Raises:
        DataError: No face was found, or the model has no such expression.
        ImageError: A folder or pattern has no images.
        ModelFileError: There is no such model, or it is not a model of mien.
        OutputError: The folder can't be written into.

    Example:
        >>> import mien
        >>> mien.explain("mien-small", "photo.jpg", out="explained").expressions  # doctest: +SKIP
    """
    (opened,) = _opened(model)
    found = make_detector(detector) if isinstance(detector, str) else detector
    skipped = SkippedFiles()
    given = [images] if isinstance(images, str | Path) else images
    sources = list(expand_sources(given, exclude=None if out is None else Path(out), skipped=skipped))
    if line := skipped.line():
        _logged(warn)(line)
    faces, names, problems = crop_images(sources, found, opened.info)
    explanation = explain_faces(opened, faces, names, expression=expression, maps_of=maps_of, problems=problems)
    if out is not None:
        write_explanation(explanation, Path(out))
    return explanation


def calibrate(
    model: Model,
    data: Data,
    out: str | Path,
    *,
    split: Split = "validation",
    method: Method = "temperature",
    name: str = "",
    warn: Warn | None = None,
) -> CalibratedModel:
    """Fits a model's confidences to a data set and writes the result as a new model file.

    Args:
        model: A shipped model's name, a model file, or an opened model.
        data: A data set like those that the model will see.
        out: The model file to write.
        split: The split to fit on; `test` is refused.
        method: `temperature`, one number, which keeps every prediction; `vector`, a weight and a bias for each class.
        name: The new model's name; empty takes that of the file.
        warn: Receives one line for each record that could not be used; None logs a warning to the logger `mien`.

    Returns:
        CalibratedModel: its `path`, and figures `before` and `after` on the faces that it was fitted to.

    Raises:
        DataError: The data lack the split, or the labels or votes that the model was trained on.
        ModelFileError: There is no such model, or the written file fails its check.
        OutputError: The file can't be written.
        MissingExtraError: onnx is not installed.

    Example:
        >>> import mien
        >>> mien.calibrate("mien-small", "faces/", "small-calibrated.onnx").after.ece  # doctest: +SKIP
    """
    (opened,) = _opened(model)
    info = opened.info
    samples = fitting_split(data, split, size=info.size, channels=info.channels, warn=_logged(warn))
    return write_calibrated(opened, samples, Path(out), method=method, source=data_name(data), split=split, name=name)


def ensemble(
    models: Sequence[Model],
    out: str | Path,
    *,
    weights: Literal["equal", "fit"] | Sequence[float] = "equal",
    data: Data | None = None,
    split: Split = "validation",
    name: str = "",
    warn: Warn | None = None,
) -> Ensemble:
    """Writes several models as one model file whose probabilities are their weighted mean.

    Args:
        models: Two or more names, model files or opened models, with the same labels, crop and target.
        out: The model file to write.
        weights: `equal`, `fit` for those with the least cross-entropy on `data`, or a number above 0 for each model.
        data: A data set to fit the weights on, and to compare the models on.
        split: The split of `data`; `test` is refused.
        name: The new model's name; empty takes that of the file.
        warn: Receives one line for each record that could not be used; None logs a warning to the logger `mien`.

    Returns:
        Ensemble: its `path`, the `weights`, and with `data` the `comparison` of the members.

    Raises:
        ModelFileError: There is no such model, models do not fit together, or the written file fails its check.
        ValueError: A weight is not above 0, or `fit` without `data`.
        DataError: The data lack the split, or the labels or votes that the models were trained on.
        OutputError: The file can't be written.
        MissingExtraError: onnx is not installed.

    Example:
        >>> import mien
        >>> mien.ensemble(["a.onnx", "b.onnx"], "ab.onnx").weights  # doctest: +SKIP
        (0.5, 0.5)
    """
    if weights == "fit" and data is None:
        raise ValueError("weights can be fitted only to faces; give data")
    opened = _opened(models)
    samples = None
    if data is not None:
        size, channels = max(m.info.size for m in opened), max(m.info.channels for m in opened)
        samples = fitting_split(data, split, size=size, channels=channels, warn=_logged(warn))
    source = "" if data is None else data_name(data)
    return write_ensemble(opened, Path(out), weights=weights, samples=samples, source=source, split=split, name=name)


def _opened(models: Model | Sequence[Model]) -> list[ModelFile]:
    several = [models] if isinstance(models, str | Path | ModelFile) else models
    return [model if isinstance(model, ModelFile) else open_model(model) for model in several]


def _inputs(
    data: Data, split: str, models: Sequence[ModelFile], groups: Sequence[str], *, leak_check: bool, warn: Warn | None
) -> Inputs:
    """The split, its faces as large as the largest model needs them."""
    size = max((model.info.size for model in models), default=48)
    channels = max((model.info.channels for model in models), default=1)
    return read_inputs(data, split, size=size, channels=channels, groups=groups, train=leak_check, warn=_logged(warn))


def _logged(warn: Warn | None) -> Warn:
    return warn or logging.getLogger("mien").warning
