"""Settings of the server: address, models, access, and every limit."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path

from mien.errors import ServingError
from mien.faces import DETECTORS
from mien.model_file import DEFAULT_MODEL
from mien.suggestions import did_you_mean

_TOKEN = re.compile(r"[A-Za-z0-9_.~-]{16,200}")  # valid unescaped in a header and in a WebSocket subprotocol
_ORIGIN = re.compile(r"https?://[^/\s*]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Settings of `serve`. Every value is checked when the object is created.

    Recognition:
        models, detectors: choices of a request; the first is the default.
        device: where networks run, as for `Recognizer`.
        min_face: pixels.
        threads: images that are decoded and searched for faces concurrently; 0: one per processor core.
        batch_window_ms: faces of requests that arrive within this window are classified together.
        batch_size: faces.

    Access:
        token_file: bearer tokens, one per line; None: no token is needed.
        allowed_origins: other web sites whose pages may use this server, such as `https://example.org`.
        on_device: a folder written by `mien export web`, for the page's switch "Keep images on this device".

    Limits:
        max_upload_mb, max_files: of one request.
        max_held_mb: of all uploads in memory.
        max_pixels: of one image, by its header; a larger JPEG is decoded at a reduced scale.
        max_connections, max_streams: concurrent, per worker.
        queue_length: images queued or in progress.
        head_timeout_s: for a request's head, and of an idle connection.
        upload_timeout_s: for a request's body.
        answer_timeout_s: for recognition, and for a client that does not read the response.
        stream_timeout_s: a stream without a frame for this long is closed.
        shutdown_timeout_s: for running requests when the server stops.

    Videos, with the extra [video]:
        videos: whether they are accepted.
        max_video_mb, max_video_s, max_video_pixels: of one upload, of its duration, and of each frame.
        video_jobs, video_queue: in progress and waiting, per worker.
        max_videos, max_video_disk_mb: kept, by all workers together.
        video_upload_timeout_s, video_work_s: for one video.
        video_ttl_s: ended jobs are removed after this time.
        video_folder: shared by the workers of one server; None: a private temporary folder.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    models: tuple[str, ...] = (DEFAULT_MODEL,)
    detectors: tuple[str, ...] = ("mtcnn",)
    cascade: Path | None = None
    yunet_weights: Path | None = None
    device: str = "auto"
    min_face: int = 20
    token_file: Path | None = None
    max_upload_mb: int = 32
    max_held_mb: int = 256
    max_pixels: int = 50_000_000
    max_files: int = 32
    max_connections: int = 256
    max_streams: int = 16
    queue_length: int = 128
    head_timeout_s: float = 10
    upload_timeout_s: float = 60
    answer_timeout_s: float = 60
    stream_timeout_s: float = 60
    shutdown_timeout_s: float = 30
    batch_window_ms: float = 4
    batch_size: int = 64
    threads: int = 0
    allowed_origins: tuple[str, ...] = ()
    on_device: Path | None = None
    videos: bool = True
    max_video_mb: int = 512
    max_video_s: float = 600
    max_video_pixels: int = 10_000_000
    video_jobs: int = 1
    video_queue: int = 4
    max_videos: int = 32
    max_video_disk_mb: int = 4096
    video_upload_timeout_s: float = 600
    video_work_s: float = 3600
    video_ttl_s: float = 900
    video_folder: Path | None = None
    json_logs: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ServingError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in _ABOVE_ZERO:
            if not getattr(self, name) > 0:
                raise ServingError(f"{name} is {getattr(self, name)}; expected more than 0 seconds")
        if not 0 <= self.port <= 65535:
            raise ServingError(f"port is {self.port}; expected 1 to 65535, or 0 for any free one")
        if not 0 <= self.batch_window_ms <= 1000 or self.threads < 0:
            raise ServingError("batch_window_ms must be 0 to 1000, and threads at least 0")
        if not self.models or len(set(self.models)) < len(self.models):
            raise ServingError("name at least one model, and none twice")
        if not self.detectors or (unknown := set(self.detectors) - set(DETECTORS)):
            named = ", ".join(sorted(unknown)) if self.detectors else "none given"
            hint = did_you_mean(named, DETECTORS)
            raise ServingError(f"face detectors: {named}; {hint}choose from {', '.join(DETECTORS)}")
        if self.video_queue < 0 or self.max_video_disk_mb < self.max_video_mb:
            raise ServingError("video_queue must be at least 0, and max_video_disk_mb at least max_video_mb")
        if self.max_held_mb < self.max_upload_mb or self.queue_length < self.max_files:
            raise ServingError("max_held_mb must be at least max_upload_mb, and queue_length at least max_files")
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ServingError(f"allowed origin '{origin}': expected scheme and host, as https://example.org")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def thread_count(self) -> int:
        """Images that are decoded and searched for faces concurrently."""
        return self.threads or os.cpu_count() or 1


_AT_LEAST_ONE = (
    "min_face", "max_upload_mb", "max_held_mb", "max_pixels", "max_files", "max_connections", "max_streams",
    "queue_length", "batch_size", "max_video_mb", "max_video_pixels", "video_jobs", "max_videos",
)  # fmt: skip
_ABOVE_ZERO = (
    "head_timeout_s", "upload_timeout_s", "answer_timeout_s", "stream_timeout_s", "shutdown_timeout_s", "max_video_s",
    "video_upload_timeout_s", "video_work_s", "video_ttl_s",
)  # fmt: skip


def is_loopback(host: str) -> bool:
    """Whether a name or address (IPv6 with or without brackets) is a loopback one."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_tokens(path: Path) -> tuple[str, ...]:
    """Reads the bearer tokens of a file, one per line. Empty lines and lines that begin with # are skipped.

    Raises ServingError if the file is unreadable or has no token. Also if a token is too short or has characters
    other than letters, digits and -._~, which are valid in a WebSocket subprotocol.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(f"{path}: can't be read as a token file ({error}); expected one token per line") from error
    tokens = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if not tokens:
        raise ServingError(f"{path}: has no token; write one per line, for example from  openssl rand -hex 32")
    for number, token in enumerate(tokens, start=1):
        if not _TOKEN.fullmatch(token):  # the token itself stays out of the message
            raise ServingError(
                f"{path}: token {number} can't be used; expected 16 to 200 letters, digits and -._~, "
                "for example from  openssl rand -hex 32"
            )
    return tokens
