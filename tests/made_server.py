"""A real server on a free local port for tests, in a thread of this process, and small clients."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.results import Detections
from mien.serving.run import make_server
from mien.serving.settings import ServeSettings

BOUNDARY = "test-boundary"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code; fails where the answer is not in the one shape of errors."""
        assert self.status >= 400
        assert self.headers["content-type"] == "application/json"
        ((key, error),) = self.json.items()
        assert (key, set(error)) == ("error", {"code", "message"})
        return str(error["code"])


@contextmanager
def serving(model: Path, **settings: Any) -> Iterator[int]:
    """The port of a warm server."""
    wanted = {"models": (str(model),), "detectors": ("none",), **settings}
    server = make_server(ServeSettings(**wanted))
    listening = [socket.create_server(("127.0.0.1", port)) for port in (0, *filter(None, [settings.get("admin_port")]))]
    thread = threading.Thread(target=server.run, kwargs={"sockets": listening})
    thread.start()
    port = int(listening[0].getsockname()[1])
    try:
        until(lambda: server.started and ask(port, "GET", "/readyz").status == 200)
        yield port
    finally:
        server.should_exit = True
        thread.join(20)
        for each in listening:
            each.close()
        assert not thread.is_alive()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def until(true: Any, seconds: float = 20.0) -> None:
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def form(*files: tuple[str, bytes]) -> bytes:
    """The body of a multipart form."""
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\nContent-Type: text/html\r\n\r\n%s\r\n'
        % (BOUNDARY.encode(), name.encode(), data)
        for name, data in files
    ]
    return b"".join(parts) + b"--%s--\r\n" % BOUNDARY.encode()


def post(port: int, path: str, *files: tuple[str, bytes], **headers: str) -> Answer:
    """A multipart upload."""
    return ask(port, "POST", path, form(*files), Content_Type=f"multipart/form-data; boundary={BOUNDARY}", **headers)


def metric(port: int, name: str) -> float:
    """A figure of /metrics, by its name with labels; 0 where it is not there yet."""
    for line in ask(port, "GET", "/metrics").body.decode().splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    return 0.0


def noise(seed: int, height: int = 48, width: int = 48) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def png(seed: int = 0, height: int = 48, width: int = 48) -> bytes:
    return bytes(cv2.imencode(".png", noise(seed, height, width))[1])


def jpeg(seed: int = 0) -> bytes:
    return bytes(cv2.imencode(".jpg", noise(seed))[1])


class Gate:
    """A detector that waits until it may go on; then the image is the face."""

    name = "gate"

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = 0

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        self.entered += 1
        assert self.open.wait(20)
        height, width = image.shape[:2]
        return Detections(np.float32([[0, 0, width, height]]), np.float32([1]), cropped=True)
