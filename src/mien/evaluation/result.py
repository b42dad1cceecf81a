"""The results of an evaluation: frozen, and convertible to JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mien.evaluation.calibration import ReliabilityBin
from mien.evaluation.curves import Curve
from mien.evaluation.frames import data_frame
from mien.evaluation.groups import GroupComparison
from mien.evaluation.metrics import Bootstrap
from mien.evaluation.robustness import Robustness
from mien.evaluation.speed import Speed
from mien.intervals import wilson_interval

if TYPE_CHECKING:
    import pandas as pd

Truth = Literal["label", "votes"]


@dataclass(frozen=True, slots=True)
class UsedModel:
    """An evaluated model: its name, the checksum of its file, and the temperature of its probabilities."""

    name: str
    sha256: str
    temperature: float


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: its number of samples, recall, precision and F1. Without samples recall and F1 are None.

    predicted: how many samples were called so. f1_95: the 95 % interval of F1, of 2,000 resamples.
    """

    label: str
    support: int
    recall: float | None
    precision: float
    f1: float | None
    predicted: int = 0
    f1_95: tuple[float, float] | None = None

    @property
    def recall_95(self) -> tuple[float, float] | None:
        """The 95 % Wilson interval of the recall."""
        if self.recall is None:
            return None
        return wilson_interval(round(self.recall * self.support), self.support)

    @property
    def precision_95(self) -> tuple[float, float] | None:
        """The 95 % Wilson interval of the precision; None for a class that was never predicted."""
        if not self.predicted:
            return None
        return wilson_interval(round(self.precision * self.predicted), self.predicted)


class ClassScores(tuple[ClassScore, ...]):
    """The classes' scores in the order of the labels."""

    __slots__ = ()

    def to_pandas(self) -> pd.DataFrame:
        """One row for each class: label, support, recall, precision, f1. Raises MissingExtraError without pandas."""
        columns = [f.name for f in fields(ClassScore)][:5]
        return data_frame(([getattr(score, name) for name in columns] for score in self), columns)


@dataclass(frozen=True, slots=True)
class Share:
    """The accuracy on a subset of n samples, with its 95 % Wilson interval; None if n is 0."""

    n: int
    accuracy: float | None
    accuracy_95: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Votes:
    """Accuracy on the raters' majority (more than half of the votes), and where at least 60 % and 80 % agree."""

    majority: Share
    agreement_60: Share
    agreement_80: Share


