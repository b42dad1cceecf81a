"""From an open PyAV container to upright RGB images with times; damaged packets are left out and counted."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import VideoError, import_extra
from mien.images import WHOLE_PIXELS, as_image

if TYPE_CHECKING:
    from av import VideoCodecContext
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_WITHOUT_END = {"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v"}
_WITH_SLICES, _SLICE = {"mpeg1video", "mpeg2video"}, re.compile(b"\0\0\1[\x01-\xaf]")
_MOST_PACKETS, _MOST_BYTES = 1000, 32 << 20

DEFAULT_RATE = 25.0
"""Frames a second where a source states none."""
_JUMP_S = 1.0  # times that fall back further than this are a clock that started anew
_TICK_S = 1e-4  # what sets frames apart whose times are equal or a little out of order
_NOT_VIDEO = {"image2", "image2pipe"}


class LastFrame:
    """Keeps the packets since the last keyframe, and decodes them once more where it matters.

    Players conceal missing parts of a frame in different ways; a decoder set to stop at errors reports them.
    HEVC's does not: it takes a frame without its last part for whole.
    """

    def __init__(self, format_name: str) -> None:
        self._wanted = format_name in _WITHOUT_END
        self._packets: list[Packet[VideoStream]] = []
        self._bytes = 0

    def add(self, packet: Packet[VideoStream]) -> None:
        """The next packet."""
        if not self._wanted or not packet.size:
            return
        if packet.is_keyframe or len(self._packets) >= _MOST_PACKETS or self._bytes >= _MOST_BYTES:
            self._packets, self._bytes = [], 0
        if packet.is_keyframe or self._packets:
            self._packets.append(packet)
            self._bytes += packet.size

    def is_cut(self, stream: VideoStream) -> bool:
        """Whether the last frame can't be decoded in full, though those before it can."""
        from av import CodecContext, FFmpegError

        if not self._packets:
            return False
        if stream.codec_context.name in _WITH_SLICES and not _SLICE.search(bytes(self._packets[-1])):
            return True  # only the header of a frame, for which the decoder returns neither frame nor error
        codec = cast("VideoCodecContext", CodecContext.create(stream.codec_context.name, "r"))
        codec.extradata = stream.codec_context.extradata
        codec.thread_count = 1  # so that an error belongs to the packet that was given
        codec.options = {"err_detect": "explode"}
        before = False
        for packet in self._packets[:-1]:
            try:
                before = any(frame.is_corrupt for frame in codec.decode(packet)) or before
            except FFmpegError:
                before = True
        try:
            return any(frame.is_corrupt for frame in (*codec.decode(self._packets[-1]), *codec.decode(None))) and (
                not before
            )
        except FFmpegError:
            return True


