"""Images for people: contact sheets, small copies, and PNG files."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError
from mien.lettering import draw_text, text_width
from mien.pages.text import plain

Image = NDArray[np.uint8]
"""uint8 (H, W), (H, W, 1) or (H, W, 3) in RGB order, 0 to 255."""

_LETTERS, _LINE = 12, 14  # pixels: of a caption's letters, and from one of its lines to the next
_CAPTION_LINES = 3
_PAPER, _INK = 255, 40


def rgb(image: Image) -> Image:
    """A grey or RGB image as uint8 (H, W, 3)."""
    whole = image if image.ndim == 3 else image[..., None]
    return np.repeat(whole, 3, axis=2) if whole.shape[2] == 1 else whole


def shrink(image: Image, side: int) -> Image:
    """An image whose longer side is at most `side` pixels; smaller ones come back as they are."""
    height, width = image.shape[:2]
    if max(height, width) <= side:
        return image
    return _resize(image, side / max(height, width))


def letterbox(image: Image, side: int) -> Image:
    """An image enlarged or shrunk into a white square, uint8 (side, side, 3); its proportions are kept."""
    height, width = image.shape[:2]
    inner = rgb(_resize(image, side / max(height, width)))
    square = np.full((side, side, 3), _PAPER, np.uint8)
    top, left = (side - inner.shape[0]) // 2, (side - inner.shape[1]) // 2
    square[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return square


def difference(one: Image, other: Image, side: int = 96) -> Image:
    """Where two images differ: white where not at all, the darker the more; uint8 (side, side). Sizes do not matter."""
    apart = cv2.absdiff(letterbox(one, side), letterbox(other, side)).max(axis=2)
    return np.asarray(255 - np.minimum(apart, 63) * 4, np.uint8)


def contact_sheet(
    images: Sequence[Image],
    captions: Sequence[str] = (),
    *,
    tile: int = 96,
    columns: int = 12,
) -> NDArray[np.uint8]:
    """Images of any sizes side by side in rows, each in a square of `tile` pixels above its caption.

    captions: none, or one for each image; up to three lines of each are drawn, and long words lose their
    middle. columns: how many images a row has at most. Returns uint8 (H, W, 3), RGB; of no images one white tile.
    """
    same_length(images, captions)
    lines = [_caption_lines(text, tile) for text in captions]
    gap = 4
    step_x, step_y = tile + gap, tile + gap + _LINE * max(map(len, lines), default=0)
    across = max(1, min(columns, len(images)))
    down = max(1, -(-len(images) // across))
    sheet = np.full((down * step_y + gap, across * step_x + gap, 3), _PAPER, np.uint8)
    for i, image in enumerate(images):
        top, left = gap + i // across * step_y, gap + i % across * step_x
        sheet[top : top + tile, left : left + tile] = letterbox(image, tile)
        for number, line in enumerate(lines[i] if lines else ()):
            draw_text(sheet, line, left, top + tile + _LINE * number + 2, _LETTERS, (_INK,) * 3)
    return sheet


def png(image: Image) -> bytes:
    """An image as the bytes of a PNG file."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 and image.shape[2] == 3 else image
    return cv2.imencode(".png", bgr)[1].tobytes()


def _resize(image: Image, factor: float) -> Image:
    height, width = (max(1, round(n * factor)) for n in image.shape[:2])
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(image, (width, height), interpolation=way)  # drops an axis of one channel
    return resized.reshape(height, width, *image.shape[2:]).astype(np.uint8, copy=False)


def _caption_lines(text: str, tile: int) -> list[str]:
    """The lines of a caption, each at most as wide as the tile."""
    lines: list[str] = []
    for word in (_shortened(word, tile) for word in plain(text).split()):
        if lines and text_width(f"{lines[-1]} {word}", _LETTERS) <= tile:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    if len(lines) > _CAPTION_LINES:
        lines[_CAPTION_LINES - 1] = _shortened(f"{lines[_CAPTION_LINES - 1]}…", tile)
    return lines[:_CAPTION_LINES]


def _shortened(word: str, width: float) -> str:
    """A word that is too wide, without its middle: numbers at its end tell files apart."""
    cut, left = word, len(word)
    while text_width(cut, _LETTERS) > width and left > 2:
        left -= 1
        cut = f"{word[: left // 3]}…{word[left // 3 - left :]}"
    return cut


def same_length(images: Sequence[Image], captions: Sequence[str]) -> None:
    """Raises ArgumentError unless there is no caption or one for each image."""
    if len(captions) not in (0, len(images)):
        raise ArgumentError(f"{len(captions)} captions for {len(images)} images; expected none or one for each")
