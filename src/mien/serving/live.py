"""The live page of `mien watch`: the newest frame of a camera or stream with its faces, in a browser on this machine.

A small HTTP server on 127.0.0.1. Requests need the random token of its URL and a local host name (another name would be
DNS rebinding). The server holds only the newest frame: nothing is stored, and nothing leaves the machine.
"""

from __future__ import annotations

import base64
import errno
import hmac
import json
import secrets
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import OutputError
from mien.pages import design_names, plain, shrink
from mien.results import FrameResult
from mien.results.draw import encode_image
from mien.serving.settings import SECURITY_HEADERS, host_of, is_loopback

if TYPE_CHECKING:
    from mien.recognition.watch import WatchStats

DEFAULT_PORT = 8642
"""Tried first, so that a forwarded port stays the same across restarts."""

_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = {
    "": "serving/live_page/live.html",
    "watch.js": "serving/live_page/watch.js",
    "icon.svg": "serving/static/icon.svg",
    **{f"design/{name}": f"pages/design/{name}" for name in design_names()},
}
"""The page's own files, and the design that all pages share; below the package."""

_BOUNDARY = "mien-frame"
_STREAM_EDGE = 1280  # pixels; a snapshot has the frame's full size
_STREAM_QUALITY = 80
_EVENT_PERIOD_S = 0.1
_KEEP_ALIVE_S = 2.0  # longest time without a message; a failed one shows that the viewer has disconnected
_SEND_TIMEOUT_S = 10.0  # a viewer that reads nothing for this long is disconnected
_SEND_BUFFER = 256 * 1024  # bytes; small, because buffered frames are old when they are shown
_MAX_VIEWERS = 24


class LivePage:
    """A web page with the newest frame, its faces, frame rate and latency. Takes drawn frame results one by one.

    Each viewer gets the newest frame whenever it can receive one. Nothing is encoded without viewers.
    """

    def __init__(
        self, labels: Sequence[str], *, stats: Callable[[], WatchStats], source: str = "", port: int | None = None
    ) -> None:
        """Starts the server.

        labels: of the model, in its order. stats: called at most ten times per second and viewer, from other threads.
        source: the source's name on the page. port: None uses 8642, or a free port if 8642 is in use.
        Raises OutputError if the given port can't be used.
        """
        self.token = secrets.token_urlsafe(16)
        self._stats = stats
        self.about = json.dumps({"source": plain(source), "labels": list(labels)})
        self._changed = threading.Condition()
        self._newest: FrameResult | None = None
        self._shown = 0  # count of frames, by which viewers detect a newer one
        self._closed = False
        self._viewers = 0
        self._encoding = threading.Lock()
        self._encoded: tuple[int, bytes] = (0, b"")
        self._server = _bind(self, port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="mien-live", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """The URL for the browser; anyone on this machine who knows it can view the page."""
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def write(self, result: FrameResult) -> None:
        """Replaces the shown frame by a frame result with a drawn image. Does not wait for viewers."""
        with self._changed:
            self._newest = result
            self._shown += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Sends the end to all viewers and stops the server. Further calls do nothing."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._viewers == 0, timeout=1.0)
            self._newest = None
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # Used by the handlers

    @contextmanager
    def viewer(self) -> Iterator[bool]:
        """Counts a viewer while the block runs. Yields False if there are too many."""
        with self._changed:
            admitted = self._viewers < _MAX_VIEWERS
            self._viewers += admitted
        try:
            yield admitted
        finally:
            with self._changed:
                self._viewers -= admitted
                self._changed.notify_all()

    def frames(self) -> Iterator[tuple[int, FrameResult | None]]:
        """Yields the newest frame and its count at each change, and every 2 s without one, until the page is closed."""
        seen = 0
        while True:
            with self._changed:
                if not self._closed and self._shown == seen:
                    self._changed.wait(_KEEP_ALIVE_S)
                if self._closed:
                    return
                seen, newest = self._shown, self._newest
            yield seen, newest

    def jpeg(self, shown: int, result: FrameResult) -> bytes:
        """A frame for the stream, encoded once for all viewers."""
        assert result.image is not None
        with self._encoding:
            if self._encoded[0] < shown:
                image = shrink(result.image, _STREAM_EDGE)
                self._encoded = (shown, encode_image(image, ".jpg", quality=_STREAM_QUALITY))
            return self._encoded[1]

    def event(self, result: FrameResult) -> str:
        """A frame's faces with frame rate and latency, as JSON."""
        stats, frame = self._stats(), result.to_dict()
        for face in frame["faces"]:
            face.get("details", {}).pop("mesh", None)  # ten times as long as the rest, and not shown
        latency = {"latency_p50_s": stats.latency_p50_s, "latency_p95_s": stats.latency_p95_s}
        return json.dumps({**frame, "fps": stats.frames_per_s, "dropped": stats.dropped, **latency})

    def snapshot(self) -> str | None:
        """The newest drawn frame at full size, with its faces, as JSON; None before the first frame."""
        with self._changed:
            result = self._newest
        if result is None or result.image is None:
            return None
        jpeg = base64.b64encode(encode_image(result.image, ".jpg")).decode("ascii")
        return json.dumps({"name": f"frame-{result.frame:06d}", "frame": result.to_dict(), "jpeg": jpeg})


class _Server(socketserver.ThreadingTCPServer):  # HTTPServer looks up the host's name, which may use the network
    allow_reuse_address, daemon_threads = True, True


def _bind(page: LivePage, port: int | None) -> _Server:
    wanted, handler = DEFAULT_PORT if port is None else port, partial(_Handler, page)
    try:
        return _Server(("127.0.0.1", wanted), handler)
    except (OSError, OverflowError) as error:
        if port is None and getattr(error, "errno", None) in {errno.EADDRINUSE, errno.EACCES}:
            return _bind(page, 0)
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"port {port}: can't be used on 127.0.0.1 ({reason}); choose another") from error


