"""The process of one video job: it decodes, recognises and draws at a low priority, and can be killed.

It reads its order from standard input, and exits when that closes, so no job outlives the server. It writes progress
into the job's `state.json`, and its report to standard output. Uploaded videos are decoded only here, never in the
server process.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import MienError, OutputError
from mien.files import write_text
from mien.images import describe_file, image_kind
from mien.media.timeline import TextLines
from mien.serving.memory import settle_allocator
from mien.serving.private_folders import held_bytes
from mien.serving.refusals import Refusal
from mien.serving.settings import ServeSettings

if TYPE_CHECKING:
    from mien.results import FrameResult, ModelSummary

UPLOAD, STATE = "upload", "state.json"
RESULTS = {
    "timeline.csv": "text/csv; charset=utf-8",
    "timeline.jsonl": "application/jsonl",
    "video.mp4": "video/mp4",
    "frames.json": "application/json",
}
"""The result files and their types."""
FILES = {**RESULTS, UPLOAD: "application/octet-stream"}
"""What a job's clients get: a player shows the upload under boxes that the page draws."""

ACCEPTED = "MP4, MOV, WebM, MKV, AVI, MPEG, OGG, or an animated GIF, PNG, WebP or AVIF"
# The common containers, and none that refers to other files (playlists, concatenations, image sequences).
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,ogg,ivf,gif,apng,h264,hevc,mjpeg,yuv4mpegpipe"
)  # fmt: skip
HEAD = 1024
"""Bytes from which the format is detected."""

_REPORT_EVERY_S = 0.25
_NO_MEMORY = re.compile("alloc|memory", re.IGNORECASE)  # in errors of OpenCV and ONNX Runtime
_NICE = 15  # the server takes precedence on a busy processor


@dataclass(frozen=True, slots=True)
class Order:
    """A job. summary: of the model when the server opened it; None: only check that the upload is within the limits.

    folder: contains the upload and the state, and gets the results. root: folder whose size is limited. model: a file
    or the name of a shipped model, or several as A+B.
    """

    folder: Path
    root: Path
    settings: ServeSettings
    model: str = ""
    detector: str = ""
    summary: ModelSummary | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """How a job, or a check, ended. complete: the video was read to its end.

    status, code: of the refusal, if a check failed. error: why it failed or ended early. bug: type and traceback of an
    unexpected exception, for the log. summary: as `TimelineSummary.to_dict`.
    """

    complete: bool = False
    frames: int = 0
    status: int = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code: str = "unreadable_video"
    error: str | None = None
    bug: str | None = None
    summary: dict[str, Any] | None = None


def looks_like_video(head: bytes) -> bool:
    """Whether a file may be a video. head: its first 1024 bytes, or all of a smaller file."""
    match image_kind(head):
        case None:
            return describe_file(head) in ("a video", "sound or video") or head.startswith(b"\0\0\1")  # bare MPEG
        case "PNG":  # animated: with this chunk before the first image
            return b"acTL" in head or b"IDAT" not in head
        case "WEBP":
            return head[12:16] == b"VP8X" and bool(int.from_bytes(head[20:21]) & 2)
        case "AVIF":  # `avis` is among its brands
            return b"avis" in head[: int.from_bytes(head[:4])]
        case kind:  # a GIF may be animated, and MJPEG begins as a JPEG does
            return kind in ("GIF", "JPEG")


def check_upload(order: Order) -> None:
    """Checks that the upload is a video of an accepted format, within the limits. Raises MienError, Refusal."""
    import av

    from mien.errors import VideoError
    from mien.media.video.decoding import VideoDecoder, open_container
    from mien.media.video.files import as_truncated
    from mien.media.video.image_frames import open_animation

    place = order.folder / UPLOAD
    if (animation := open_animation(place)) is not None:
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
    most = order.settings.max_video_s
    if seconds is not None and seconds > most:
        message = f"is {seconds:.0f} seconds long; this server takes {most:g} at most"
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "too_long", message)


