"""Writes a comparison of runs: a page, a table, and the charts as files; and the learning curves of one run or more."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from mien.evaluation.comparison import (
    COLUMNS,
    HEADS,
    TEXT_COLUMNS,
    Comparison,
    History,
    chosen_epoch,
    comparison_text,
    rows_of,
    spoken_time,
    text_rows,
)
from mien.evaluation.figures import confusion_chart
from mien.evaluation.tables import write_tables
from mien.files import write_text
from mien.pages import Bars, Column, Lines, Matrix, Page, Series, Tile
from mien.pages.charts import ACCENT, GREY, fitting_range, series_color
from mien.pages.text import p_value, percent, percent_span

PAGE_FILE, TEXT_FILE, JSON_FILE = "compare.html", "compare.txt", "compare.json"

_NOTE = (
    "All figures are those of the validation faces that the runs chose their epoch by, so the best of several is "
    "flattered a little: measure the one that is kept on test."
)
_UNITS = {"accuracy": "accuracy, 0 to 1", "loss": "loss, nats"}


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Writes compare.html, .txt, .csv, .md, .tex and .json, and the charts into figures/; returns the page's path.

    Raises MissingExtraError without matplotlib, OutputError.
    """
    out = Path(out)
    page = comparison_page(comparison)
    page.write_figures(out / "figures")
    write_text(out / TEXT_FILE, comparison_text(comparison))
    write_tables(out, "compare", TEXT_COLUMNS, text_rows(comparison), (COLUMNS, rows_of(comparison)))
    write_text(out / JSON_FILE, json.dumps(comparison.to_dict(), indent=2) + "\n")
    page.write(out / PAGE_FILE)
    return out / PAGE_FILE


def comparison_page(c: Comparison) -> Page:
    """The page: which run to keep, the runs side by side, their learning curves, and their classes."""
    best = c.runs[0]
    many = len(c.runs) > 1
    page = Page(f"{len(c.runs)} runs compared" if many else f"One run: {best.name}", c.verdict, kind="Training runs")
    page.tiles((
        Tile(f"accuracy of {best.name}", percent(best.accuracy), f"95 %: {percent_span(best.accuracy_95)}"),
        Tile("its macro recall", percent(best.macro_recall), f"{best.evaluation.n:,} validation faces"),
        *([Tile("second best", percent(c.runs[1].accuracy), c.runs[1].name)] if many else []),
        *([Tile("by chance", f"p = {p_value(c.test.p_value)}", "McNemar's exact test")] if c.test else []),
    ))  # fmt: skip
    page.section("Runs", _NOTE)
    page.chart(runs_chart(c), "runs")
    page.table(
        ("run", "network", "gap to training", "gap of the loss", "parameters", "multiply-adds", "epochs", "time"),
        [
            (
                r.name, r.network, "–" if r.gap is None else f"{100 * r.gap:+.1f} points",
                "–" if r.loss_gap is None else f"{r.loss_gap:+.3f}", r.parameters,
                "–" if r.macs is None else f"{r.macs / 1e6:,.1f} M", r.epochs,
                "–" if r.seconds is None else spoken_time(r.seconds),
            )
            for r in c.in_order
        ],
        f"Answers for the {HEADS[c.head]}. Gap: accuracy on training faces less that on validation",
    )  # fmt: skip
    page.table(
        ("unfinished run", "network", "accuracy so far", "epochs"),
        [(u.name, u.network, percent(u.accuracy), f"{u.epochs} of {u.planned}") for u in c.unfinished],
    )
    page.section("Learning curves", "Solid: validation. Dashed: training faces, unaugmented. Dots: the chosen epochs.")
    page.chart(learning_curves(c), "learning-curves")
    if c.test is not None:
        page.section("The best two")
        page.table(
            ("faces that are called right by", "faces"),
            [(f"{best.name} alone", c.test.only_first), (f"{c.runs[1].name} alone", c.test.only_second)],
        )
        page.text(f"The difference {c.test.said}.")
    page.section("Each class", "Every run, in the order in which they were given.")
    page.chart(class_charts(c), "classes")
    page.section(f"The best: {best.name}")
    page.chart(confusion_chart(best.evaluation), "confusion")
    return page


