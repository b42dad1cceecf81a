"""The files of a watch: timeline, plot and drawn video, opened together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mien.errors import OutputError
from mien.media.overlay import Privacy, RecentBoxes, draw_frame
from mien.media.sources import is_video_file
from mien.media.timeline import open_timeline
from mien.recognition.outputs import NamedOutput, OutputSummary, Recording, close_outputs, write_outputs
from mien.results import FrameResult, ModelSummary

if TYPE_CHECKING:
    from mien.media.video.frames import FrameSource
    from mien.recognition.watch import Watch


def open_files(
    outputs: list[NamedOutput],
    source: FrameSource,
    model: ModelSummary,
    *,
    timeline: Path | None = None,
    plot: Path | None = None,
    record: Path | None = None,
    faces_in_plot: bool = True,
) -> None:
    """Opens the files that are wanted and adds them to `outputs`, which are for the caller to close.

    source: gives the frames, its name and its sound. Raises OutputError, VideoError, MissingExtraError.
    """
    if timeline is not None:
        outputs.append(NamedOutput(str(timeline), open_timeline(timeline, model, source=source.name)))
    if plot is not None:
        from mien.media.timeline_plot import TimelinePlot

        drawn = TimelinePlot(plot, model, title=source.name, faces=faces_in_plot)
        outputs.append(NamedOutput(str(plot), drawn))
    if record is not None:
        from mien.media.video.recorder import open_recorder

        sound_of = source.name if is_video_file(source.name) and Path(source.name).is_file() else None
        recorder = open_recorder(record, rate=source.rate, sound_of=sound_of)
        outputs.append(NamedOutput(str(record), Recording(recorder), drawn=True))


def watch_into(folder: Path, watched: Watch, model: ModelSummary, *, privacy: Privacy = "none") -> OutputSummary:
    """Writes timeline.csv, plot.png and drawn.mp4 into a folder, which is made where it is missing.

    Raises OutputError, VideoError, MissingExtraError.
    """
    with ExitStack() as stack:  # closes what was opened where something can't be
        stack.callback(watched.close)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: can't be made ({error.strerror}); choose another folder") from error
        outputs: list[NamedOutput] = []
        stack.callback(close_outputs, outputs)
        open_files(
            outputs,
            watched.source,
            model,
            timeline=folder / "timeline.csv",
            plot=folder / "plot.png",
            record=folder / "drawn.mp4",
            faces_in_plot=privacy == "none",
        )
        stack.pop_all()
    return write_outputs(watched, outputs, draw=frame_drawer(privacy=privacy), live=watched.source.live)


def frame_drawer(*, emoji: bool = False, privacy: Privacy = "none") -> Callable[[FrameResult], NDArray[np.uint8]]:
    """Draws a frame's faces; what is hidden stays so for a moment after its face was last seen."""
    recent = RecentBoxes()

    def draw(result: FrameResult) -> NDArray[np.uint8]:
        assert result.image is not None
        also_hide = recent.update(result) if privacy != "none" else ()
        return draw_frame(result.image, result.faces, emoji=emoji, privacy=privacy, also_hide=also_hide)

    return draw
