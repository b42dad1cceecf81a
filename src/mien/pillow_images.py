"""Pillow's part in reading images: opening them without side effects, and bringing every kind of pixel to 8 bits."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

# Pillow reports odd files through warnings. Python's warning filters and Pillow's limit are global: the first thread
# that reads bends them, and the last one restores them.
_lock = threading.Lock()
_readers: list[object] = []
_before: list[Any] = []
_RANGES = ((0, 1, 1), (64, 255, 255), (4096, 65535, 65535))  # the largest value is from, to; what white is
ORIENTATION = 0x0112
"""Of EXIF."""
_STRIP_PIXELS = 1 << 21  # what Pillow converts at once: a copy of a whole large image would be hundreds of megabytes


@contextmanager
def quiet_pillow(most_pixels: int) -> Iterator[None]:
    """Pillow without warnings, in any number of threads; it refuses images of more than twice `most_pixels`."""
    from PIL import Image

    reader = object()
    with _lock:
        if not _readers:
            catching = warnings.catch_warnings()
            catching.__enter__()
            warnings.simplefilter("ignore")
            _before[:] = [catching, Image.MAX_IMAGE_PIXELS]
            Image.MAX_IMAGE_PIXELS = most_pixels
        _readers.append(reader)
    try:
        yield
    finally:
        with _lock:
            _readers.remove(reader)
            if not _readers:
                catching, Image.MAX_IMAGE_PIXELS = _before
                catching.__exit__(None, None, None)


def open_image(data: bytes, kind: str, source: str) -> Image.Image:
    """An image's header, read by Pillow inside `quiet_pillow`; `kind` is that of `image_kind`.

    Raises ImageError where a package is missing that reads this kind, and what `damage` names.
    """
    from PIL import Image, UnidentifiedImageError

    if kind == "HEIC":
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise ImageError(
                f"{source}: is a HEIC image, which needs the extra [heic]: install it with  pip install 'mien[heic]', "
                "or convert the image to JPEG"
            ) from error
        if "HEIF" not in Image.OPEN:
            register_heif_opener()
    try:
        return Image.open(io.BytesIO(data), formats=("HEIF" if kind == "HEIC" else kind,))
    except UnidentifiedImageError as error:
        from PIL import features

        feature = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}.get(kind)
        if feature is not None and not features.check(feature):
            raise ImageError(
                f"{source}: is of the kind {kind}, which Pillow as installed here can't read; "
                "install Pillow 11.3 or later from PyPI, or convert the image to JPEG"
            ) from error
        raise


def damage() -> tuple[type[Exception], ...]:
    """What Pillow raises on damaged files."""
    from PIL import Image

    return (
        OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, RuntimeError, OverflowError,
        AttributeError, MemoryError, ZeroDivisionError, struct.error, zlib.error, Image.DecompressionBombError,
    )  # fmt: skip


def pixels_of(image: Image.Image, source: str, *, grey: bool, scale: int = 1) -> NDArray[np.uint8]:
    """An open image as uint8 (H, W, 3), RGB, or (H, W, 1) where `grey`; upright, on white, `scale` times smaller.

    Raises ImageError.
    """
    size = image.size
    if scale > 1:
        image.draft(None, (-(-size[0] // scale), -(-size[1] // scale)))  # some formats can be decoded smaller
    image.load()
    if image.width * image.height == 0:
        raise ImageError(f"{source}: has no pixels")
    orientation = image.getexif().get(ORIENTATION, 1)
    if scale > 1 and image.size == size:
        image = image.convert("RGBA") if image.mode in {"P", "PA", "1"} else image
        image = image.reduce(scale)
    if image.mode == "F" or image.mode.startswith("I"):
        return upright(wide_pixels(np.asarray(image), source, grey=grey), orientation)
    whole = image.width * image.height <= _STRIP_PIXELS
    return upright(on_white(image.size, lambda box: image if whole else image.crop(box), grey=grey), orientation)


def on_white(
    size_wh: tuple[int, int], crop: Callable[[tuple[int, int, int, int]], Image.Image], *, grey: bool
) -> NDArray[np.uint8]:
    """A loaded image as uint8 (H, W, 3) or (H, W, 1), strip by strip; transparent parts become white.

    crop: called with the (left, top, right, bottom) of each strip, pixels.
    """
    from PIL import Image

    width, height = size_wh
    rows = max(1, _STRIP_PIXELS // width)
    pixels = np.empty((height, width, 1 if grey else 3), np.uint8)
    for top in range(0, height, rows):
        strip = crop((0, top, width, min(top + rows, height)))
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            paper = Image.new("RGB", strip.size, "white")
            paper.paste(strip, mask=strip.getchannel("A"))
            strip = paper
        values = np.asarray(strip.convert("L" if grey else "RGB"))
        pixels[top : top + rows] = values[..., None] if grey else values
    return pixels


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turns an array (H, W, C) by its EXIF orientation, 1 to 8; others leave it."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def tiff_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a TIFF that Pillow does not open; None if it states none."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    file = io.BytesIO(data)
    directory = ImageFileDirectory_v2(file.read(16 if data[2:4] in {b"+\0", b"\0+"} else 8))
    file.seek(directory.next)
    directory.load(file)
    width, height = directory.get(256), directory.get(257)
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def wide_pixels(values: NDArray[Any], source: str, *, grey: bool) -> NDArray[np.uint8]:
    """Values of (H, W) or (H, W, 3) in RGB order, of 16 or 32 bits or floating-point, as uint8 (H, W, 3) or (H, W, 1).

    Integers go from 0 to 65535; of 32 bits, from 0 to 255 where none is above. Floating-point values may go to 1, 255
    or 65535; where it is not plain which of them is meant they are refused. Raises ImageError.
    """
    low, high = float(values.min()), float(values.max())
    white = 65535
    if values.dtype.kind == "f":
        if not np.isfinite([low, high]).all():
            raise ImageError(
                f"{source}: has floating-point pixels that are not numbers (NaN) or infinite; save it anew"
            )
        known = [white for least, most, white in _RANGES if least <= high <= most and low >= 0]
        if not known:
            raise ImageError(
                f"{source}: has floating-point pixels from {low:.5g} to {high:.5g}; expected a range of 0 to 1, 0 to "
                "255 or 0 to 65535; save it with 8 or 16 bits"
            )
        white = known[0]
    elif low < 0 or high > white:
        raise ImageError(f"{source}: has 32-bit pixels; save it with 8 or 16 bits")
    elif values.dtype.itemsize > 2 and high <= 255:  # of 8 bits, after Pillow's convert("I")
        white = 255
    image = np.empty(values.shape, np.uint8)
    for target, row in zip(image, values, strict=True):  # row by row: a copy as float64 would be eight times as large
        target[...] = np.rint(row * (255 / white))
    if image.ndim == 2:
        return image[..., None] if grey else np.repeat(image[..., None], 3, axis=2)
    if not grey:
        return image
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    image[..., 0] = np.rint(image @ weights)
    return image[..., :1]
