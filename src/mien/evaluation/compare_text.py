"""A comparison of runs in words and as a table in plain letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mien.evaluation.paired import McNemar
from mien.evaluation.tables import plain_table

if TYPE_CHECKING:
    from mien.evaluation.compare import ComparedRun, Comparison

_CHANCE = 0.05
"""A difference with a p-value of at least this may be chance."""

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
    low, high = best.accuracy_95
    most = f", {_FIRST[by]} of {len(runs)} runs" if len(runs) > 1 else ""
    gap = "" if best.gap is None else f" and {abs(best.gap) * 100:.1f} points {_than(best.gap)} on training faces"
    first = (
        f"Keep {best.name}: it calls {best.accuracy:.1%} of {best.evaluation.n:,} validation faces right (95 %: "
        f"{low:.1%} to {high:.1%}){most}, at a macro recall of {best.macro_recall:.1%}{gap}."
    )
    if len(runs) == 1:
        return f"{first} It is the only run, so there is nothing to compare it with."
    second = runs[1]
    after = f"{second.name} comes next with {second.accuracy:.1%}"
    if test is None:
        return f"{first} {after}, on other faces, so the two can't be tested against each other."
    chance = test.p_value >= _CHANCE
    words = "may be chance" if chance else "is more than chance"
    after += (
        f": it alone is right on {test.only_second:,} faces, {best.name} alone on {test.only_first:,}, a difference "
        f"that {words} (McNemar's exact test, p = {_p(test.p_value)})"
    )
    if chance and best.macs and second.macs and best.macs >= _CHEAPER * second.macs:
        after += f", and it needs {best.macs / second.macs:.1f} times fewer multiply-adds: take it where time counts"
    return f"{first} {after}."


def _than(gap: float) -> str:
    return "more" if gap >= 0 else "fewer"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1g}"


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