def most_pixels(settings: ServeSettings) -> int:
    """Of a frame, by the settings and by the memory of this process: measured, up to 550 MB and 170 bytes a pixel."""
    return min(settings.max_video_pixels, max(100_000, (_memory(settings) - 550_000_000) // 170))


def _memory(settings: ServeSettings) -> int:
    return 2_000_000 * settings.max_memory_mb  # of address space, of which three quarters at most are used


def _check_frame_size(size_wh: tuple[int, int], order: Order) -> None:
    (width, height), most = size_wh, most_pixels(order.settings)
    if width * height > most:
        message = f"has frames of {width} x {height} pixels; this server takes {most / 1e6:.3g} million at most"
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "too_large_frames", message)


def work(order: Order) -> Report:
    """Writes the results, as `mien watch` does for the same file, and progress. Raises MienError."""
    import cv2

    from mien.errors import ModelFileError
    from mien.faces import make_detector
    from mien.media.video.opening import open_video
    from mien.model_file import load_model, split_models
    from mien.recognition.recognizer import Recognizer
    from mien.recognition.watch_files import WatchWriter

    cv2.setNumThreads(1)
    folder, settings, summary = order.folder, order.settings, order.summary
    assert summary is not None
    models = [load_model(part, threads=1) for part in split_models(order.model)]
    if [model.sha256 for model in models] != list(summary.sha256):
        raise ModelFileError("the model file has changed since the server started; restart the server")
    detector = make_detector(order.detector, min_face=settings.min_face, cascade=settings.cascade, threads=1)
    recognizer = Recognizer(
        models, detector=detector, min_face=settings.min_face, balance=summary.balance, prior=summary.prior,
        threads=1, details=settings.details,
    )  # fmt: skip
    opened = open_video(folder / UPLOAD)
    watched = recognizer.watch(opened, keep_images=True)
    csv, lines, video, frames = (folder / name for name in RESULTS)
    with WatchWriter(watched, recognizer.summary()) as writer:
        writer.add_recording(video)
        writer.add_timeline(csv, source="video")
        writer.add_timeline(lines, source="video")
        writer.add(_Frames(frames, recognizer.summary()))
        follower = _Follower(order, opened.frames, stop=watched.close)
        try:
            done = writer.write(follower.follow)
            error = follower.exceeded or done.error
        except (OSError, OutputError):  # the rows so far stay
            if not follower.count:
                raise
            error = "the server's disk is full; results up to that point are kept"
    return Report(error is None, follower.count, error=error, summary=writer.summary())


class _Follower:
    """Writes the progress, and stops the job at a limit that the check before it could not see."""

    def __init__(self, order: Order, frames: int | None, *, stop: Callable[[], None]) -> None:
        """frames: of the whole video; None: unknown."""
        self._order, self._frames, self._stop = order, frames, stop
        self.count, self._written = 0, 0.0
        self._first: tuple[float, int] | None = None  # frames before it waited for the networks to load
        self._state = json.loads((order.folder / STATE).read_text("utf-8"))
        self.exceeded: str | None = None

    def follow(self, result: FrameResult) -> None:
        """Called after each written frame."""
        self.count += 1
        now, settings, why = time.monotonic(), self._order.settings, ""
        if result.time_s >= settings.max_video_s:
            why = f"the video is longer than {settings.max_video_s:g} seconds"
        elif result.width * result.height > most_pixels(settings):
            why = f"the frames exceed {most_pixels(settings) / 1e6:.3g} million pixels"
        elif now - self._written >= _REPORT_EVERY_S:
            self._written = now
            with suppress(OutputError):  # a full disk ends the work where it writes rows
                self._write_progress(now, result)
            if held_bytes(self._order.root) > settings.max_video_disk_mb * 1_000_000:
                why = "the server has no room for more videos"
        if why and self.exceeded is None:
            self.exceeded = f"{why}; results up to that point are kept"
            self._stop()

    def _write_progress(self, now: float, result: FrameResult) -> None:
        progress = min(1.0, self.count / self._frames) if self._frames else None
        left = None
        if self._first is None:
            self._first = now, self.count
        elif self._frames:
            pace = (now - self._first[0]) / (self.count - self._first[1])
            left = round(pace * max(0, self._frames - self.count), 1)
        latest = result.to_dict()
        for face in latest["faces"]:
            face.pop("details", None)
        known = {"frames": self.count, "progress": progress, "seconds_left": left, "latest": latest}
        write_text(self._order.folder / STATE, json.dumps(self._state | known))


class _Frames:
    """Writes all frames as one JSON document, `{"model": ..., "frames": [...]}`, frame by frame."""

    def __init__(self, path: Path, model: ModelSummary) -> None:
        self._path, self._lines, self._before = path, TextLines(path), "\n"
        self._lines.write(f'{{"model": {json.dumps(model.to_dict())}, "frames": [')

    def write(self, result: FrameResult) -> None:
        """Writes a frame. Raises OutputError."""
        self._lines.write(self._before + json.dumps(result.to_dict()))
        self._before = ",\n"

    def close(self) -> None:
        """Ends the document, also after the last frame that a full disk took."""
        self._lines.close()
        with self._path.open("a") as file:
            file.write("\n]}\n")


def _run(order: Order) -> Report:
    try:
        if order.summary is None:
            check_upload(order)
            return Report(complete=True)
        report = work(order)
        return replace(report, error=_for_clients(report.error or "", order) or None)
    except Refusal as error:
        return Report(status=error.status, code=error.code, error=f"the upload {error.message}")
    except MienError as error:
        reason = _for_clients(str(error), order)  # such as `is no video`, or a sentence
        refused = f"the upload{'' if reason.startswith(('is ', 'has ')) else ':'} {reason}"
        full = "the server's disk is full; send the video again later"
        return Report(error=full if isinstance(error, OutputError) else refused)
    except Exception as error:  # only type and traceback: the message may contain a file name
        if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
            return Report(error="the upload needs more memory than this server may take")
        frames = "".join(traceback.format_tb(error.__traceback__))
        return Report(error="internal error", bug=f"{type(error).__name__}\n{frames}")


def _for_clients(message: str, order: Order) -> str:
    """A message for clients: without paths of the server, and with advice for them."""
    upload = str(order.folder / UPLOAD)
    message = message.removeprefix(f"{upload}: ").replace(upload, "the video").replace(f"{order.folder}/", "")
    return message.replace("use  mien predict  for images", "send it to /v1/predict")


def _end_with_server() -> None:
    os.read(0, 1)  # returns when the server closes the pipe or exits
    os._exit(1)


def run_order() -> None:
    """Reads the order from standard input, runs it and writes the report."""
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server stops this process
    order: Order = pickle.load(sys.stdin.buffer)  # written by the server
    settle_allocator()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (_memory(order.settings),) * 2)
    os.nice(_NICE if order.summary else 0)
    threading.Thread(target=_end_with_server, daemon=True).start()
    out, sys.stdout = sys.stdout, sys.stderr  # output of libraries is not a report
    print(json.dumps(asdict(_run(order))), file=out, flush=True)
    os._exit(0)  # does not wait for threads
