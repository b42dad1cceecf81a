"""Charts drawn by matplotlib, for files and notebooks; no display is needed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import MissingExtraError
from mien.pages.charts import GREY, Bars, Chart, Column, Lines, Matrix, Series, number
from mien.pages.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_ACROSS = 3
_CELLS = 16
"""Matrices of more rows have no texts in their cells: they would not be legible."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of matplotlib, in inches, that needs no display. Raises MissingExtraError."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("data", "drawing figures") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw(charts: Chart | Sequence[Chart]) -> Figure:
    """Charts as one figure, side by side in rows of up to three. Raises MissingExtraError without matplotlib."""
    panels = list(charts) if isinstance(charts, Sequence) else [charts]
    widths = [max(_size(panel)[0] for panel in panels[i::_MOST_ACROSS]) for i in range(min(_MOST_ACROSS, len(panels)))]
    rows = [panels[i : i + _MOST_ACROSS] for i in range(0, len(panels), _MOST_ACROSS)]
    heights = [max(_size(panel)[1] for panel in row) for row in rows]
    figure = new_figure(sum(widths), sum(heights))
    grid = figure.add_gridspec(len(rows), len(widths), width_ratios=widths, height_ratios=heights)
    for place, panel in enumerate(panels):
        spot = grid[place // _MOST_ACROSS, place % _MOST_ACROSS]
        if isinstance(panel, Bars):
            inner = spot.subgridspec(1, len(panel.columns))
            _bars([figure.add_subplot(inner[0, i]) for i in range(len(panel.columns))], panel)
        elif isinstance(panel, Matrix):
            _matrix(figure.add_subplot(spot), panel)
        else:
            _lines(figure.add_subplot(spot), panel)
    return figure


def figure_text(text: object) -> str:
    """A text for a figure: a `$` in it stays a dollar and begins no formula."""
    return plain(text).replace("$", r"\$")


def _short(name: str, most: int = 28) -> str:
    """A name for an axis: long ones lose their middle, as their ends tell runs and files apart."""
    shown = plain(name)
    return figure_text(shown if len(shown) <= most else f"{shown[: most // 3]}…{shown[most // 3 + 1 - most :]}")


def figure_png(figure: Figure) -> bytes:
    """A figure of matplotlib as the bytes of a PNG file."""
    return _saved(figure, "png", dpi=130, metadata={"Software": None})


def figure_svg(figure: Figure) -> bytes:
    """A figure as the bytes of an SVG file, the same ones for the same figure."""
    return _saved(figure, "svg", {"svg.hashsalt": "mien"}, metadata={"Date": None})


def figure_pdf(figure: Figure) -> bytes:
    """A figure as the bytes of a PDF file, for a thesis: embedded fonts of the family Times (STIX), no date."""
    from matplotlib.text import Text

    texts = [(text, text.get_fontfamily()) for text in figure.findobj(Text)]
    for text, _ in texts:
        text.set_fontfamily("serif")
    style = {"pdf.fonttype": 42, "font.serif": ["STIXGeneral"]}
    data = _saved(figure, "pdf", style, metadata={"CreationDate": None})
    for text, family in texts:
        text.set_fontfamily(family)
    return data


def _saved(figure: Figure, kind: str, style: Any = None, **options: Any) -> bytes:
    from matplotlib import rc_context

    data = io.BytesIO()
    with rc_context(style or {}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box stands for it
        figure.savefig(data, format=kind, **options)
    return data.getvalue()


def _size(panel: Chart) -> tuple[float, float]:
    """Width and height of a chart in inches."""
    if isinstance(panel, Bars):
        return max(6.0, 1.6 + 2.4 * len(panel.columns)), 1.1 + 0.36 * len(panel.rows)
    if isinstance(panel, Matrix):
        return max(4.4, 1.4 + 0.62 * len(panel.columns)), max(2.6, 1.2 + 0.42 * len(panel.rows))
    return 5.6, 4.2


def _lines(axes: Axes, chart: Lines) -> None:
    from matplotlib.ticker import MaxNLocator

    x, named = np.array(chart.places), set[str]()
    for series in chart.series:
        label = None if series.name in named or not chart.legend else _short(series.name)
        named.add(series.name)
        _series(axes, x, series, label)
    for mark, style in zip(chart.marks, ("--", ":", "-.") * len(chart.marks), strict=False):
        line, at = (axes.axvline, mark.x) if mark.x is not None else (axes.axhline, mark.y)
        if at is not None:
            line(at, color=GREY, linestyle=style, linewidth=1.2, label=figure_text(mark.name))
    axes.set(title=figure_text(chart.title), xlabel=figure_text(chart.x_label), ylabel=figure_text(chart.y_label))
    if chart.x_log:
        axes.set_xscale("log")
    if chart.categories:
        turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if max(map(len, chart.categories)) > 8 else {}
        axes.set_xticks(x.tolist(), [_short(name) for name in chart.categories], **turned)
    elif chart.whole and not chart.x_log:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for limit, found in ((axes.set_xlim, chart.x_range), (axes.set_ylim, chart.y_range)):
        if found is not None:
            limit(*found)
    _tidy(axes, "both")
    if axes.get_legend_handles_labels()[0]:
        columns = 1 if len(named) <= 8 else 2
        axes.legend(frameon=False, fontsize="small", ncols=columns)


def _series(axes: Axes, x: Any, series: Series, label: str | None) -> None:
    y = _numbers(series.values)
    if series.style == "bars":
        width = float(np.diff(x).min()) if len(x) > 1 else 1.0
        axes.bar(x, y, width * 0.92, color=series.color, alpha=0.6, label=label)
        return
    if series.low:
        axes.fill_between(x, _numbers(series.low), _numbers(series.high), color=series.color, alpha=0.15, linewidth=0)
    marker = "o" if series.style == "points" or np.isfinite(y).sum() == 1 else ""
    line = {"points": "", "dashed": "--", "line": "-"}[series.style]
    look: dict[str, Any] = {"color": series.color, "alpha": series.opacity, "linewidth": 1.6, "markersize": 4.5}
    axes.plot(x, y, linestyle=line, marker=marker, label=label, **look)
    if series.marked is not None:
        axes.plot(x[series.marked], y[series.marked], "o", color=series.color, markersize=7, markeredgecolor="white")


def _bars(panels: Sequence[Axes], chart: Bars) -> None:
    places = np.arange(len(chart.rows))
    notes = chart.notes or [""] * len(chart.rows)
    names = [
        _short(row) + (f"  ({figure_text(note)})" if note else "") for row, note in zip(chart.rows, notes, strict=True)
    ]
    for axes, column in zip(panels, chart.columns, strict=True):
        for place in places.tolist():
            _cell(axes, place, column, chart.color(place, column))
        axes.set(ylim=(len(places) - 0.4, -0.75), xlim=_with_room(column))
        axes.set_yticks(places, names if axes is panels[0] else [""] * len(names))
        axes.set_title(figure_text(column.name), fontsize="medium")
        _tidy(axes, "x")


def _cell(axes: Axes, place: int, column: Column, color: str) -> None:
    value = number(column.values[place])
    if column.shapes:
        shape = np.array(column.shapes[place])
        ends = np.linspace(*column.range, len(shape))
        axes.fill_between(ends, place, place - 0.75 * shape, color=color, alpha=0.6, linewidth=0)
        color = "#444444"
    low, high = (number(ends[place]) if ends else None for ends in (column.low, column.high))
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color=color, linewidth=1.8)
    if value is not None and column.bar:
        axes.barh(place, value - column.range[0], 0.62, left=column.range[0], color=color)
    elif value is not None:
        axes.plot([value], [place], "|" if column.shapes else "o", color=color, markersize=8 if column.shapes else 6)


def _with_room(column: Column) -> tuple[float, float]:
    low, high = column.range
    return low - (0 if column.bar else 0.02 * (high - low)), high + 0.02 * (high - low)


def _matrix(axes: Axes, chart: Matrix) -> None:
    values = np.array(chart.values, float)
    axes.imshow(values, cmap="Blues", vmin=chart.low, vmax=chart.top, aspect="auto")
    if max(values.shape) <= _CELLS:
        for (i, j), value in np.ndenumerate(values):
            ink = "white" if value - chart.low > 0.6 * (chart.top - chart.low) else "black"
            axes.text(j, i, figure_text(chart.cells[i][j]), ha="center", va="center", fontsize=8, color=ink)
    turned: dict[str, Any] = {"rotation": 45, "ha": "right"} if max(map(len, chart.columns)) > 2 else {}
    axes.set_xticks(range(len(chart.columns)), [_short(name) for name in chart.columns], **turned)
    axes.set_yticks(range(len(chart.rows)), [_short(name) for name in chart.rows])
    axes.set(
        xlabel=figure_text(chart.column_label), ylabel=figure_text(chart.row_label), title=figure_text(chart.title)
    )


def _tidy(axes: Axes, grid: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, alpha=0.25)
    axes.set_axisbelow(True)


def _numbers(values: Sequence[float | None]) -> Any:
    return np.array([np.nan if (n := number(v)) is None else n for v in values])
