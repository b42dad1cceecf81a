"""Reads images of any common kind as plain arrays, without trusting them.

The format is detected from the content, never from the name. Plain JPEG and PNG go straight to OpenCV; everything
else (palettes, transparency, 16 bits, CMYK, GIF, TIFF, WebP, AVIF, HEIC, JPEG 2000, ...) to Pillow. The size in pixels
is read from the header before anything is decoded, so that a small file that unfolds to gigabytes costs nothing.
"""

from __future__ import annotations

import logging
import stat
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import ImageError
from mien.image_arrays import rgb_array
from mien.pillow_images import (
    ORIENTATION,
    damage,
    on_white,
    open_image,
    pixels_of,
    quiet_pillow,
    tiff_size,
    upright,
    wide_pixels,
)
from mien.signatures import HEAD_BYTES, IMAGE_KINDS, UNREAD_IMAGES, describe_file, image_kind
from mien.whole_images import Checked, check_jpeg, check_png, jpeg_size

__all__ = [
    "HEAD_BYTES",
    "IMAGE_SUFFIXES",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "VIDEO_SUFFIXES",
    "WHOLE_PIXELS",
    "as_image",
    "decode_image",
    "decoding_cost",
    "describe_file",
    "image_kind",
    "is_pillow_image",
    "read_image",
]  # fmt: skip

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp", ".gif"),
        *(".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm", ".avif", ".heic", ".heif", ".hif"),
        *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    }
)
"""Suffixes of files in a folder that count as images; of others `image_kind` reads the first bytes."""

VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".asf"),
        *(".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".vob", ".mxf", ".y4m", ".mjpeg", ".mjpg"),
        *(".h264", ".264", ".h265", ".265", ".hevc"),
    }
)
"""File names that are taken for videos."""

MAX_PIXELS = 250_000_000
"""Larger images are refused. The largest sensors of phones have 200 million pixels."""

WHOLE_PIXELS = 100_000_000
"""Larger images are worked on at a reduced scale: of this size an array takes 300 MB."""

MAX_FILE_BYTES = 256 * 1024 * 1024
"""Larger files are refused unread."""

# What decoders hold a pixel beside the array, as measured; a TIFF may have three numbers of 64 bits.
_HELD_BYTES, _ODD_BYTES = {"JPEG2000": 16, "AVIF": 9, "HEIC": 9, "JPEG": 9}, 26

_log = logging.getLogger("mien")
_large_lock = threading.Lock()  # one image above WHOLE_PIXELS is decoded at a time


def read_image(path: str | Path, *, grey: bool = False, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """An image file as uint8 (H, W, 3), RGB, or (H, W, 1) where `grey`; 0 to 255, upright as its EXIF says.

    Of an animation or a document the first frame or page; transparent parts become white; 16 bits are scaled to 8. A
    JPEG or PNG that lacks its end marker and nothing else is read. An image of more than `WHOLE_PIXELS`, and a JPEG of
    more than `max_pixels`, comes at a half, a quarter or an eighth of its size: its shape is not that of the file.
    Raises ImageError naming the file and the reason: missing, a folder, not allowed, empty, truncated, not a
    image, of a kind that can't be read here, or more than `max_pixels` (JPEG: more than `MAX_PIXELS`).
    """
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path}: is a folder; expected an image file")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path}: is no regular file; expected an image file")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError(
                f"{path}: has {status.st_size / 1e6:,.0f} MB, the limit is {MAX_FILE_BYTES / 1e6:,.0f}; make it smaller"
            )
        with open(path, "rb") as file:  # noqa: PTH123 (a third faster than Path.open, and this runs 28,000 times)
            data = file.read()
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file; check the path") from error
    except PermissionError as error:
        raise ImageError(f"{path}: no permission to read it; change its permissions (chmod +r)") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ImageError(f"{path}: can't be read ({error}); check the path and the disk") from error
    return decode_image(data, str(path), grey=grey, max_pixels=max_pixels)


