"""From arrays of numbers to images: which axis is what, and which numbers are black and white. Nothing is guessed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError, ImageError
from mien.images import MAX_PIXELS

_LEAST, _LONGEST = 4, 4  # pixels of the shortest side; the highest ratio of both sides


def axes_of(shape: tuple[int, ...], where: str) -> str:
    """What the axes of one image are: `HW`, `HWC`, `CHW`, or `P` for the pixels of a grey square in one row.

    Raises DataError where the shape is none of these, or more than one.
    """
    shown = " x ".join(map(str, shape)) or "no axis"
    wrong = DataError(
        f"{where}: an image of it has the shape {shown}; expected height x width, with 1 or 3 channels first or last"
    )
    if math.prod(shape) > 3 * MAX_PIXELS:
        raise wrong
    if len(shape) == 1:
        side = math.isqrt(shape[0])
        if side * side != shape[0] or side < _LEAST:
            raise DataError(f"{where}: an image of it is {shape[0]:,} numbers, not those of a grey square; save it as "
                            "height x width")  # fmt: skip
        return "P"
    if len(shape) == 2 and _sides(*shape):
        return "HW"
    if len(shape) == 3:
        last = shape[2] in (1, 3) and _sides(*shape[:2])
        first = shape[0] in (1, 3) and _sides(*shape[1:])
        if last != first:
            return "HWC" if last else "CHW"
    raise wrong


def _sides(height: int, width: int) -> bool:
    return min(height, width) >= _LEAST and max(height, width) <= _LONGEST * min(height, width)


def scale_of(low: float, high: float, dtype: np.dtype[Any], where: str) -> float:
    """What the numbers of a whole array are multiplied by, so that 0 is black and 255 white.

    low, high: the least and the greatest of them. Raises DataError where they are neither 0 to 255 nor, with a
    fraction, 0 to 1.
    """
    if dtype == np.uint8:
        return 1.0
    if dtype.kind == "f" and 0 <= low <= high <= 1:
        return 255.0
    if dtype.kind in "iuf" and 0 <= low <= high <= 255 and high >= 16:
        return 1.0
    raise DataError(
        f"{where}: its pixels are {dtype} from {low:g} to {high:g}; expected 0 to 255, or fractions from 0 to 1; "
        "save them as uint8"
    )


def image_of(pixels: NDArray[Any], axes: str, scale: float) -> NDArray[np.uint8]:
    """One image, uint8 (H, W, 1 or 3). Raises ImageError where it holds numbers that are none."""
    if pixels.dtype != np.uint8:
        if not np.isfinite(pixels).all():
            raise ImageError("holds numbers that are not finite (NaN)")
        pixels = np.clip(np.rint(pixels * scale), 0, 255).astype(np.uint8)
    if axes == "P":
        side = math.isqrt(len(pixels))
        return np.ascontiguousarray(pixels.reshape(side, side, 1))
    if axes == "HW":
        return np.ascontiguousarray(pixels[..., None])
    return np.ascontiguousarray(np.moveaxis(pixels, 0, -1) if axes == "CHW" else pixels)