class _Handler(BaseHTTPRequestHandler):
    """One request. Without the token every request gets 404."""

    server_version, sys_version = "mien", ""
    timeout = _SEND_TIMEOUT_S

    def __init__(self, page: LivePage, *connection: Any) -> None:
        self.page = page
        super().__init__(*connection)

    def handle(self) -> None:
        """Handles the request until the viewer disconnects."""
        with suppress(ConnectionError, TimeoutError):
            super().handle()

    def do_GET(self) -> None:
        """Serves the page, its files and the two streams."""
        match self._wanted():
            case "stream.mjpeg":
                self._view(self._send_frames)
            case "events":
                self._view(self._send_events)
            case name if name in _FILES:
                file = resources.files("mien").joinpath(_FILES[name])
                self._send(HTTPStatus.OK, f"{_TYPES[Path(file.name).suffix]}; charset=utf-8", file.read_bytes())
            case _:
                self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Serves a snapshot."""
        if self._wanted() != "snapshot" or self.headers.get("Origin") not in (
            None,
            f"http://{self.headers.get('Host')}",
        ):
            self.send_error(HTTPStatus.NOT_FOUND)
        elif (snapshot := self.page.snapshot()) is None:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            self._send(HTTPStatus.OK, "application/json", snapshot.encode())

    def _wanted(self) -> str | None:
        """The requested path below the token; None for a wrong token or host name."""
        token, slash, wanted = self.path.removeprefix("/").partition("?")[0].partition("/")
        known = hmac.compare_digest(token.encode(), self.page.token.encode())
        local = is_loopback(host_of(self.headers.get("Host", "")))  # with any port, as it may be forwarded
        return wanted if slash and local and known else None

    def _view(self, send: Callable[[], None]) -> None:
        with self.page.viewer() as admitted:
            if not admitted:
                self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
                return
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            send()

    def _send_frames(self) -> None:
        self._head(HTTPStatus.OK, f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self._put(f"--{_BOUNDARY}\r\n")
        for shown, result in self.page.frames():  # without a new frame the last one is sent again
            if result is not None and result.image is not None:
                jpeg = self.page.jpeg(shown, result)
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                # Browsers show a part when they receive the boundary after it.
                self.wfile.write(head.encode() + jpeg + f"\r\n--{_BOUNDARY}\r\n".encode())

    def _send_events(self) -> None:
        self._head(HTTPStatus.OK, "text/event-stream")
        self._put(f"event: about\ndata: {self.page.about}\n\n")
        seen, began = 0, time.monotonic()
        for shown, result in self.page.frames():
            if result is None or shown == seen:
                self._put(": waiting\n\n")
            else:
                seen = shown
                self._put(f"data: {self.page.event(result)}\n\n")
                time.sleep(max(0.0, began + _EVENT_PERIOD_S - time.monotonic()))
            began = time.monotonic()
        self._put("event: ended\ndata: {}\n\n")

    def _put(self, text: str) -> None:
        self.wfile.write(text.encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self._head(status, kind, len(body))
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """All errors, those of http.server too, have one text and the headers of other answers."""
        status = HTTPStatus(code)
        self._send(status, "text/plain; charset=utf-8", f"{status.phrase}\n".encode())

    def _head(self, status: HTTPStatus, kind: str, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in {**SECURITY_HEADERS, "cache-control": "no-store"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Disables logging."""
