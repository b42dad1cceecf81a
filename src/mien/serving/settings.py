"""Settings of the server: address, models, access, and every limit."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mien.config import Setting, check_ranges, within
from mien.errors import ServingError
from mien.releases import DEFAULT_MODEL

_TOKEN = re.compile(r"[A-Za-z0-9_.~-]{16,200}")  # valid unescaped in a header and in a WebSocket subprotocol
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?", re.ASCII | re.IGNORECASE)
_ORIGIN = re.compile(r"https?://[^/\s*]+")

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Of every response."""

_Count = Annotated[int, within(1)]
_Seconds = Annotated[float, within(0, open=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Settings of `serve`. Every value is checked when the object is created.

    models, detectors: choices of a request; the first is the default. device: as for `Recognizer`. batch_window_ms:
    faces of requests that arrive within this window are classified together, batch_size at most. client_share: of
    connections, uploads, their memory, places and streams that a single client may have; a client is a token, or else
    an address. max_frame_mb: of a stream; max_streams: concurrent, per worker. head_timeout_s: for a request's head, of
    an idle connection, and for the next 40 kB of an upload. timeout_s: from a request's head to its response, and for
    a client that does not read. stream_timeout_s: a stream without a frame for this long is closed. shutdown_timeout_s:
    for running requests when the server stops.

    Of videos: max_video_pixels: of each frame. video_jobs, video_queue: in progress and waiting, per worker.
    max_videos, max_video_disk_mb: kept, by all workers together; 0 MB: 4096, or twice max_video_mb. video_work_s: for
    one video. video_ttl_s: ended jobs are removed after this time. video_folder: shared by the workers of one server;
    None: a private temporary folder.
    """

    host: Annotated[str, Setting("Where to listen; only this machine can reach the default.")] = "127.0.0.1"
    port: Annotated[int, Setting("0 takes any free one.", 0, 65535)] = 8000
    admin_port: Annotated[
        int, Setting("Answer /healthz, /readyz and /metrics on this port too, without a token; 0: no.", 0, 65535)
    ] = 0
    models: Annotated[
        tuple[str, ...],
        Setting(
            "A shipped model's name or a file, or A+B for the mean of both; repeatable: requests choose one.",
            flags=("--model", "-m"),
            complete="model",
        ),
    ] = (DEFAULT_MODEL,)
    detectors: Annotated[
        tuple[str, ...],
        Setting(
            "auto, mtcnn, yunet, centerface, haar or none; repeatable: requests choose one.",
            flags=("--detector", "-d"),
            complete="detector",
        ),
    ] = ("auto",)
    cascade: Annotated[Path | None, Setting("A cascade file for the detector haar.", metavar="FILE")] = None
    device: Annotated[str, Setting("Where networks run: auto, cpu, cuda, coreml, openvino, directml, ...")] = "auto"
    min_face: Annotated[int, Setting("Leave out smaller faces, in pixels.", 1, metavar="PX")] = 20
    details: Annotated[bool, Setting("Also return head pose, gaze, eyes, mouth and blendshapes of each face.")] = False
    balance: Annotated[
        float | None,
        Setting(
            "How far the training mix of expressions is evened out. [default: each model's own]", 0, 1, metavar="B"
        ),
    ] = None
    prior: Annotated[
        Path | None, Setting("Your mix of expressions: JSON, label -> count or share.", metavar="FILE")
    ] = None
    threads: Annotated[
        int, Setting("Images in which a worker detects faces at once; 0: its share of the cores.", 0)
    ] = 0
    token_file: Annotated[Path | None, Setting("Require a token of this file, one a line.", metavar="FILE")] = None
    max_upload_mb: Annotated[int, Setting("The largest request.", 1, flags=("--max-upload",), metavar="MB")] = 32
    max_memory_mb: Annotated[
        int, Setting("Memory of each worker, without videos.", 200, flags=("--max-memory",), metavar="MB")
    ] = 1000
    max_pixels: Annotated[
        int, Setting("Pixels of the largest image; a larger JPEG is decoded at a reduced scale.", 1)
    ] = 50_000_000
    max_files: Annotated[int, Setting("Images in one request; at most --queue.", 1)] = 32
    max_connections: Annotated[int, Setting("Open connections of each worker.", 1)] = 256
    client_share: Annotated[float, within(0, 1, open=True)] = 0.75
    max_streams: _Count = 16
    max_frame_mb: _Count = 4
    queue_length: Annotated[
        int, Setting("Images queued or in progress; with more, requests are refused (503).", 1, flags=("--queue",))
    ] = 128
    head_timeout_s: _Seconds = 10
    timeout_s: Annotated[
        float,
        Setting("For a request: its upload, its wait and the work.", 0, open=True, flags=("--timeout",), metavar="S"),
    ] = 60
    stream_timeout_s: _Seconds = 60
    shutdown_timeout_s: float = 30
    batch_window_ms: Annotated[float, within(0, 1000)] = 4
    batch_size: _Count = 64
    allowed_origins: Annotated[
        tuple[str, ...],
        Setting(
            "A web site whose pages may use this server: https://example.org",
            flags=("--allow-origin",),
            metavar="ORIGIN",
        ),
    ] = ()
    on_device: Annotated[
        Path | None,
        Setting("A folder of `mien export web`: the page can then keep images on the device.", metavar="DIR"),
    ] = None
    videos: Annotated[bool, Setting("Accept videos; needs the extra [video].", flags=("--videos/--no-videos",))] = True
    max_video_mb: Annotated[int, Setting("The largest video.", 1, flags=("--max-video",), metavar="MB")] = 512
    max_video_s: Annotated[
        float, Setting("The longest video.", 0, open=True, flags=("--max-video-seconds",), metavar="SECONDS")
    ] = 600
    max_video_pixels: _Count = 10_000_000
    video_jobs: _Count = 1
    video_queue: Annotated[int, within(0)] = 4
    max_videos: _Count = 32
    max_video_disk_mb: int = 0
    video_upload_timeout_s: _Seconds = 600
    video_work_s: _Seconds = 3600
    video_ttl_s: _Seconds = 900
    video_folder: Path | None = None
    trusted_proxies: Annotated[
        tuple[str, ...],
        Setting(
            "Address of a proxy whose X-Forwarded-For names the client.", flags=("--trusted-proxy",), metavar="ADDRESS"
        ),
    ] = ()
    json_logs: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        check_ranges(self, ServingError)
        if not self.max_video_disk_mb:
            object.__setattr__(self, "max_video_disk_mb", max(4096, 2 * self.max_video_mb))
        if not self.models or not self.detectors or len(set(self.models)) < len(self.models):
            raise ServingError("name at least one model and one face detector, and no model twice")
        if self.max_video_disk_mb < self.max_video_mb:
            raise ServingError(f"max_video_disk_mb is {self.max_video_disk_mb}; expected max_video_mb or more")
        if self.max_memory_mb < 10 * self.max_upload_mb:
            least = 10 * self.max_upload_mb
            raise ServingError(f"max_memory_mb is {self.max_memory_mb}; expected ten times max_upload_mb, {least}")
        if self.queue_length < self.max_files:
            raise ServingError(f"max_files is {self.max_files}; expected at most queue_length ({self.queue_length})")
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ServingError(f"allowed origin '{origin}': expected scheme and host, as https://example.org")

    @property
    def frame_bytes(self) -> int:
        """The largest frame of a stream."""
        return min(self.max_frame_mb, self.max_upload_mb) * 1_000_000


def host_of(header: str) -> str:
    """The name or address in a Host header, without its port; empty if the header is invalid."""
    found = _HOST.fullmatch(header)
    return found[1] if found else ""


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