def decode_image(
    data: bytes,
    source: str,
    *,
    grey: bool = False,
    max_pixels: int = MAX_PIXELS,
    whole_pixels: int | None = None,
) -> NDArray[np.uint8]:
    """The bytes of an image file as an array; `source` is its name in errors. Otherwise as `read_image`.

    whole_pixels: larger JPEG is decoded at a reduced scale; None: `WHOLE_PIXELS`.
    """
    kind = image_kind(data[:HEAD_BYTES])
    if kind is None:
        raise _no_image(data[:HEAD_BYTES], source)
    most = min(whole_pixels or WHOLE_PIXELS, max_pixels)
    checked = _check(data, kind, source, most)
    if checked is None:
        return _decode_with_pillow(data, kind, source, grey=grey, max_pixels=max_pixels, most=WHOLE_PIXELS)
    most = most if kind == "JPEG" else WHOLE_PIXELS
    scale = _scale(checked.width, checked.height, source, max_pixels, most, scalable=checked.scalable)
    if checked.data is None:
        raise ImageError(f"{source}: is a truncated {kind} (its end is missing); get a whole copy of the file")
    if len(checked.data) > len(data):
        _log.warning("%s: lacks its end marker; every pixel is there", source)
    if checked.plain:
        image = _decode_with_opencv(checked.data, scale, grey=grey)
        if image is not None:
            return image
    return _decode_with_pillow(
        checked.data, kind, source, grey=grey, max_pixels=max_pixels, most=most, scalable=checked.scalable
    )


def decoding_cost(data: bytes, *, max_pixels: int = MAX_PIXELS, whole_pixels: int | None = None) -> tuple[int, int]:
    """What `decode_image` takes at most, by the header alone.

    Returns:
        The pixels of the array, and the bytes held while it is made. Both are 0 for what is refused by its header.
    """
    kind = image_kind(data[:HEAD_BYTES])
    size, scalable, odd = None, False, False
    if kind == "JPEG":
        found = jpeg_size(data)
        size, scalable = (found[:2], found[2]) if found else (None, False)
    elif kind == "PNG" and len(data) >= 24:
        size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    elif kind is not None:
        size, odd = _size_by_pillow(data, kind)
    if size is None or size[0] * size[1] > (MAX_PIXELS if scalable else max_pixels):
        return 0, 0
    stored = size[0] * size[1]
    most = min(whole_pixels or WHOLE_PIXELS, max_pixels) if kind == "JPEG" else WHOLE_PIXELS
    pixels = stored // _reduction(*size, most) ** 2
    held = pixels * 3 if scalable else stored * (_ODD_BYTES if odd else _HELD_BYTES.get(kind or "", 7))
    return pixels, held + pixels * 3


def _size_by_pillow(data: bytes, kind: str) -> tuple[tuple[int, int] | None, bool]:
    """Width and height, and whether OpenCV reads it, as Pillow does not know its pixels."""
    errors: tuple[type[Exception], ...] = (*damage(), ImageError)
    with quiet_pillow(MAX_PIXELS):
        try:
            with open_image(data, kind, "") as image:
                width, height = image.size
                return (width, height), False
        except errors:
            try:
                return (tiff_size(data), True) if kind == "TIFF" else (None, False)
            except damage():
                return None, False


def as_image(image: Any, source: str) -> NDArray[np.uint8]:
    """An image in memory as uint8 (H, W, 3), RGB.

    image: a Pillow image, or an array as `mien.image_arrays.rgb_array` takes it. Raises ImageError for anything else.
    """
    if isinstance(image, np.ndarray):
        return rgb_array(image, source)
    if isinstance(image, bytes | bytearray | memoryview):
        return decode_image(bytes(image), source)
    if not is_pillow_image(image):
        raise ImageError(f"{source}: is a {type(image).__name__}; expected a path, a Pillow image or a uint8 array")
    with quiet_pillow(MAX_PIXELS):
        try:
            return pixels_of(image, source, grey=False)
        except damage() as error:
            raise ImageError(f"{source}: can't be decoded ({error})") from error


def is_pillow_image(image: Any) -> bool:
    """Whether this is a Pillow image, found out without importing Pillow."""
    return any(base.__module__ == "PIL.Image" for base in type(image).__mro__)


def _no_image(head: bytes, source: str) -> ImageError:
    if not head:
        return ImageError(f"{source}: is empty (0 bytes); get a whole copy of the file")
    what = describe_file(head)
    if what == "a video":
        return ImageError(f"{source}: is not an image but a video; follow it with  mien watch")
    if what in UNREAD_IMAGES:
        return ImageError(f"{source}: is {what}, which can't be read here; convert it to JPEG or PNG")
    is_what = f"by its content {what}, " if what != "unknown" else "by its content "
    return ImageError(f"{source}: is not an image ({is_what}none of {', '.join(IMAGE_KINDS)})")


