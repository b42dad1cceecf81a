"""A client of video jobs for tests, and what it finds on the server's disk and among its processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from made_server import ask, until

ENDED = {"done", "incomplete", "failed"}


def folders_in(temporary: Path) -> list[Path]:
    """Folders of servers; other libraries have files of their own there."""
    return list(temporary.glob("mien-*"))


def left_in(folder: Path) -> list[Path]:
    """Folders of jobs."""
    return [place for place in folder.glob("mien-videos-*/*") if place.name != "lock"]


def send(port: int, video: bytes | Path, **headers: str) -> Any:
    return ask(port, "POST", "/v1/videos", video if isinstance(video, bytes) else video.read_bytes(), **headers)


def state_of(port: int, video: str, **headers: str) -> Any:
    return ask(port, "GET", f"/v1/videos/{video}", **headers).json


def ended(port: int, video: str) -> Any:
    until(lambda: state_of(port, video)["state"] in ENDED, 60)
    return state_of(port, video)


def working() -> list[tuple[int, int]]:
    """Processes that work on a video, and their parents, as far as Linux's /proc tells."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if b"mien.serving.video_work" in (place / "cmdline").read_bytes():
                parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                found.append((int(place.name), parent))
        except OSError:
            continue
    return found
