"""The results of tuning as data, as a table and as a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mien.config import to_toml
from mien.evaluation.figures import FigurePage
from mien.files import make_folder, write_bytes, write_text
from mien.pages import figure_text, new_figure
from mien.training.recipe import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEST_FILE, TRIALS_FILE, PAGE_FILE = "best.toml", "trials.csv", "tune.html"

_BLUE, _GREY, _RED, _GREEN = "#2f6fb3", "#8a929c", "#c8413b", "#4d9a5b"


@dataclass(frozen=True, slots=True)
class Tried:
    """One trial. score: the highest mean validation accuracy over the heads; None where there is none (yet).

    state: `complete`; `pruned`, given up early, as it did worse than most by then; `failed`, as `problem` says; or
    `running`, in this moment by another process. changes: its settings, as `key=value`.
    """

    number: int
    state: Literal["complete", "pruned", "failed", "running"]
    score: float | None
    epochs: int
    changes: tuple[tuple[str, str], ...]
    problem: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """The results of tuning. best: the best trial's recipe, its score and number.

    importances: each key's share of the variation between trials, the largest first; empty if there
    are too few trials.
    """

    best: Recipe
    score: float
    number: int
    trials: tuple[Tried, ...]
    importances: tuple[tuple[str, float], ...]


def write_tuned(tuned: Tuned, out: Path) -> None:
    """Writes best.toml, trials.csv, tune.html, and its figures into figures/. Raises OutputError."""
    page = FigurePage(f"{len(tuned.trials)} trials", _intro(tuned))
    page.section("Course")
    page.draw(history_figure(tuned.trials), "history", "Score of every trial, and the best so far")
    if tuned.importances:
        page.section(
            "What matters", "Each key's share of what decides between good and bad trials (PED-ANOVA, Watanabe 2023)."
        )
        page.draw(importance_figure(tuned.importances), "importance", "Importance of each key")
        page.draw(keys_figure(tuned), "keys", "Score over the values of each key")
    page.section("Trials")
    keys = _keys(tuned.trials)
    rows = [
        (
            t.number,
            t.state,
            "-" if t.score is None else f"{t.score:.4f}",
            t.epochs,
            *(dict(t.changes).get(k, "") for k in keys),
        )
        for t in sorted(tuned.trials, key=lambda t: (-(t.score or 0.0), t.number))
    ]
    page.table(("trial", "state", "score", "epochs", *keys), rows)
    make_folder(out / "figures")
    for name, data in page.files.items():
        write_bytes(out / "figures" / name, data)
    write_text(out / BEST_FILE, to_toml(tuned.best))
    write_text(out / TRIALS_FILE, _csv(tuned.trials))
    page.write(out / PAGE_FILE)


def history_figure(trials: Sequence[Tried]) -> Figure:
    """Every trial's score by its number, and the best so far as a line."""
    figure = new_figure(8, 3.8)
    axes = figure.subplots()
    looks = {"complete": ("o", _BLUE), "pruned": ("x", _GREY), "failed": ("v", _RED), "running": ("+", _GREEN)}
    for state, (mark, color) in looks.items():
        own = [t for t in trials if t.state == state and t.score is not None]
        if own:
            axes.plot([t.number for t in own], [t.score or 0.0 for t in own], mark, color=color, label=state)
    done = [t for t in trials if t.state == "complete" and t.score is not None]
    if done:
        best = np.maximum.accumulate([t.score or 0.0 for t in done])
        axes.step([t.number for t in done], best, where="post", color=_BLUE, linewidth=1.2, label="best so far")
    axes.set(xlabel="trial", ylabel="validation accuracy")
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small")
    return figure


def importance_figure(importances: Sequence[tuple[str, float]]) -> Figure:
    """Bars: each key's importance."""
    figure = new_figure(7, 0.8 + 0.42 * len(importances))
    axes = figure.subplots()
    names = [figure_text(key) for key, _ in reversed(importances)]
    axes.barh(names, [value for _, value in reversed(importances)], color=_BLUE)
    axes.set(xlabel="importance", xlim=(0, None))
    axes.grid(axis="x", alpha=0.25)
    return figure


def keys_figure(tuned: Tuned) -> Figure:
    """A panel for each key: the scores of complete trials over its values."""
    keys = [key for key, _ in tuned.importances]
    columns = min(3, len(keys))
    lines = -(-len(keys) // columns)
    figure = new_figure(3.4 * columns, 2.8 * lines)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    done = [t for t in tuned.trials if t.state == "complete" and t.score is not None]
    for axes, key in zip(panels, keys, strict=False):
        texts = [dict(t.changes)[key] for t in done]
        values = [_as_number(text) for text in texts]
        numbers = [v for v in values if v is not None]
        scores = [t.score or 0.0 for t in done]
        if len(numbers) == len(texts):
            axes.plot(numbers, scores, "o", color=_BLUE, markersize=4)
            if min(numbers) > 0 and max(numbers) >= 20 * min(numbers):
                axes.set_xscale("log")
        else:
            names = sorted(set(texts))
            axes.plot([names.index(text) for text in texts], scores, "o", color=_BLUE, markersize=4)
            axes.set_xticks(range(len(names)), [figure_text(n.strip('"')) for n in names])
        axes.set_title(figure_text(key), fontsize="medium")
        axes.grid(alpha=0.25)
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    return figure


def _intro(tuned: Tuned) -> str:
    states = [t.state for t in tuned.trials]
    counts = ", ".join(f"{states.count(s)} {s}" for s in ("complete", "pruned", "failed", "running") if s in states)
    settings = ", ".join(f"{k} = {v}" for k, v in next(t.changes for t in tuned.trials if t.number == tuned.number))
    return (
        f"{tuned.best.name}: trial {tuned.number} is the best, {tuned.score:.4f} on validation, with {settings}. "
        f"Trials: {counts}.\n\nThe best of many is flattered a little by the faces that it was chosen on: measure it "
        "on test."
    )


def _csv(trials: Sequence[Tried]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = _keys(trials)
    writer.writerow(("trial", "state", "score", "epochs", *keys, "problem"))
    for t in trials:
        settings = dict(t.changes)
        score = "" if t.score is None else t.score
        writer.writerow((t.number, t.state, score, t.epochs, *(settings.get(k, "") for k in keys), t.problem))
    return text.getvalue()


def _keys(trials: Sequence[Tried]) -> list[str]:
    return list(dict.fromkeys(key for t in trials for key, _ in t.changes))


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
