"""Figures of an evaluation, drawn with matplotlib, and a page that also writes them as files.

All of them raise MissingExtraError without matplotlib, and ValueError for a part that the evaluation does not have.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mien.evaluation.calibration import ReliabilityBin
from mien.evaluation.curves import Curve
from mien.evaluation.explain import MapTest
from mien.evaluation.groups import GroupComparison
from mien.evaluation.result import BalanceReport, Evaluation
from mien.evaluation.robustness import SEVERITIES, Robustness
from mien.labels import color_rgb
from mien.pages import Page, figure_png, figure_text, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Part = TypeVar("Part")

_GREY, _BLUE, _RED = "#8a929c", "#2f6fb3", "#c8413b"
_WORDS = 16
"""Matrices of more rows have no numbers in their cells: they would not be legible."""


class FigurePage(Page):
    """A page whose figures are kept as PNG, SVG and PDF. files: their bytes by file name."""

    def __init__(self, title: str, intro: str = "") -> None:
        super().__init__(title, intro)
        self.files: dict[str, bytes] = {}

    def draw(self, figure: Figure, name: str, alt: str) -> None:
        """Shows a figure of matplotlib and keeps it under this name."""
        self.figure(self.keep(figure, name), alt)

    def keep(self, figure: Figure, name: str) -> bytes:
        """Keeps a figure of matplotlib that the page does not show; returns its PNG."""
        data = self.files[f"{name}.png"] = figure_png(figure)
        self.files[f"{name}.svg"], self.files[f"{name}.pdf"] = figure_svg(figure), figure_pdf(figure)
        return data


def confusion_figure(evaluation: Evaluation) -> Figure:
    """The confusion matrix twice: counts, and shares of each true class (rows)."""
    names = [figure_text(name) for name in evaluation.labels]
    side = max(3.2, 0.62 * len(names))
    figure = new_figure(2 * side + 1.6, side + 0.6)
    left, right = figure.subplots(1, 2)
    shares = np.array(evaluation.confusion_normalised)
    counts = [[f"{n:,}" for n in row] for row in evaluation.confusion]
    # The counts are shaded by share as well: else one large class is all there is to see.
    _matrix(left, shares, counts, names, names, top=1.0)
    _matrix(right, shares, [[f"{v:.2f}" for v in row] for row in shares], names, names, top=1.0)
    for axes, title in ((left, "faces"), (right, "share of the true class")):
        axes.set_title(title)
        axes.set_xlabel("predicted")
    left.set_ylabel("true")
    return figure


def class_bars_figure(evaluation: Evaluation) -> Figure:
    """Grouped bars over classes: recall, precision and F1 with their 95 % intervals."""
    scores = evaluation.per_class
    figure = new_figure(max(6.0, 1.2 + 0.95 * len(scores)), 3.8)
    axes = figure.subplots()
    places, width = np.arange(len(scores)), 0.26
    parts: tuple[tuple[str, str, list[tuple[float | None, tuple[float, float] | None]]], ...] = (
        ("recall", _BLUE, [(s.recall, s.recall_95) for s in scores]),
        ("precision", "#d9822b", [(s.precision, s.precision_95) for s in scores]),
        ("F1", "#4d9a5b", [(s.f1, s.f1_95) for s in scores]),
    )
    for number, (name, color, values) in enumerate(parts):
        heights = np.array([value or 0.0 for value, _ in values])
        spans = np.array([span or (height, height) for (_, span), height in zip(values, heights, strict=True)])
        error = np.abs(spans.T - heights)
        axes.bar(places + (number - 1) * width, heights, width, color=color, yerr=error, ecolor="#222", capsize=2,
                 label=name)  # fmt: skip
    axes.set_xticks(places, [f"{figure_text(s.label)}\n{s.support:,}" for s in scores])
    axes.set(ylim=(0, 1), ylabel="share, 0 to 1")
    axes.grid(axis="y", alpha=0.25)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


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


def class_curves_figure(evaluation: Evaluation) -> Figure:
    """ROC and precision-recall curves, each class against the rest."""
    curves = _wanted(evaluation.curves, "ROC curves")
    figure = new_figure(11, 5.2)
    roc, recall = figure.subplots(1, 2)
    roc.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=1)
    for name, c in curves.per_class.items():
        if c.roc is not None:
            _line(roc, c.roc, name, f"{name} {c.auc:.3f}")
        if c.precision_recall is not None:
            _line(recall, c.precision_recall, name, f"{name} {c.average_precision:.3f}")
    roc.set(title="ROC (area)", xlabel="false positive rate", ylabel="true positive rate")
    recall.set(title="Precision-recall (average precision)", xlabel="recall", ylabel="precision")
    for axes, corner in ((roc, "lower right"), (recall, "lower left")):
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.grid(alpha=0.25)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize="small", loc=corner)
    return figure


def reliability_figure(evaluation: Evaluation) -> Figure:
    """The reliability diagram with the number of faces in each bin; on votes also that against the majority."""
    calibration = _wanted(evaluation.calibration, "a reliability diagram")
    majority = calibration.reliability_majority
    first = "how often it is right" if majority is None else "share of raters who agree"
    diagrams = [(first, calibration.reliability)]
    if majority is not None:
        diagrams.append(("how often the majority agrees", majority))
    figure = new_figure(4.4 * len(diagrams), 5)
    rows = figure.subplots(2, len(diagrams), squeeze=False, sharex=True, height_ratios=[4, 1])
    for column, (title, bins) in enumerate(diagrams):
        _reliability(rows[0, column], rows[1, column], bins, title)
    rows[0, 0].legend(frameon=False, fontsize="small", loc="upper left")
    return figure


def risk_coverage_figure(evaluation: Evaluation) -> Figure:
    """How often the kept answers are wrong when the least confident ones are withheld, with the wanted threshold."""
    selective = _wanted(evaluation.selective, "a risk-coverage curve")
    figure = new_figure(6, 4)
    axes = figure.subplots()
    axes.plot(selective.risk_coverage.x, selective.risk_coverage.y, color=_BLUE, linewidth=1.8)
    wanted = selective.abstention
    if wanted is not None:
        axes.axhline(1 - wanted.target, color=_GREY, linestyle=":", label=f"accuracy {wanted.target:g}")
        if wanted.threshold is not None:
            words = f"confidence {wanted.threshold:.3f} or more: {wanted.coverage:.1%} kept"
            axes.axvline(wanted.coverage, color=_RED, linestyle="--", linewidth=1.2, label=words)
        axes.legend(frameon=False, fontsize="small", loc="upper left")
    axes.set(xlabel="coverage: share of faces answered", ylabel="risk: share of those that are wrong", xlim=(0, 1))
    axes.set_ylim(0, max(0.05, float(selective.risk_coverage.y.max()) * 1.25))
    axes.grid(alpha=0.25)
    return figure


def groups_figure(comparison: GroupComparison) -> Figure:
    """Accuracy and balanced accuracy of every group with 95 % intervals."""
    groups = comparison.groups
    figure = new_figure(8, 1.2 + 0.4 * len(groups))
    panels = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(groups))
    shown = (
        ("accuracy", [g.accuracy for g in groups], [g.accuracy_95 for g in groups]),
        ("balanced accuracy", [g.balanced_accuracy for g in groups], [g.balanced_accuracy_95 for g in groups]),
    )
    for axes, (title, values, intervals) in zip(panels, shown, strict=True):
        for place, group, value, (low, high) in zip(places, groups, values, intervals, strict=True):
            color = _GREY if group.small else _BLUE
            axes.plot([low, high], [place, place], color=color, linewidth=1.6)
            axes.plot([value], [place], "o", color=color)
        axes.set_title(title)
        axes.grid(axis="x", alpha=0.25)
    panels[0].set_yticks(places, [figure_text(f"{g.value} ({g.n:,})") for g in groups])
    panels[0].set_ylim(len(groups) - 0.5, -0.5)
    return figure


def robustness_figure(robustness: Robustness) -> Figure:
    """A heat map: accuracy for each corruption and severity."""
    r = robustness
    values = np.array([[r.clean_accuracy, *c.accuracy] for c in r.corruptions])
    figure = new_figure(6.4, 0.8 + 0.36 * len(values))
    axes = figure.subplots()
    cells = [[f"{v:.3f}" for v in row] for row in values]
    rows, columns = [c.name for c in r.corruptions], ["clean", *map(str, SEVERITIES)]
    _matrix(axes, values, cells, rows, columns, top=max(0.5, float(values.max())))
    axes.tick_params(axis="x", rotation=0)
    axes.set_xlabel("severity")
    axes.set_title(f"Accuracy, {r.n:,} faces")
    return figure


def relative_error_figure(robustness: Robustness) -> Figure:
    """Lines: how many times the error on clean faces each corruption brings. Needs errors on clean faces."""
    figure = new_figure(7.5, 4.2)
    axes = figure.subplots()
    scores = [c for c in robustness.corruptions if c.relative_error is not None]
    _wanted(scores or None, "relative errors")
    palette = _palette(len(scores))
    for c, color, mark in zip(scores, palette, "osv^D<>pXP" * (1 + len(scores) // 10), strict=False):
        values = (1.0, *(c.relative_error or ()))
        axes.plot((0, *SEVERITIES), values, color=color, marker=mark, markersize=5, linewidth=1.4, label=c.name)
    axes.axhline(1, color=_GREY, linestyle=":", linewidth=1.2)
    axes.set(xlabel="severity (0: clean)", ylabel="error / error on clean faces")
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    return figure


def balance_figure(balance: BalanceReport) -> Figure:
    """Lines: accuracy and macro recall over the balance; the one that was used is marked."""
    figure = new_figure(6, 3.4)
    axes = figure.subplots()
    steps = [p.balance for p in balance.points]
    axes.plot(steps, [p.accuracy for p in balance.points], color=_BLUE, label="accuracy")
    axes.plot(steps, [p.macro_recall for p in balance.points], color=_GREY, linestyle="--", label="macro recall")
    axes.axvline(balance.used, color=_GREY, linestyle=":", linewidth=1.2, label=f"used: {balance.used:g}")
    axes.set(xlabel="balance")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize="small")
    return figure


def map_test_figure(test: MapTest, title: str) -> Figure:
    """Deletion and insertion curves of explaining maps, beside those of random ones."""
    figure = new_figure(8, 3.4)
    panels = figure.subplots(1, 2, sharey=True)
    pairs = (("deletion", test.deletion, test.random_deletion), ("insertion", test.insertion, test.random_insertion))
    areas = test.areas()
    for axes, (name, own, random) in zip(panels, pairs, strict=True):
        axes.plot(test.shares, own, color=_BLUE, label=f"map {areas[name]:.3f}")
        axes.plot(test.shares, random, color=_GREY, linestyle="--", label=f"random {areas[f'random_{name}']:.3f}")
        axes.set(title=f"{name} (area)", xlabel="share of pixels changed", ylim=(0, 1))
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize="small")
    panels[0].set_ylabel("probability of the prediction")
    figure.suptitle(figure_text(title))
    return figure


def figure_svg(figure: Figure) -> bytes:
    """A figure as the bytes of an SVG file, the same ones for the same figure."""
    from matplotlib import rc_context

    data = io.BytesIO()
    with rc_context({"svg.hashsalt": "mien"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # it is drawn as a box
        figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()


def figure_pdf(figure: Figure) -> bytes:
    """A figure as the bytes of a PDF file, for a thesis: embedded fonts of the family Times (STIX), no date."""
    from matplotlib import rc_context
    from matplotlib.text import Text

    data = io.BytesIO()
    texts = [(text, text.get_fontfamily()) for text in figure.findobj(Text)]
    with rc_context({"pdf.fonttype": 42, "font.serif": ["STIXGeneral"]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        for text, _ in texts:
            text.set_fontfamily("serif")
        figure.savefig(data, format="pdf", metadata={"CreationDate": None})
    for text, family in texts:
        text.set_fontfamily(family)
    return data.getvalue()


def _wanted(part: Part | None, what: str) -> Part:
    if part is None:
        raise ValueError(f"the evaluation has no {what}")
    return part


def _matrix(
    axes: Axes, values: Any, cells: Sequence[Sequence[str]], rows: Sequence[str], columns: Sequence[str], *, top: float
) -> None:
    axes.imshow(values, cmap="Blues", vmin=0, vmax=top, aspect="auto")
    if max(values.shape) <= _WORDS:
        for i, row in enumerate(cells):
            for j, text in enumerate(row):
                dark = values[i, j] > 0.6 * top
                axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right" if len(columns[-1]) > 1 else "center")
    axes.set_yticks(range(len(rows)), rows)


def _line(axes: Axes, curve: Curve, name: str, label: str) -> None:
    color = tuple(part / 255 for part in color_rgb(name))
    axes.plot(curve.x, curve.y, color=color, linewidth=1.6, label=figure_text(label))


def _reliability(above: Axes, below: Axes, bins: Sequence[ReliabilityBin], title: str) -> None:
    low = np.array([b.low for b in bins])
    width = bins[0].high - bins[0].low
    known = [b for b in bins if b.confidence is not None and b.accuracy is not None]
    above.bar([b.low for b in known], [b.accuracy or 0.0 for b in known], width, align="edge", color="#b9d0ea",
              edgecolor="white")  # fmt: skip
    above.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="perfect")
    above.plot([b.confidence or 0.0 for b in known], [b.accuracy or 0.0 for b in known], "o-", color=_BLUE,
               markersize=4, linewidth=1.2, label="each bin at its mean confidence")  # fmt: skip
    above.set(title=title, ylim=(0, 1), xlim=(0, 1))
    above.grid(alpha=0.25)
    below.bar(low, [b.n for b in bins], width, align="edge", color="#b9d0ea", edgecolor="white")
    below.set(xlabel="confidence", ylabel="faces")


def _palette(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["tab10"](i % 10) for i in range(count)]
