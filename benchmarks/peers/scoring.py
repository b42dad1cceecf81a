"""Computes figures from a peer's predictions, with the functions of `mien evaluate --predictions`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.samples import VOTE_LABELS, Samples, vote_majority
from mien.evaluation.evaluate import evaluate_predictions
from mien.evaluation.predictions import read_predictions
from mien.evaluation.result import Truth
from mien.files import atomic_text
from mien.labels import canonical_all

RULERS: tuple[Truth, ...] = ("label", "votes")


@dataclass(frozen=True, slots=True)
class Score:
    """How right a peer was by one ruler. low, high: accuracy's 95 % interval (Wilson). recall: of each class.
    contempt: how many faces of it the ruler has.
    """

    n: int
    accuracy: float
    low: float
    high: float
    macro_recall: float
    recall: dict[str, float]
    contempt: int


def distributions(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a peer gives for faces (N, K) as rows that sum to 1, each with the same likeliest class as before.

    Peers round, or give sigmoids. A row of nothing but zeros is a face without an answer, and stays as it is.
    Raises ValueError where a value is negative or no number.
    """
    if not np.isfinite(values).all() or values.min(initial=0.0) < 0:
        raise ValueError("it gave values that are negative or no numbers")
    total = values.sum(1, keepdims=True)
    return np.divide(values, total, out=np.zeros(values.shape), where=total > 0)


def spread(samples: Samples, count: int) -> Samples:
    """So many samples, evenly spread through them."""
    rows = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int))
    return Samples(
        samples.images[rows],
        samples.labels[rows],
        samples.label_names,
        tuple(samples.sources[i] for i in rows),
        None if samples.votes is None else samples.votes[rows],
    )


def score(labels: Sequence[str], values: NDArray[np.float64], samples: Samples, folder: Path) -> dict[Truth, Score]:
    """A peer's figures by each ruler; writes predictions-RULER.csv, which `mien evaluate --predictions` reads.

    labels: its classes in its own spelling. values: float (N, K), one row per sample, as for `distributions`. A class
    that the ruler doesn't have is dropped and the rest renormalised; one that the peer lacks it gets wrong, and so
    it does a face that it has no answer for.
    Raises ValueError, DataError where they can't be read.
    """
    if values.shape != (len(samples), len(labels)):
        raise ValueError(f"it gave {values.shape} values for {len(samples)} faces and {len(labels)} labels")
    names = canonical_all(list(labels), "its labels")
    probabilities = distributions(values)
    found: dict[Truth, Score] = {}
    for ruler in RULERS:
        place = folder / f"predictions-{ruler}.csv"
        with atomic_text(place) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["source", "label", *names])
            for source, truth, row in zip(samples.sources, _truth(samples, ruler), probabilities, strict=True):
                said = row if row.any() else np.eye(len(names))[int(names[0] == truth)]  # no answer is a wrong one
                writer.writerow([source, truth, *(f"{p:.6f}" for p in said)])
        result = evaluate_predictions(read_predictions(place), samples, truth=ruler)
        found[ruler] = Score(
            n=result.n,
            accuracy=result.accuracy,
            low=result.accuracy_95[0],
            high=result.accuracy_95[1],
            macro_recall=result.balanced_accuracy,
            recall={c.label: c.recall for c in result.per_class if c.recall is not None},
            contempt=sum(c.support for c in result.per_class if c.label == "contempt"),
        )
    return found


def _truth(samples: Samples, ruler: Truth) -> list[str]:
    """Each sample's label by a ruler; faces that it has none for, and leaves out, get any name."""
    if ruler == "label":
        return [samples.label_names[i] for i in samples.labels]
    if samples.votes is None:
        raise ValueError("the data have no votes")
    return [VOTE_LABELS[max(i, 0)] for i in vote_majority(samples.votes).tolist()]
