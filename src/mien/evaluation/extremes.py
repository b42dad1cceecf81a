"""Explains the most confident correct and wrong predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.balance import Balance, model_balance
from mien.data.samples import Samples
from mien.errors import DataError
from mien.evaluation.explain import Explanation, check_maps, occlusion_maps
from mien.evaluation.fitting import fit_faces
from mien.evaluation.result import Evaluation
from mien.labels import canonical_all
from mien.model_file import ModelFile


@dataclass(frozen=True, slots=True, eq=False)
class Extremes:
    """Occlusion maps of the most confident correct and wrong predictions; None if there are no such faces.

    right_truth, wrong_truth: each face's true class.
    """

    right: Explanation | None
    wrong: Explanation | None
    right_truth: tuple[str, ...]
    wrong_truth: tuple[str, ...]


def explain_extremes(
    models: Sequence[ModelFile], evaluation: Evaluation, samples: Samples, *, count: int, balance: Balance | None = None
) -> Extremes:
    """Occlusion maps for the predicted class of `count` faces of either kind, by the mean of the models' probabilities.

    samples: the evaluated faces. balance: of the probabilities; None: the models' own. Each map takes some
    hundred predictions of the models. Raises DataError for a count below 1, or without models.
    """
    e = evaluation
    if count < 1 or not models or e.confidence is None:
        raise DataError(f"{count} faces to explain of {len(models)} models; expected at least one of each")
    labels = canonical_all(models[0].info.labels, str(models[0].path))
    orders = [[canonical_all(m.info.labels, str(m.path)).index(name) for name in labels] for m in models]

    balance = balance or model_balance(models)

    def probabilities(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        each = [m.probabilities(fit_faces(faces, m))[:, own] for m, own in zip(models, orders, strict=True)]
        mean: NDArray[np.float32] = np.mean(each, axis=0, dtype=np.float32)
        return balance.apply(mean)

    def explain(hits: NDArray[np.bool_]) -> tuple[Explanation | None, tuple[str, ...]]:
        rows = np.flatnonzero(hits)
        rows = rows[np.argsort(-confidence[rows], kind="stable")][:count]
        if not len(rows):
            return None, ()
        faces = np.ascontiguousarray(samples.images[e.rows[rows]])
        said = tuple(e.labels[i] for i in e.predicted_index[rows])
        targets = np.array([labels.index(name) for name in said], np.int64)
        maps = occlusion_maps(probabilities, faces, targets)
        explanation = Explanation(
            model=" + ".join(m.info.name for m in models),
            method="occlusion",
            faces=faces,
            names=tuple(e.sources[i] for i in rows),
            expressions=said,
            probabilities=probabilities(faces)[np.arange(len(rows)), targets],
            maps=maps,
            test=check_maps(probabilities, faces, maps, targets),
        )
        return explanation, tuple(e.labels[i] for i in e.truth_index[rows])

    confidence, right = e.confidence, e.truth_index == e.predicted_index
    (good, good_truth), (bad, bad_truth) = explain(right), explain(~right)
    return Extremes(good, bad, good_truth, bad_truth)
