"""Opens a file, folder, camera, address or standard input as a source of frames."""

from __future__ import annotations

import sys
from pathlib import Path

from mien.errors import VideoError
from mien.media.video.camera import Camera
from mien.media.video.files import open_file
from mien.media.video.frames import FrameSource
from mien.media.video.image_frames import ImageFolder, open_animation
from mien.media.video.network import GIVE_UP_AFTER_S, is_address, open_address
from mien.media.video.pipes import RawFormat, open_pipe
from mien.media.video.relay import Relayed

__all__ = ["RawFormat", "open_video"]


def open_video(
    source: str | int | Path,
    *,
    raw: RawFormat | None = None,
    rate: float | None = None,
    live: bool | None = None,
    give_up_after_s: float = GIVE_UP_AFTER_S,
) -> FrameSource:
    """Opens a source of frames; it can be read once.

    - a video file: exact times, upright, RGB; a damaged packet is left out and counted in `.skipped`
    - an animated GIF, PNG, WebP or AVIF: every frame at its own time
    - a folder: its images in natural order, `rate` frames a second (25)
    - a number, also as text: a camera; live, the newest frame wins
    - rtsp://, rtmp://, udp://, http://, https://: a live stream, opened again when it is lost, until no frame has come
      for `give_up_after_s` seconds; a file on a web server is read like a file
    - "-": standard input: a container that can be read from front to back, or bare frames in the format `raw`

    raw: for standard input only. rate: frames a second, for folders and formats without times. live: overrides
    whether frames arrive in real time, so that a slow reader misses some.
    Raises VideoError, also while frames are read; MissingExtraError without PyAV.
    """
    if rate is not None and not 0 < rate <= 1000:
        raise VideoError(f"{rate:g} frames a second; expected above 0, 1000 at most")
    if raw is not None and source != "-":
        raise VideoError(f"{source}: raw frames are read from standard input only; give - as the source")
    opened: FrameSource
    if isinstance(source, int) or (isinstance(source, str) and source.isdecimal()):
        opened = Relayed(Camera(_camera_number(source)), newest=True)
    elif source == "-":
        opened = open_pipe(_standard_input(), "standard input", raw=raw, rate=rate, live=bool(live))
    elif isinstance(source, str) and is_address(source):
        opened = Relayed(open_address(source, give_up_after_s=give_up_after_s, live=live), newest=False)
    elif Path(source).is_dir():
        opened = ImageFolder(Path(source), rate=rate)
    else:
        opened = open_animation(Path(source)) or open_file(Path(source), rate=rate, live=bool(live))
    if live is not None:
        opened.live = live
    return opened


def _camera_number(source: str | int) -> int:
    number = int(source)
    if not 0 <= number < 1000:
        raise VideoError(f"{source}: no camera has this number; cameras count from 0 (a file of this name: ./{source})")
    return number


def _standard_input() -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError) as error:
        raise VideoError("standard input: there is none; give a file or an address") from error
