"""Writes a comparison of runs: figures, a page, a table, and the figures as files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.evaluation.compare import (
    TEXT_COLUMNS,
    ComparedRun,
    Comparison,
    History,
    comparison_csv,
    comparison_json,
    comparison_text,
    text_rows,
)
from mien.evaluation.figures import FigurePage, confusion_figure
from mien.files import make_folder, write_bytes, write_text
from mien.pages import figure_text, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

PAGE_FILE, TEXT_FILE, CSV_FILE, JSON_FILE = "compare.html", "compare.txt", "compare.csv", "compare.json"

_BLUE, _ORANGE, _GREEN, _GREY = "#2f6fb3", "#d9822b", "#4d9a5b", "#8a929c"
_NOTE = (
    "All figures are those of the validation faces that the runs chose their epoch by, so the best of several is "
    "flattered a little: measure the one that is kept on test."
)


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Writes compare.html, .txt, .csv and .json, and the figures into figures/; returns the page's path.

    Raises MissingExtraError without matplotlib, OutputError.
    """
    out = Path(out)
    page = FigurePage(f"{len(comparison.runs)} runs compared", comparison.verdict)
    _fill(page, comparison)
    make_folder(out / "figures")
    for name, data in page.files.items():
        write_bytes(out / "figures" / name, data)
    write_text(out / TEXT_FILE, comparison_text(comparison))
    write_text(out / CSV_FILE, comparison_csv(comparison))
    write_text(out / JSON_FILE, comparison_json(comparison))
    page.write(out / PAGE_FILE)
    return out / PAGE_FILE


def _fill(page: FigurePage, c: Comparison) -> None:
    best = c.runs[0]
    page.section("Runs", _NOTE)
    page.table(TEXT_COLUMNS, text_rows(c), f"Head: {c.head}; gap: accuracy on training faces less that on validation")
    page.draw(bars_figure(c), "runs", "Accuracy with 95 % intervals, macro recall and macro F1 of every run")
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
    page.draw(classes_figure(best), "classes", f"Precision, recall and F1 of each class, {best.name}")
    page.draw(confusion_figure(best.evaluation), "confusion", f"Confusion matrix of {best.name}")
    page.section("Recall of each class")
    labels = best.evaluation.labels
    page.table(
        ("run", *labels),
        [(run.name, *(_recalls(run).get(label, "-") for label in labels)) for run in c.runs],
    )
    page.section("Learning curves", "Left, solid: accuracy on validation. Right, dashed: loss.")
    page.draw(learning_curves_figure(c), "learning-curves", "Learning curves of every run")


def bars_figure(comparison: Comparison) -> Figure:
    """Grouped bars over runs: accuracy with its interval, macro recall, macro F1."""
    runs = comparison.runs
    figure = new_figure(max(6.0, 1.8 + 0.75 * len(runs)), 4.2)
    axes = figure.subplots()
    places, width = np.arange(len(runs)), 0.26
    accuracy = np.array([r.accuracy for r in runs])
    spread = np.abs(np.array([r.accuracy_95 for r in runs]).T - accuracy)
    axes.bar(places - width, accuracy, width, color=_BLUE, yerr=spread, ecolor="#222", capsize=2, label="accuracy")
    axes.bar(places, [r.macro_recall for r in runs], width, color=_ORANGE, label="macro recall")
    axes.bar(places + width, [r.macro_f1 for r in runs], width, color=_GREEN, label="macro F1")
    axes.set_xticks(places, [figure_text(r.name) for r in runs], rotation=30, ha="right")
    lowest = min(min(r.accuracy_95[0], r.macro_recall, r.macro_f1) for r in runs)
    # Bars begin at 0 unless all are high: runs that differ by a point should still look different.
    axes.set_ylim(0 if lowest < 0.5 else math.floor(lowest * 10 - 1) / 10, min(1.0, float(accuracy.max()) + 0.1))
    axes.grid(axis="y", alpha=0.25)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def classes_figure(run: ComparedRun) -> Figure:
    """Grouped bars over classes: precision, recall and F1 of one run."""
    scores = run.evaluation.per_class
    figure = new_figure(max(6.0, 1.2 + 0.95 * len(scores)), 3.8)
    axes = figure.subplots()
    places, width = np.arange(len(scores)), 0.26
    parts = (
        ("precision", _BLUE, [s.precision for s in scores]),
        ("recall", _ORANGE, [s.recall or 0.0 for s in scores]),
        ("F1", _GREEN, [s.f1 or 0.0 for s in scores]),
    )
    for number, (name, color, values) in enumerate(parts):
        axes.bar(places + (number - 1) * width, values, width, color=color, label=name)
    axes.set_xticks(places, [figure_text(f"{s.label}\n{s.support:,}") for s in scores])
    axes.set_ylim(0, 1)
    axes.grid(axis="y", alpha=0.25)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def learning_curves_figure(comparison: Comparison) -> Figure:
    """All learning curves in one grid, a panel for each run, all to the same scale of accuracy."""
    runs = comparison.runs
    columns = min(4, max(2, math.ceil(math.sqrt(len(runs)))))
    down = math.ceil(len(runs) / columns)
    figure = new_figure(3.4 * columns, 2.7 * down + 0.4)
    panels = figure.subplots(down, columns, squeeze=False).ravel()
    every = [v for run in runs for row in run.history for k, v in row.items() if k.endswith("_accuracy")]
    low, high = (min(every), max(every)) if every else (0.0, 1.0)
    for axes in panels[len(runs) :]:
        axes.set_axis_off()
    for axes, run in zip(panels, runs, strict=False):
        lines = learning_curves(axes, run.history)
        axes.set_ylim(max(0.0, low - 0.03), min(1.0, high + 0.03))
        axes.set_title(figure_text(run.name), fontsize="medium")
        if axes is panels[0]:
            names = [str(line.get_label()) for line in lines]
            figure.legend(lines, names, loc="outside upper center", ncols=len(lines), frameon=False)
    return figure


def learning_curves(axes: Axes, history: History) -> list[Line2D]:
    """Draws one run's accuracies (left, solid) and losses (right, dashed) over its epochs; returns the lines."""
    from matplotlib.ticker import MaxNLocator

    lines: list[Line2D] = []
    losses = axes.twinx()
    epochs = [row["epoch"] for row in history]
    colors = {"train": _GREY, "label": _BLUE, "votes": _ORANGE}
    for column in history[0] if history else ():
        part, _, what = column.rpartition("_")
        if what in ("accuracy", "loss"):
            place, style = (axes, "-") if what == "accuracy" else (losses, "--")
            values = [row.get(column, math.nan) for row in history]
            color = colors.get(part, _GREEN)
            lines += place.plot(epochs, values, style, color=color, linewidth=1.4, label=f"{part} {what}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    return lines


def _recalls(run: ComparedRun) -> dict[str, str]:
    return {s.label: "-" if s.recall is None else f"{s.recall:.3f}" for s in run.evaluation.per_class}
