"""What an evaluation found: frozen, and ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mien.evaluation.calibration import ReliabilityBin
from mien.evaluation.curves import Curve
from mien.evaluation.groups import GroupComparison
from mien.evaluation.metrics import Bootstrap
from mien.evaluation.robustness import Robustness
from mien.evaluation.speed import Speed

Truth = Literal["label", "votes"]


@dataclass(frozen=True, slots=True)
class UsedModel:
    """A model that took part: its name, what its probabilities were divided by, its file's checksum."""

    name: str
    sha256: str
    temperature: float


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: its samples, recall, precision and F1; recall and F1 are None where it has no samples."""

    label: str
    support: int
    recall: float | None
    precision: float
    f1: float | None


@dataclass(frozen=True, slots=True)
class Share:
    """The accuracy on some of the samples, with its Wilson interval; None where there are none."""

    n: int
    accuracy: float | None
    accuracy_95: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Votes:
    """Accuracy on raters' majority (more than half of the votes), and where at least 60 % and 80 % of them agree."""

    majority: Share
    agreement_60: Share
    agreement_80: Share


@dataclass(frozen=True, slots=True)
class Calibration:
    """Brier score (summed over classes, 0 to 2), class-wise ECE, and the reliability diagram behind `ece`.

    brier: against the truth. classwise_ece: the mean of classwise_ece_by_class; like `reliability` against what `ece`
    is measured against. reliability_majority: the diagram behind `ece_majority`.
    """

    brier: float
    classwise_ece: float
    classwise_ece_by_class: Mapping[str, float]
    reliability: tuple[ReliabilityBin, ...]
    reliability_majority: tuple[ReliabilityBin, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class ClassCurves:
    """One class against the rest: ROC and precision-recall curve with their areas; None where it can't be defined."""

    auc: float | None
    average_precision: float | None
    roc: Curve | None
    precision_recall: Curve | None


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """A `ClassCurves` per label, and the means over the classes that have them. Points are thinned, areas are not."""

    macro_auc: float | None
    macro_average_precision: float | None
    per_class: Mapping[str, ClassCurves]


@dataclass(frozen=True, slots=True)
class Abstention:
    """What it takes to be right as often as wanted: faces with a confidence of `threshold` or more are kept.

    accuracy_at_least: the one-sided 95 % Wilson bound of the kept faces' accuracy. All but target and caveat is None
    (n: 0) where no threshold reaches the target.
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
    """Abstaining by confidence: risk over coverage (thinned), the area under it, the threshold if one was wanted."""

    aurc: float
    risk_coverage: Curve
    abstention: Abstention | None


@dataclass(frozen=True, slots=True)
class TrainCopies:
    """How many measured faces have a pixel-exact copy in the training split, and the accuracy without them."""

    n_train: int
    n_copies: int
    without: Share


@dataclass(frozen=True, slots=True)
class Diversity:
    """How several models that are measured as one differ, on the same faces.

    members: each one's accuracy alone, in the order of `Evaluation.models`. disagreement: (M, M), the share of faces
    on which two of them give different answers; mean_disagreement: over all pairs. any_right: the share of faces that
    at least one of them gets right.
    """

    members: tuple[Share, ...]
    disagreement: tuple[tuple[float, ...], ...]
    mean_disagreement: float
    any_right: float


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What was measured, on what, and every prediction.

    labels: the ruler's K classes in order. n: samples measured; n_left_out: samples without a truth. accuracy_95:
    Wilson interval. ece: on the ruler `label`, how far confidences are from how often the label agrees; on `votes`,
    from the share of raters who agree, over all kl_n samples with votes. ece_majority: on `votes` only, from how
    often the majority agrees, which is more often than a single rater does. nll: over the nll_n samples whose class
    the models can say. kl_votes: mean KL(votes || model) over the kl_n samples with votes, on the expressions that
    raters and models share; None without votes. dropped_classes: the models', which the ruler lacks;
    missing_classes: the ruler's, which the models lack. n_unanswered: samples that a tool gave no answer for; they
    count as wrong, stand in no column of `confusion`, and figures that need probabilities are those of the others.
    predictions: the file of another tool that was measured instead of models. diversity: of several models. rows:
    int64 (n,), where the measured faces stand among the samples that were given (or the rows of a file, without
    any). sources: (n,); truth_index, predicted_index: int64 (n,), the latter -1 for none of the labels; confidence:
    float64 (n,); probabilities: float64 (n, K), 0 for missing classes and without an answer. Without probabilities
    all that needs them is None.
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
    per_class: tuple[ClassScore, ...]
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

    def to_dict(self) -> dict[str, Any]:
        """As metrics.json has it: everything but the single predictions, figures to six digits, None for undefined."""
        copies = self.train_copies
        first = ("models", "predictions", "data", "split", "truth", "labels", "tta")
        last = ("rows", "sources", "truth_index", "predicted_index", "confidence", "probabilities")
        names = [f.name for f in fields(self) if f.name not in (*first, *last)]
        written: dict[str, Any] = {name: _plain(getattr(self, name), name) for name in (*first, *names)}
        written["per_class"] = {
            c.label: {"recall": _plain(c.recall), "precision": _plain(c.precision), "f1": _plain(c.f1),
                      "support": c.support}
            for c in self.per_class
        }  # fmt: skip
        written["models"] = [{"name": m.name, "sha256": m.sha256, "temperature": m.temperature} for m in self.models]
        written["accuracy_without_train_copies"] = _plain(copies.without.accuracy) if copies else None
        return written


_EXACT = frozenset({"threshold", "target"})
"""Written with all their digits: to cut at a rounded threshold would keep other faces."""


def _plain(value: Any, name: str = "") -> Any:
    """Any part of an evaluation as JSON has it; what is not finite (a curve's first threshold) as None."""
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
