"""Live streams from the network, opened again when they are lost; files on web servers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mien.errors import VideoError
from mien.media.video.decoding import VideoDecoder, open_container, reason
from mien.media.video.files import VideoFile
from mien.media.video.frames import Frame, SingleUse

if TYPE_CHECKING:
    from av.container import InputContainer

# What FFmpeg may reach for each kind of address, also through playlists and redirections.
PROTOCOLS = {
    "http": "http,https,httpproxy,tcp,tls",
    "https": "http,https,httpproxy,tcp,tls",
    "rtsp": "rtp,udp,tcp",
    "rtmp": "rtmp,tcp",
    "udp": "udp",
}

GIVE_UP_AFTER_S = 60.0

_TIMEOUT_S = 10.0
_LONGEST_WAIT_S = 30.0
_PLAYLISTS = {"hls", "dash"}  # their own length is not that of the video


class LiveStream(SingleUse):
    """A stream without an end. When it is lost, it is opened again after 1, 2, 4 ... 30 s.

    Frame numbers count on; times go on by the wall clock.
    """

    live = True
    frames: int | None = None

    def __init__(self, url: str, container: InputContainer, *, give_up_after_s: float) -> None:
        """Takes the open container over. give_up_after_s: seconds without a frame, then VideoError."""
        super().__init__()
        self.name = shown_address(url)
        self._url = url
        self._give_up_after_s = give_up_after_s
        self._skipped_before = 0
        self._container = container
        self._decoder = self._decode(container)
        self.rate = self._decoder.rate

    @property
    def skipped(self) -> int:
        """Damaged frames left out so far."""
        return self._skipped_before + self._decoder.skipped

    def _frames(self) -> Iterator[Frame]:
        from av import FFmpegError

        number, last_s = 0, 0.0
        first = last_arrival = time.monotonic()
        wait = 1.0
        while not self._closed.is_set():
            why = "the server ended it"
            offset: float | None = None
            try:
                for time_s, image in self._decoder:
                    if self._closed.is_set():
                        return
                    last_arrival = time.monotonic()
                    if number == 0:
                        first = last_arrival
                    if offset is None:
                        offset = max(last_arrival - first, last_s + 0.001) if number else 0.0
                    last_s = offset + time_s
                    yield Frame(number, last_s, image, last_arrival)
                    number += 1
                    wait = 1.0
            except FFmpegError as error:
                why = reason(error)
            self._container.close()
            wait = self._reconnect(wait, last_arrival, number, why)

    def _release(self) -> None:
        self._container.close()

    def _reconnect(self, wait: float, last_arrival: float, number: int, why: str) -> float:
        """Opens the stream again; returns the next wait, should that bring no frame. Raises VideoError."""
        while True:
            left = last_arrival + self._give_up_after_s - time.monotonic()
            if left <= 0:
                raise VideoError(
                    f"{self.name}: lost after {number} frames ({why}) and not back within "
                    f"{self._give_up_after_s:g} s; earlier frames are kept; check the camera or server"
                )
            if self._closed.wait(min(wait, left)):
                return wait
            wait = min(2 * wait, _LONGEST_WAIT_S)
            try:
                container = connect(self._url)
                decoder = self._decode(container)
            except VideoError as error:
                why = str(error).removeprefix(f"{self.name}: ")
                continue
            self._skipped_before += self._decoder.skipped
            self._container, self._decoder = container, decoder
            return wait

    def _decode(self, container: InputContainer) -> VideoDecoder:
        try:
            return VideoDecoder(container, self.name, live=True)
        except VideoError:
            container.close()
            raise


def open_address(url: str, *, give_up_after_s: float, live: bool | None) -> LiveStream | VideoFile:
    """A stream, or a file on a web server. live: None: as it is; else as wished. Raises VideoError."""
    container = connect(url)
    if live is None:
        playlist = container.format.name.split(",")[0] in _PLAYLISTS
        live = not (scheme(url).startswith("http") and (container.duration or (not playlist and container.size > 0)))
    if live:
        return LiveStream(url, container, give_up_after_s=give_up_after_s)
    return VideoFile(container, shown_address(url))


def connect(url: str) -> InputContainer:
    """Opens the address with the protocols that its kind may use. Raises VideoError."""
    kind = scheme(url)
    name = shown_address(url)
    if kind not in PROTOCOLS:
        raise VideoError(f"{name}: {kind}:// is not supported; expected {', '.join(f'{k}://' for k in PROTOCOLS)}")
    options = {"protocol_whitelist": PROTOCOLS[kind]}
    if kind == "rtsp":
        options["rtsp_flags"] = "prefer_tcp"  # UDP loses packets, and frames with them
    return open_container(url, name, options=options, timeout_s=_TIMEOUT_S)


def is_address(source: str) -> bool:
    """Whether it is written like an address: SCHEME://..."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source) is not None


def scheme(url: str) -> str:
    """The part before ://, in small letters."""
    return url.split("://", 1)[0].lower()


def shown_address(url: str) -> str:
    """The address without user, password and query, which may hold secrets."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    path = urlsplit(url).path
    return f"{scheme(url)}://{host}{path}"
