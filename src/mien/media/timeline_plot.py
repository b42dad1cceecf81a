"""An image of a whole video: how likely each expression was over time, one row a track, with faces along its top.

Where faces have details, the blendshapes that change most are drawn below.

Frames are gathered as they pass, in time steps that double whenever there are too many of them: an hour takes no more
memory than a minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mien.errors import OutputError
from mien.files import ClosedAtExit, write_bytes
from mien.labels import color_rgb
from mien.media.timeline_summary import clock
from mien.pages import figure_png, figure_text, letterbox, new_figure
from mien.results import Box, FrameResult, ModelSummary, TrackedFace
from mien.results.details import BLENDSHAPES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STEPS = 1024  # time steps that are kept at most
_FIRST_STEP_S = 1 / 512
_STEPS_A_FACE = 64  # one face for each stretch of 64 steps: 8 to 16 in a row
_SHOWN, _KEPT = 8, 32  # tracks that are drawn; tracks that are gathered until it is known which are longest
_FACE = 72  # pixels of a small face
_WIDTH, _HEAD, _FACE_ROW, _AREA_ROW, _SHAPES_ROW = 12.0, 0.7, 0.65, 1.1, 0.8  # inches
_SHAPES = 4  # blendshapes that are drawn of each track; the mean of left and right is one
_SIDES: dict[str, list[int]] = {}
for _number, _name in enumerate(BLENDSHAPES):
    _SIDES.setdefault(_name.removesuffix("Left").removesuffix("Right"), []).append(_number)
_FACE_INCHES = 0.46
_SOFT = "#5b6470"


class TimelinePlot(ClosedAtExit):
    """Gathers frames one by one; `close` writes the plot. A context manager."""

    def __init__(self, path: Path, model: ModelSummary, *, title: str = "", faces: bool = True) -> None:
        """A plot of the predictions, which `close` writes to path as PNG.

        faces: whether small faces are drawn above each row, from frames with an image; False if nobody should be
        identifiable. Raises MissingExtraError without matplotlib, and OutputError for a place that can't be written,
        at once rather than at the end of a long run.
        """
        new_figure(1, 1)
        if path.suffix.lower() != ".png":
            raise OutputError(f"{path}: a plot is written as .png; choose such a name")
        if path.is_dir() or not path.parent.is_dir():
            raise OutputError(f"{path}: can't be written; expected the name of a file in a folder that exists")
        self._path: Path | None = path
        self._labels, self._details = model.labels, model.details
        self._title = title
        self._faces = faces
        self._step = _FIRST_STEP_S
        self._tracks: dict[int, _Track] = {}
        self._forgotten: set[int] = set()
        self._frame = 0
        self._end_s = 0.0

    def write(self, result: FrameResult) -> None:
        """Gathers one frame."""
        self._frame += 1
        self._end_s = max(self._end_s, result.time_s)
        while result.time_s >= self._step * _STEPS:
            self._step *= 2
            for track in self._tracks.values():
                track.halve()
        place = max(0, int(result.time_s / self._step))
        for tracked in result.faces:
            track = self._tracks.setdefault(tracked.track, _Track(tracked.track, result.time_s))
            likely = [tracked.smoothed[name] for name in self._labels]
            values = np.array([1.0, result.time_s, *likely, *_shapes(tracked)])
            track.add(place, values, after_gap=track.frame != self._frame - 1)
            track.frame, track.last_s = self._frame, result.time_s
            if self._faces and result.image is not None:
                track.portrait(place // _STEPS_A_FACE, result.time_s, tracked, result.image)
        self._forget()

    def close(self) -> None:
        """Writes the plot, whole or not at all; once is enough. Raises OutputError."""
        path, self._path = self._path, None
        if path is not None:
            write_bytes(path, figure_png(self.figure()))

    def figure(self) -> Figure:
        """What was gathered so far, as a figure of matplotlib."""
        ranked = sorted(self._tracks.values(), key=lambda t: (-t.frames, t.track))
        shown, others = ranked[:_SHOWN], sorted({t.track for t in ranked[_SHOWN:]} | self._forgotten)
        count = max(1, len(shown))
        with_faces = any(track.portraits for track in shown)
        heights = [*([_FACE_ROW] if with_faces else []), _AREA_ROW, *([_SHAPES_ROW] if self._details else [])]
        figure = new_figure(_WIDTH, _HEAD + sum(heights) * count)
        figure.suptitle(figure_text(self._title or "Expressions over time"), x=0.01, ha="left", fontsize=13)
        rows = figure.subplots(len(heights) * count, 1, squeeze=False, sharex=True, height_ratios=heights * count)
        for i, track in enumerate(shown):
            first = i * len(heights)
            self._draw_row(rows[first + with_faces, 0], track)
            if with_faces:
                self._draw_faces(rows[first, 0], track)
            if self._details:
                self._draw_shapes(rows[first + with_faces + 1, 0], track)
        axes = rows[-1, 0]
        if not shown:
            axes.text(0.5, 0.5, "no face", transform=axes.transAxes, ha="center", color=_SOFT)
            axes.set_yticks([])
        axes.set_xlim(0, max(self._end_s, 1e-3))
        ticks = _ticks(self._end_s)
        tenths = any(t % 1 for t in ticks)
        axes.set_xticks(ticks, [clock(t, tenths=tenths) for t in ticks])
        if others:
            axes.set_xlabel(_others(others), fontsize=9, color=_SOFT, loc="left")
        self._legend(figure)
        return figure

    def _draw_row(self, axes: Axes, track: _Track) -> None:
        colors = [_hex(name) for name in self._labels]
        for run in track.runs(self._step):
            likely = run[:, 2 : 2 + len(self._labels)]
            shares = likely.T / likely.sum(axis=1)
            axes.stackplot(run[:, 1], shares, colors=colors, linewidth=0)
        name = f"#{track.track}\n{clock(track.first_s)} to\n{clock(track.last_s)}"
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
        axes.tick_params(length=2, labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(False)
        axes.grid(axis="y", color="white", alpha=0.35, linewidth=0.6)

    def _draw_shapes(self, axes: Axes, track: _Track) -> None:
        """The blendshapes that change most, as lines; gaps where the face has no details."""
        runs = list(track.runs(self._step))
        start = 2 + len(self._labels)
        with np.errstate(invalid="ignore"):
            values = [run[:, start + 1 :] / run[:, start : start + 1] for run in runs]
        values = [np.stack([run[:, sides].mean(axis=1) for sides in _SIDES.values()], axis=1) for run in values]
        seen = np.concatenate(values)
        seen = seen[~np.isnan(seen[:, 0])]
        names = np.argsort(-seen.std(axis=0), kind="stable")[:_SHAPES] if len(seen) else ()
        for number, shape in enumerate(names):
            for run, shown in zip(runs, values, strict=True):
                label = figure_text(list(_SIDES)[shape]) if run is runs[0] else None
                axes.plot(run[:, 1], shown[:, shape], color=f"C{number}", linewidth=1, label=label)
        if len(names):
            axes.legend(loc="upper left", ncols=_SHAPES, frameon=False, fontsize=7, borderpad=0, handlelength=1)
        axes.set_ylim(0, 1.25)
        axes.set_yticks([0, 1], ["0", "1"])
        axes.tick_params(length=2, labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)

    def _draw_faces(self, axes: Axes, track: _Track) -> None:
        """The most confident face of each stretch, side by side, each with a line to its time below."""
        from matplotlib.offsetbox import AnnotationBbox, OffsetImage

        axes.set_axis_off()
        axes.set_ylim(0, 1)
        room = self._end_s * _FACE_INCHES * 1.2 / (_WIDTH - 2.4)  # seconds that a face is wide
        edge = -float("inf")
        for portrait in sorted(track.portraits.values(), key=lambda portrait: portrait.time_s):
            middle = max(room / 2, min(max(portrait.time_s, edge + room / 2), self._end_s - room / 2))
            if middle - room / 2 < edge - 1e-9 or abs(middle - portrait.time_s) > 0.6 * room:
                continue  # no room for it
            edge = middle + room / 2
            color = _hex(portrait.expression)
            axes.plot([portrait.time_s, middle], [-0.25, 0.4], color=color, linewidth=1.2, clip_on=False)
            box = AnnotationBbox(
                OffsetImage(portrait.image, zoom=72 * _FACE_INCHES / _FACE),
                (middle, 0.55),
                pad=0.12,
                bboxprops={"edgecolor": color, "linewidth": 2.0},
                annotation_clip=False,
            )
            box.set_in_layout(False)  # it has its own row; to measure it takes long
            axes.add_artist(box)

    def _legend(self, figure: Figure) -> None:
        from matplotlib.patches import Patch

        patches = [Patch(color=_hex(name), label=figure_text(name)) for name in reversed(self._labels)]
        figure.legend(handles=patches, loc="outside right upper", frameon=False, fontsize=9)

    def _forget(self) -> None:
        """Drops the shortest of the tracks that are out of sight, when there are too many."""
        gone = [t for t in self._tracks.values() if t.frame != self._frame]
        if len(self._tracks) > _KEPT and gone:
            shortest = min(gone, key=lambda t: t.frames).track
            del self._tracks[shortest]
            self._forgotten.add(shortest)


@dataclass(frozen=True, slots=True)
class _Portrait:
    """The image of a face at one moment: uint8 RGB (72, 72, 3)."""

    time_s: float
    likely: float
    expression: str
    image: NDArray[np.uint8]


@dataclass(slots=True)
class _Track:
    """A track so far. steps: time step -> sums of count, time and probabilities. starts: steps that follow a gap."""

    track: int
    first_s: float
    last_s: float = 0.0
    frames: int = 0
    frame: int = -1
    steps: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    starts: set[int] = field(default_factory=set)
    portraits: dict[int, _Portrait] = field(default_factory=dict)

    def add(self, place: int, values: NDArray[np.float64], *, after_gap: bool) -> None:
        self.frames += 1
        if after_gap:
            self.starts.add(place)
        self.steps[place] = self.steps[place] + values if place in self.steps else values

    def portrait(self, stretch: int, time_s: float, tracked: TrackedFace, image: NDArray[np.uint8]) -> None:
        """Keeps the face if it is the most confident of its stretch so far, by more than a small margin."""
        likely, old = tracked.smoothed[tracked.smoothed_expression], self.portraits.get(stretch)
        if old is None or likely > old.likely + 0.02:
            face = _cut(image, tracked.face.box)
            if face is not None:
                self.portraits[stretch] = _Portrait(time_s, likely, tracked.smoothed_expression, face)

    def halve(self) -> None:
        """Puts pairs of time steps together."""
        steps: dict[int, NDArray[np.float64]] = {}
        for place, values in self.steps.items():
            steps[place // 2] = steps[place // 2] + values if place // 2 in steps else values
        portraits: dict[int, _Portrait] = {}
        for stretch, portrait in self.portraits.items():
            rival = portraits.get(stretch // 2)
            if rival is None or portrait.likely > rival.likely:
                portraits[stretch // 2] = portrait
        self.steps, self.portraits, self.starts = steps, portraits, {place // 2 for place in self.starts}

    def runs(self, step: float) -> Iterator[NDArray[np.float64]]:
        """Stretches without a gap, float64 (steps, 2 + labels), as means; each at least one step long."""
        run: list[NDArray[np.float64]] = []
        last = 0
        for place in sorted(self.steps):
            if run and place in self.starts and place > last + 1:
                yield _stretch(run, step)
                run = []
            run.append(self.steps[place] / self.steps[place][0])
            last = place
        if run:
            yield _stretch(run, step)


def _shapes(tracked: TrackedFace) -> list[float]:
    """Whether the face has details, 0 or 1, and its blendshapes; nothing where none were requested."""
    if tracked.face.details is None:
        return []
    return [1.0, *tracked.face.blendshapes.values()] if tracked.face.blendshapes else [0.0] * (1 + len(BLENDSHAPES))


def _stretch(run: list[NDArray[np.float64]], step: float) -> NDArray[np.float64]:
    """A run as one array; a single step becomes two, so that it has an area."""
    if len(run) == 1:
        end = run[0].copy()
        end[1] += step
        run = [run[0], end]
    return np.array(run)


def _cut(image: NDArray[np.uint8], box: Box) -> NDArray[np.uint8] | None:
    """A face with a little of what is around it; None where its box is outside of the image."""
    height, width = image.shape[:2]
    half = 0.6 * max(box.x2 - box.x1, box.y2 - box.y1)
    x, y = (box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2
    x1, x2 = (int(np.clip(v, 0, width)) for v in (x - half, x + half))
    y1, y2 = (int(np.clip(v, 0, height)) for v in (y - half, y + half))
    return letterbox(image[y1:y2, x1:x2], _FACE) if x2 > x1 and y2 > y1 else None


def _ticks(end_s: float) -> list[float]:
    """Round times for an axis from 0 to end_s: about ten."""
    for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200):
        if end_s / step <= 12:
            break
    else:
        step = 3600 * float(np.ceil(end_s / 3600 / 12))
    return [i * step for i in range(int(end_s / step + 1e-9) + 1)]


def _others(tracks: Sequence[int]) -> str:
    names = ", ".join(f"#{track}" for track in tracks[:20])
    return f"shorter, not drawn: {names}" + (f" and {len(tracks) - 20} more" if len(tracks) > 20 else "")


def _hex(name: str) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color_rgb(name))
