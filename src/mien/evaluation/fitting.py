"""Faces and targets to fit ensemble weights and calibrations to, and the predictions of one or several models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mien.crop import VIEWS, fit_face, ten_views
from mien.data.dataset import Dataset
from mien.data.fitted import read_dataset, require_split, with_validation
from mien.data.samples import VOTE_LABELS, Samples, vote_majority, vote_shares
from mien.errors import DataError, MissingExtraError, OutputError
from mien.evaluation.calibration import undo_temperature
from mien.evaluation.metrics import check_probabilities, expected_calibration_error
from mien.files import make_folder
from mien.labels import canonical_all
from mien.model_file import ModelFile
from mien.reporting import log_warning

Split = Literal["train", "validation", "test"]

LEAST = 1e-30
"""A calibration raises probabilities to this before it takes their logarithm: in float32 some are 0."""

_BATCH = 256
_TINY = float(np.finfo(np.float64).eps)  # probabilities are raised to it before a logarithm


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What is wanted of a model for N faces, in the order of its K labels.

    shares: float64 (N, K), rows that sum to 1: the share of raters, or 1 for the label; a row of zeros where nobody
    voted for any of the labels. truth: int64 (N,), the class that counts as right; -1 where none does.
    """

    shares: NDArray[np.float64]
    truth: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Figures:
    """How well probabilities fit targets.

    nll: cross-entropy in nats. ece: calibration error of the top label, 0 to 1. accuracy: over the n faces that have a
    truth; 0 where none has.
    """

    nll: float
    ece: float
    accuracy: float
    n: int

    def scores(self, split: str) -> dict[str, float]:
        """As a model file's metadata has them."""
        return {
            f"{split}_accuracy": round(self.accuracy, 4),
            f"{split}_n": float(self.n),
            f"{split}_nll": round(self.nll, 4),
            f"{split}_ece": round(self.ece, 4),
        }


def fitting_split(
    data: str | Path | Dataset,
    split: str,
    *,
    size: int,
    channels: int,
) -> Samples:
    """A split to fit on: validation, or train with a warning. Raises DataError for test, and if the split is missing.

    data: a path, or an opened data set.
    """
    name = data.name if isinstance(data, Dataset) else str(data)
    if split == "test":
        raise DataError(
            f"{name}: the test split is for measuring only, so nothing is fitted to it; use --split validation"
        )
    if split == "train":
        log_warning(f"{name}: models are more confident on their training faces; fit to --split validation instead")
    if isinstance(data, Dataset):
        data = with_validation(data)
        found = {split: data.samples(split, size=size, channels=channels)} if split in set(data.splits.tolist()) else {}
    else:
        found = read_dataset(Path(data), size=size, channels=channels, splits=(split,))
    return require_split(found, split, Path(name))


def fitting_targets(model: ModelFile, samples: Samples, *, source: str) -> Targets:
    """The vote shares for a votes model, the labels for a label model.

    Raises DataError where the samples lack them, have other labels, or nobody voted for any.
    """
    own = canonical_all(model.info.labels, str(model.path))
    if model.info.target == "votes":
        if samples.votes is None:
            raise DataError(f"{source}: has no votes, and {model.info.name} was trained on them; give data with votes")
        columns = [VOTE_LABELS.index(name) if name in VOTE_LABELS else -1 for name in own]
        known = np.where(np.array(columns) >= 0, samples.votes[:, columns], 0)
        majority = vote_majority(samples.votes)
        place = np.array([own.index(name) if name in own else -1 for name in VOTE_LABELS])
        shares, truth = vote_shares(known).astype(np.float64), np.where(majority >= 0, place[majority], -1)
    else:
        theirs = canonical_all(samples.label_names, source)
        if set(theirs) != set(own):
            raise DataError(
                f"{source}: has the labels {', '.join(theirs)} and {model.path} says {', '.join(own)}; "
                "give data with the model's labels"
            )
        truth = np.array([own.index(name) for name in theirs])[samples.labels]
        shares = np.eye(len(own))[truth]
    if not shares.any():
        raise DataError(f"{source}: nobody voted for any of {', '.join(own)}; there is nothing to fit to")
    return Targets(shares, truth.astype(np.int64))


