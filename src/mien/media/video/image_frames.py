"""Images as frames: a folder of files in natural order, and animated GIF, PNG, WebP and AVIF."""

from __future__ import annotations

import re
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import ImageError, TruncatedVideoError, VideoError
from mien.images import IMAGE_SUFFIXES, MAX_FILE_BYTES, WHOLE_PIXELS, as_image, read_image
from mien.media.video.decoding import DEFAULT_RATE
from mien.media.video.frames import Frame, SingleUse, ended_early
from mien.media.video.integrity import file_end
from mien.reporting import log_warning

if TYPE_CHECKING:
    from PIL import Image

_SIGNATURES = ((b"GIF8", "GIF"), (b"\x89PNG\r\n\x1a\n", "PNG"))
_AVIF_BRANDS = {b"avif", b"avis"}
_SHORTEST_S = 0.011  # shorter ones count as a tenth of a second, as in browsers
_UNSTATED_S = 0.1
# What Pillow raises on damaged files.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, RuntimeError, OverflowError),
    *(AttributeError, MemoryError, ZeroDivisionError, struct.error, zlib.error),
)


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
        if self.skipped:
            left_out = f"{self.skipped} of {len(self._paths)} images can't be read and are left out"
            log_warning(f"{self.name}: {left_out}; the first: {first_reason}")

    def close(self) -> None:
        """Ends the iteration."""
        self._closed.set()


def natural_order(name: str) -> list[tuple[int, str]]:
    """A key that sorts frame2 before frame10."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts if part]


class Animation(SingleUse):
    """The frames of an animated image, decoded one at a time."""

    live = False

    def __init__(self, image: Image.Image, path: Path, frames: int) -> None:
        """Takes the open image over."""
        super().__init__()
        self._image = image
        self._path = path
        self.name = str(path)
        self.size_wh = image.size
        self._first = 1 if getattr(image, "default_image", False) else 0  # an APNG's still for those who can't play it
        self.frames: int | None = frames - self._first
        self.rate: float | None = 1 / _shown_s(image) if "duration" in image.info else None
        self.skipped = 0
        self.end_verified: bool | None = None

    def _frames(self) -> Iterator[Frame]:
        number, time_s = 0, 0.0
        try:
            for number in range(self.frames or 0):
                if self._closed.is_set():
                    return
                self._image.seek(self._first + number)
                image = as_image(self._image, f"{self.name}, frame {number}")
                image.flags.writeable = False
                yield Frame(number, time_s, image)
                time_s += _shown_s(self._image)
        except (ImageError, *_DAMAGE) as error:
            kind = TruncatedVideoError if file_end(self._path).cut else VideoError
            raise kind(ended_early(self.name, number, time_s, str(error) or type(error).__name__)) from error
        if cut := file_end(self._path).cut:
            raise TruncatedVideoError(ended_early(self.name, number + 1, time_s, cut))
        self.end_verified = True

    def _release(self) -> None:
        self._image.close()


def open_animation(path: Path) -> Animation | None:
    """The animation in a file; None for a file of another kind, or one that can't be opened.

    Raises VideoError for a still image, for one that is too large, and for a damaged one.
    """
    kind = _kind(path)
    if kind is None:
        return None
    from PIL import Image

    image: Image.Image | None = None
    try:
        image = Image.open(path, formats=(kind,))
        width, height = image.size
        frames = int(getattr(image, "n_frames", 1))
    except Image.DecompressionBombError as error:  # far above the limit, found by Pillow while opening
        raise VideoError(f"{path}: has too many pixels ({error}); make it smaller") from error
    except _DAMAGE as error:
        if image is not None:
            image.close()
        if cut := file_end(path).cut:
            raise TruncatedVideoError(f"{path}: truncated ({cut}); get a whole copy of the file") from error
        raise VideoError(f"{path}: is a damaged {kind} image; get a whole copy of the file") from error
    if width * height > WHOLE_PIXELS:
        image.close()
        raise _too_large(path, width, height)
    if frames < 2 and file_end(path).cut is None:
        image.close()
        raise VideoError(f"{path}: is an image, not a video; use  mien predict  for images")
    return Animation(image, path, frames)


def _kind(path: Path) -> str | None:
    """What Pillow calls it, by its first bytes. Raises VideoError where it is too large to be opened."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(32)
        size = path.stat().st_size
    except (OSError, ValueError):  # reported by the code that opens it next
        return None
    kind = next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), None)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        kind = "WEBP"
        if head[12:16] == b"VP8X":  # Pillow reserves the canvas before it says how large it is
            width = 1 + int.from_bytes(head[24:27], "little")
            height = 1 + int.from_bytes(head[27:30], "little")
            if width * height > WHOLE_PIXELS:
                raise _too_large(path, width, height)
    elif head[4:8] == b"ftyp" and head[8:12] in _AVIF_BRANDS:
        from PIL import features

        kind = "AVIF" if features.check("avif") else None
        if kind is None:
            raise VideoError(f"{path}: is an AVIF image, which needs Pillow 11.3 or later; pip install -U pillow")
    if kind is not None and size > MAX_FILE_BYTES:
        raise VideoError(
            f"{path}: has {size / 1e6:,.0f} MB, the limit for an animated image is {MAX_FILE_BYTES / 1e6:,.0f}; "
            "convert it to MP4 (H.264)"
        )
    return kind


def _too_large(path: Path, width: int, height: int) -> VideoError:
    return VideoError(
        f"{path}: has frames of {width:,} x {height:,} pixels, the limit is {WHOLE_PIXELS / 1e6:,.0f} million; "
        "make it smaller"
    )


def _shown_s(image: Image.Image) -> float:
    """How long the image's present frame is shown."""
    milliseconds = image.info.get("duration", 0)
    seconds = float(milliseconds) / 1000 if isinstance(milliseconds, int | float) else 0.0
    return seconds if seconds >= _SHORTEST_S else _UNSTATED_S
