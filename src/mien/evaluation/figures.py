"""The charts of an evaluation as data; `mien.pages.draw` makes figures of matplotlib of them.

They raise ValueError for a part that the evaluation does not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mien.evaluation.calibration import ReliabilityBin
from mien.evaluation.explain import MapTest
from mien.evaluation.groups import GroupComparison
from mien.evaluation.result import BalanceReport, Evaluation
from mien.evaluation.robustness import SEVERITIES, Robustness
from mien.intervals import wilson_interval
from mien.pages import Bars, Column, Lines, Mark, Matrix, Series, figure_text, new_figure
from mien.pages.charts import ACCENT, GREY, class_color, fitting_range, on_one_axis, series_color
from mien.pages.text import percent, percent_span, three

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Part = TypeVar("Part")


def confusion_chart(e: Evaluation, links: Mapping[tuple[int, int], str] | None = None) -> Matrix:
    """The confusion matrix: shares of each true class, with the counts. links: anchors of what is behind a cell."""
    # Shaded by share: else one large class is all there is to see.
    counts = [[f"{n:,}" for n in row] for row in e.confusion]
    rows = [f"{c.label} ({c.support:,})" for c in e.per_class]
    return Matrix(
        "Confusion matrix: faces, shaded by their share of the true class", rows, e.labels, e.confusion_normalised,
        counts, "true", "predicted", links=links or {},
    )  # fmt: skip


def classes_chart(e: Evaluation) -> Bars:
    """Recall, precision and F1 of each class with their 95 % intervals."""
    scores = e.per_class
    parts = (
        ("recall", [(s.recall, s.recall_95) for s in scores]),
        ("precision", [(s.precision, s.precision_95) for s in scores]),
        ("F1", [(s.f1, s.f1_95) for s in scores]),
    )
    columns = [_shares(name, *zip(*values, strict=True)) for name, values in parts]
    return Bars(
        "Each class with its 95 % intervals, 0 to 100 %", "class", e.labels, columns, "faces",
        [f"{s.support:,}" for s in scores], [class_color(s.label) for s in scores],
    )  # fmt: skip


def _shares(
    name: str,
    values: Sequence[float | None],
    spans: Sequence[tuple[float, float] | None],
    *,
    within: tuple[float, float] = (0.0, 1.0),
) -> Column:
    """Shares from 0 to 1 with intervals, as points."""
    ends = [span or (None, None) for span in spans]
    texts, notes = [percent(value) for value in values], [percent_span(span) for span in spans]
    lows, highs = [low for low, _ in ends], [high for _, high in ends]
    return Column(name, values, texts, lows, highs, notes=notes, range=within)


def faces_figure(images: Sequence[Any], captions: Sequence[str], *, columns: int = 6) -> Figure:
    """Faces uint8 (S, S, C) of one size in a grid, each with a caption as text above it."""
    side, down = len(images[0]), -(-len(images) // columns)
    cell = round(side * 1.25)
    sheet = np.full((down * cell, columns * side, 3), 255, np.uint8)
    figure = new_figure(1.4 * columns, 1.4 * columns * len(sheet) / sheet.shape[1])
    axes = figure.subplots()
    axes.set_axis_off()
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        top, left = number // columns * cell + cell - side, number % columns * side
        sheet[top : top + side, left : left + side] = image
        axes.text(left + side / 2, top - 0.04 * side, figure_text(caption), fontsize=6.5, ha="center", va="bottom")
    axes.imshow(sheet)
    return figure


def curve_charts(e: Evaluation) -> list[Lines]:
    """ROC and precision-recall curves, each class against the rest."""
    curves = _wanted(e.curves, "ROC curves").per_class
    roc = [(f"{n} {three(c.auc)}", n, c.roc) for n, c in curves.items() if c.roc is not None]
    recall = [
        (f"{n} {three(c.average_precision)}", n, c.precision_recall)
        for n, c in curves.items()
        if c.precision_recall is not None
    ]
    charts = []
    for title, x, y, named in (
        ("ROC, with the area of each class", "false positive rate, 0 to 1", "true positive rate, 0 to 1", roc),
        ("Precision over recall, with the average precision", "recall, 0 to 1", "precision, 0 to 1", recall),
    ):
        places, values = on_one_axis([(c.x, c.y) for _, _, c in named])
        lines = [Series(text, v, class_color(n)) for (text, n, _), v in zip(named, values, strict=True)]
        charts.append(Lines(title, places, lines, x, y, x_range=(0, 1), y_range=(0, 1.01)))
    return [chart for chart in charts if chart.series]


def reliability_charts(e: Evaluation) -> list[Lines]:
    """The reliability diagram with 95 % intervals and the faces of each bin; on votes also against the majority."""
    calibration = _wanted(e.calibration, "a reliability diagram")
    majority = calibration.reliability_majority
    first = "how often it is right" if majority is None else "share of raters who agree"
    charts = [_reliability(first, calibration.reliability)]
    if majority is not None:
        charts.append(_reliability("how often the majority agrees", majority))
    bins = calibration.reliability
    middles = [(b.low + b.high) / 2 for b in bins]
    faces = Series("faces", [b.n for b in bins], ACCENT, "bars")
    return [*charts, Lines("Faces of each confidence", middles, [faces], "confidence, 0 to 1", "faces", x_range=(0, 1))]


def _reliability(what: str, bins: Sequence[ReliabilityBin]) -> Lines:
    known = [b for b in bins if b.confidence is not None and b.accuracy is not None]
    x = [b.confidence or 0.0 for b in known]
    spans = [wilson_interval(round((b.accuracy or 0.0) * b.n), b.n) for b in known]
    own = Series(
        what, [b.accuracy for b in known], ACCENT, low=[low for low, _ in spans], high=[high for _, high in spans]
    )
    perfect = Series("perfect", x, GREY, "dashed")
    return Lines(
        f"{what.capitalize()} at each confidence", x, [own, perfect], "confidence, 0 to 1", f"{what}, 0 to 1",
        x_range=(0, 1), y_range=(0, 1.01),
    )  # fmt: skip


def risk_coverage_chart(e: Evaluation) -> Lines:
    """How often the kept answers are wrong when the least confident ones are withheld, with the wanted threshold."""
    selective = _wanted(e.selective, "a risk-coverage curve")
    marks, wanted = [], selective.abstention
    if wanted is not None:
        marks.append(Mark(f"accuracy {percent(wanted.target)}", y=1 - wanted.target))
        if wanted.threshold is not None:
            text = f"confidence {wanted.threshold:.3f} or more: {percent(wanted.coverage)} kept"
            marks.append(Mark(text, x=wanted.coverage))
    curve = selective.risk_coverage
    line = Series("wrong among the kept", curve.y.tolist(), ACCENT)
    return Lines(
        "Risk over coverage", curve.x.tolist(), [line], "coverage: share of faces answered, 0 to 1",
        "risk: share that is wrong, 0 to 1", marks, x_range=(0, 1),
        y_range=(0, max(0.05, float(curve.y.max()) * 1.15)),
    )  # fmt: skip


def groups_chart(comparison: GroupComparison) -> Bars:
    """Accuracy and balanced accuracy of every group with 95 % intervals; small groups are grey."""
    groups = comparison.groups
    spans = [end for g in groups for span in (g.accuracy_95, g.balanced_accuracy_95) for end in span]
    within = fitting_range(spans)
    columns = [
        _shares("accuracy", [g.accuracy for g in groups], [g.accuracy_95 for g in groups], within=within),
        _shares(
            "balanced accuracy",
            [g.balanced_accuracy for g in groups],
            [g.balanced_accuracy_95 for g in groups],
            within=within,
        ),
    ]
    title = f"Groups by {comparison.column} with 95 % intervals, {100 * within[0]:.0f} to {100 * within[1]:.0f} %"
    names = [g.value + (" (small)" if g.small else "") for g in groups]
    quiet = frozenset(i for i, g in enumerate(groups) if g.small)
    return Bars(title, "group", names, columns, "faces", [f"{g.n:,}" for g in groups], quiet=quiet)


def robustness_chart(r: Robustness) -> Matrix:
    """Accuracy for each corruption and severity."""
    values = [[r.clean_accuracy, *c.accuracy] for c in r.corruptions]
    low, top = fitting_range(*values, step=0.1)
    return Matrix(
        f"Accuracy on {r.n:,} faces", [c.name for c in r.corruptions], ["clean", *map(str, SEVERITIES)], values,
        [[percent(v) for v in row] for row in values], "corruption", "severity", low=low, top=top,
    )  # fmt: skip


def relative_error_chart(r: Robustness) -> Lines:
    """How many times the error on clean faces each corruption brings. Needs errors on clean faces."""
    scores = [(c.name, c.relative_error) for c in r.corruptions if c.relative_error is not None]
    lines = [
        Series(name, (1.0, *errors), series_color(i))
        for i, (name, errors) in enumerate(_wanted(scores or None, "relative errors"))
    ]
    return Lines(
        "Error as a multiple of that on clean faces", (0, *SEVERITIES), lines, "severity (0: clean)",
        "error / error on clean faces", [Mark("as on clean faces", y=1)],
    )  # fmt: skip


def balance_chart(balance: BalanceReport) -> Lines:
    """Accuracy and macro recall over the balance; the one that was used is marked."""
    points = balance.points
    lines = [
        Series("accuracy", [p.accuracy for p in points], series_color(0)),
        Series("macro recall", [p.macro_recall for p in points], series_color(1)),
    ]
    mark = Mark(f"used: {balance.used:g}", x=balance.used)
    return Lines(
        "Accuracy and macro recall over the balance", [p.balance for p in points], lines, "balance, 0 to 1",
        "share, 0 to 1", [mark],
    )  # fmt: skip


def map_test_charts(test: MapTest) -> list[Lines]:
    """Deletion and insertion curves of explaining maps, beside those of random ones."""
    areas = test.areas()
    pairs = (("deletion", test.deletion, test.random_deletion), ("insertion", test.insertion, test.random_insertion))
    return [
        Lines(
            f"{name.capitalize()}, with the area", list(test.shares),
            [
                Series(f"map {three(areas[name])}", list(own), ACCENT),
                Series(f"random {three(areas[f'random_{name}'])}", list(random), GREY, "dashed"),
            ],
            "share of pixels changed, 0 to 1", "probability of the prediction, 0 to 1", y_range=(0, 1),
        )
        for name, own, random in pairs
    ]  # fmt: skip


def _wanted(part: Part | None, what: str) -> Part:
    if part is None:
        raise ValueError(f"the evaluation has no {what}")
    return part
