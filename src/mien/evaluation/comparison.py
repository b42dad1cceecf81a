"""A comparison of training runs as data, in words, and as a table in plain letters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mien.evaluation.frames import data_frame
from mien.evaluation.paired import McNemar
from mien.evaluation.result import Evaluation
from mien.evaluation.tables import plain_table
from mien.pages.text import percent, percent_span

if TYPE_CHECKING:
    import pandas as pd

History = tuple[dict[str, float], ...]

HEADS = {"label": "labels of the data", "votes": "votes of raters"}
"""The heads of a run, by what each was trained on."""

By = Literal["accuracy", "macro", "gap", "loss-gap"]

RANKS: dict[str, Callable[[ComparedRun], float | None]] = {
    "accuracy": lambda run: -run.accuracy,
    "macro": lambda run: -run.macro_recall,
    "gap": lambda run: None if run.gap is None else abs(run.gap),
    "loss-gap": lambda run: None if run.loss_gap is None else abs(run.loss_gap),
}
"""What runs are ranked by; the smallest is the best."""


@dataclass(frozen=True, slots=True, eq=False)
class ComparedRun:
    """One run's figures on validation.

    name: its folder's. place: the order in which the runs were given. accuracy_95: Wilson interval. train_accuracy: on
    training faces, unaugmented; gap: how much that is above `accuracy`. loss_gap: loss on validation less that on
    training faces, unaugmented, at the epoch that was kept; None for runs of an older mien. macs: multiply-adds for one
    face; None without the package onnx. seconds: of training. history: a row per epoch, as in history.csv. evaluation:
    everything else.
    """

    name: str
    place: int
    network: str
    epochs: int
    accuracy: float
    accuracy_95: tuple[float, float]
    train_accuracy: float | None
    gap: float | None
    loss_gap: float | None
    macro_recall: float
    macro_f1: float
    parameters: int
    macs: int | None
    seconds: float | None
    history: History = field(repr=False)
    evaluation: Evaluation = field(repr=False)


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """A run that has not ended. accuracy: its best so far on validation; None before the first epoch.

    history: of the epochs that are done.
    """

    name: str
    network: str
    epochs: int
    planned: int
    accuracy: float | None
    history: History = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Runs from the best down, the test between the best two, and which one to keep.

    head: which of the runs' answers were compared. by: what they are ranked by. test: None for one run, or where the
    best two did not see the same faces. verdict: two sentences. unfinished: those that are only listed.
    """

    head: str
    by: By
    runs: tuple[ComparedRun, ...]
    test: McNemar | None
    verdict: str
    unfinished: tuple[UnfinishedRun, ...] = ()

    def __repr__(self) -> str:
        return f"Comparison(runs={len(self.runs)}, by={self.by!r}: {self.verdict})"

    @property
    def in_order(self) -> tuple[ComparedRun, ...]:
        """The runs in the order in which they were given, as figures show them."""
        return tuple(sorted(self.runs, key=lambda run: run.place))

    def to_pandas(self) -> pd.DataFrame:
        """One row for each run, under `COLUMNS`. Raises MissingExtraError without pandas."""
        return data_frame(rows_of(self), COLUMNS)

    def to_dict(self) -> dict[str, object]:
        """As compare.json has it: plain figures, without histories and single predictions."""
        return {
            "head": self.head,
            "by": self.by,
            "runs": [dict(zip(COLUMNS, row, strict=True)) for row in rows_of(self)],
            "mcnemar": None if self.test is None else {
                "only_first": self.test.only_first, "only_second": self.test.only_second, "p_value": self.test.p_value,
            },
            "verdict": self.verdict,
            "unfinished": [
                {"run": r.name, "network": r.network, "epochs": r.epochs, "planned": r.planned, "accuracy": r.accuracy}
                for r in self.unfinished
            ],
        }  # fmt: skip


COLUMNS = ("run", "network", "accuracy", "accuracy_low", "accuracy_high", "n", "train_accuracy", "gap", "loss_gap",
           "macro_recall", "macro_f1", "parameters", "macs", "epochs", "seconds")  # fmt: skip


def rows_of(comparison: Comparison) -> list[tuple[object, ...]]:
    """The table's rows with all digits, under `COLUMNS`."""
    return [
        (
            r.name, r.network, r.accuracy, *r.accuracy_95, r.evaluation.n, r.train_accuracy, r.gap, r.loss_gap,
            r.macro_recall, r.macro_f1, r.parameters, r.macs, r.epochs, r.seconds,
        )
        for r in comparison.runs
    ]  # fmt: skip


