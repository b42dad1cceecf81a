"""The process of one video job: it decodes, recognises and draws at a low priority, and can be killed.

It reads its order as one line from standard input, and exits when that closes, so no job outlives the server. It
reports progress as lines on standard output. Uploaded videos are decoded only here, never in the server process.
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
from mien.images import describe_file, image_kind

if TYPE_CHECKING:
    from mien.results import FrameResult, ModelSummary

UPLOAD = "upload"
TIMELINE_CSV, TIMELINE_LINES, VIDEO, FRAMES = RESULTS = ("timeline.csv", "timeline.jsonl", "video.mp4", "frames.json")

ACCEPTED = "MP4, MOV, WebM, MKV, AVI, MPEG, OGG, or an animated GIF, PNG, WebP or AVIF"
# The common containers, and none that refers to other files (playlists, concatenations, image sequences).
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,ogg,ivf,gif,apng,h264,hevc,mjpeg,yuv4mpegpipe"
)  # fmt: skip
HEAD = 1024
"""Bytes from which the format is detected."""

_REPORT_EVERY_S = 0.25
_CHECK_EVERY_S = 2.0
_MOST_MEMORY = 4 << 30
_NICE = 15  # the server takes precedence on a busy processor


@dataclass(frozen=True, slots=True)
class Order:
    """A job's parameters. check: only check that the upload is a video within the limits.

    folder: contains the upload, and gets the results. root: folder whose size is limited to most_bytes. model: a file
    or the name of a shipped model, or several as A+B. sha256: their expected checksums, separated by commas. balance,
    prior: of their probabilities, as in `Recognizer`.
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
    cascade: str = ""
    balance: float | None = None
    details: bool = False
    prior: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class JobReport:
    """Progress of a job, or its result. progress: 0 to 1, None if the video's length is unknown.

    refused: error code of a failed check. error: why it failed or ended early. complete: the video was read to its end.
    bug: type and traceback of an unexpected exception, for the log. summary: as `TimelineSummary.to_dict`.
    """

    frames: int = 0
    progress: float | None = None
    ended: bool = False
    complete: bool = False
    refused: str | None = None
    error: str | None = None
    bug: str | None = None
    summary: dict[str, Any] | None = None


