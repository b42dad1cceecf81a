"""The judge of labels in an audit: a model's answers, and a head that is fitted to the labels, fold by fold.

The head is a multinomial logistic regression on the logarithms of the model's probabilities. It translates the model's
expressions into the data set's classes and habits of labelling. No face is judged by a head that was fitted to it or
to a copy of it, so the share of labels that the judge predicts says how good it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.balance import softmax
from mien.data.dataset import Dataset
from mien.data.source import CHUNK
from mien.data.splits import assign
from mien.errors import DataError
from mien.intervals import wilson_interval
from mien.labels import canonical
from mien.model_file import ModelFile
from mien.pages.text import percent
from mien.reporting import Progress

MIN_KAPPA = 0.2
"""A judge whose agreement beyond chance (Cohen's kappa) is not clearly above this can't judge labels."""

_FLOOR = 1e-3  # below this a probability says only: no
_STEPS = 500
_RIDGE = 1.0


@dataclass(frozen=True, slots=True)
class Judge:
    """How good a judge of labels is, by held-out faces.

    model: its name. faces: how many labelled faces. agreement: the share of their labels that it predicts. chance: the
    share that the same predictions would reach at random. kappa: the agreement beyond chance, 0 to 1. error: the
    standard error of kappa.
    """

    model: str
    faces: int
    agreement: float
    chance: float
    kappa: float
    error: float

    @property
    def can_judge(self) -> bool:
        """Whether it is clearly better than chance."""
        return self.kappa - 2 * self.error > MIN_KAPPA

    def sentence(self) -> str:
        """How good it is, in one line."""
        share = percent(self.agreement, wilson_interval(round(self.agreement * self.faces), self.faces), digits=0)
        found = (
            f"{self.model} with a head fitted to these labels predicts {share} of {self.faces:,} held-out labels, "
            f"chance is {percent(self.chance, digits=0)} (kappa {self.kappa:.2f})"
        )
        if self.can_judge:
            return found
        return (
            f"wrong labels can't be judged: {found}; a judge needs clearly more than {MIN_KAPPA}; give a model that "
            "knows these classes and was not trained on these faces with --model, or more labelled faces"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What a judge says of N samples, NaN where it says nothing.

    probabilities: float32 (N, K), of the data set's classes, by the head. own: float32 (N, K), the model's own
    probabilities of these classes; None where it does not know all of them.
    """

    judge: Judge
    probabilities: NDArray[np.float32]
    own: NDArray[np.float32] | None


def judge_labels(
    dataset: Dataset, answers: NDArray[np.float32], model: ModelFile, groups: NDArray[np.int64], *, folds: int
) -> Judged:
    """Judges the labels of a data set.

    answers: float32 (N, L), as `model_answers` returns them. groups: int64 (N,), copies have the same number, -1 for
    none; they stay in one fold. Raises DataError where fewer samples than folds are labelled, or one class alone.
    """
    rows = np.flatnonzero((dataset.labels >= 0) & np.isfinite(answers).all(1))
    classes, labels = np.unique(dataset.labels[rows], return_inverse=True)
    if len(rows) < folds or len(classes) < 2:
        raise DataError(
            f"{dataset.name}: {len(rows)} labelled samples of {len(classes)} classes; likely wrong labels need {folds} "
            "or more, of two classes; leave them out with --no-suspects"
        )
    together = np.where(groups < 0, len(groups) + np.arange(len(groups)), groups)[rows]
    fold = assign(labels, together, [1 / folds] * folds, np.random.default_rng(0))
    features = np.log(answers[rows].astype(np.float64) + _FLOOR)
    shares = np.zeros((len(rows), len(classes)))
    for held in (fold == number for number in range(folds)):
        shares[held] = _with_head(features[~held], labels[~held], features[held], len(classes))
    probabilities = np.full((len(dataset), len(dataset.label_names)), np.nan, np.float32)
    probabilities[rows] = 0
    probabilities[np.ix_(rows, classes)] = shares
    return Judged(_measured(model.info.name, labels, shares), probabilities, _own(dataset, answers, model, classes))


def model_answers(dataset: Dataset, model: ModelFile, progress: Progress | None = None) -> NDArray[np.float32]:
    """The model's probabilities of its L labels for each labelled sample, float32 (N, L); NaN for the others."""
    info = model.info
    answers = np.full((len(dataset), len(info.labels)), np.nan, np.float32)
    rows = np.flatnonzero(dataset.labels >= 0)
    for first in range(0, len(rows), CHUNK):
        part = rows[first : first + CHUNK]
        answers[part] = model.probabilities(dataset.faces(part, size=info.size, channels=info.channels))
        if progress:
            progress(first + len(part), len(rows))
    return answers


def _with_head(
    known: NDArray[np.float64], labels: NDArray[np.int64], new: NDArray[np.float64], classes: int
) -> NDArray[np.float64]:
    """Fits the head to `known` features (n, D) with labels (n,) and returns its probabilities of `new` ones (m, K).

    Böhning's bound of the Hessian makes each step of the fit an improvement, so it needs no step size (1992).
    """
    mean, spread = known.mean(0), known.std(0) + 1e-9
    ones = [np.column_stack([(part - mean) / spread, np.ones(len(part))]) for part in (known, new)]
    wanted = np.eye(classes)[labels]
    ridge = np.eye(ones[0].shape[1]) * _RIDGE
    ridge[-1, -1] = 0  # the intercept is free
    bound = np.linalg.inv(ones[0].T @ ones[0] / 2 + ridge)
    weights = np.zeros((ones[0].shape[1], classes))
    for _ in range(_STEPS):
        step = bound @ (ones[0].T @ (wanted - softmax(ones[0] @ weights)) - ridge @ weights)
        weights += step
        if np.abs(step).max() < 1e-4:
            break
    return softmax(ones[1] @ weights)


def _measured(name: str, labels: NDArray[np.int64], shares: NDArray[np.float64]) -> Judge:
    said = shares.argmax(1)
    count, classes = len(labels), shares.shape[1]
    agreement = float((said == labels).mean())
    chance = float((np.bincount(said, minlength=classes) @ np.bincount(labels, minlength=classes)) / count**2)
    scale = max(1 - chance, 1e-9)
    error = float(np.sqrt(agreement * (1 - agreement) / count)) / scale
    figures = (agreement, chance, (agreement - chance) / scale, error)
    return Judge(name, count, *(round(figure, 4) for figure in figures))


def _own(
    dataset: Dataset, answers: NDArray[np.float32], model: ModelFile, classes: NDArray[np.int64]
) -> NDArray[np.float32] | None:
    names = {canonical(name): place for place, name in enumerate(model.info.labels)}
    places = [names.get(canonical(dataset.label_names[label]), -1) for label in classes.tolist()]
    if -1 in places:
        return None
    own = np.zeros((len(dataset), len(dataset.label_names)), np.float32)
    own[:, classes] = answers[:, places]
    return own