def mean_accuracy(row: Mapping[str, float]) -> float | None:
    """The mean accuracy on validation over the heads of an epoch, by which runs keep their best weights.

    Heads without an accuracy, as no validation face has a truth for them, do not count; None without any.
    """
    known = [value for head in HEADS if math.isfinite(value := row.get(f"{head}_accuracy", math.nan))]
    return sum(known) / len(known) if known else None


def chosen_epoch(history: Sequence[dict[str, float]]) -> int | None:
    """The epoch whose weights are kept: that of the highest `mean_accuracy`, the first of equals."""
    scores = {int(row["epoch"]): score for row in history if (score := mean_accuracy(row)) is not None}
    return max(scores, key=lambda epoch: scores[epoch], default=None)


_CHEAPER = 1.5
"""From how many times fewer multiply-adds a run that is as good within chance is pointed at."""

_FIRST = {"accuracy": "the most", "macro": "with the highest macro recall", "gap": "with the smallest gap of accuracy",
          "loss-gap": "with the smallest gap of the loss"}  # fmt: skip

TEXT_COLUMNS = ("run", "network", "accuracy", "95 %", "n", "train", "gap", "loss gap", "macro recall", "macro F1",
                "parameters", "MACs", "epochs", "time")  # fmt: skip


def comparison_text(comparison: Comparison) -> str:
    """The table in plain letters, and the verdict below."""
    return f"{plain_table(TEXT_COLUMNS, text_rows(comparison), left=2)}\n{comparison.verdict}\n"


def text_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """The table's rows as people read them, under `TEXT_COLUMNS`; unfinished runs are last."""
    rows: list[tuple[str, ...]] = [
        (
            r.name, r.network, f"{r.accuracy:.4f}", f"{r.accuracy_95[0]:.3f} to {r.accuracy_95[1]:.3f}",
            f"{r.evaluation.n:,}", _or_dash(r.train_accuracy, "{:.4f}"), _or_dash(r.gap, "{:+.4f}"),
            _or_dash(r.loss_gap, "{:+.3f}"), f"{r.macro_recall:.4f}", f"{r.macro_f1:.4f}", f"{r.parameters:,}",
            "-" if r.macs is None else f"{r.macs / 1e6:,.1f} M",
            str(r.epochs), "-" if r.seconds is None else spoken_time(r.seconds),
        )
        for r in comparison.runs
    ]  # fmt: skip
    for u in comparison.unfinished:
        unknown = ["-"] * (len(TEXT_COLUMNS) - 5)
        best = _or_dash(u.accuracy, "{:.4f}")
        rows.append((u.name, u.network, best, *unknown, f"{u.epochs} of {u.planned}", "unfinished"))
    return rows


def spoken_time(seconds: float) -> str:
    """A duration in the unit that suits it: `45 s`, `12 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def verdict(runs: Sequence[ComparedRun], test: McNemar | None, by: str) -> str:
    """Which one to keep, and why, in two sentences made of the figures."""
    best = runs[0]
    most = f", {_FIRST[by]} of {len(runs)} runs" if len(runs) > 1 else ""
    than = "more" if (best.gap or 0) >= 0 else "fewer"
    gap = "" if best.gap is None else f" and {abs(best.gap) * 100:.1f} points {than} on training faces"
    first = (
        f"Keep {best.name}: it calls {percent(best.accuracy)} of {best.evaluation.n:,} validation faces right (95 %: "
        f"{percent_span(best.accuracy_95)}){most}, at a macro recall of {percent(best.macro_recall)}{gap}."
    )
    if len(runs) == 1:
        return f"{first} It is the only run, so there is nothing to compare it with."
    second = runs[1]
    after = f"{second.name} comes next with {percent(second.accuracy)}"
    if test is None:
        return f"{first} {after}, on other faces, so the two can't be tested against each other."
    after += (
        f": it alone is right on {test.only_second:,} faces, {best.name} alone on {test.only_first:,}, a difference "
        f"that {test.said}"
    )
    if test.may_be_chance and best.macs and second.macs and best.macs >= _CHEAPER * second.macs:
        after += f", and it needs {best.macs / second.macs:.1f} times fewer multiply-adds: take it where time counts"
    return f"{first} {after}."


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
