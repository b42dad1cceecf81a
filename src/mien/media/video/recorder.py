"""Recordings: H.264 in a fragmented MP4 that browsers play, with exact times and the source's sound.

The documented exception to "files appear whole": a recording grows under its own name, each second of it is a fragment
that is on disk when the next one begins, and a killed recording plays to its last fragment.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError, OutputError, VideoError, import_extra
from mien.files import ClosedAtExit, cannot_write
from mien.media.video.decoding import DEFAULT_RATE, reason
from mien.media.video.sound import Sound

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

SUFFIXES = (".mp4", ".m4v")

_TIME_BASE = Fraction(1, 90000)
_FRAGMENT_S = 1.0


class _File:
    """The file that FFmpeg writes to. Failed writes are hidden from FFmpeg, which would crash."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.error: OSError | None = None
        self._file = path.open("wb", buffering=0)

    def write(self, data: bytes) -> int:
        """All of the data, or none where the disk failed before."""
        left = memoryview(data)
        try:
            while left and self.error is None:
                left = left[self._file.write(left) :]
        except OSError as error:
            self.error = error
        return len(data)

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            self.error = self.error or error


class Recorder(ClosedAtExit):
    """Writes frames into an MP4 file. A context manager."""

    def __init__(self, path: Path, *, rate: float | None, sound: Sound | None, quality: int) -> None:
        """Made by `open_recorder`. Raises OSError where the file can't be written."""
        self.path = path
        self._file = _File(path)
        self.frames = 0
        """Frames written so far."""
        self._rate = rate or DEFAULT_RATE
        self._sound = sound
        self._quality = quality
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._closed = False
        self._first_s = 0.0
        self._last = self._step = self._last_key = 0  # in units of _TIME_BASE

    def write(self, image: NDArray[np.uint8], time_s: float) -> None:
        """One frame: uint8 RGB (H, W, 3), shown from `time_s` on, which should grow from frame to frame.

        The first frame gives the recording's size, rounded up to even numbers, and its zero of time; a frame of another
        size is fitted into it with black bars. Raises OutputError where the disk is full, VideoError otherwise.
        """
        if self._closed:
            raise VideoError(f"{self.path}: the recording is closed; open another one")
        from av import FFmpegError

        try:
            if self._container is None:
                self._begin(image, time_s)
            self._encode(image, time_s)
        except FFmpegError as error:
            raise VideoError(f"{self.path}: a frame can't be encoded ({reason(error)}); {self._kept}") from error
        self._check_disk()

    def close(self) -> None:
        """Writes what is left and closes the file; once is enough. Without any frame there is no file.

        Raises OutputError, VideoError.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._finish()
        finally:
            self._file.close()
            if self._sound is not None:
                self._sound.close()
        self._check_disk()

    def _begin(self, image: NDArray[np.uint8], time_s: float) -> None:
        import av

        flags = "frag_keyframe+empty_moov+default_base_moof"
        if self._sound is not None and self._sound.found:
            flags += "+delay_moov"  # the header comes with the first fragment, and states when the sound begins
        options = {"movflags": flags, "flush_packets": "1"}
        container = av.open(self._file, "w", format="mp4", container_options=options)
        height, width = image.shape[:2]
        rate = Fraction(self._rate).limit_denominator(1001)
        # Without B-frames the first image has time 0, without an edit list, which a fragmented file can't hold.
        options = {"preset": "superfast", "crf": str(self._quality), "bf": "0", "forced-idr": "1"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        codec = stream.codec_context
        codec.time_base = _TIME_BASE
        codec.gop_size = 10_000  # keyframes are set by time
        codec.thread_type = "AUTO"
        codec.color_range, codec.colorspace, codec.color_primaries, codec.color_trc = 1, 6, 1, 1  # OpenCV's: BT.601
        if self._sound is not None:
            self._sound.add_to(container)
        self._container, self._stream = container, stream
        self._first_s = time_s

    def _encode(self, image: NDArray[np.uint8], time_s: float) -> None:
        from av.video.frame import PictureType, VideoFrame

        assert self._container is not None and self._stream is not None
        planes = cv2.cvtColor(_fit(image, self._stream.width, self._stream.height), cv2.COLOR_RGB2YUV_I420)
        # PyAV borrows planes of whole groups of four rows only; others it copies.
        wrap = VideoFrame.from_numpy_buffer if self._stream.height % 4 == 0 else VideoFrame.from_ndarray
        frame = wrap(planes.astype(np.uint8, copy=False), format="yuv420p")
        stamp = round((time_s - self._first_s) / _TIME_BASE)
        if self.frames:
            stamp = max(stamp, self._last + 1)
            self._step = stamp - self._last
        frame.pts, frame.time_base = stamp, _TIME_BASE
        if self.frames == 0 or (stamp - self._last_key) * _TIME_BASE >= _FRAGMENT_S:
            frame.pict_type = PictureType.I
            self._last_key = stamp
        self._last = stamp
        self.frames += 1
        self._container.mux(self._stream.encode(frame))
        self._add_sound(float(stamp * _TIME_BASE))

    def _add_sound(self, until_s: float) -> None:
        if self._sound is not None and self._container is not None:
            for packet in self._sound.until(self._first_s + until_s, start_s=self._first_s):
                self._container.mux(packet)

    def _finish(self) -> None:
        from av import FFmpegError

        if self._container is None or self._stream is None:
            if self.path.is_file():  # not a device
                self.path.unlink(missing_ok=True)
            return
        try:
            try:
                self._container.mux(self._stream.encode(None))
                step = self._step * _TIME_BASE if self._step else 1 / self._rate
                self._add_sound(float(self._last * _TIME_BASE + step))
            finally:
                self._container.close()
        except FFmpegError as error:
            raise VideoError(f"{self.path}: can't be ended well ({reason(error)}); {self._kept}") from error

    @property
    def _kept(self) -> str:
        return f"most of its {self.frames} frames are kept"

    def _check_disk(self) -> None:
        if self._file.error is not None:
            why = self._file.error.strerror or self._file.error
            raise OutputError(f"{self.path}: can't be written on ({why}); {self._kept}; free some space")


def open_recorder(
    path: str | Path, *, rate: float | None, sound_of: str | Path | None = None, quality: int = 23
) -> Recorder:
    """A recording in an MP4 file, which replaces a file of that name at once.

    rate: frames a second, about; each frame has its own time. sound_of: the video file whose sound is kept; it is cut
    where the recording ends. quality: H.264's constant rate factor, 0 to 51, lower is better and larger.
    Raises OutputError where it can't be written, VideoError where the sound can't be read, MissingExtraError,
    ValueError.
    """
    import_extra("av", "video", "recording")
    path = Path(path)
    if not 0 <= quality <= 51:
        raise ArgumentError(f"quality is {quality}; expected 0 to 51")
    if path.suffix.lower() not in SUFFIXES and not path.is_char_device():
        raise OutputError(f"{path}: a recording is an MP4 file; expected a name that ends in .mp4")
    if sound_of is not None and path.exists() and Path(sound_of).exists() and path.samefile(sound_of):
        raise OutputError(f"{path}: is the source itself; choose another name for the recording")
    sound = Sound(Path(sound_of)) if sound_of is not None else None
    try:
        return Recorder(path, rate=rate, sound=sound, quality=quality)
    except OSError as error:
        if sound is not None:
            sound.close()
        raise cannot_write(path, error) from error


def _fit(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The image in exactly this size: a missing row or column repeated, anything else scaled between black bars."""
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    if 0 <= height - rows <= 1 and 0 <= width - columns <= 1:
        return cv2.copyMakeBorder(image, 0, height - rows, 0, width - columns, cv2.BORDER_REPLICATE)  # type: ignore[return-value]
    scale = min(width / columns, height / rows)
    size_wh = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = (width - size_wh[0]) // 2, (height - size_wh[1]) // 2
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top : top + size_wh[1], left : left + size_wh[0]] = small
    return canvas
