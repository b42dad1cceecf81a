"""Asks the models of an evaluation: the probabilities of each, in one order of labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mien.crop import VIEWS, ten_views
from mien.errors import DataError
from mien.evaluation import metrics
from mien.evaluation.calibration import undo_temperature
from mien.evaluation.fitting import fit_faces
from mien.labels import canonical_all
from mien.model_file import ModelFile


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
