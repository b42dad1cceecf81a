"""Driving a watch into its outputs: order, slow outputs, and every file whole whatever ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from made_frames import MODEL
from mien.errors import OutputError, VideoError
from mien.recognition.outputs import Ending, NamedOutput, OutputSummary, write_outputs
from mien.recognition.watch import StageSeconds, WatchStats
from mien.recognition.watch_files import WatchWriter
from mien.results import FrameResult


@dataclass
class Frames:
    """Stands in for a Watch: so many frames, then an error or the end."""

    count: int
    error: BaseException | None = None
    before: Callable[[int], None] = lambda number: None
    closed: bool = False
    end_verified: bool | None = None

    def __iter__(self) -> Iterator[FrameResult]:
        for number in range(self.count):
            self.before(number)
            yield FrameResult(number, number / 25, 4, 3, image=np.full((3, 4, 3), number, np.uint8))
        if self.error is not None:
            raise self.error

    def stats(self) -> WatchStats:
        return WatchStats(self.count, self.count, 0, 0, 0, 1.0, 25.0, None, None, 1, StageSeconds())

    def close(self) -> None:
        self.closed = True


@dataclass
class Kept:
    """Remembers what it was given; fails from the frame on that it is told."""

    fails_at: int = -1
    fails_at_close: bool = False
    gate: threading.Event | None = None
    frames: list[int] = field(default_factory=list)
    colors: list[int] = field(default_factory=list)
    closed: int = 0

    def write(self, result: FrameResult) -> None:
        assert not self.closed
        if 0 <= self.fails_at <= result.frame:
            raise OutputError("disk: full")
        if self.gate is not None:
            assert self.gate.wait(10)
        assert result.image is not None
        self.frames.append(result.frame)
        self.colors.append(int(result.image[0, 0, 0]))

    def close(self) -> None:
        self.closed += 1
        if self.fails_at_close:
            raise OutputError("disk: gone")


def lighten(result: FrameResult) -> NDArray[np.uint8]:
    assert result.image is not None
    return result.image + np.uint8(100)


def drive(frames: Frames, rows: Kept, drawn: Kept, *, live: bool = False) -> OutputSummary:
    outputs = [NamedOutput("rows.csv", rows), NamedOutput("drawn.mp4", drawn, drawn=True), NamedOutput("", Kept())]
    return write_outputs(frames, outputs, draw=lighten, live=live)  # type: ignore[arg-type]


def test_all_frames_reach_all_outputs_in_order_and_drawn_ones_are_drawn() -> None:
    frames, rows, drawn = Frames(50), Kept(), Kept()
    summary = drive(frames, rows, drawn)
    assert rows.frames == drawn.frames == list(range(50))
    assert (rows.colors[7], drawn.colors[7]) == (7, 107)
    assert (frames.closed, rows.closed, drawn.closed) == (True, 1, 1)
    assert (summary.frames, summary.not_drawn, summary.ending, summary.error) == (50, 0, Ending.end, None)
    assert summary.written == ("rows.csv", "drawn.mp4")
    assert not [thread for thread in threading.enumerate() if thread.name == "mien-draw"]


def test_a_slow_drawn_output_holds_up_a_file_but_not_a_live_source() -> None:
    for live in (False, True):
        gate, rows = threading.Event(), Kept()
        seen: list[int] = []

        def before(number: int, seen: list[int] = seen, gate: threading.Event = gate, live: bool = live) -> None:
            seen.append(number)
            if number == (39 if live else 4):  # a file's reader would wait for ever further on
                gate.set()

        drawn = Kept(gate=gate)
        summary = drive(Frames(40, before=before), rows, drawn, live=live)
        assert rows.frames == list(range(40))
        if live:
            assert len(drawn.frames) < 10
            assert drawn.frames[-3:] == [37, 38, 39]
        else:
            assert drawn.frames == list(range(40))
        assert summary.not_drawn == 40 - len(drawn.frames)


def test_ctrl_c_is_an_end_that_the_summary_names() -> None:
    frames, rows, drawn = Frames(5, KeyboardInterrupt()), Kept(), Kept()
    summary = drive(frames, rows, drawn)
    assert (summary.ending, summary.frames) == (Ending.interrupted, 5)
    assert drawn.frames == list(range(5))
    assert (frames.closed, rows.closed, drawn.closed) == (True, 1, 1)


def test_a_source_that_is_lost_is_an_end_and_one_that_never_began_an_error() -> None:
    rows, drawn = Kept(), Kept()
    summary = drive(Frames(5, VideoError("camera 0: gone")), rows, drawn)
    assert (summary.ending, summary.error, summary.frames) == (Ending.lost, "camera 0: gone", 5)
    assert rows.frames == drawn.frames == list(range(5))
    rows, drawn = Kept(), Kept()
    with pytest.raises(VideoError, match="gone"):
        drive(Frames(0, VideoError("camera 0: gone")), rows, drawn)
    assert (rows.closed, drawn.closed) == (1, 1)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("which", ["rows", "drawn", "rows at close", "drawn at close"])
def test_one_output_that_fails_does_not_spoil_the_others(which: str, live: bool) -> None:
    failing = Kept(fails_at_close=True) if "close" in which else Kept(fails_at=3)
    rows, drawn = (failing, Kept()) if "rows" in which else (Kept(), failing)
    frames = Frames(150)
    with pytest.raises(OutputError, match="disk"):
        drive(frames, rows, drawn, live=live)
    assert (frames.closed, rows.closed, drawn.closed) == (True, 1, 1)
    other = drawn if failing is rows else rows
    if "close" not in which:
        assert other.frames[:3] == [0, 1, 2] or live
        assert len(failing.frames) <= 3
    elif not live:
        assert len(other.frames) == 150


def test_a_video_error_of_an_output_is_no_lost_source() -> None:
    def draw(result: FrameResult) -> NDArray[np.uint8]:
        raise VideoError("out.mp4: can't be encoded")

    rows = Kept()
    outputs = [NamedOutput("rows.csv", rows), NamedOutput("out.mp4", Kept(), drawn=True)]
    with pytest.raises(VideoError, match="encoded"):
        write_outputs(Frames(20), outputs, draw=draw, live=False)  # type: ignore[arg-type]
    assert rows.closed == 1


@dataclass
class Source:
    name: str
    live: bool = False
    rate: float | None = 25.0


def test_a_writer_that_never_starts_closes_what_was_added() -> None:
    frames, rows = Frames(3), Kept()
    frames.source = Source("talk")  # type: ignore[attr-defined]
    with (
        pytest.raises(OutputError, match="a timeline can't be written as"),
        WatchWriter(frames, MODEL) as writer,
    ):  # type: ignore[arg-type]
        writer.add(rows, name="rows.csv")
        writer.add_timeline(Path("a.docx"))
    assert (frames.closed, rows.closed, rows.frames) == (True, 1, [])


def test_a_writer_gives_all_frames_to_its_outputs_and_counts_them(tmp_path: Path) -> None:
    frames, rows, drawn = Frames(3), Kept(), Kept()
    frames.source = Source("talk")  # type: ignore[attr-defined]
    with WatchWriter(frames, MODEL) as writer:  # type: ignore[arg-type]
        writer.add(rows)
        writer.add(drawn, name="drawn", drawn=True)
        writer.add_timeline(tmp_path / "rows.csv", source="my talk")
        done = writer.write()
    assert (rows.frames, drawn.frames, writer.counter.summary().frames) == ([0, 1, 2], [0, 1, 2], 3)
    assert done.written == ("drawn", str(tmp_path / "rows.csv"))
    assert (tmp_path / "rows.csv").read_text().count("my talk") == 3


def test_a_recording_whose_sound_cannot_be_read_is_made_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("av")
    from made_video import make_clip
    from mien.media.video.files import open_file

    source = make_clip(tmp_path / "talk.mp4", frames=3)
    opened = open_file(source)
    source.write_bytes(b"replaced")
    frames = Frames(3)
    frames.source = opened  # type: ignore[attr-defined]
    with WatchWriter(frames, MODEL) as writer:  # type: ignore[arg-type]
        writer.add_recording(tmp_path / "drawn.mp4")
        writer.write()
    opened.close()
    assert (tmp_path / "drawn.mp4").stat().st_size > 0
    assert "recorded without sound" in caplog.text
