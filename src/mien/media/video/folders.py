"""A folder of frames: image files in natural order, at a fixed frame rate."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

from mien.errors import ImageError, VideoError
from mien.images import IMAGE_SUFFIXES, read_image
from mien.media.video.decoding import DEFAULT_RATE
from mien.media.video.frames import Frame


class ImageFolder:
    """The images of a folder (not of those below it) as frames; a frame's number is its place among them."""

    live = False

    def __init__(self, folder: Path, *, rate: float | None = None) -> None:
        """rate: frames a second, 25 where None. Raises VideoError for a folder without images."""
        try:
            paths = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        except OSError as error:
            raise VideoError(f"{folder}: can't be read ({error.strerror}); check its permissions") from error
        if not paths:
            raise VideoError(f"{folder}: no images in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})")
        self._paths = sorted(paths, key=lambda path: natural_order(path.name))
        self._closed = threading.Event()
        self.name = str(folder)
        self.rate: float | None = rate or DEFAULT_RATE
        self.frames: int | None = len(paths)
        self.skipped = 0
        """Images that could not be read."""

    def __iter__(self) -> Iterator[Frame]:
        rate = self.rate or DEFAULT_RATE
        first_reason = ""
        for number, path in enumerate(self._paths):
            if self._closed.is_set():
                return
            try:
                image = read_image(path)
            except ImageError as error:
                first_reason = first_reason or str(error)
                self.skipped += 1
                continue
            image.flags.writeable = False
            yield Frame(number, number / rate, image)
        if self.skipped == len(self._paths):
            raise VideoError(f"{self.name}: none of its {self.skipped} images can be read; the first: {first_reason}")

    def close(self) -> None:
        """Ends the iteration."""
        self._closed.set()


def natural_order(name: str) -> list[tuple[int, str]]:
    """A key that sorts frame2 before frame10."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts if part]
