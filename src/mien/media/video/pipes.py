"""Frames from standard input: any container that can be read from front to back, or bare pixels."""

from __future__ import annotations

import os
import re
import select
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import TruncatedVideoError, VideoError
from mien.images import WHOLE_PIXELS
from mien.media.video.decoding import open_container
from mien.media.video.files import VideoFile, rate_option
from mien.media.video.frames import Frame
from mien.media.video.integrity import UNKNOWN, End, StreamEnd

Pixels = Literal["rgb24", "bgr24", "gray"]

_CHANNELS: dict[str, int] = {"rgb24": 3, "bgr24": 3, "gray": 1}
_POLL_S = 0.2
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RawFormat:
    """Bare frames: width x height pixels, 8 bits a channel, line by line, without padding; `rate` frames a second."""

    width: int
    height: int
    pixels: Pixels = "rgb24"
    rate: float = 25.0

    def __post_init__(self) -> None:
        if self.pixels not in _CHANNELS:
            raise VideoError(f"raw frames: pixels are {self.pixels!r}; expected {', '.join(_CHANNELS)}")
        if self.width < 1 or self.height < 1 or self.width * self.height > WHOLE_PIXELS:
            raise VideoError(
                f"raw frames: {self.width} x {self.height} pixels; expected 1 to {WHOLE_PIXELS / 1e6:.0f} million"
            )
        if not 0 < self.rate <= 1000:
            raise VideoError(f"raw frames: {self.rate:g} frames a second; expected above 0, 1000 at most")

    @classmethod
    def parse(cls, text: str) -> RawFormat:
        """From `WIDTHxHEIGHT:PIXELS@RATE`, as in `640x360:rgb24@25`; pixels and rate may be left out.

        Raises VideoError.
        """
        match = re.fullmatch(r"(\d{1,6})x(\d{1,6})(?::(\w+))?(?:@(\d{1,6}(?:\.\d+)?))?", text.strip())
        if match is None:
            raise VideoError(f"raw frames: {text!r} is not understood; expected e.g. 640x360:rgb24@25")
        width, height, pixels, rate = match.groups()
        return cls(int(width), int(height), cast(Pixels, pixels or "rgb24"), float(rate or 25))

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return self.width * self.height * _CHANNELS[self.pixels]


class Pipe:
    """A file descriptor that is read from front to back, and can be closed while a read waits."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self.closed = threading.Event()
        self.interrupted = False
        self._descriptor = descriptor
        self._stream_end = StreamEnd()
        self._ended = False

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, as soon as there are some; none at the end, or when it was closed."""
        try:
            while not self.closed.is_set():
                # Windows can't wait for pipes: there a read ends when something comes.
                if sys.platform == "win32" or select.select([self._descriptor], [], [], _POLL_S)[0]:
                    data = os.read(self._descriptor, size)
                    self._stream_end.feed(data)
                    self._ended = not data
                    return data
        except KeyboardInterrupt:  # FFmpeg calls this and would lose it
            self.interrupted = True
        return b""

    def end(self) -> End:
        """How the container ends that came through; unknown while the pipe may give more."""
        return self._stream_end.end() if self._ended else UNKNOWN


class PipedVideo(VideoFile):
    """A container that comes through a pipe."""

    def __init__(self, pipe: Pipe, *, rate: float | None, live: bool) -> None:
        """Waits for the first frames to come. Raises VideoError."""
        self._pipe = pipe
        try:
            container = open_container(pipe, pipe.name, options={"protocol_whitelist": ""} | rate_option(rate))
        except VideoError as error:
            if pipe.interrupted:
                raise KeyboardInterrupt from error
            raise self._not_from_front_to_back() from error
        super().__init__(container, pipe.name, live=live, end=None if live else pipe.end)

    def __iter__(self) -> Iterator[Frame]:
        begun = False
        try:
            for frame in super().__iter__():
                begun = True
                yield frame
        except VideoError as error:  # one with a cause: FFmpeg would have to go back for the first frame
            if begun or isinstance(error, TruncatedVideoError) or error.__cause__ is None:
                raise
            raise self._not_from_front_to_back() from error
        if self._pipe.interrupted:
            raise KeyboardInterrupt

    def _not_from_front_to_back(self) -> VideoError:
        return VideoError(
            f"{self._pipe.name}: holds no video that can be read from front to back; expected Matroska, MPEG-TS, "
            "MJPEG, Y4M or fragmented MP4, or bare frames with their format (640x360:rgb24@25)"
        )

    def close(self) -> None:
        """Ends the iteration, also while it waits for the pipe."""
        self._pipe.closed.set()
        super().close()


class RawFrames:
    """Bare frames from a pipe."""

    skipped = 0
    frames: int | None = None

    def __init__(self, pipe: Pipe, raw: RawFormat, *, live: bool) -> None:
        self._pipe = pipe
        self._raw = raw
        self.name = pipe.name
        self.live = live
        self.rate: float | None = raw.rate

    def __iter__(self) -> Iterator[Frame]:
        number = 0
        while not self._pipe.closed.is_set():
            data = self._read_frame()
            if self._pipe.interrupted:
                raise KeyboardInterrupt
            if self._pipe.closed.is_set() or (not data and number):
                return
            if len(data) < self._raw.frame_bytes:
                raise VideoError(
                    f"{self.name}: ends within frame {number} ({len(data):,} of {self._raw.frame_bytes:,} bytes); "
                    f"check that its frames are {self._raw.width}x{self._raw.height}:{self._raw.pixels}"
                )
            yield Frame(number, number / self._raw.rate, self._image(data))
            number += 1

    def close(self) -> None:
        """Ends the iteration, also while it waits for the pipe."""
        self._pipe.closed.set()

    def _read_frame(self) -> bytearray:
        data = bytearray()
        while missing := self._raw.frame_bytes - len(data):
            piece = self._pipe.read(min(missing, _READ_BYTES))
            if not piece:
                break
            data += piece
        return data

    def _image(self, data: bytearray) -> NDArray[np.uint8]:
        image = np.frombuffer(data, np.uint8).reshape(self._raw.height, self._raw.width, -1)
        if self._raw.pixels == "bgr24":
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]
        elif self._raw.pixels == "gray":
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)  # type: ignore[assignment]
        image.flags.writeable = False
        return image


def open_pipe(
    descriptor: int, name: str, *, raw: RawFormat | None, rate: float | None, live: bool
) -> PipedVideo | RawFrames:
    """Opens the video in a file descriptor. Raises VideoError."""
    pipe = Pipe(descriptor, name)
    return RawFrames(pipe, raw, live=live) if raw is not None else PipedVideo(pipe, rate=rate, live=live)
