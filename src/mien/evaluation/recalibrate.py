"""Recalibrates a model file: temperature or vector scaling (Guo et al. 2017, arXiv:1706.04599) after its graph.

The logarithm of a model's probabilities is its logits up to a constant, so that nothing inside its graph is touched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mien.balance import check_balance, softmax
from mien.data.dataset import Dataset
from mien.data.samples import Samples
from mien.errors import ArgumentError
from mien.evaluation.calibration import fit_temperature
from mien.evaluation.fitting import (
    LEAST,
    Figures,
    Split,
    fit_faces,
    fitting_split,
    fitting_targets,
    judge,
    predict_all,
    prepare_output,
)
from mien.evaluation.inputs import data_name
from mien.evaluation.operating_point import FEWEST, default_balance, training_mix
from mien.files import atomic_path
from mien.labels import canonical_all
from mien.model_file import ModelFile, ModelInfo, load_model

Method = Literal["temperature", "vector"]

PARITY = 1e-5
"""The largest difference of a probability between the written file and the expected one."""

_CHECKED = 512
_STEPS, _SETTLED = 50, 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class CalibratedModel:
    """A written calibration: its file, its metadata, and figures on the faces that it was fitted to.

    Probabilities became softmax(scale * ln(probabilities) + bias); both float64 (K,). before, after: at balance 0.
    """

    path: Path
    info: ModelInfo
    scale: NDArray[np.float64]
    bias: NDArray[np.float64]
    before: Figures
    after: Figures


def calibrate(
    model: str | Path | ModelFile,
    data: str | Path | Dataset,
    out: str | Path,
    *,
    split: Split = "validation",
    method: Method = "temperature",
    name: str = "",
    balance: float | None = None,
) -> CalibratedModel:
    """Fits a model's confidences to a data set and writes the result as a new model file.

    Args:
        model: A shipped model's name, a model file, or an opened model.
        data: A data set like those that the model will see.
        out: The model file to write.
        split: The split to fit on; `test` is refused.
        method: `temperature`, one number, which keeps every prediction; `vector`, a weight and a bias for each class.
        name: The new model's name; empty takes that of the file.
        balance: What the new file states as its balance, 0 to 1. None: the most macro recall on these faces at no more
            than half a point of accuracy lost; of fewer than 1,000 faces, what the model states.

    Returns:
        CalibratedModel: its `path`, and figures `before` and `after` on the faces that it was fitted to.

    Raises:
        DataError: The data lack the split, or the labels or votes that the model was trained on.
        ModelFileError: There is no such model, or the written file fails its check.
        OutputError: The file can't be written.
        MissingExtraError: onnx is not installed.
        ArgumentError: The balance is out of range.

    Examples:
        >>> import mien
        >>> mien.calibrate("mien-small-fer2013", "fer2013.csv", "small-calibrated.onnx").after.ece
        0...
    """
    opened = model if isinstance(model, ModelFile) else load_model(model)
    info = opened.info
    samples = fitting_split(data, split, size=info.size, channels=info.channels)
    return write_calibrated(
        opened, samples, Path(out), method=method, source=data_name(data), split=split, name=name, balance=balance
    )


def write_calibrated(
    model: ModelFile,
    samples: Samples,
    out: Path,
    *,
    method: Method = "temperature",
    source: str = "",
    split: str = "validation",
    name: str = "",
    balance: float | None = None,
) -> CalibratedModel:
    """Fits a calibration to `samples` and writes the model with it as a new file.

    method: `temperature`, one number, which leaves every winning label as it is; `vector`, a weight and a bias for
    each class, which may change them. A votes model is fitted to the shares of raters, a label model to the labels.
    source, split: name the samples in the metadata. name: the new model's; empty takes the file's. balance: as in
    `calibrate`. A vector makes the mix of these faces the model's prior, as does a model without one. The file is
    checked before it appears. Raises DataError for samples that lack what the model was trained on, OutputError,
    ModelFileError where the file fails the check, MissingExtraError, ArgumentError for a balance that can't be used.
    """
    out = Path(out)
    check_balance(balance)
    prepare_output(out, [model])
    from mien.evaluation.graph import save_checked, with_calibration

    labels = canonical_all(model.info.labels, str(model.path))
    targets = fitting_targets(model, samples, source=source)
    probabilities = predict_all(model, samples.images, labels)
    logits = np.log(np.maximum(probabilities, LEAST))
    use = targets.shares.sum(1) > 0
    scale, bias, temperature = np.ones(len(labels)), np.zeros(len(labels)), 1.0
    if method == "vector":
        scale, bias = fit_vector(logits[use], targets.shares[use])
    else:
        change = fit_temperature(logits[use], targets.shares[use])
        scale, temperature = scale / change, model.info.temperature * change
    calibrated = softmax(scale * logits + bias)
    before, after = judge(probabilities, targets), judge(calibrated, targets)
    note = f"{method} fitted to {split} of {source or 'the data'}: {int(use.sum())} faces"
    prior = model.info.prior if method == "temperature" and model.info.prior else training_mix(targets.shares)
    if balance is None and after.n >= FEWEST:
        balance = default_balance(calibrated, prior, targets.truth)
    elif balance and not prior:
        raise ArgumentError(f"balance is {balance}; {source or 'the data'} has a label without a face: use balance 0")
    info = replace(
        model.info,
        name=name or out.stem,
        prior=prior,
        balance=(model.info.balance if balance is None else balance) if prior else 0.0,
        temperature=temperature,
        data=f"{model.info.data}; {note}" if model.info.data else note,
        scores=after.scores(split)
        | {f"{split}_nll_before": round(before.nll, 4), f"{split}_ece_before": round(before.ece, 4)},
    )
    with atomic_path(out) as place:
        written = with_calibration(model, scale, bias, info)
        faces = fit_faces(samples.images[:_CHECKED], model)
        save_checked(written, place, faces, calibrated[:_CHECKED], within=PARITY)
    return CalibratedModel(out, info, scale, bias, before, after)


def fit_vector(
    logits: NDArray[np.float64], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and bias, float64 (K,) each, that minimise the cross-entropy of softmax(scale * logits + bias).

    logits: (N, K); shares: (N, K) whose rows sum to 1. Vector scaling of Guo et al. 2017, with a pull to the identity
    (scale 1, bias 0) as strong as half a face's squared distance, so that a class with few faces keeps its place.
    Convex and solved by Newton's method; equal input gives equal output. Raises ValueError for no rows or NaN.
    """
    z, t = np.asarray(logits, np.float64), np.asarray(shares, np.float64)
    if z.ndim != 2 or 0 in z.shape or t.shape != z.shape or not (np.isfinite(z).all() and np.isfinite(t).all()):
        raise ValueError(f"logits {z.shape} and shares {t.shape}; expected finite (samples, classes), at least one")
    n, k = z.shape
    identity = np.concatenate((np.ones(k), np.zeros(k)))

    def loss(x: NDArray[np.float64]) -> float:
        y = z * x[:k] + x[k:]
        top = y.max(1, keepdims=True)
        fit = (np.log(np.exp(y - top).sum(1)) + top[:, 0] - (t * y).sum(1)).sum()
        return float(fit + ((x - identity) ** 2).sum() / 2) / int(n)

    x = identity.copy()
    current = loss(x)
    for _ in range(_STEPS):
        p = softmax(z * x[:k] + x[k:])
        gradient = (np.concatenate((((p - t) * z).sum(0), (p - t).sum(0))) + x - identity) / n
        # The softmax's curvature diag(p) - p p', taken along each parameter: z for a scale, 1 for a bias.
        along = np.concatenate((p * z, p), 1)
        curvature = -along.T @ along
        for rows, columns, weight in ((0, 0, z * z), (0, k, z), (k, 0, z), (k, k, np.ones_like(z))):
            curvature[rows + np.arange(k), columns + np.arange(k)] += (p * weight).sum(0)
        step = np.linalg.solve((curvature + np.eye(2 * k)) / n, gradient)
        length, promised = 1.0, float(gradient @ step)
        while loss(x - length * step) > current - 1e-4 * length * promised and length > 1e-10:
            length /= 2
        x = x - length * step
        current = loss(x)
        if promised < _SETTLED:
            break
    return x[:k], x[k:]