def runs_chart(c: Comparison) -> Bars:
    """Accuracy on validation with its 95 % interval and on training faces, macro recall and macro F1 of every run."""
    runs = c.in_order
    right, known = [r.accuracy for r in runs], [r.train_accuracy for r in runs]
    ends = list(zip(*(r.accuracy_95 for r in runs), strict=True))
    macro = ("macro recall", [r.macro_recall for r in runs]), ("macro F1", [r.macro_f1 for r in runs])
    # Runs that differ by a point should still look different: the tracks begin where the lowest figure is.
    within = fitting_range(known, *ends, *(values for _, values in macro))
    columns = [
        Column("accuracy, validation", right, [percent(v) for v in right], ends[0], ends[1], range=within),
        Column("accuracy, training", known, [percent(v) for v in known], range=within, color=GREY),
        *(
            Column(name, values, [percent(v) for v in values], range=within, color=series_color(i))
            for i, (name, values) in enumerate(macro, start=1)
        ),
    ]
    title = f"Shares from {100 * within[0]:.0f} to {100 * within[1]:.0f} %, with the 95 % interval of the accuracy"
    return Bars(title, "run", [r.name for r in runs], columns)


def class_charts(c: Comparison) -> list[Matrix]:
    """Recall, precision and F1: a row for each run, a column for each class."""
    labels = [score.label for score in c.runs[0].evaluation.per_class]
    charts = []
    for what in ("recall", "precision", "f1"):
        found = [{s.label: getattr(s, what) for s in run.evaluation.per_class} for run in c.in_order]
        values = [[own.get(label) or 0.0 for label in labels] for own in found]
        cells = [[percent(own.get(label)) for label in labels] for own in found]
        title = "F1" if what == "f1" else what.capitalize()
        charts.append(Matrix(title, [run.name for run in c.in_order], labels, values, cells, "run", "class"))
    return charts


def learning_curves(c: Comparison) -> list[Lines]:
    """Accuracy and loss of all runs over epochs, those that are unfinished too."""
    runs = {run.name: run.history for run in c.in_order}
    runs |= {f"{run.name} (unfinished)": run.history for run in c.unfinished if run.history}
    return curve_charts(runs, c.head)


def curve_charts(runs: Mapping[str, History], head: str, of: str = "") -> list[Lines]:
    """Accuracy and loss of one head over epochs, all runs overlaid: validation solid, training faces dashed.

    One run alone has validation and training as its lines. Where no run has a second epoch, runs are the axis. of: what
    the titles say after accuracy and loss.
    """
    if all(len(history) < 2 for history in runs.values()):
        return [_single_epochs(runs, head, what, of) for what in _UNITS]
    epochs = sorted({int(row["epoch"]) for history in runs.values() for row in history})
    charts = []
    for what, unit in _UNITS.items():
        lines = []
        for number, (name, history) in enumerate(runs.items()):
            best = chosen_epoch(history)
            for prefix, kind in (("", "validation"), ("train_", "training")):
                known = {int(row["epoch"]): row.get(f"{prefix}{head}_{what}", math.nan) for row in history}
                values = [known.get(epoch) for epoch in epochs]
                color = series_color(number if len(runs) > 1 or not prefix else 1)
                marked = epochs.index(best) if best is not None and not prefix else None
                style = "dashed" if prefix else "line"
                lines.append(Series(name if len(runs) > 1 else kind, values, color, style, marked=marked))  # type: ignore[arg-type]
        axis = "epoch (dashed: training faces)" if len(runs) > 1 else "epoch"
        charts.append(Lines(what.capitalize() + of, epochs, lines, axis, unit))
    return charts


def _single_epochs(runs: Mapping[str, History], head: str, what: str, of: str) -> Lines:
    rows = [history[0] if history else {} for history in runs.values()]
    lines = [
        Series(name, [row.get(f"{prefix}{head}_{what}") for row in rows], color, "points")
        for prefix, name, color in (("", "validation", ACCENT), ("train_", "training", GREY))
    ]
    return Lines(what.capitalize() + of, list(runs), lines, "run", _UNITS[what])
