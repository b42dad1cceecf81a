"""Writes a comparison of runs: figures, a page, a table, and the figures as files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.evaluation.compare import COLUMNS, ComparedRun, Comparison, History, rows_of
from mien.evaluation.compare_text import TEXT_COLUMNS, comparison_text, text_rows
from mien.evaluation.figures import FigurePage, confusion_figure
from mien.evaluation.tables import write_tables
from mien.files import make_folder, write_bytes, write_text
from mien.pages import figure_text, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE_FILE, TEXT_FILE, JSON_FILE = "compare.html", "compare.txt", "compare.json"

_BLUE, _ORANGE, _GREEN, _GREY = "#2f6fb3", "#d9822b", "#4d9a5b", "#8a929c"
_NOTE = (
    "All figures are those of the validation faces that the runs chose their epoch by, so the best of several is "
    "flattered a little: measure the one that is kept on test."
)


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Writes compare.html, .txt, .csv, .md, .tex and .json, and the figures into figures/; returns the page's path.

    Raises MissingExtraError without matplotlib, OutputError.
    """
    out = Path(out)
    page = FigurePage(f"{len(comparison.runs)} runs compared", comparison.verdict)
    _fill(page, comparison)
    make_folder(out / "figures")
    for name, data in page.files.items():
        write_bytes(out / "figures" / name, data)
    write_text(out / TEXT_FILE, comparison_text(comparison))
    write_tables(out, "compare", TEXT_COLUMNS, text_rows(comparison), (COLUMNS, rows_of(comparison)))
    write_text(out / JSON_FILE, json.dumps(comparison.to_dict(), indent=2) + "\n")
    page.write(out / PAGE_FILE)
    return out / PAGE_FILE


def _fill(page: FigurePage, c: Comparison) -> None:
    best = c.runs[0]
    page.section("Runs", _NOTE)
    page.table(TEXT_COLUMNS, text_rows(c), f"Head: {c.head}; gap: accuracy on training faces less that on validation")
    page.draw(bars_figure(c), "runs", "Accuracy on validation with 95 % intervals, on training faces, macro figures")
    if c.test is not None:
        page.section("The best two")
        page.table(
            ("faces that are called right by", "faces"),
            [
                (f"{best.name} alone", c.test.only_first),
                (f"{c.runs[1].name} alone", c.test.only_second),
                ("McNemar's exact test, p", f"{c.test.p_value:.4g}"),
            ],
        )
    page.section(f"The best: {best.name}")
    page.draw(confusion_figure(best.evaluation), "confusion", f"Confusion matrix of {best.name}")
    page.section("Each class")
    page.draw(classes_figure(c), "classes", "Recall, precision and F1 of each class, for every run")
    page.heading("Recall of each class")
    labels = best.evaluation.labels
    page.table(
        ("run", *labels),
        [(run.name, *(_recalls(run).get(label, "-") for label in labels)) for run in c.runs],
    )
    page.section(
        "Learning curves", "All runs on the same axes. Solid: validation. Dashed: training faces, unaugmented."
    )
    page.draw(learning_curves_figure(c), "learning-curves", "Learning curves of every run")


def bars_figure(comparison: Comparison) -> Figure:
    """Grouped bars over runs, in their own order: accuracy on validation and on training faces, macro figures."""
    runs = comparison.in_order
    figure = new_figure(max(6.0, 1.8 + 0.9 * len(runs)), 4.2)
    axes = figure.subplots()
    places, width = np.arange(len(runs)), 0.2
    accuracy = np.array([r.accuracy for r in runs])
    spread = np.abs(np.array([r.accuracy_95 for r in runs]).T - accuracy)
    parts: tuple[tuple[str, str, Any], ...] = (
        ("accuracy, training", _GREY, [math.nan if r.train_accuracy is None else r.train_accuracy for r in runs]),
        ("accuracy, validation (95 %)", _BLUE, accuracy),
        ("macro recall", _ORANGE, [r.macro_recall for r in runs]),
        ("macro F1", _GREEN, [r.macro_f1 for r in runs]),
    )
    for number, (label, color, values) in enumerate(parts):
        error = {"yerr": spread, "ecolor": "#222", "capsize": 2} if color == _BLUE else {}
        axes.bar(places + (number - 1.5) * width, values, width, color=color, label=label, **error)
    axes.set_xticks(places, [figure_text(r.name) for r in runs], rotation=30, ha="right")
    every = [v for _, _, values in parts for v in values if math.isfinite(v)]
    lowest = min(*every, *(r.accuracy_95[0] for r in runs))
    # Bars begin at 0 unless all are high: runs that differ by a point should still look different.
    axes.set_ylim(0 if lowest < 0.5 else math.floor(lowest * 10 - 1) / 10, min(1.0, max(every) + 0.1))
    axes.set_ylabel("share, 0 to 1")
    axes.grid(axis="y", alpha=0.25)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure


