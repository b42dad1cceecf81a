"""From texts of grey values to images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BLOCK = 64  # rows parsed at once: their bytes and what is made of them stay in the processor's cache


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
