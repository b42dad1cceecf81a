"""A view of a training in the terminal: curves of loss and accuracy, recall of each class, the epoch's bar, the best.

It is a rich renderable that is redrawn with each report and fits the terminal. Curves are drawn in braille
characters, 2x4 dots to a cell; the plotting library that would do it changes its interface too often for 40 lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mien.evaluation.comparison import chosen_epoch
from mien.training.callbacks import TRAIN_PREFIX, Confusion, Watcher, heads_in
from mien.training.recipe import Recipe

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bits of a braille character by column and row."""

_TRAIN, _COLOURS = "yellow", ("cyan", "magenta", "green")
_AXIS = 8
"""Cells that an axis and its figures take."""

_LEAST_WIDTH, _SIDE_BY_SIDE, _LEAST_PLOT, _MOST_PLOT = 28, 70, 4, 14


@dataclass(frozen=True, slots=True)
class PlotLine:
    """A line of a plot: its name, its colour, and its points (x, y) from left to right."""

    name: str
    colour: str
    points: tuple[tuple[float, float], ...]


class CurvesView:
    """What a run shows of itself while it trains. Use as a context manager around the run; draws from the first step.

    Leaves its last state on the terminal, and the cursor as it was, however the run ends.
    """

    def __init__(self, recipe: Recipe, console: Console) -> None:
        self._recipe, self._epochs = recipe, recipe.optimizer.epochs
        self._history: list[dict[str, float]] = []
        self._recall: tuple[Confusion, ...] = ()
        self._step = (f"epoch 1/{self._epochs}", 0, 1, "starting")
        self._live = Live(self, console=console, refresh_per_second=4)

    def __enter__(self) -> CurvesView:
        return self  # drawing starts with the first step: a refusal stays one line

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def log(self, line: str) -> None:
        """A line above the view."""
        self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def watcher(self) -> Watcher:
        """What the loop reports to."""
        return Watcher(self._on_step, self._history.append, self._on_start, self._on_validation, self._on_asking)

    def _on_start(self, history: Sequence[dict[str, float]], confusions: Sequence[Confusion]) -> None:
        self._history.extend(history)
        self._recall = tuple(one for one in confusions if one.epoch == len(history))

    def _on_step(self, epoch: int, done: int, total: int, rate: float) -> None:
        left = time_left(((self._epochs - epoch) * total - done) / max(rate, 1e-9))
        self._draw(f"epoch {min(epoch + 1, self._epochs)}/{self._epochs}", done, total, rate, f"{left} left")

    def _on_asking(self, done: int, total: int, rate: float) -> None:
        left = time_left((total - done) / max(rate, 1e-9))
        self._draw("asking the teachers", done, total, rate, f"{left} left before the first epoch")

    def _draw(self, stage: str, done: int, total: int, rate: float, left: str) -> None:
        self._step = (stage, done, total, f"{rate:.0f} images/s, {left}" if rate else "starting")
        if not self._live.is_started:
            self._live.start()

    def _on_validation(self, confusions: Sequence[Confusion]) -> None:
        self._recall = tuple(confusions)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        parts: list[RenderableType] = [self._bar(width)]
        if best := self._best():
            parts.append(Text(best, no_wrap=True, overflow="ellipsis"))
        room = height - len(parts) - 1
        if width >= _LEAST_WIDTH and room > _LEAST_PLOT:
            classes = self._classes(width)
            # Classes take at most half of the room: curves come first.
            shown = classes if 2 * len(classes) <= room else []
            parts = [*self._plots(width, room - len(shown)), *shown, *parts]
        yield Group(*parts)

    def _bar(self, width: int) -> RenderableType:
        stage, done, total, said = self._step
        if width < len(said) + len(stage) + 10:
            return Text(f"{stage} {said}", no_wrap=True, overflow="ellipsis")
        row = Table.grid(padding=(0, 1))
        row.add_row(stage, ProgressBar(total, done, width=width - len(said) - len(stage) - 4), said)
        return row

    def _heads(self) -> list[str]:
        return heads_in(self._history[0])

    def _best(self) -> str:
        """The epoch whose weights the loop keeps, and its accuracies."""
        chosen = chosen_epoch(self._history)
        if chosen is None:
            return ""
        row = next(row for row in self._history if row["epoch"] == chosen)
        figures = "  ".join(f"{head} {row[f'{head}_accuracy']:.4f}" for head in self._heads())
        return f"best so far: epoch {row['epoch']:.0f}, {figures}"

    def _plots(self, width: int, room: int) -> list[RenderableType]:
        heads = self._heads() if self._history else []

        def curve(name: str, key: str, colour: str) -> PlotLine:
            return PlotLine(name, colour, tuple((row["epoch"], row.get(key, math.nan)) for row in self._history))

        losses = [curve("train", "train_loss", _TRAIN)] if self._history else []
        losses += [curve(_called(h, heads), f"{h}_loss", c) for h, c in zip(heads, _COLOURS, strict=False)]
        accuracies = [curve("train", f"{TRAIN_PREFIX}{h}_accuracy", _TRAIN) for h in heads[:1]]
        accuracies += [curve(_called(h, heads), f"{h}_accuracy", c) for h, c in zip(heads, _COLOURS, strict=False)]
        images = [("loss", losses), ("accuracy", accuracies)]
        beside = width >= _SIDE_BY_SIDE
        own_width = (width - 2) // 2 if beside else width
        own_height = min(_MOST_PLOT, (room if beside else room // 2) - 1)
        if own_height < _LEAST_PLOT:  # room for one only
            images, own_height = images[1:], min(_MOST_PLOT, room - 1)
        drawn = [plot(title, curves, own_width, own_height, self._epochs) for title, curves in images]
        if not beside:
            return list(drawn)
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_row(*drawn)
        return [row]

    def _classes(self, width: int) -> list[Text]:
        """Lines with the recall of each class on the last validation, as many to a line as fit."""
        lines = []
        for one in self._recall:
            cells = []
            for label, counts in zip(one.labels, one.counts, strict=True):
                k, n = counts[one.labels.index(label)], sum(counts)
                cells.append(f"{label} {'-' if not n else format(k / n, '.2f')}")
            cell = max(map(len, cells)) + 2
            title = f"recall ({one.head}): " if len(self._recall) > 1 else "recall: "
            fit = max(1, (width - len(title)) // cell)
            for start in range(0, len(cells), fit):
                text = "".join(c.ljust(cell) for c in cells[start : start + fit])
                lead = title if start == 0 else " " * len(title)
                lines.append(Text((lead + text).rstrip(), no_wrap=True, overflow="ellipsis"))
        return lines


def can_show_curves(console: Console) -> bool:
    """Whether the console is a terminal that can be redrawn and has braille characters."""
    return console.is_terminal and not console.is_dumb_terminal and not console.options.ascii_only


def time_left(seconds: float) -> str:
    """A duration in minutes, or in hours where it is long."""
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min"


def plot(title: str, curves: Sequence[PlotLine], width: int, height: int, last: float) -> Text:
    """Curves as `height` + 1 lines of `width` cells: title and names, then the plot over x from 1 to `last`.

    The axis goes from the lowest to the highest value; points that are no numbers are left out.
    """
    head = Text(title, style="bold", no_wrap=True, overflow="ellipsis")
    for curve in curves:
        end = next((y for _, y in reversed(curve.points) if math.isfinite(y)), None)
        if end is not None:
            head.append(f"  {curve.name} {end:.3f}", style=f"not bold {curve.colour}")
    head.truncate(width)
    values = [y for curve in curves for _, y in curve.points if math.isfinite(y)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    columns = width - _AXIS
    cells, colours = _canvas(curves, columns, height, (1.0, max(last, 2.0)), (low, high))
    for line in range(height):
        figure = {0: high, height - 1: low, height // 2: (low + high) / 2}.get(line)
        head.append("\n" + (f"{figure:6.3f}"[:6] if figure is not None else " " * 6) + " │", style="not bold dim")
        marks = zip(colours[line], (chr(0x2800 + bits) if bits else " " for bits in cells[line]), strict=True)
        for colour, run in groupby(marks, key=lambda mark: mark[0]):  # a style per run of cells: fewer bytes to draw
            head.append("".join(mark for _, mark in run), style=f"not bold {colour}")
    return head


def _canvas(
    curves: Sequence[PlotLine], width: int, height: int, x_range: tuple[float, float], y_range: tuple[float, float]
) -> tuple[list[list[int]], list[list[str]]]:
    """The bits and the colour of every cell; where curves cross, the later one has the colour."""
    cells = [[0] * width for _ in range(height)]
    colours = [["default"] * width for _ in range(height)]
    (x_low, x_high), (y_low, y_high) = x_range, y_range

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = (x - x_low) / (x_high - x_low), (y - y_low) / (y_high - y_low)
        return across * (2 * width - 1), (1 - up) * (4 * height - 1)

    for curve in curves:
        points = [place(x, y) for x, y in curve.points if math.isfinite(y)]
        for (x0, y0), (x1, y1) in zip(points, points[1:] or points, strict=False):
            steps = max(1, math.ceil(max(abs(x1 - x0), abs(y1 - y0))))
            for step in range(steps + 1):
                x, y = round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)
                line, column = y // 4, x // 2
                cells[line][column] |= _DOTS[x % 2][y % 4]
                colours[line][column] = curve.colour
    return cells, colours


def _called(head: str, heads: Sequence[str]) -> str:
    return "validation" if len(heads) == 1 else head
