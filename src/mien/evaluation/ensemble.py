"""Combines model files into one whose probabilities are the weighted mean of its members'."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mien.balance import check_balance, mean_prior, model_balance
from mien.data.dataset import Dataset
from mien.data.samples import Samples
from mien.data.toy import toy_faces
from mien.errors import ArgumentError, ModelFileError
from mien.evaluation.fitting import (
    Figures,
    Split,
    fitting_split,
    fitting_targets,
    judge,
    predict_all,
    prepare_output,
)
from mien.evaluation.inputs import data_name
from mien.evaluation.operating_point import FEWEST, default_balance
from mien.files import atomic_path
from mien.labels import canonical_all
from mien.model_file import ModelFile, ModelInfo, open_models

PARITY, PARITY_RESIZED = 1e-5, 1e-3
"""The largest difference of a probability between one file and the mean of its members; the latter where their sizes
differ, as a pixel on the edge between two grey levels may fall to either side when it is resized."""

_CHECKED = 512
_ITERATIONS, _SETTLED = 10_000, 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class MemberComparison:
    """The members beside their ensemble, on the same faces.

    disagreement: float64 (M, M), the share of faces on which two members' winning labels differ.
    """

    members: tuple[Figures, ...]
    ensemble: Figures
    disagreement: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """A written ensemble: its file, its metadata, the members' weights (which sum to 1), and their comparison
    (None where no faces were given)."""

    path: Path
    info: ModelInfo
    weights: tuple[float, ...]
    comparison: MemberComparison | None


def ensemble(
    models: str | Sequence[str | Path | ModelFile],
    out: str | Path,
    *,
    weights: Literal["equal", "fit"] | Sequence[float] = "equal",
    data: str | Path | Dataset | None = None,
    split: Split = "validation",
    name: str = "",
    balance: float | None = None,
) -> Ensemble:
    """Writes several models as one model file whose probabilities are their weighted mean.

    Args:
        models: Two or more names, model files or opened models, with the same labels, crop and target; or `A+B`.
        out: The model file to write.
        weights: `equal`, `fit` for those with the least cross-entropy on `data`, or a number above 0 for each model.
        data: A data set to fit the weights on, and to compare the models on.
        split: The split of `data`; `test` is refused.
        name: The new model's name; empty takes that of the file.
        balance: What the new file states as its balance, 0 to 1. None: with at least 1,000 faces in `data` the most
            macro recall at no more than half a point of accuracy lost, else the mean of the members' own.

    Returns:
        Ensemble: its `path`, the `weights`, and with `data` the `comparison` of the members.

    Raises:
        ModelFileError: There is no such model, models do not fit together, or the written file fails its check.
        ArgumentError: A weight is not above 0, `fit` without `data`, or a balance out of range.
        DataError: The data lack the split, or the labels or votes that the models were trained on.
        OutputError: The file can't be written.
        MissingExtraError: onnx is not installed.

    Examples:
        >>> import mien
        >>> mien.ensemble("mien-small-fer2013+mien-nano-fer2013", "ab.onnx").weights
        (0.5, 0.5)
    """
    if weights == "fit" and data is None:
        raise ArgumentError("weights can be fitted only to faces; give data")
    opened = open_models(models)
    samples = None
    if data is not None:
        size, channels = max(m.info.size for m in opened), max(m.info.channels for m in opened)
        samples = fitting_split(data, split, size=size, channels=channels)
    source = "" if data is None else data_name(data)
    return write_ensemble(
        opened, Path(out), weights=weights, samples=samples, source=source, split=split, name=name, balance=balance
    )


def write_ensemble(
    models: Sequence[ModelFile],
    out: Path,
    *,
    weights: Literal["equal", "fit"] | Sequence[float] = "equal",
    samples: Samples | None = None,
    source: str = "",
    split: str = "validation",
    name: str = "",
    balance: float | None = None,
) -> Ensemble:
    """Writes models with the same labels, crop and target as one model file that predicts their weighted mean.

    weights: `equal`; `fit`, those with the least cross-entropy on `samples`, see `fit_weights`; or one for each model,
    in any unit. samples: faces to fit and compare on; source and split name them. name: the new model's; empty takes
    the file's. balance: as in `ensemble`. The file is checked against its members before it appears.
    Raises ModelFileError for models that don't go together or a file that fails the check, ValueError for weights that
    aren't above 0 or `fit` without samples, DataError for samples that lack what the models were trained on,
    OutputError, MissingExtraError.
    """
    models, out = list(models), Path(out)
    check_balance(balance)
    prepare_output(out, models)
    from mien.evaluation.graph import join, save_checked

    labels = _common_labels(models)
    shares = _as_shares(weights, len(models))
    seen, targets = None, None
    if samples is not None:
        targets = fitting_targets(models[0], samples, source=source)
        seen = np.stack([predict_all(model, samples.images, labels) for model in models])
        if weights == "fit":
            shares = fit_weights(seen, targets.shares)
    elif weights == "fit":
        raise ArgumentError("weights can be fitted only to faces; give samples")
    comparison = None
    if seen is not None and targets is not None:
        winners = seen.argmax(2)
        comparison = MemberComparison(
            members=tuple(judge(each, targets) for each in seen),
            ensemble=judge(np.tensordot(shares, seen, 1), targets),
            disagreement=(winners[:, None] != winners[None]).mean(2),
        )
    scores = comparison.ensemble.scores(split) if comparison else {}
    prior = mean_prior(models, shares.tolist())
    if balance is None and seen is not None and targets is not None and (targets.truth >= 0).sum() >= FEWEST:
        balance = default_balance(np.tensordot(shares, seen, 1), prior, targets.truth)
    info = _joint_info(models, labels, shares, name or out.stem, scores)
    info = replace(info, prior=prior, balance=model_balance(models, balance).balance)
    with atomic_path(out) as place:
        faces = toy_faces(_CHECKED, size=info.size, channels=info.channels).images
        expected = np.tensordot(shares, np.stack([predict_all(model, faces, labels) for model in models]), 1)
        resized = any(model.info.size != info.size for model in models)
        save_checked(
            join(models, shares.tolist(), info), place, faces, expected, within=PARITY_RESIZED if resized else PARITY
        )
    return Ensemble(out, info, tuple(shares.tolist()), comparison)


def fit_weights(probabilities: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights float64 (M,), 0 or more with the sum 1, whose mixture has the least cross-entropy.

    probabilities: (M, N, K) of M models; shares: (N, K), rows that sum to 1, or to 0 to be left out. The problem is
    convex; solved by expectation maximisation for mixture weights (Dempster, Laird & Rubin 1977), which never leaves
    the simplex and lowers the loss at every step.
    """
    rows, columns = np.nonzero(shares)
    importance = shares[rows, columns] / shares.sum()
    likelihood = np.maximum(probabilities[:, rows, columns], np.finfo(np.float64).tiny)
    weights = np.full(len(probabilities), 1 / len(probabilities))
    for _ in range(_ITERATIONS):
        joint = weights[:, None] * likelihood
        following: NDArray[np.float64] = (joint / joint.sum(0)) @ importance
        moved = np.abs(following - weights).max()
        weights = following / following.sum()
        if moved < _SETTLED:
            break
    return weights


