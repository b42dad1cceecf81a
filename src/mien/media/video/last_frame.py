"""Whether the last frame of a stream is all there, for formats that state neither sizes nor counts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from av import VideoCodecContext
    from av.packet import Packet
    from av.video.stream import VideoStream

_WITHOUT_END = {"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v"}
_WITH_SLICES, _SLICE = {"mpeg1video", "mpeg2video"}, re.compile(b"\0\0\1[\x01-\xaf]")
_MOST_PACKETS, _MOST_BYTES = 1000, 32 << 20


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