class VideoDecoder:
    """Decodes the video of a container, once, in order.

    skipped: damaged packets left out so far. rate: frames a second as stated, or None. frames: how many there will be,
    as stated or reckoned from the duration, or None. last_packet_s: how long the last packet is shown, 0 if unstated.
    """

    def __init__(self, container: InputContainer, name: str, *, live: bool) -> None:
        """Raises VideoError where the container has no video that can be decoded.

        name: for messages. live: threads within a frame, which add no delay; otherwise across frames, which is faster.
        """
        self._container = container
        self._name = name
        self._stream = _video_stream(container, name)
        codec = self._stream.codec_context
        _check_size(codec.width, codec.height, name)
        codec.options = {**codec.options, "max_pixels": str(WHOLE_PIXELS)}
        codec.thread_type = "SLICE" if live else "AUTO"
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.rate = float(rate) if rate else None
        self.stated_seconds = _stated_seconds(container, self._stream)
        self.frames = self._stream.frames or round((self.stated_seconds or 0) * (self.rate or 0)) or None
        self.skipped = 0
        self.last_packet_s = 0.0
        self._last_is_short = False
        self._last_frame = LastFrame("" if live else container.format.name)
        self._times = FrameTimes(self.rate or DEFAULT_RATE)
        self._aspect = self._stream.sample_aspect_ratio
        self._converter = _Converter()

    def __iter__(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """Seconds since the first frame, and uint8 RGB (H, W, 3).

        Raises av.FFmpegError where the container can't be read on, after all frames that were in it.
        """
        from av import FFmpegError

        try:
            for packet in self._packets():
                self._note(packet)
                try:
                    frames = packet.decode()
                except FFmpegError:
                    self.skipped += 1
                    continue
                yield from self._convert(frames)
            yield from self._convert(self._rest())
        except FFmpegError:
            yield from self._convert(self._rest())
            raise

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        try:
            yield from self._container.demux(self._stream)
        except IndexError:  # PyAV stumbles at the end over a track that began in mid-file, as in a damaged FLV
            return

    def last_frame_is_cut(self) -> bool:
        """After the last frame: whether its data ends too early, by FFmpeg and a second decoder."""
        return self._last_is_short or self._last_frame.is_cut(self._stream)

    def _note(self, packet: Packet[VideoStream]) -> None:
        self._last_frame.add(packet)
        if packet.size:
            self.last_packet_s = float((packet.duration or 0) * packet.time_base)
            # MPEG-TS has other reasons to doubt a packet.
            self._last_is_short = packet.is_corrupt and self._container.format.name != "mpegts"

    def _rest(self) -> list[VideoFrame]:
        """Frames that the decoder's threads still hold."""
        from av import FFmpegError

        try:
            return self._stream.codec_context.decode(None)
        except FFmpegError:
            return []

    def _convert(self, frames: Iterable[VideoFrame]) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        from av import FFmpegError

        for frame in frames:
            _check_size(frame.width, frame.height, self._name)
            stamp = frame.pts if frame.pts is not None else frame.dts
            time_s = self._times.seconds(stamp, frame.time_base or self._stream.time_base)
            try:
                image = self._converter.image(frame, self._aspect)
            except (FFmpegError, ValueError):  # colours that the converter does not know
                self.skipped += 1
                continue
            yield time_s, image


class FrameTimes:
    """Seconds since the first frame, always growing, from timestamps that may be missing or wrong."""

    def __init__(self, rate: float) -> None:
        self._step = 1 / rate
        self._origin: int | None = None
        self._last: float | None = None

    def seconds(self, stamp: int | None, time_base: Fraction | None) -> float:
        """The time of a frame with this timestamp in units of `time_base`, either of them None where missing.

        A missing one follows its forerunner by the stated rate. A clock that falls back by more than a second started
        anew, and times go on without a gap; smaller steps back are disorder, and the frame follows at once.
        """
        if self._last is None:
            self._origin = stamp
            self._last = 0.0
            return 0.0
        expected = self._last + self._step
        if stamp is None or not time_base:
            time_s = expected
        else:
            if self._origin is None:
                self._origin = stamp - round(expected / time_base)
            time_s = float((stamp - self._origin) * time_base)
            if time_s < self._last - _JUMP_S:
                self._origin = stamp - round(expected / time_base)
                time_s = expected
            elif time_s <= self._last:
                time_s = self._last + _TICK_S
        self._last = time_s
        return time_s


class _Converter:
    """Decoded frames -> upright RGB, alpha over white, square pixels."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()  # one for all frames: it keeps its tables
        self._with_alpha: dict[str, bool] = {}

    def image(self, frame: VideoFrame, aspect: Fraction | None) -> NDArray[np.uint8]:
        """uint8 (H, W, 3), contiguous, read-only."""
        layout = frame.format
        if layout.name not in self._with_alpha:
            self._with_alpha[layout.name] = layout.has_palette or any(part.is_alpha for part in layout.components)
        alpha = self._with_alpha[layout.name]
        width = frame.width
        if aspect and aspect != 1 and Fraction(1, 4) <= aspect <= 4:
            width = round(width * aspect)
        converted = self._reformatter.reformat(frame, width=width, format="rgba" if alpha else "rgb24", threads=1)
        image = _array(converted, 4 if alpha else 3)
        if alpha:
            image = as_image(image, "frame")
        matrix = _display_matrix(frame)
        if matrix is not None:
            image = _upright(image, matrix)
        image.flags.writeable = False
        return image


def open_container(
    place: object, name: str, *, options: dict[str, str], timeout_s: float | None = None
) -> InputContainer:
    """A path, address or readable object, opened by PyAV for reading. Raises VideoError, MissingExtraError.

    options: of FFmpeg's demuxers and protocols; the whitelist of protocols among them. timeout_s: for opening, and for
    each read.
    """
    import_extra("av", "video", "reading videos and streams")
    import av

    limits = {"max_pixels": str(WHOLE_PIXELS)}
    try:
        container = av.open(place, "r", options=limits | options, timeout=timeout_s, metadata_errors="replace")
    except av.FFmpegError as error:
        raise VideoError(f"{name}: {_why_not_open(error)}") from error
    if container.format.name in _NOT_VIDEO or container.format.name.endswith("_pipe"):
        container.close()
        raise VideoError(f"{name}: is an image, not a video; use  mien predict  for images")
    return container


def reason(error: Exception) -> str:
    """The reason that FFmpeg gives, without the address, which may hold a password."""
    return str(getattr(error, "strerror", None) or type(error).__name__)


def _why_not_open(error: Exception) -> str:
    import av

    match error:
        case av.error.InvalidDataError() | av.error.EOFError():
            return (
                "is no video that can be read: another kind of file, or damaged or cut off at its start or end; "
                "get a whole copy, or convert it to MP4 (H.264)"
            )
        case av.error.ProtocolNotFoundError():
            return "can't be opened: it needs a protocol that is not supported"
        case av.error.ExitError() | av.error.TimeoutError():
            return "no answer in time; check the address and the network"
        case av.error.HTTPError() | av.error.HTTPClientError():
            return f"the server refuses it ({reason(error)}); check the address"
        case _:
            return f"can't be opened ({reason(error)}); check that it is there and may be read"


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    from av.stream import Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise VideoError(f"{name}: has no video in it (sound or data only); give a file with moving images")
    decodable = [s for s in streams if s.codec_context is not None]
    if not decodable:
        raise VideoError(f"{name}: its video codec is not known; convert it to MP4 (H.264)")
    return decodable[0]


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > WHOLE_PIXELS:
        raise VideoError(
            f"{name}: has frames of {width:,} x {height:,} pixels, the limit is {WHOLE_PIXELS / 1e6:,.0f} million; "
            "make it smaller"
        )


def _stated_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """How long the video should be; None where only the whole container's duration is known, which may be a sound's."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration and len(container.streams) == 1:
        return container.duration / 1e6
    return None


def _array(frame: VideoFrame, channels: int) -> NDArray[np.uint8]:
    """The frame's only plane, without a copy where its lines have no padding."""
    plane = frame.planes[0]
    line = frame.width * channels
    flat = np.frombuffer(cast(bytes, plane), np.uint8)[: plane.line_size * frame.height]
    lines = flat.reshape(frame.height, plane.line_size)[:, :line]
    return np.ascontiguousarray(lines).reshape(frame.height, frame.width, channels)


def _display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    """The upper left part (a, b, c, d) of the matrix from stored to shown places; None where they are the same."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    values = struct.unpack("=9i", bytes(cast(bytes, data))[:36])
    matrix = (values[0], values[1], values[3], values[4])
    return None if matrix[0] > 0 and matrix[3] > 0 and not any(matrix[1:3]) else matrix


def _upright(image: NDArray[np.uint8], matrix: tuple[int, ...]) -> NDArray[np.uint8]:
    """Turns and mirrors by the nearest quarter turn: shown x = a x + c y, shown y = b x + d y."""
    a, b, c, d = matrix
    if abs(b) > abs(a):
        image = cv2.transpose(image)  # type: ignore[assignment]
        a, d = c, b
    if a < 0 or d < 0:
        code = -1 if a < 0 and d < 0 else (1 if a < 0 else 0)
        image = cv2.flip(image, code)  # type: ignore[assignment]
    return image