def _as_shares(weights: Literal["equal", "fit"] | Sequence[float], count: int) -> NDArray[np.float64]:
    if isinstance(weights, str):
        return np.full(count, 1 / count)
    if len(weights) != count:
        raise ArgumentError(f"{len(weights)} weights for {count} models; give one for each")
    if not all(math.isfinite(w) and w > 0 for w in weights):
        raise ArgumentError(
            f"weights are {', '.join(map(str, weights))}; expected numbers above 0; leave the others out"
        )
    shares: NDArray[np.float64] = np.array(weights, np.float64) / math.fsum(weights)
    return shares


def _common_labels(models: Sequence[ModelFile]) -> tuple[str, ...]:
    """The first model's labels in mien's spelling. Raises ModelFileError where models don't go together."""
    if len(models) < 2:
        raise ModelFileError(f"{len(models)} model(s); an ensemble takes at least two")
    first = models[0]
    labels = canonical_all(first.info.labels, str(first.path))
    for i, model in enumerate(models[1:], start=1):
        if model.sha256 in {other.sha256 for other in models[:i]}:
            raise ModelFileError(f"{model.path}: given twice; to count it more use --weights")
        own = canonical_all(model.info.labels, str(model.path))
        for what, ours, theirs in (
            ("labels", ", ".join(labels), ", ".join(own)),
            ("crop", str(first.info.crop), str(model.info.crop)),
            ("target", first.info.target, model.info.target),
        ):
            if ours != theirs and not (what == "labels" and set(own) == set(labels)):
                raise ModelFileError(
                    f"{model.path} has the {what} {theirs} and {first.path} {ours}; "
                    f"only models with the same {what} make an ensemble"
                )
    return labels


def _joint_info(
    models: Sequence[ModelFile],
    labels: tuple[str, ...],
    shares: NDArray[np.float64],
    name: str,
    scores: dict[str, float],
) -> ModelInfo:
    infos = [model.info for model in models]
    lines = [f"name = {json.dumps(name)}"]  # a JSON text is a TOML text
    for model, share in zip(models, shares.tolist(), strict=True):
        lines += ["", "[[member]]", f"name = {json.dumps(model.info.name)}", f'sha256 = "{model.sha256}"']
        lines += [f"weight = {share!r}", f"temperature = {model.info.temperature!r}"]
    return ModelInfo(
        name=name,
        labels=labels,
        size=max(info.size for info in infos),
        channels=max(info.channels for info in infos),
        crop=infos[0].crop,
        target=infos[0].target,
        parameters=sum(info.parameters for info in infos),
        data="; ".join(dict.fromkeys(info.data for info in infos if info.data)),
        licence="; ".join(dict.fromkeys(info.licence for info in infos if info.licence)),
        scores=scores,
        recipe="\n".join(lines) + "\n",
        members=tuple(info.name for info in infos),
    )