def predict_all(model: ModelFile, faces: NDArray[np.uint8], labels: tuple[str, ...]) -> NDArray[np.float64]:
    """Probabilities float64 (N, K) in the order of `labels`, mien's spelling of the model's own.

    faces: uint8 (N, H, W, C) of any size; see `fit_faces`.
    """
    return _predict_views(model, faces, labels, _BATCH, tta=False)[:, 0]


def _predict_views(
    model: ModelFile, faces: NDArray[np.uint8], labels: tuple[str, ...], batch_size: int, *, tta: bool
) -> NDArray[np.float64]:
    """`predict_all` for each view of a face: float64 (N, V, K), with one view, or ten by `tta`."""
    own = canonical_all(model.info.labels, str(model.path))
    order = [own.index(name) for name in labels]
    found = np.zeros((len(faces), VIEWS if tta else 1, len(labels)))
    for start in range(0, len(faces), batch_size):
        part = fit_faces(faces[start : start + batch_size], model)
        seen = model.probabilities(ten_views(part) if tta else part)
        p = check_probabilities(seen, f"{model.info.name}: its probabilities")[:, order]
        found[start : start + batch_size] = p.reshape(len(part), -1, len(labels))
    return found


def fit_faces(faces: NDArray[np.uint8], model: ModelFile) -> NDArray[np.uint8]:
    """Faces uint8 (N, H, W, C) with the size and channels of the model's input, as `crop.fit_face` makes them."""
    size, channels = model.info.size, model.info.channels
    if len(faces) == 0 or faces.shape[1:] == (size, size, channels):
        return faces
    return np.stack([fit_face(face, size, channels) for face in faces])


def cross_entropy(probabilities: NDArray[Any], shares: NDArray[np.float64]) -> float:
    """The mean of -sum(shares * ln probabilities) in nats over the rows that have a share; both (N, K)."""
    logs = np.log(np.maximum(probabilities, _TINY))
    return float(-(shares * logs).sum() / shares.sum())


def judge(probabilities: NDArray[Any], targets: Targets) -> Figures:
    """How well probabilities (N, K) fit the targets; the calibration error is against their shares."""
    use, known = targets.shares.sum(1) > 0, targets.truth >= 0
    right = probabilities.argmax(1)[known] == targets.truth[known]
    return Figures(
        nll=cross_entropy(probabilities, targets.shares),
        ece=expected_calibration_error(probabilities[use], targets.shares[use]),
        accuracy=float(right.mean()) if known.any() else 0.0,
        n=int(known.sum()),
    )


def prepare_output(out: Path, models: Sequence[ModelFile]) -> None:
    """Makes the folder of `out`. Raises MissingExtraError where model files can't be written, OutputError where `out`
    is one of the models or can't be written."""
    if find_spec("onnx") is None:
        raise MissingExtraError("train", "writing a model file")
    for model in models:
        if out.exists() and out.samefile(model.path):
            raise OutputError(f"{out}: is a model that is read; give another file")
    make_folder(out.absolute().parent)


def common_labels(models: Sequence[ModelFile]) -> tuple[str, ...]:
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


def predict_members(
    models: Sequence[ModelFile], images: NDArray[np.uint8], labels: tuple[str, ...], batch_size: int, tta: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities in the order of `labels`: of each model, float64 (M, N, K), and their mean without temperature,
    float64 (N, K); all at balance 0."""
    if batch_size < 1:
        raise DataError(f"batch size {batch_size}; expected at least 1")
    calibrated = np.zeros((len(models), len(images), len(labels)))
    raw = np.zeros(calibrated.shape[1:])
    for model, own_calibrated in zip(models, calibrated, strict=True):
        views = _predict_views(model, images, labels, batch_size, tta=tta)
        own_calibrated[:] = views.mean(1)
        plain = undo_temperature(views.reshape(-1, len(labels)), model.info.temperature)
        raw += plain.reshape(views.shape).mean(1) / len(models)
    return calibrated, raw
