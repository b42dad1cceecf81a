"""Videos that have an end: files, what comes through a pipe, and files on a web server."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import TruncatedVideoError, VideoError
from mien.media.video.decoding import DEFAULT_RATE, VideoDecoder, open_container, reason
from mien.media.video.frames import Frame, SingleUse, ended_early
from mien.media.video.integrity import UNKNOWN, End, file_end
from mien.reporting import log_warning

if TYPE_CHECKING:
    from av.container import InputContainer

_STATING = ("mov", "matroska", "flv")  # demuxers that read the duration from the header
_MISSING_FRAMES, _MISSING_SHARE = 3, 0.02  # before a stated duration: more than both of them is missing
_LEAD_IN_S = 1.0


class VideoFile(SingleUse):
    """The frames of an open container.

    end_verified: after the last frame, whether the container states that this is its end; False where it states
    none (MPEG-TS, raw streams, live recordings). None before.
    """

    def __init__(
        self, container: InputContainer, name: str, *, live: bool = False, end: Callable[[], End] | None = None
    ) -> None:
        """Takes the container over. end: how the file ends by its structure. Raises VideoError without video in it."""
        super().__init__()
        try:
            self._decoder = VideoDecoder(container, name, live=live)
        except VideoError:
            container.close()
            raise
        self._container = container
        self._container_states = container.format.name.startswith(_STATING)
        self._end = end
        self.end_verified: bool | None = None
        self.name = name
        self.live = live
        self.rate = self._decoder.rate
        self.frames = self._decoder.frames

    @property
    def skipped(self) -> int:
        """Damaged frames left out so far."""
        return self._decoder.skipped

    def _frames(self) -> Iterator[Frame]:
        from av import FFmpegError

        number, time_s = 0, 0.0
        try:
            for time_s, image in self._decoder:
                if self._closed.is_set():
                    return
                yield Frame(number, time_s, image)
                number += 1
            if not self._closed.is_set():
                self._check_whole(number, time_s)
        except FFmpegError as error:
            if not self._closed.is_set():
                raise self._failed(number, time_s, reason(error)) from error

    def _release(self) -> None:
        self._container.close()

    def _check_whole(self, count: int, time_s: float) -> None:
        """FFmpeg ends silently where a file was cut off."""
        end = self._structure()
        cut = end.cut
        if cut is None and not end.known:
            cut = self._doubt(time_s)
        if cut is not None:
            raise TruncatedVideoError(ended_early(self.name, count, time_s, cut))
        if count == 0:
            raise VideoError(
                f"{self.name}: no frame in it could be decoded ({self.skipped} damaged); "
                "get a whole copy, or convert it to MP4 (H.264)"
            )
        if self.skipped:
            log_warning(f"{self.name}: {self.skipped} packets that can't be decoded are left out; get a whole copy")
        self.end_verified = end.known

    def _failed(self, count: int, time_s: float, why: str) -> VideoError:
        """FFmpeg can't read on: because the file ends, or for another reason."""
        cut = self._structure().cut
        kind = TruncatedVideoError if cut is not None else VideoError
        return kind(ended_early(self.name, count, time_s, cut or why))

    def _structure(self) -> End:
        return self._end() if self._end is not None else UNKNOWN

    def _doubt(self, time_s: float) -> str | None:
        """Evidence of a cut in a file whose structure states no end, or None."""
        if self.live:
            return None
        if self._decoder.last_frame_is_cut():
            return "its last frame is incomplete"
        stated = self._decoder.stated_seconds
        if stated is None or not self._container_states:
            return None
        frame_s = 1 / (self.rate or DEFAULT_RATE)
        missing_s = stated - time_s - max(frame_s, self._decoder.last_packet_s)
        bearable_s = max(_MISSING_FRAMES * frame_s, _MISSING_SHARE * stated)
        return f"{stated:.2f} s expected" if missing_s > bearable_s else None


def open_file(path: Path, *, rate: float | None = None, live: bool = False) -> VideoFile:
    """A video file. rate: frames a second, for formats without times. Raises VideoError."""
    try:
        return VideoFile(
            open_file_container(path, rate=rate), str(path), live=live, end=lambda: file_end(path.absolute())
        )
    except VideoError as error:
        raise as_truncated(error, path) from error


def as_truncated(error: VideoError, path: Path) -> VideoError:
    """Why a file can't be opened: the error as it is, or a better one where the file was cut off."""
    cut = file_end(path).cut
    if cut is None:
        return error
    return TruncatedVideoError(f"{path}: truncated ({cut}), no frame of it can be read; get a whole copy of the file")


def open_file_container(path: Path, *, rate: float | None = None) -> InputContainer:
    """A file, opened so that nothing but files can be reached through it. Raises VideoError.

    Cutting tools that copy streams keep the frames since the last keyframe and hide them by an edit list: a lead-in of
    up to a second is given like any other frames. What a longer edit list hides stays hidden: it was cut on purpose.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise VideoError(f"{path}: is no regular file; expected a video file, a folder of images, or - for a pipe")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise VideoError(f"{path}: no such file; check the path") from error
    except PermissionError as error:
        raise VideoError(f"{path}: no permission to read it; change its permissions (chmod +r)") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise VideoError(f"{path}: can't be read ({error}); check the path and the disk") from error
    if status.st_size == 0:
        raise VideoError(f"{path}: is empty (0 bytes); get a whole copy of the file")
    place = f"file:{path.absolute()}"  # with the prefix, no name is taken for an address
    options = {"protocol_whitelist": "file"} | rate_option(rate)
    container = open_container(place, str(path), options=options)
    if 0 < _hidden_seconds(container) <= _LEAD_IN_S:
        container.close()
        container = open_container(place, str(path), options=options | {"advanced_editlist": "0"})
    return container


def rate_option(rate: float | None) -> dict[str, str]:
    """FFmpeg's option for formats that hold no times (raw H.264, MJPEG); others ignore it."""
    return {} if rate is None else {"framerate": str(rate)}


def _hidden_seconds(container: InputContainer) -> float:
    """How much of the first video track an MP4's edit list hides."""
    if "mp4" not in container.format.name or not container.streams.video:
        return 0.0
    stream = container.streams.video[0]
    if not (stream.frames and stream.average_rate and stream.duration and stream.time_base):
        return 0.0
    hidden = float(stream.frames / stream.average_rate - stream.duration * stream.time_base)
    return hidden if hidden > 0.5 / stream.average_rate else 0.0