class _Refused(MienError):
    """A video that exceeds a limit of the server."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def looks_like_video(head: bytes) -> bool:
    """Whether a file may be a video. head: its first 1024 bytes, or all of a smaller file."""
    kind = image_kind(head)
    if kind:  # MJPEG begins as a JPEG does
        return kind in ("GIF", "JPEG") or _is_animated(head)
    return describe_file(head) in ("a video", "sound or video") or head.startswith(b"\0\0\1")  # bare MPEG


def _is_animated(head: bytes) -> bool:
    """Whether an image in PNG, WebP or AVIF is animated."""
    if head.startswith(b"\x89PNG"):
        return b"acTL" in head
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return head[12:16] == b"VP8X" and bool(head[20] & 2)
    return head[4:8] == b"ftyp" and b"avis" in head[: int.from_bytes(head[:4])]


def check_upload(order: Order) -> None:
    """Checks that the upload is a video of an accepted format, within the limits. Raises MienError."""
    import av

    from mien.errors import VideoError
    from mien.media.video.decoding import VideoDecoder, open_container
    from mien.media.video.files import as_truncated
    from mien.media.video.image_frames import open_animation

    place = Path(order.folder, UPLOAD)
    try:
        animation = open_animation(place)
    except VideoError as error:  # its advice is for the command line
        raise VideoError(str(error).replace("use  mien predict  for images", "send it to /v1/predict")) from error
    if animation is not None:
        animation.close()
        _check_frame_size(animation.size_wh, order)
        return
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    try:
        container = open_container(f"file:{place}", str(place), options=options)
    except VideoError as error:
        if isinstance(error.__cause__, av.error.ArgumentError):
            raise VideoError(f"is not a video; expected {ACCEPTED}") from error
        raise as_truncated(error, place) from error
    with container:
        for stream in container.streams.video:
            codec = stream.codec_context
            if codec is not None:
                _check_frame_size((codec.width, codec.height), order)
        seconds = VideoDecoder(container, str(place), live=False).stated_seconds
    if seconds is not None and seconds > order.most_seconds:
        message = f"is {seconds:.0f} seconds long; this server takes {order.most_seconds:g} at most"
        raise _Refused("too_long", message)


def _check_frame_size(size_wh: tuple[int, int], order: Order) -> None:
    width, height = size_wh
    if width * height > order.most_pixels:
        most = f"{order.most_pixels / 1e6:g} million"
        message = f"has frames of {width} x {height} pixels; this server takes {most} at most"
        raise _Refused("too_large_frames", message)


def work(order: Order, on_report: Callable[[JobReport], None]) -> JobReport:
    """Writes the results, as `mien watch` does for the same file. Raises MienError."""
    import cv2

    from mien.errors import ModelFileError
    from mien.faces import make_detector
    from mien.media.video.opening import open_video
    from mien.model_file import load_model, split_models
    from mien.recognition.recognizer import Recognizer
    from mien.recognition.watch_files import WatchWriter

    cv2.setNumThreads(1)
    folder = Path(order.folder)
    models = [load_model(part, threads=1) for part in split_models(order.model)]
    if ",".join(model.sha256 for model in models) != order.sha256:
        raise ModelFileError("the model file has changed since the server started; restart the server")
    detector = make_detector(
        order.detector,
        min_face=order.min_face,
        cascade=order.cascade or None,
        threads=1,
    )
    recognizer = Recognizer(
        models, detector=detector, min_face=order.min_face, balance=order.balance, prior=order.prior,
        threads=1, details=order.details,
    )  # fmt: skip
    opened = open_video(folder / UPLOAD)
    watched = recognizer.watch(opened, keep_images=True)
    with WatchWriter(watched, recognizer.summary()) as writer:
        writer.add_recording(folder / VIDEO)
        writer.add_timeline(folder / TIMELINE_CSV, source="video")
        writer.add_timeline(folder / TIMELINE_LINES, source="video")
        writer.add(_Frames(folder / FRAMES, recognizer.summary()))
        limits = _Limits(order, on_report, opened.frames, stop=watched.close)
        done = writer.write(limits.check)
    error = limits.exceeded or done.error
    summary = writer.summary()
    return JobReport(done.frames, 1.0, ended=True, complete=error is None, error=error, summary=summary)


class _Limits:
    """Reports progress, and stops the job at a limit that the check before it could not see."""

    def __init__(
        self, order: Order, on_report: Callable[[JobReport], None], frames: int | None, *, stop: Callable[[], None]
    ) -> None:
        self._order, self._on_report, self._frames, self._stop = order, on_report, frames, stop
        self._count, self._reported, self._checked = 0, 0.0, time.monotonic()
        self.exceeded: str | None = None

    def check(self, result: FrameResult) -> None:
        """Called after each written frame."""
        self._count += 1
        now = time.monotonic()
        if now - self._reported >= _REPORT_EVERY_S:
            self._reported = now
            progress = min(1.0, self._count / self._frames) if self._frames else None
            self._on_report(JobReport(self._count, progress))
        order = self._order
        if result.time_s >= order.most_seconds:
            self._end(f"the video is longer than {order.most_seconds:g} seconds; results up to that point are kept")
        elif result.width * result.height > order.most_pixels:
            self._end(
                f"the frames exceed {order.most_pixels / 1e6:g} million pixels; results up to that point are kept"
            )
        elif now - self._checked >= _CHECK_EVERY_S:
            from mien.serving.private_folders import held_bytes

            self._checked = now
            if held_bytes(Path(order.root)) > order.most_bytes:
                self._end("the server has no room for more videos; results up to that point are kept")

    def _end(self, why: str) -> None:
        if self.exceeded is None:
            self.exceeded = why
            self._stop()


class _Frames:
    """Writes all frames as one JSON document, `{"model": ..., "frames": [...]}`, frame by frame."""

    def __init__(self, path: Path, model: ModelSummary) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._file.write(f'{{"model": {json.dumps(model.to_dict())}, "frames": [')
        self._between = "\n"

    def write(self, result: FrameResult) -> None:
        """Writes a frame."""
        self._file.write(self._between + json.dumps(result.to_dict()))
        self._between = ",\n"

    def close(self) -> None:
        """Ends the document."""
        self._file.write("\n]}\n")
        self._file.close()


def _run(order: Order, on_report: Callable[[JobReport], None]) -> JobReport:
    try:
        if not order.check:
            os.nice(_NICE)
            report = work(order, on_report)
            return replace(report, error=_without_paths(report.error, order) if report.error else None)
        check_upload(order)
        return JobReport(ended=True, complete=True)
    except MienError as error:
        code = error.code if isinstance(error, _Refused) else "unreadable_video"
        return JobReport(ended=True, refused=code, error=_without_paths(str(error), order))
    except MemoryError:
        return JobReport(ended=True, refused="unreadable_video", error="it needs too much memory")
    except Exception as error:  # only type and traceback: the message may contain a file name
        frames = "".join(traceback.format_tb(error.__traceback__))
        return JobReport(ended=True, error="internal error", bug=f"{type(error).__name__}\n{frames}")


def _without_paths(message: str, order: Order) -> str:
    """Removes paths of the server from a message for clients."""
    upload = str(Path(order.folder, UPLOAD))
    return message.removeprefix(f"{upload}: ").replace(upload, "the video").replace(f"{order.folder}/", "")


def _set_limits() -> None:
    """Disables core dumps and limits memory."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))


def _end_with_server() -> None:
    os.read(0, 1)  # returns when the server closes the pipe or exits
    os._exit(1)


def run_order() -> None:
    """Reads the order from standard input and runs it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server stops this process
    _set_limits()
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(0, 65536)
        if not piece:
            return
        line += piece
    threading.Thread(target=_end_with_server, daemon=True).start()
    out: TextIO = sys.stdout
    sys.stdout = sys.stderr  # output of libraries is not a report

    def send(report: JobReport) -> None:
        out.write(json.dumps(asdict(report)) + "\n")
        out.flush()

    send(_run(Order(**json.loads(line)), send))
    os._exit(0)  # does not wait for threads


if __name__ == "__main__":
    run_order()