def _check(data: bytes, kind: str, source: str, most_pixels: int) -> Checked | None:
    """What can be seen before decoding; None for kinds that Pillow alone looks into. Raises ImageError.

    most_pixels: of an image that is completed where its end is missing.
    """
    if kind not in {"PNG", "JPEG"}:
        return None
    checked = (check_png if kind == "PNG" else check_jpeg)(data, most_pixels)
    if checked is None:
        raise ImageError(f"{source}: is a {kind} without a header; get a whole copy of the file")
    return checked


def _scale(width: int, height: int, source: str, max_pixels: int, most: int, *, scalable: bool) -> int:
    """By how much an image is made smaller: 1, 2, 4 or 8, to have at most `most` pixels. Raises ImageError.

    scalable: it is made smaller while it is decoded.
    """
    limit = MAX_PIXELS if scalable else max_pixels
    if width * height > limit:
        raise ImageError(
            f"{source}: has {width:,} x {height:,} = {width * height / 1e6:,.0f} million pixels, "
            f"the limit is {limit / 1e6:,.0f}; make it smaller"
        )
    return _reduction(width, height, min(most, max_pixels))


def _reduction(width: int, height: int, most: int) -> int:
    return next((n for n in (1, 2, 4) if -(-width // n) * -(-height // n) <= most), 8)


def _decode_with_opencv(data: bytes, scale: int, *, grey: bool) -> NDArray[np.uint8] | None:
    import cv2

    flags = {
        1: (cv2.IMREAD_COLOR_RGB, cv2.IMREAD_GRAYSCALE),
        2: (cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
        4: (cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
        8: (cv2.IMREAD_REDUCED_COLOR_8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
    }
    try:
        with _large_lock if scale > 1 else nullcontext():
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags[scale][grey])
            if image is not None and scale > 1 and not grey:
                image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    except cv2.error:
        return None  # Pillow says why
    if image is None:
        return None
    return image[..., None] if grey else image  # type: ignore[return-value]


def _decode_with_pillow(
    data: bytes,
    kind: str,
    source: str,
    *,
    grey: bool,
    max_pixels: int,
    most: int,
    scalable: bool = False,
) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    with quiet_pillow(MAX_PIXELS):
        try:
            with open_image(data, kind, source) as image:
                width, height = image.size
                scale = _scale(width, height, source, max_pixels, most, scalable=scalable)
                if kind == "WEBP" and scale == 1 and not getattr(image, "is_animated", False):
                    pixels = _decode_webp(data, grey=grey)
                    if pixels is not None:
                        return upright(pixels, image.getexif().get(ORIENTATION, 1))
                return pixels_of(image, source, grey=grey, scale=scale)
        except Image.DecompressionBombError as error:  # far above the limit, found by Pillow while opening
            raise ImageError(f"{source}: has too many pixels ({error}); make it smaller") from error
        except UnidentifiedImageError as error:
            if kind == "TIFF" and (odd := _decode_odd_tiff(data, source, grey=grey, max_pixels=max_pixels)) is not None:
                return odd
            raise ImageError(f"{source}: is a damaged {kind}; get a whole copy of the file") from error
        except damage() as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ImageError(f"{source}: is a damaged {kind} ({reason}); get a whole copy of the file") from error


def _decode_webp(data: bytes, *, grey: bool) -> NDArray[np.uint8] | None:
    """A still WebP by OpenCV, which takes half of Pillow's memory. None: Pillow says why."""
    import cv2
    from PIL import Image

    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3:
        return None
    order = cv2.COLOR_BGRA2RGBA if values.shape[2] == 4 else cv2.COLOR_BGR2RGB

    def crop(box: tuple[int, int, int, int]) -> Image.Image:
        return Image.fromarray(cv2.cvtColor(values[box[1] : box[3]], order))

    return on_white((values.shape[1], values.shape[0]), crop, grey=grey)


def _decode_odd_tiff(data: bytes, source: str, *, grey: bool, max_pixels: int) -> NDArray[np.uint8] | None:
    """A TIFF whose pixels Pillow does not know, by OpenCV: floating-point colours, 64 bits. None: nor does OpenCV."""
    import cv2

    try:
        size = tiff_size(data)
        if size is None:
            return None
        scale = _scale(*size, source, max_pixels, WHOLE_PIXELS, scalable=False)
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except damage():
        return None
    except cv2.error:
        return None
    if values is None:
        return None
    if values.ndim == 3:
        values = values[..., 2::-1]  # BGR, or BGR with alpha
    if values.dtype == np.uint8:
        return None
    image = wide_pixels(values, source, grey=grey)
    return image if scale == 1 else np.ascontiguousarray(image[::scale, ::scale])
