"""A folder of frames: picture files in natural order, so many a second."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

from mien.errors import PictureError, VideoError
from mien.media.video.decoding import DEFAULT_RATE
from mien.media.video.frames import Frame
from mien.pictures import PICTURE_SUFFIXES, read_picture


class PictureFolder:
    """The pictures of a folder (not of those below it) as frames; a frame's number is its place among them."""

    live = False

    def __init__(self, folder: Path, *, rate: float | None = None) -> None:
        """rate: frames a second, 25 where None. Raises VideoError for a folder without pictures."""
        try:
            paths = [p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith(".")]
        except OSError as error:
            raise VideoError(f"{folder}: can't be read ({error.strerror}); check its permissions") from error
        if not paths:
            raise VideoError(f"{folder}: no pictures in this folder ({', '.join(sorted(PICTURE_SUFFIXES))})")
        self._paths = sorted(paths, key=lambda path: natural_order(path.name))
        self._closed = threading.Event()
        self.name = str(folder)
        self.rate: float | None = rate or DEFAULT_RATE
        self.frames: int | None = len(paths)
        self.skipped = 0
        """Pictures that could not be read."""

    def __iter__(self) -> Iterator[Frame]:
        rate = self.rate or DEFAULT_RATE
        first_reason = ""
        for number, path in enumerate(self._paths):
            if self._closed.is_set():
                return
            try:
                picture = read_picture(path)
            except PictureError as error:
                first_reason = first_reason or str(error)
                self.skipped += 1
                continue
            picture.flags.writeable = False
            yield Frame(number, number / rate, picture)
        if self.skipped == len(self._paths):
            raise VideoError(f"{self.name}: none of its {self.skipped} pictures can be read; the first: {first_reason}")

    def close(self) -> None:
        """Ends the iteration."""
        self._closed.set()


def natural_order(name: str) -> list[tuple[int, str]]:
    """A key that sorts frame2 before frame10."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts if part]
