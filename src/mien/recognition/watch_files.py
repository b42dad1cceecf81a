"""Watch into files: timeline, plot, drawn video and other outputs of one watch, opened, written and closed together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from mien.errors import VideoError
from mien.files import make_folder
from mien.media.overlay import Privacy, RecentBoxes, draw_frame
from mien.media.timeline import open_timeline
from mien.media.timeline_summary import TimelineCounter
from mien.recognition.events import GestureFinder
from mien.recognition.outputs import (
    EventOutput,
    FrameOutput,
    NamedOutput,
    OutputSummary,
    Recording,
    close_outputs,
    write_outputs,
)
from mien.results import FrameResult, ModelSummary

if TYPE_CHECKING:
    from mien.recognition.watch import Watch


class WatchWriter:
    """Collects the outputs of one watch, then writes them. A context manager: if the watch never starts, it closes all.

    counter: counts frames and tracks, for the summary after the watch. gestures: blinks, nods and shakes, where faces
    have details.
    """

    def __init__(
        self,
        watched: Watch,
        model: ModelSummary,
        *,
        emoji: bool = False,
        draw: Sequence[str] = (),
        privacy: Privacy = "none",
    ) -> None:
        """emoji, draw, privacy: as in `draw_frame`; where faces are hidden, plots show none."""
        self.counter = TimelineCounter()
        self._watched, self._source, self._model = watched, watched.source, model
        self._draw = frame_drawer(emoji=emoji, draw=draw, privacy=privacy)
        self._privacy = privacy
        self._outputs = [NamedOutput("", self.counter)]
        self.gestures = GestureFinder() if model.details else None
        if self.gestures is not None:
            self.add(self.gestures)
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._started:
            close_outputs(self._outputs)
            self._watched.close()

    def add(self, output: FrameOutput, *, name: str = "", drawn: bool = False) -> None:
        """Adds any output. name: for the summary, empty if it leaves no file. drawn: it gets drawn frames."""
        self._outputs.append(NamedOutput(name, output, drawn=drawn))

    def add_events(self) -> None:
        """Adds events as JSON lines on standard output: expressions, and gestures."""
        self.add(EventOutput(self.gestures))

    def add_timeline(self, path: Path, *, source: str | None = None) -> None:
        """Adds a timeline. source: the name of the video in its rows. Raises OutputError, MissingExtraError."""
        self.add(open_timeline(path, self._model, source=source or self._source.name), name=str(path))

    def add_plot(self, path: Path) -> None:
        """Adds the plot of expressions over time. Raises OutputError, MissingExtraError."""
        from mien.media.timeline_plot import TimelinePlot

        faces = self._privacy == "none"
        title = Path(self._source.name).name or self._source.name
        self.add(TimelinePlot(path, self._model, title=title, faces=faces), name=str(path))

    def add_recording(self, path: Path) -> None:
        """Adds the drawn video, with the sound of a video file. Raises OutputError, MissingExtraError."""
        from mien.media.video.files import VideoFile
        from mien.media.video.recorder import open_recorder

        # Folders, animations, pipes and streams give no sound.
        is_file = isinstance(self._source, VideoFile) and Path(self._source.name).is_file()
        sound_of = self._source.name if is_file else None
        try:
            recorder = open_recorder(path, rate=self._source.rate, sound_of=sound_of)
        except VideoError as error:  # the sound of a damaged file may have no valid times
            logging.getLogger("mien").warning("%s: recorded without sound (%s)", path, error)
            recorder = open_recorder(path, rate=self._source.rate)
        self.add(Recording(recorder), name=str(path), drawn=True)

    def summary(self) -> dict[str, Any]:
        """The frames and tracks so far as JSON has them, with gestures where faces have details."""
        counts = self.counter.summary().to_dict()
        if self.gestures is not None:
            counts["gestures"] = [track.to_dict() for track in self.gestures.summary()]
        return counts

    def write(self, each: Callable[[FrameResult], None] | None = None) -> OutputSummary:
        """Runs the watch to its end and closes all outputs. `each` and errors are those of `write_outputs`."""
        self._started = True
        return write_outputs(self._watched, self._outputs, draw=self._draw, live=self._source.live, each=each)


def watch_into(folder: Path, watched: Watch, model: ModelSummary, *, privacy: Privacy = "none") -> OutputSummary:
    """Writes timeline.csv, plot.png and drawn.mp4 into a folder, which is created if it is missing.

    Raises OutputError, VideoError, MissingExtraError.
    """
    with WatchWriter(watched, model, privacy=privacy) as writer:
        make_folder(folder)
        writer.add_timeline(folder / "timeline.csv")
        writer.add_plot(folder / "plot.png")
        writer.add_recording(folder / "drawn.mp4")
        return writer.write()


def frame_drawer(
    *, emoji: bool = False, draw: Sequence[str] = (), privacy: Privacy = "none"
) -> Callable[[FrameResult], NDArray[np.uint8]]:
    """Draws the faces of a frame. A hidden place stays hidden for a moment after its face was last detected."""
    recent = RecentBoxes()

    def draw_result(result: FrameResult) -> NDArray[np.uint8]:
        assert result.image is not None
        also_hide = recent.update(result) if privacy != "none" else ()
        return draw_frame(result.image, result.faces, emoji=emoji, draw=draw, privacy=privacy, also_hide=also_hide)

    return draw_result
