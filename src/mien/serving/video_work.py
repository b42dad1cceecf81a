"""The process that works on one video: it decodes, recognises and draws at a low priority, and can be killed.

It is told what to do in a line on standard input, and ends when that closes: no work outlives the server. It tells how
it goes in lines on standard output. FFmpeg reads strangers' files here only, never in the server itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mien.errors import MienError

if TYPE_CHECKING:
    from mien.results import FrameResult, ModelSummary

UPLOAD = "upload"
TIMELINE_CSV, TIMELINE_LINES, VIDEO, FRAMES = RESULTS = ("timeline.csv", "timeline.jsonl", "video.mp4", "frames.json")

# Every container that people have, and none that names other files (playlists, concatenations, picture sequences).
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,ogg,ivf,gif,apng,h264,hevc,mjpeg,yuv4mpegpipe"
)  # fmt: skip
_TELL_EVERY_S = 0.25
_LOOK_EVERY_S = 2.0
_MOST_MEMORY = 4 << 30
_NICE = 15  # where both want the processor, the server gets most of it


@dataclass(frozen=True, slots=True)
class Order:
    """What to do. check: only see whether it is a video within the limits.

    folder: has the upload, and takes the results. root: whose disk use is limited, to most_bytes. model: a file or a
    shipped name; sha256: what it must still be.
    """

    check: bool
    folder: str
    root: str
    model: str
    sha256: str
    detector: str
    min_face: int
    most_seconds: float
    most_pixels: int
    most_bytes: int

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Report:
    """How it goes. progress: 0 to 1, None where the video does not say how long it is.

    refused: the code of a refusal, for a check. error: why it failed or ended early. whole: all of the video was read.
    mistake: the type and place of a programming error, for the log. summary: as `TimelineSummary.to_dict`.
    """

    frames: int = 0
    progress: float | None = None
    ended: bool = False
    whole: bool = False
    refused: str | None = None
    error: str | None = None
    mistake: str | None = None
    summary: dict[str, Any] | None = None

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: bytes | str) -> Report:
        """Raises ValueError, TypeError for another line."""
        return cls(**json.loads(line))


class _Refused(MienError):
    """A video that the server's limits do not let through."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check(order: Order) -> None:
    """Opens the upload as a video of a known kind, within the limits. Raises MienError."""
    import av

    from mien.errors import VideoError
    from mien.media.video.decoding import VideoDecoder, open_container
    from mien.media.video.files import as_truncated

    place = Path(order.folder, UPLOAD)
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    try:
        container = open_container(f"file:{place}", str(place), options=options)
    except VideoError as error:
        if isinstance(error.__cause__, av.error.ArgumentError):
            raise VideoError("is no video of a kind that is taken: MP4, MOV, WebM, MKV, AVI, MPEG, OGG") from error
        raise as_truncated(error, place) from error
    with container:
        for stream in container.streams.video:
            codec = stream.codec_context
            if codec is not None and codec.width * codec.height > order.most_pixels:
                raise _Refused(
                    "too_large_frames",
                    f"has frames of {codec.width} x {codec.height} pixels; this server takes "
                    f"{order.most_pixels / 1e6:g} million at most",
                )
        seconds = VideoDecoder(container, str(place), live=False).stated_seconds
    if seconds is not None and seconds > order.most_seconds:
        message = f"is {seconds:.0f} seconds long; this server takes {order.most_seconds:g} at most"
        raise _Refused("too_long", message)


def work(order: Order, tell: Callable[[Report], None]) -> Report:
    """Watches the upload into the results; what `mien watch` makes of the same file. Raises MienError."""
    from contextlib import ExitStack

    import cv2

    from mien.errors import ModelFileError, VideoError
    from mien.faces import make_detector
    from mien.media.overlay import draw_frame
    from mien.media.timeline import CsvTimeline, JsonLinesTimeline
    from mien.media.timeline_summary import TimelineCounter
    from mien.media.video.files import open_file
    from mien.media.video.recorder import open_recorder
    from mien.model_file import open_model
    from mien.recognition.outputs import NamedOutput, Recording, write_outputs
    from mien.recognition.recognizer import Recognizer

    cv2.setNumThreads(1)
    folder = Path(order.folder)
    model = open_model(order.model, threads=1)
    if model.sha256 != order.sha256:
        raise ModelFileError("the model's file has changed since the server began; start the server anew")
    detector = make_detector(order.detector, min_face=order.min_face, threads=1)
    recognizer = Recognizer(model, detector=detector, min_face=order.min_face)
    counter, labels = TimelineCounter(), recognizer.labels
    with ExitStack() as stack:  # closes what was opened where something can't be
        opened = open_file(folder / UPLOAD)
        stack.callback(opened.close)
        watched = recognizer.watch(opened, keep_pictures=True)
        try:
            recorder = open_recorder(folder / VIDEO, rate=opened.rate, sound_of=folder / UPLOAD)
        except VideoError:  # a damaged file whose sound has no place in time: its frames may do
            recorder = open_recorder(folder / VIDEO, rate=opened.rate)
        outputs = [
            NamedOutput("", counter),
            NamedOutput("", CsvTimeline(folder / TIMELINE_CSV, labels)),
            NamedOutput("", JsonLinesTimeline(folder / TIMELINE_LINES, labels)),
            NamedOutput("", _Frames(folder / FRAMES, recognizer.summary())),
            NamedOutput("", Recording(recorder), drawn=True),
        ]
        stack.pop_all()
    watcher = _Watcher(order, tell, opened.frames, stop=watched.close)
    done = write_outputs(
        watched, outputs, draw=lambda r: draw_frame(_picture(r), r.faces), live=False, each=watcher.see
    )
    error = watcher.stopped or done.error
    return Report(done.frames, 1.0, ended=True, whole=error is None, error=error, summary=counter.summary().to_dict())


