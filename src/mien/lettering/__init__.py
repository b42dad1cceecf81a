"""Text in images, in the font DejaVu Sans: the letters of most alphabets. A box stands for what it lacks.

Not among its letters: Chinese, Japanese, Korean, Thai, Devanagari and coloured emoji.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_FILE = Path(__file__).parent / "DejaVuSans.ttf"
_ABOVE, _BELOW = 0.86, 0.24  # of the font's size: from the baseline to the top of letters, and to the end of descenders


@lru_cache(maxsize=2048)
def text_mask(text: str, height: int) -> NDArray[np.uint8]:
    """Anti-aliased text on one line, from the top of its letters to its descenders.

    uint8 (height, width), 0 to 255, read-only: it is kept for the next time.
    """
    from PIL import Image, ImageDraw

    font = _font(height)
    margin = height // 12
    width = max(1, round(font.getlength(text)))
    image = Image.new("L", (width + 2 * margin, height))
    ImageDraw.Draw(image).text((margin, height - _BELOW * font.size), text, fill=255, font=font, anchor="ls")
    mask = np.asarray(image)
    mask.flags.writeable = False
    return mask


def draw_text(canvas: NDArray[np.uint8], text: str, left: int, top: int, height: int, color: tuple[int, ...]) -> None:
    """Draws a line of text onto the RGB canvas (H, W, 3), in place; what falls outside of it is cut off."""
    blend(canvas[max(0, top) :, max(0, left) :], text_mask(text, height), color)


def blend(canvas: NDArray[np.uint8], mask: NDArray[np.uint8], color: tuple[int, ...]) -> None:
    """Lays a colour onto the upper left corner of the RGB canvas (H, W, 3), in place, as a mask says.

    mask: uint8 (h, w), opacity, 0 to 255; what does not fit is cut off.
    """
    room = canvas[: mask.shape[0], : mask.shape[1]]
    alpha = mask[: room.shape[0], : room.shape[1], None] / np.float32(255)
    room[:] = np.rint(room + (np.array(color, np.float32) - room) * alpha).astype(np.uint8)


def text_width(text: str, height: int) -> float:
    """The width in pixels of a line of text, without the margins of `text_mask`."""
    return _font(height).getlength(text)


@lru_cache(maxsize=64)
def _font(height: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(_FILE, max(1.0, height / (_ABOVE + _BELOW)))
