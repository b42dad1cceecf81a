"""Charts as data: lines, columns of values with intervals, and matrices.

Each is drawn twice from the same data: on a page (`on_page`), and by matplotlib for files (`mien.pages.drawing`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mien.labels import color_rgb
from mien.pages.text import plain

SERIES = ("#3c55c8", "#b45309", "#1b7a43", "#9d2f8f", "#0e7490", "#6b5d00",
          "#d6336c", "#2f9e44", "#7048e8", "#e8590c", "#1098ad", "#78828c")  # fmt: skip
"""The colours of series without one of their own; the first six are the tokens `--series-1` to `--series-6`."""

GREY, ACCENT = "#78828c", "#3c55c8"

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A line: y at each x of its chart; None and NaN are gaps.

    low, high: the ends of a band around it. marked: the place of a point that stands out, as the chosen epoch. Series
    of one name have one entry in the legend.
    """

    name: str
    values: Values
    color: str
    style: Literal["line", "dashed", "points", "bars"] = "line"
    low: Values = ()
    high: Values = ()
    marked: int | None = None
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Mark:
    """A straight line across a chart, at an x or a y: a threshold, a target, what was chosen."""

    name: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Series over one axis. x: numbers, rising, or texts for categories; whole numbers have no ticks between them.

    x_label, y_label: with their units. x_range, y_range: what the axes show; None fits the values.
    """

    title: str
    x: Sequence[float] | Sequence[str]
    series: Sequence[Series]
    x_label: str
    y_label: str
    marks: Sequence[Mark] = ()
    x_log: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    legend: bool = True

    @property
    def categories(self) -> tuple[str, ...]:
        """The texts of x; empty for numbers."""
        return tuple(v for v in self.x if isinstance(v, str))

    @property
    def places(self) -> tuple[float, ...]:
        """x as numbers: categories are 0, 1, ..."""
        return tuple(map(float, range(len(self.x)) if self.categories else self.x))

    @property
    def whole(self) -> bool:
        """Whether x is whole numbers, as epochs are."""
        return all(v.is_integer() for v in self.places)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A value for each row of `Bars`, with a text as people read it.

    low, high: ends of intervals, drawn whole. notes: a smaller text for each, as the interval. shapes: a distribution
    for each row, heights from 0 to 1 at even steps of the range. range: what the track shows, left and right. bar:
    drawn from the left end; else as a point.
    """

    name: str
    values: Values
    texts: Sequence[str]
    low: Values = ()
    high: Values = ()
    shapes: Sequence[Sequence[float]] = ()
    notes: Sequence[str] = ()
    range: tuple[float, float] = (0.0, 1.0)
    bar: bool = False
    color: str = ACCENT


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Rows with a track for each column: a table with charts in its cells. head: what the rows are.

    notes: a further cell of each row, as its number of faces, below `notes_head`. colors: one for each row, instead of
    the columns' colours. quiet: rows that are drawn grey.
    """

    title: str
    head: str
    rows: Sequence[str]
    columns: Sequence[Column]
    notes_head: str = ""
    notes: Sequence[str] = ()
    colors: Sequence[str] = ()
    quiet: frozenset[int] = frozenset()

    def color(self, row: int, column: Column) -> str:
        """The colour of a cell."""
        return GREY if row in self.quiet else self.colors[row] if self.colors else column.color


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A table of shaded cells. values: what shades them, from `low` to `top`. cells: their texts.

    links: (row, column) -> the anchor of what is behind a cell. row_label, column_label: what rows and columns are.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]
    cells: Sequence[Sequence[str]]
    row_label: str = ""
    column_label: str = ""
    low: float = 0.0
    top: float = 1.0
    links: Mapping[tuple[int, int], str] = field(default_factory=dict)


Chart = Lines | Bars | Matrix


def series_color(number: int) -> str:
    """The colour of a series by its number; they repeat after twelve."""
    return SERIES[number % len(SERIES)]


def class_color(name: str) -> str:
    """The colour of a class, as CSS and matplotlib take it."""
    return "#{:02x}{:02x}{:02x}".format(*color_rgb(name))


def number(value: float | None) -> float | None:
    """A value of a chart; None for what can't be drawn."""
    return None if value is None or not math.isfinite(value) else float(value)