def classes_figure(comparison: Comparison) -> Figure:
    """Recall, precision and F1 in a panel each: grouped bars over classes, one for each run in its own order."""
    runs, scores = comparison.in_order, comparison.runs[0].evaluation.per_class
    labels = [score.label for score in scores]
    figure = new_figure(max(6.0, 1.2 + len(labels) * (0.5 + 0.12 * len(runs))), 8.4)
    places, width = np.arange(len(labels)), 0.82 / len(runs)
    panels = figure.subplots(3, 1, sharex=True)
    for axes, what in zip(panels, ("recall", "precision", "f1"), strict=True):
        for number, run in enumerate(runs):
            own = {score.label: getattr(score, what) or 0.0 for score in run.evaluation.per_class}
            offset = (number - (len(runs) - 1) / 2) * width
            values = [own.get(label, 0.0) for label in labels]
            axes.bar(places + offset, values, width, color=_color(number, len(runs)), label=figure_text(run.name))
        axes.set(ylabel="F1" if what == "f1" else what, ylim=(0, 1))
        axes.grid(axis="y", alpha=0.25)
    panels[-1].set_xticks(places, [figure_text(f"{s.label}\n{s.support:,}") for s in scores])
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(6, len(runs)), frameon=False)
    return figure


def learning_curves_figure(comparison: Comparison) -> Figure:
    """Accuracy and loss of all runs, those that are unfinished too, on one pair of axes."""
    runs = {run.name: run.history for run in comparison.in_order}
    runs |= {f"{run.name} (unfinished)": run.history for run in comparison.unfinished if run.history}
    return curves_figure(runs, comparison.head)


def curves_figure(runs: Mapping[str, History], head: str) -> Figure:
    """Accuracy and loss of one head over epochs: validation solid, training faces dashed; single epochs as points.

    Where no run has a second epoch, the points are drawn over the runs.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(11.0, 4.6)
    panels = dict(zip(("accuracy", "loss"), figure.subplots(1, 2), strict=True))
    single = all(len(history) < 2 for history in runs.values())
    for number, (name, history) in enumerate(runs.items()):
        for what, axes in panels.items():
            for prefix, style in (("", "-"), ("train_", "--")):
                rows = [row for row in history if f"{prefix}{head}_{what}" in row]
                x = [number if single else row["epoch"] for row in rows]
                look = {"marker": "o" if len(rows) == 1 else "", "fillstyle": "none" if prefix else "full"}
                label = None if prefix else figure_text(name)
                y, color = [row[f"{prefix}{head}_{what}"] for row in rows], _color(number, len(runs))
                axes.plot(x, y, style, color=color, label=label, linewidth=1.4, **look)
    for what, axes in panels.items():
        unit = "share, 0 to 1" if what == "accuracy" else "nats"
        axes.set(title=f"{head}: {what}", xlabel="run" if single else "epoch", ylabel=f"{what} ({unit})")
        axes.grid(alpha=0.25)
        if single:
            axes.set_xticks(range(len(runs)), [figure_text(name) for name in runs], rotation=60, ha="right")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not single:
        handles, names = panels["accuracy"].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=min(5, len(names)), frameon=False)
    return figure


def _color(number: int, of: int) -> Any:
    from matplotlib import colormaps

    return colormaps["tab10"](number) if of <= 10 else colormaps["tab20"](number % 20)


def _recalls(run: ComparedRun) -> dict[str, str]:
    return {s.label: "-" if s.recall is None else f"{s.recall:.3f}" for s in run.evaluation.per_class}
