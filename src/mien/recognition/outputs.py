"""Writes the results of a watch to its outputs: rows in the order of frames, images drawn once in another thread.

Every output is closed, so every file is complete, whether the source ends, Ctrl-C stops it, a stream is lost, or an
output fails.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError, TruncatedVideoError, VideoError
from mien.media.timeline import EventLines
from mien.media.video.relay import Channel
from mien.recognition.events import EventFinder, GestureFinder
from mien.recognition.watch import Watch, WatchStats
from mien.results import FrameResult

if TYPE_CHECKING:
    from mien.media.video.recorder import Recorder

_WAITING_TO_BE_DRAWN = 3  # frames; few, for each holds its image


class FrameOutput(Protocol):
    """Takes frame results one by one, in order."""

    def write(self, result: FrameResult) -> None:
        """Takes one result."""

    def close(self) -> None:
        """Completes what was written."""


@dataclass(frozen=True, slots=True)
class NamedOutput:
    """An output and what it is called in a summary, empty for one that leaves nothing behind.

    drawn: its results carry the image as `draw` made it, and it is written to from another thread; the others get
    results as they come.
    """

    name: str
    output: FrameOutput
    drawn: bool = False


def close_outputs(outputs: Sequence[NamedOutput]) -> None:
    """Closes outputs after a later one could not be opened, each of them even if one fails."""
    for named in outputs:
        with suppress(MienError):
            named.output.close()


class Ending(str, Enum):  # noqa: UP042 (its value is what JSON has)
    """Why a watch ended: end of the source or of the requested time; Ctrl-C; a truncated file; a failed source."""

    end = "end"
    interrupted = "interrupted"
    truncated = "truncated"
    lost = "lost"


@dataclass(frozen=True, slots=True)
class OutputSummary:
    """The result of a watch into outputs.

    frames: results that were written. not_drawn: frames of a live source that were dropped before drawing; the other
    outputs have all frames. written: names of the outputs, all complete. error: why the source failed, for
    `Ending.lost` and `Ending.truncated`. end_verified: whether the container states that the file ends there; False if
    it states no end, None for other sources and endings.
    """

    frames: int
    not_drawn: int
    stats: WatchStats
    written: tuple[str, ...]
    ending: Ending
    error: str | None = None
    end_verified: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "frames": self.frames,
            "dropped": self.stats.dropped,
            "not_drawn": self.not_drawn,
            "frames_per_s": round(self.stats.frames_per_s, 2),
            "latency_p50_s": _rounded(self.stats.latency_p50_s),
            "latency_p95_s": _rounded(self.stats.latency_p95_s),
            "detect_every": self.stats.detect_every,
            "written": list(self.written),
            "ended": self.ending.value,
            "end_verified": self.end_verified,
            "error": self.error,
        }


def write_outputs(
    watch: Watch,
    outputs: Sequence[NamedOutput],
    *,
    draw: Callable[[FrameResult], NDArray[np.uint8]],
    live: bool,
    each: Callable[[FrameResult], None] | None = None,
) -> OutputSummary:
    """Writes all results of `watch` to `outputs`, then closes the outputs and the watch.

    draw: returns the image of a frame with its faces, RGB (H, W, 3); called once a frame if an output needs it. live:
    a slow drawn output misses frames; for other sources it gets all. each: called with every frame after it is
    written, in the calling thread.

    KeyboardInterrupt ends the watch like the end of its source, and so does a VideoError after the first frame; the
    summary has the reason. A VideoError before the first frame, and other errors, are raised after the outputs are
    closed.
    """
    rows = [named.output for named in outputs if not named.drawn]
    images = [named.output for named in outputs if named.drawn]
    drawing = _Drawing(images, draw, wait=not live) if images else None
    ending, reason, frames = Ending.end, None, 0
    problems: list[BaseException] = []
    results = iter(watch)
    try:
        while True:
            try:
                result = next(results, None)
            except VideoError as error:  # of the source: an output's is a problem
                if not frames:
                    raise
                ending = Ending.truncated if isinstance(error, TruncatedVideoError) else Ending.lost
                result, reason = None, str(error)
            if result is None:
                break
            for output in rows:
                output.write(result)
            if drawing is not None:
                drawing.write(result)
            frames += 1
            if each is not None:
                each(result)
    except KeyboardInterrupt:
        ending = Ending.interrupted
    except BaseException as error:
        problems.append(error)
    for finish in (watch.close, *([drawing.close] if drawing else []), *(named.output.close for named in outputs)):
        try:
            finish()
        except BaseException as error:  # also a second Ctrl-C ends one of them at most
            problems.append(error)
    if problems:
        raise problems[0]
    written = tuple(named.name for named in outputs if named.name)
    left_out = drawing.left_out if drawing else 0
    verified = watch.end_verified if ending is Ending.end else None
    return OutputSummary(frames, left_out, watch.stats(), written, ending, reason, verified)


class Recording:
    """Drawn frames into a video file."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def write(self, result: FrameResult) -> None:
        """Adds a frame at its time."""
        assert result.image is not None
        self._recorder.write(result.image, result.time_s)

    def close(self) -> None:
        """Completes the file."""
        self._recorder.close()


class EventOutput:
    """Writes the expressions of tracks, and their gestures, as JSON lines to standard output, each as it ends."""

    def __init__(self, gestures: GestureFinder | None = None) -> None:
        """gestures: has those of faces with details; it takes each frame before this output does."""
        self._finder, self._gestures, self._lines = EventFinder(), gestures, EventLines(None)

    def write(self, result: FrameResult) -> None:
        """Writes the events that ended by this frame."""
        for event in self._finder.take(result):
            self._lines.write(event)
        for gesture in self._gestures.ended if self._gestures is not None else ():
            self._lines.write(gesture)

    def close(self) -> None:
        """Writes the events that lasted to the end."""
        for event in self._finder.finish():
            self._lines.write(event)
        self._lines.close()


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


class _Drawing:
    """Draws each frame once, in its own thread, and writes it to the drawn outputs.

    A few frames may wait. Then the reader of a file waits, and a live source drops its oldest frame.
    """

    def __init__(
        self, outputs: Sequence[FrameOutput], draw: Callable[[FrameResult], NDArray[np.uint8]], *, wait: bool
    ) -> None:
        self._outputs = outputs
        self._draw = draw
        self._waiting: Channel[FrameResult] = Channel(_WAITING_TO_BE_DRAWN, drop_oldest=not wait)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="mien-draw", daemon=True)
        self._thread.start()

    @property
    def left_out(self) -> int:
        return self._waiting.dropped

    def write(self, result: FrameResult) -> None:
        """Queues a frame. Raises the error of an earlier one."""
        if self._error is not None:
            raise self._error
        self._waiting.put(result)

    def close(self) -> None:
        """Waits until all queued frames are written. Raises the error of one."""
        self._waiting.end()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        # After an error it still takes frames, so that no other thread waits for it.
        while waiting := self._waiting.take():
            if self._error is None:
                try:
                    drawn = replace(waiting[0], image=self._draw(waiting[0]))
                    for output in self._outputs:
                        output.write(drawn)
                except BaseException as error:  # raised where frames come from
                    self._error = error
