"""What an evaluation found: frozen, and ready for JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What was measured, on what, and every prediction.

    labels: the ruler's K classes in order. n: samples measured; n_left_out: samples without a truth. accuracy_95:
    Wilson interval. ece: on the ruler `label`, how far confidences are from how often the label agrees; on `votes`,
    from the share of raters who agree, over all kl_n samples with votes. ece_majority: on `votes` only, from how often
    the majority agrees, which is more often than a single rater does. nll: over the nll_n samples whose class the
    models can say. kl_votes: mean KL(votes || model) over the kl_n samples with votes, on the expressions that raters
    and models share; None without votes. dropped_classes: the models', which the ruler lacks; missing_classes: the
    ruler's, which the models lack. sources: (n,); truth_index: int64 (n,); probabilities: float64 (n, K), 0 for missing
    classes.
    """

    models: tuple[UsedModel, ...]
    data: str
    split: str
    truth: Truth
    labels: tuple[str, ...]
    tta: bool
    n: int
    n_left_out: int
    accuracy: float
    accuracy_95: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    ece: float
    ece_before_temperature: float
    ece_majority: float | None
    nll: float | None
    nll_n: int
    kl_votes: float | None
    kl_n: int
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    dropped_classes: tuple[str, ...]
    missing_classes: tuple[str, ...]
    notes: tuple[str, ...]
    sources: tuple[str, ...] = field(repr=False)
    truth_index: NDArray[np.int64] = field(repr=False)
    probabilities: NDArray[np.float64] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """As metrics.json has it: everything but the single predictions, figures to six digits."""

        def short(value: float | None) -> float | None:
            return None if value is None else round(value, 6)

        return {
            "models": [{"name": m.name, "sha256": m.sha256, "temperature": m.temperature} for m in self.models],
            "data": self.data,
            "split": self.split,
            "truth": self.truth,
            "labels": list(self.labels),
            "tta": self.tta,
            "n": self.n,
            "n_left_out": self.n_left_out,
            "accuracy": short(self.accuracy),
            "accuracy_95": [short(v) for v in self.accuracy_95],
            "balanced_accuracy": short(self.balanced_accuracy),
            "macro_f1": short(self.macro_f1),
            "ece": short(self.ece),
            "ece_before_temperature": short(self.ece_before_temperature),
            "ece_majority": short(self.ece_majority),
            "nll": short(self.nll),
            "kl_votes": short(self.kl_votes),
            "nll_n": self.nll_n,
            "kl_n": self.kl_n,
            "per_class": {
                c.label: {
                    "recall": short(c.recall), "precision": short(c.precision), "f1": short(c.f1), "support": c.support
                }
                for c in self.per_class
            },
            "confusion": [list(row) for row in self.confusion],
            "dropped_classes": list(self.dropped_classes),
            "missing_classes": list(self.missing_classes),
            "notes": list(self.notes),
        }  # fmt: skip
