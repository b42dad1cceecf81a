"""The sound of a video for a recording of it: copied where MP4 carries its codec, else encoded anew as AAC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import VideoError
from mien.media.video.files import open_file_container

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet

_COPIED = {"aac", "mp3", "mp3float", "ac3", "eac3", "opus", "libopus"}
_NEEDS_SETUP = {"aac", "opus", "libopus"}  # their set-up data must be in the header; MPEG-TS has it in each packet
_AAC_RATES = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000}
_LOOK_AHEAD = 16  # packets among which the video's first frame is


class Sound:
    """The first sound track of a video file, read piece by piece during the recording."""

    def __init__(self, path: Path) -> None:
        """Raises VideoError where the file can't be read. `found`: whether it has sound that can be decoded."""
        self._path = path
        self._origin_s = _first_frame_s(path)
        self._container = open_file_container(path)
        self._stream = next((s for s in self._container.streams.audio if s.codec_context is not None), None)
        self._packets: Iterator[Packet[AudioStream]] | None = None
        self._ready: Packet[AudioStream] | None = None
        self._out: AudioStream | None = None
        codec = self._stream.codec_context if self._stream is not None else None
        self.found = codec is not None and codec.sample_rate > 0
        self._copied = codec is not None and (
            codec.name in _COPIED and (codec.name not in _NEEDS_SETUP or bool(codec.extradata))
        )

    def add_to(self, container: OutputContainer) -> None:
        """Adds its track to the recording, before anything is written."""
        if not self.found or self._stream is None:
            return
        if self._copied:
            self._out = container.add_stream_from_template(self._stream)
        else:
            codec = self._stream.codec_context
            rate = codec.sample_rate if codec.sample_rate in _AAC_RATES else 48000
            self._out = container.add_stream("aac", rate=rate)
            self._out.codec_context.layout = "mono" if codec.channels == 1 else "stereo"
        self._packets = self._copies() if self._copied else self._encoded()

    def until(self, end_s: float, *, start_s: float) -> Iterator[Packet[AudioStream]]:
        """Packets that end before `end_s`, with times from `start_s` on; both in seconds from the video's first frame.

        What comes before `start_s` is left out. Each call continues where the last one ended.
        """
        while self._packets is not None:
            packet = self._ready if self._ready is not None else next(self._packets, None)
            if packet is None or self._out is None:
                self._packets = None
                return
            self._ready = packet
            begin = float((packet.pts or 0) * packet.time_base) - self._origin_s
            if begin + float((packet.duration or 0) * packet.time_base) / 2 > end_s:
                return
            self._ready = None
            if begin < start_s:
                continue  # MP4 would move the video for it
            packet.pts = packet.dts = round((begin - start_s) / packet.time_base)
            packet.stream = self._out
            yield packet

    def close(self) -> None:
        """Closes the file."""
        self._packets = None
        self._container.close()

    def _copies(self) -> Iterator[Packet[AudioStream]]:
        from av import FFmpegError

        assert self._stream is not None
        try:
            for packet in self._container.demux(self._stream):
                if packet.pts is not None and packet.size:
                    yield packet
        except FFmpegError:  # a damaged file: its sound ends here, as its frames do
            return

    def _encoded(self) -> Iterator[Packet[AudioStream]]:
        from av import FFmpegError

        assert self._stream is not None and self._out is not None
        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = packet.decode()
                except FFmpegError:
                    continue
                for frame in frames:
                    yield from self._out.encode(frame)
        except FFmpegError:
            pass
        yield from self._out.encode(None)


def _first_frame_s(path: Path) -> float:
    """The time of the first frame on the clock of the file; times of frames are relative to it."""
    with open_file_container(path) as container:
        stamps = []
        for packet in container.demux(video=0):
            if packet.pts is not None and not packet.is_discard:
                stamps.append(float(packet.pts * packet.time_base))
            if len(stamps) >= _LOOK_AHEAD:
                break
        if not stamps:
            raise VideoError(f"{path}: has no video whose sound could be kept")
        return min(stamps)