class _Watcher:
    """Tells how far it is, and stops where a limit is passed that could not be seen before."""

    def __init__(
        self, order: Order, tell: Callable[[Report], None], frames: int | None, *, stop: Callable[[], None]
    ) -> None:
        self._order, self._tell, self._frames, self._stop = order, tell, frames, stop
        self._count, self._told, self._looked = 0, 0.0, time.monotonic()
        self.stopped: str | None = None

    def see(self, result: FrameResult) -> None:
        """One more frame was written."""
        self._count += 1
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY_S:
            self._told = now
            progress = min(1.0, self._count / self._frames) if self._frames else None
            self._tell(Report(self._count, progress))
        order = self._order
        if result.time_s >= order.most_seconds:
            self._end(f"the video is longer than {order.most_seconds:g} seconds; what came before stands")
        elif result.width * result.height > order.most_pixels:
            self._end(f"the frames grow beyond {order.most_pixels / 1e6:g} million pixels; what came before stands")
        elif now - self._looked >= _LOOK_EVERY_S:
            from mien.serving.private_folders import held_bytes

            self._looked = now
            if held_bytes(Path(order.root)) > order.most_bytes:
                self._end("the server has no more room for videos; what came before stands")

    def _end(self, why: str) -> None:
        if self.stopped is None:
            self.stopped = why
            self._stop()


class _Frames:
    """All frames as one JSON document, `{"model": ..., "frames": [...]}`, written as they come."""

    def __init__(self, path: Path, model: ModelSummary) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._file.write(f'{{"model": {json.dumps(model.to_dict())}, "frames": [')
        self._between = "\n"

    def write(self, result: FrameResult) -> None:
        """Adds a frame."""
        self._file.write(self._between + json.dumps(result.to_dict()))
        self._between = ",\n"

    def close(self) -> None:
        """Ends the document."""
        self._file.write("\n]}\n")
        self._file.close()


def _picture(result: FrameResult) -> Any:
    assert result.picture is not None
    return result.picture


def _follow_orders(order: Order, tell: Callable[[Report], None]) -> Report:
    try:
        if not order.check:
            os.nice(_NICE)
            report = work(order, tell)
            return replace(report, error=_without_places(report.error, order) if report.error else None)
        check(order)
        return Report(ended=True, whole=True)
    except MienError as error:
        code = error.code if isinstance(error, _Refused) else "unreadable_video"
        return Report(ended=True, refused=code, error=_without_places(str(error), order))
    except MemoryError:
        return Report(ended=True, refused="unreadable_video", error="it needs more memory than there is")
    except Exception as error:  # where it happened and of what type: its text may hold a name
        place = "".join(traceback.format_tb(error.__traceback__))
        return Report(ended=True, error="the server made a mistake", mistake=f"{type(error).__name__}\n{place}")


def _without_places(message: str, order: Order) -> str:
    """Clients learn nothing about the server's folders."""
    upload = str(Path(order.folder, UPLOAD))
    return message.removeprefix(f"{upload}: ").replace(upload, "the video").replace(f"{order.folder}/", "")


def _limit_itself() -> None:
    """No core dumps, and no more memory than a video may need."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))


def _end_with_server() -> None:
    os.read(0, 1)  # nothing more comes: it returns when the server closes it, or ends
    os._exit(1)


def main() -> None:
    """Follows the order on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends it
    _limit_itself()
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(0, 65536)
        if not piece:
            return
        line += piece
    threading.Thread(target=_end_with_server, daemon=True).start()
    out: TextIO = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints is not a report

    def tell(report: Report) -> None:
        out.write(report.to_json() + "\n")
        out.flush()

    tell(_follow_orders(Order(**json.loads(line)), tell))
    os._exit(0)  # neither threads nor libraries hold it up


if __name__ == "__main__":
    main()
