"""Grey values and arrays of numbers as images: which axis is what, and which number is white. Nothing is guessed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError, ImageError
from mien.images import MAX_PIXELS

_BLOCK = 64  # rows parsed at once: their bytes and what is made of them stay in the processor's cache

_LEAST, _LONGEST = 4, 4  # pixels of the shortest side; the highest ratio of both sides


def scaled_pixels(texts: Sequence[bytes], side: int, scale: float) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """`pixels_of` for values with a decimal point, of 0 to 1 (scale 255) or of 0 to 255 (scale 1)."""
    images = np.zeros((len(texts), side, side, 1), np.uint8)
    wrong: dict[int, str] = {}
    for i, text in enumerate(texts):
        try:
            values = np.array(text.split(), np.float64) * scale
        except ValueError:
            wrong[i] = "something else than numbers among the pixels"
            continue
        if len(values) != side * side:
            wrong[i] = f"{len(values)} pixels; expected {side * side} ({side} x {side})"
        elif not ((values >= 0) & (values <= 255)).all():  # NaN is neither
            wrong[i] = f"a pixel outside 0 to {255 / scale:g}, unlike the rows before"
        else:
            images[i] = np.rint(values).astype(np.uint8).reshape(side, side, 1)
    return images, wrong


def pixels_of(texts: Sequence[bytes], side: int) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Texts of grey values with blanks between -> uint8 (N, side, side, 1), and text -> why it can't be used.

    Images of texts that can't be used are black.
    """
    images = np.zeros((len(texts), side, side, 1), np.uint8)
    wrong: dict[int, str] = {}
    for first in range(0, len(texts), _BLOCK):
        block, reasons = _block_of_pixels(texts[first : first + _BLOCK], side)
        images[first : first + _BLOCK] = block
        wrong |= {first + i: reason for i, reason in reasons.items()}
    return images, wrong


def _block_of_pixels(texts: Sequence[bytes], side: int) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """`pixels_of`, all texts in one whole-array arithmetic.

    A number is a digit before a byte that is none, plus 10 and 100 times the digits before it.
    """
    length = side * side
    # Three blanks in front: nothing reaches beyond the array. One behind each text: no number spans two.
    joined = b"   " + b" ".join(texts) + b" "
    starts = 3 + np.concatenate(([0], np.cumsum([len(t) + 1 for t in texts])))
    digits = np.frombuffer(joined, np.uint8) - np.uint8(ord("0"))  # wraps: what is no digit is above 9
    is_digit = digits < 10
    ends = np.flatnonzero(is_digit[:-1] > is_digit[1:])
    tens, hundreds = digits[ends - 1], digits[ends - 2]
    has_tens = tens < 10
    has_hundreds = has_tens & (hundreds < 10)
    values = digits[ends] + np.where(has_tens, tens, 0) * np.uint16(10)
    values += np.where(has_hundreds, hundreds, 0) * np.uint16(100)
    long = has_hundreds & (digits[ends - 3] < 10)
    first = np.searchsorted(ends, starts)
    counts = np.diff(first)

    wrong: dict[int, str] = {}
    for i in np.flatnonzero(counts != length).tolist():
        wrong[i] = f"{counts[i]} pixels; expected {length} ({side} x {side})"
    for at in np.flatnonzero((values > 255) | long).tolist():
        value = "of more than three digits" if long[at] else str(values[at])
        wrong[int(np.searchsorted(first, at, "right")) - 1] = f"a pixel of {value}; expected 0 to 255"
    foreign = np.flatnonzero(~is_digit & (digits != np.uint8(ord(" ") - ord("0") + 256)))
    rows = np.searchsorted(starts, foreign, "right") - 1
    for row, at in zip(*np.unique(rows, return_index=True), strict=True):
        character = chr(joined[foreign[at]])
        wrong[int(row)] = f"{character!r} among the pixels; expected numbers of 0 to 255 with blanks between"
    if not wrong:
        return values.astype(np.uint8).reshape(-1, side, side, 1), {}
    images = np.zeros((len(texts), side, side, 1), np.uint8)
    for i in range(len(texts)):
        if i not in wrong:
            images[i] = values[first[i] : first[i + 1]].reshape(side, side, 1)
    return images, wrong


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