def fitting_range(*several: Values, step: float = 0.05, least: float = 0.0, most: float = 1.0) -> tuple[float, float]:
    """A range in whole steps that has every value with room beside it, within `least` and `most`."""
    known = [v for values in several for v in map(number, values) if v is not None] or [least, most]
    low = max(least, step * math.floor(min(known) / step - 0.2))
    high = min(most, step * math.ceil(max(known) / step + 0.2))
    return (low, high) if high > low else (low, low + step)


def on_one_axis(
    curves: Sequence[tuple[NDArray[Any], NDArray[Any]]], points: int = 101
) -> tuple[list[float], list[Values]]:
    """Curves (x, y) over the same even steps from 0 to 1, by straight lines between their points.

    Where a curve is steep, several points have one x: the largest y is taken. Beyond a curve's ends there is None.
    """
    places = np.linspace(0, 1, points)
    found: list[Values] = []
    for x, y in curves:
        known, which = np.unique(x, return_inverse=True)
        tops = np.full(len(known), -np.inf)
        np.maximum.at(tops, which, y)
        values = np.interp(places, known, tops, left=np.nan, right=np.nan)
        found.append([number(v) for v in values.tolist()])
    return places.tolist(), found


def on_page(chart: Chart) -> dict[str, Any]:
    """What the template of a page draws of a chart."""
    if isinstance(chart, Bars):
        return {
            "kind": "bars",
            "chart": chart,
            "cells": [[_track(chart, row, c) for c in chart.columns] for row in range(len(chart.rows))],
        }
    if isinstance(chart, Matrix):
        shades = [[_shade((float(v) - chart.low) / (chart.top - chart.low)) for v in row] for row in chart.values]
        return {"kind": "matrix", "chart": chart, "shades": shades}
    named = {s.name: s for s in reversed(chart.series)}  # the first of a name
    shown = [named[name] for name in dict.fromkeys(s.name for s in chart.series)] if chart.legend else []
    legend = [(s.name, s.style, _css(s.color)) for s in shown]
    return {"kind": "lines", "chart": chart, "legend": legend, "data": json.dumps(_plotted(chart))}


def _css(color: str) -> str:
    """A colour for a page: the tokens of series have a lighter value in the dark."""
    return f"var(--series-{SERIES.index(color) + 1})" if color in SERIES[:6] else color


def _shade(share: float) -> tuple[float, bool]:
    """How much of the accent a cell has in percent, and whether its text is white.

    Shades on which neither black nor white can be read are left out.
    """
    share = min(1.0, max(0.0, share))
    return (round(86 + 35 * (share - 0.6), 1), True) if share > 0.6 else (round(90 * share, 1), False)


def _track(chart: Bars, row: int, column: Any) -> dict[str, Any]:
    """What a cell of bars shows: its text, and places in percent of its track."""
    low, high = column.range

    def place(value: float | None) -> float | None:
        found = number(value)
        return None if found is None else round(100 * min(1.0, max(0.0, (found - low) / (high - low))), 2)

    ends = [place(side[row]) if side else None for side in (column.low, column.high)]
    shape = ""
    if column.shapes:
        heights = column.shapes[row]
        step = 100 / max(1, len(heights) - 1)
        shape = " ".join(f"{i * step:.1f},{100 * (1 - h):.0f}" for i, h in enumerate(heights))
    return {
        "text": column.texts[row],
        "note": column.notes[row] if column.notes else "",
        "noted": bool(column.notes),
        "at": place(column.values[row]),
        "low": ends[0],
        "high": ends[1],
        "bar": column.bar,
        "shape": shape,
        "color": _css(chart.color(row, column)),
        "letters": max(map(len, column.texts)),
    }


def _plotted(chart: Lines) -> dict[str, Any]:
    """What the script draws."""

    def rounded(values: Iterable[float | None]) -> list[float | None]:
        return [None if (n := number(v)) is None else float(f"{n:.5g}") for v in values]

    return {
        "x": rounded(chart.places),
        "names": [plain(name) for name in chart.categories],
        "xLabel": plain(chart.x_label),
        "yLabel": plain(chart.y_label),
        "xLog": chart.x_log,
        "whole": chart.whole,
        "xRange": chart.x_range,
        "yRange": chart.y_range,
        "marks": [{"name": plain(m.name), "x": m.x, "y": m.y} for m in chart.marks],
        "series": [
            {
                "name": plain(s.name),
                "color": _css(s.color),
                "style": s.style,
                "opacity": s.opacity,
                "marked": s.marked,
                "values": rounded(s.values),
                "low": rounded(s.low),
                "high": rounded(s.high),
            }
            for s in chart.series
        ],
    }