@dataclass(frozen=True, slots=True)
class Calibration:
    """Brier score (summed over classes, 0 to 2), class-wise ECE, and the reliability diagram behind `ece`.

    brier: against the ground truth. classwise_ece: the mean of classwise_ece_by_class, measured like `ece`.
    reliability: the diagram behind `ece`; reliability_majority: that behind `ece_majority`.
    """

    brier: float
    classwise_ece: float
    classwise_ece_by_class: Mapping[str, float]
    reliability: tuple[ReliabilityBin, ...]
    reliability_majority: tuple[ReliabilityBin, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class ClassCurves:
    """One class against the rest: ROC and precision-recall curves with their areas; None if undefined."""

    auc: float | None
    average_precision: float | None
    roc: Curve | None
    precision_recall: Curve | None


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """The curves of each class, and the means of their areas. Points are thinned, areas are not."""

    macro_auc: float | None
    macro_average_precision: float | None
    per_class: Mapping[str, ClassCurves]


@dataclass(frozen=True, slots=True)
class Abstention:
    """The confidence threshold that reaches a target accuracy, and the n faces at or above it.

    coverage: the share of faces at or above it. accuracy: theirs; accuracy_at_least: its one-sided 95 % Wilson bound.
    If no threshold reaches the target, n and coverage are 0 and the other figures None.
    """

    target: float
    threshold: float | None
    n: int
    coverage: float
    accuracy: float | None
    accuracy_at_least: float | None
    caveat: str


@dataclass(frozen=True, slots=True, eq=False)
class Selective:
    """Abstention by confidence: risk over coverage (thinned), the area under it, and the threshold if requested."""

    aurc: float
    risk_coverage: Curve
    abstention: Abstention | None


@dataclass(frozen=True, slots=True)
class BalancePoint:
    """What one balance gives, see `mien.balance`."""

    balance: float
    accuracy: float
    macro_recall: float


@dataclass(frozen=True, slots=True)
class BalanceReport:
    """The balance of the measured probabilities, and what others would give on the same faces.

    used: that of every figure outside of this report. prior: the models' training mix by label; None if it is unknown.
    target: the user's mix; None for an even one. ece_at_0, ece_majority_at_0: `ece` and `ece_majority` at balance 0,
    where a probability is what the model was calibrated to. points: accuracy and macro recall from 0 to 1; empty
    without a prior.
    """

    used: float
    prior: Mapping[str, float] | None
    target: Mapping[str, float] | None
    ece_at_0: float | None
    ece_majority_at_0: float | None
    points: tuple[BalancePoint, ...]


@dataclass(frozen=True, slots=True)
class TrainCopies:
    """How many measured faces have a pixel-exact copy in the training split, and the accuracy without them."""

    n_train: int
    n_copies: int
    without: Share


@dataclass(frozen=True, slots=True)
class Diversity:
    """How the predictions of several averaged models differ on the same faces.

    members: the accuracy of each model alone, in the order of `Evaluation.models`. disagreement: (M, M), the share of
    faces that two models classify differently; mean_disagreement: over all pairs. any_right: the share of faces that at
    least one model classifies correctly.
    """

    members: tuple[Share, ...]
    disagreement: tuple[tuple[float, ...], ...]
    mean_disagreement: float
    any_right: float


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """All figures of an evaluation, what was evaluated, and every prediction.

    truth: the kind of ground truth. labels: its K classes in order. n: measured samples. n_left_out: samples without a
    ground truth. accuracy_95: Wilson interval. ece: for `label`, the gap between confidence and accuracy; for `votes`,
    the gap between confidence and the share of raters who agree, over all kl_n samples with votes. ece_majority: for
    `votes` only, the gap to how often the majority agrees, which is more often than a single rater does. nll: over the
    nll_n samples whose class the models have. kl_votes: mean KL(votes || model) over the kl_n samples with votes, on
    the expressions that raters and models share; None without votes. dropped_classes: classes of the models that the
    ground truth lacks; predictions are without them. accuracy_every_answer: with them, as on photographs; None if there
    are none. missing_classes: classes of the ground truth that the models lack. n_unanswered: samples without
    a prediction of a tool; they count as wrong and are in no column of `confusion`, and figures of probabilities leave
    them out. predictions: the file of another tool, instead of models. diversity: for several models. balance: of
    models only. files: the paths of the written report.

    rows: int64 (n,), indices of the measured faces among the samples, or among the rows of a file without samples.
    sources: (n,). truth_index, predicted_index: int64 (n,), the latter -1 for none of the labels. confidence: float64
    (n,). probabilities: float64 (n, K), 0 for missing classes and without a prediction. Figures that need probabilities
    are None without them.
    """

    truth: Truth
    labels: tuple[str, ...]
    n: int
    n_left_out: int
    accuracy: float
    accuracy_95: tuple[float, float]
    bootstrap_95: Bootstrap
    balanced_accuracy: float
    macro_f1: float
    weighted_f1: float
    top_2_accuracy: float | None
    cohen_kappa: float | None
    matthews_correlation: float
    ece: float | None
    ece_before_temperature: float | None
    ece_majority: float | None
    nll: float | None
    nll_n: int
    kl_votes: float | None
    kl_n: int
    per_class: ClassScores
    confusion: tuple[tuple[int, ...], ...]
    confusion_normalised: tuple[tuple[float, ...], ...]
    calibration: Calibration | None
    curves: Curves | None
    selective: Selective | None
    votes: Votes | None
    dropped_classes: tuple[str, ...]
    missing_classes: tuple[str, ...]
    rows: NDArray[np.int64] = field(repr=False)
    sources: tuple[str, ...] = field(repr=False)
    truth_index: NDArray[np.int64] = field(repr=False)
    predicted_index: NDArray[np.int64] = field(repr=False)
    confidence: NDArray[np.float64] | None = field(repr=False)
    probabilities: NDArray[np.float64] | None = field(repr=False)
    models: tuple[UsedModel, ...] = ()
    predictions: str | None = None
    data: str = ""
    split: str = ""
    tta: bool = False
    notes: tuple[str, ...] = ()
    train_copies: TrainCopies | None = None
    groups: tuple[GroupComparison, ...] = ()
    speed: Speed | None = None
    diversity: Diversity | None = None
    robustness: Robustness | None = None
    n_unanswered: int = 0
    accuracy_every_answer: Share | None = None
    balance: BalanceReport | None = None
    files: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        figures = f"accuracy {self.accuracy:.4f}, macro recall {self.balanced_accuracy:.4f}"
        names = "+".join(model.name for model in self.models) or self.predictions
        return f"Evaluation({names!r}, {self.n:,} images by {self.truth}: {figures})"

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy, low and high: the same as `accuracy_95`."""
        return self.accuracy_95

    def with_files(self, files: tuple[Path, ...]) -> Evaluation:
        """The same evaluation, with the paths that it was written to."""
        return replace(self, files=files)

    def to_dict(self) -> dict[str, Any]:
        """The content of metrics.json: everything but the single predictions, six decimals, None for undefined."""
        copies = self.train_copies
        first = ("models", "predictions", "data", "split", "truth", "labels", "tta")
        last = ("rows", "sources", "truth_index", "predicted_index", "confidence", "probabilities", "files")
        names = [f.name for f in fields(self) if f.name not in (*first, *last)]
        written: dict[str, Any] = {name: _plain(getattr(self, name), name) for name in (*first, *names)}
        written["per_class"] = {
            c.label: {"recall": _plain(c.recall), "recall_95": _plain(c.recall_95), "precision": _plain(c.precision),
                      "precision_95": _plain(c.precision_95), "f1": _plain(c.f1), "f1_95": _plain(c.f1_95),
                      "support": c.support}
            for c in self.per_class
        }  # fmt: skip
        written["models"] = [{"name": m.name, "sha256": m.sha256, "temperature": m.temperature} for m in self.models]
        written["accuracy_without_train_copies"] = _plain(copies.without.accuracy) if copies else None
        return written


_EXACT = frozenset({"threshold", "target"})
"""Written with all digits: a rounded threshold would keep other faces."""


def _plain(value: Any, name: str = "") -> Any:
    """Converts any part of an evaluation to JSON types; numbers that are not finite become None."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return None if not math.isfinite(value) else value if name in _EXACT else round(value, 6)
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name), f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
