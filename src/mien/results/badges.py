"""Small round faces, one for each expression: emoji that need no font, drawn from vectors at any size.

Drawn large and averaged down; strokes become wider, in proportion, where the badge is small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError
from mien.labels import color_rgb

Color = tuple[int, int, int]
Point = tuple[float, float]

MAX_BADGE = 512
"""Pixels; the caller enlarges a badge of this size to get a larger one."""

UNSURE = "?"
"""In place of an expression: the grey face of a prediction that abstained."""

INK: Color = (38, 28, 32)
_WHITE: Color = (255, 255, 255)
_TEAR: Color = (215, 240, 255)
_TONGUE: Color = (226, 92, 104)
_GREY: Color = (130, 130, 130)
_RIM = 0.91  # of the radius; outside of it is white


@lru_cache(maxsize=64)
def badge(expression: str, size: int) -> NDArray[np.uint8]:
    """A round face that shows the expression, uint8 RGBA (size, size, 4), read-only; transparent around the disc.

    size: 8 to 512 pixels, or ValueError. Unknown labels get a face with eyes only, in their own colour.
    """
    if not 8 <= size <= MAX_BADGE:
        raise ArgumentError(f"a badge of {size} pixels; expected 8 to {MAX_BADGE}")
    pen = Pen(size)
    draw_face(pen, expression)
    image = cv2.resize(pen.image, (size, size), interpolation=cv2.INTER_AREA)
    mask = np.zeros(pen.image.shape[:2], np.uint8)
    cv2.circle(mask, (len(mask) // 2, len(mask) // 2), round(len(mask) / 2 - 1), 255, -1)
    alpha = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)
    made = np.dstack((image, alpha)).astype(np.uint8, copy=False)
    made.flags.writeable = False
    return made


def draw_badge(
    canvas: NDArray[np.uint8], expression: str, box: tuple[int, int, int, int], size: int, *, over: bool = False
) -> None:
    """Draws a badge on the lower right corner of a box, inside the image; or over the face, as large as it.

    canvas: RGB (H, W, 3), changed in place. expression: a label, or `UNSURE`. box: x1, y1, x2, y2 in pixels.
    """
    height, width = canvas.shape[:2]
    longest = max(box[2] - box[0], box[3] - box[1])
    if over:
        x, y, size = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2, max(size, longest * 9 // 10)
    else:
        x, y, size = box[2], box[3], max(16, min(size, longest * 6 // 10))
    size = min(size, height, width, MAX_BADGE) // 4 * 4  # in steps, so that few sizes are drawn
    if size < 8:
        return
    face, weight, rest = _badge_parts(expression, size)
    left, top = max(0, min(x - size // 2, width - size)), max(0, min(y - size // 2, height - size))
    room = canvas[top : top + size, left : left + size]
    room[:] = cv2.blendLinear(room, face, rest, weight)


def draw_face(pen: Pen, expression: str) -> None:
    """Draws the badge of an expression, or of `UNSURE`, with a pen."""
    color = _GREY if expression == UNSURE else color_rgb(expression)
    pen.disc((0, 0), 1, 1, _WHITE)
    pen.disc((0, 0), _RIM, _RIM, _mix(color, _WHITE, 0.2))
    _FACES.get(expression, _unknown)(pen)


@lru_cache(maxsize=24)
def _badge_parts(expression: str, size: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """A badge's RGB, its opacity, and 1 minus its opacity, float32 (size, size), 0 to 1."""
    drawn = badge(expression, size)
    weight = drawn[..., 3].astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(drawn[..., :3]), weight, (1 - weight).astype(np.float32)


class Pen:
    """Draws in the badge's coordinates: its centre is (0, 0), its edge has the radius 1, y points down."""

    def __init__(self, size: int) -> None:
        side = size * max(1, min(8, 1024 // size))
        self.image = np.full((side, side, 3), 255, np.uint8)
        self._half = side / 2
        self.stroke = max(0.11, 3.2 / size)

    def line(self, points: Sequence[Point], color: Color = INK, width: float = 1.0) -> None:
        """Draws a stroke with round ends; width: in strokes."""
        pixels = self._pixels(points)
        thickness = max(1, round(self.stroke * width * self._half))
        cv2.polylines(self.image, [pixels], False, color, thickness, cv2.LINE_AA, 4)
        for end in (pixels[0], pixels[-1]):  # round ends
            cv2.circle(self.image, (int(end[0]), int(end[1])), thickness * 8, color, -1, cv2.LINE_AA, 4)

    def fill(self, points: Sequence[Point], color: Color) -> None:
        """Fills a polygon."""
        cv2.fillPoly(self.image, [self._pixels(points)], color, cv2.LINE_AA, 4)

    def disc(self, centre: Point, radius_x: float, radius_y: float, color: Color = INK) -> None:
        """Fills an ellipse."""
        self.fill(_arc(centre, radius_x, radius_y, 0, 360), color)

    def _pixels(self, points: Sequence[Point]) -> NDArray[np.int32]:
        sixteenths = (np.array(points) + 1) * self._half * 16 - 8
        return np.round(sixteenths).astype(np.int32)

    def eyes(self, radius: float = 0.13) -> None:
        """Two dots."""
        for x in (-0.34, 0.34):
            self.disc((x, -0.14), max(radius, 0.85 * self.stroke), max(radius * 1.25, 0.85 * self.stroke))

    def wide_eyes(self, pupil: float) -> None:
        """Two white eyes with small pupils."""
        for x in (-0.36, 0.36):
            self.disc((x, -0.2), 0.26, 0.29, _WHITE)
            self.disc((x, -0.18), pupil, pupil)

    def brows(self, outer: float, inner: float) -> None:
        """Two straight brows by the height of their ends; minus is up."""
        for side in (-1, 1):
            self.line([(side * 0.6, outer), (side * 0.2, inner)])


def _arc(centre: Point, radius_x: float, radius_y: float, start: float, end: float) -> list[Point]:
    """Points of an ellipse, in degrees clockwise from the right."""
    angles = [math.radians(start + (end - start) * i / 40) for i in range(41)]
    return [(centre[0] + radius_x * math.cos(a), centre[1] + radius_y * math.sin(a)) for a in angles]


def _mix(color: Color, other: Color, share: float) -> Color:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(color, other, strict=True))
    return red, green, blue


def _angry(pen: Pen) -> None:
    pen.eyes()
    pen.brows(outer=-0.56, inner=-0.3)
    pen.line(_arc((0, 0.66), 0.36, 0.26, 200, 340))


def _disgust(pen: Pen) -> None:
    for side in (-1, 1):  # eyes squeezed shut
        pen.line([(side * 0.56, -0.4), (side * 0.2, -0.2), (side * 0.56, -0.04)])
    pen.fill([*_arc((0.12, 0.42), 0.22, 0.36, 0, 180)], _TONGUE)
    pen.line([(-0.5 + i / 20, 0.38 + 0.09 * math.sin(i * 0.94)) for i in range(21)])


def _fear(pen: Pen) -> None:
    pen.wide_eyes(pupil=0.1)
    pen.brows(outer=-0.5, inner=-0.7)
    pen.fill([(-0.44, 0.62), *_arc((0, 0.52), 0.44, 0.28, 180, 360), (0.44, 0.62)], INK)
    pen.line([(-0.3 + i * 0.12, 0.5 + (0.07 if i % 2 else -0.07)) for i in range(6)], _WHITE, 0.7)


def _happy(pen: Pen) -> None:
    for x in (-0.36, 0.36):  # eyes that smile
        pen.line(_arc((x, -0.08), 0.17, 0.2, 190, 350))
    pen.fill(_arc((0, 0.16), 0.56, 0.56, 0, 180), INK)
    pen.fill([(-0.48, 0.16), (0.48, 0.16), (0.42, 0.33), (-0.42, 0.33)], _WHITE)


def _sad(pen: Pen) -> None:
    pen.eyes()
    pen.brows(outer=-0.38, inner=-0.58)
    pen.line(_arc((0, 0.7), 0.34, 0.28, 205, 335))
    pen.fill([(0.5, 0.02), *_arc((0.5, 0.36), 0.17, 0.19, -20, 200)], _TEAR)


def _surprise(pen: Pen) -> None:
    pen.wide_eyes(pupil=0.13)
    for x in (-0.36, 0.36):
        pen.line(_arc((x, -0.52), 0.2, 0.16, 200, 340), width=0.9)
    pen.disc((0, 0.46), 0.24, 0.32)


def _neutral(pen: Pen) -> None:
    pen.eyes()
    pen.line([(-0.36, 0.42), (0.36, 0.42)])


def _contempt(pen: Pen) -> None:
    pen.eyes()
    pen.line([(-0.56, -0.34), (-0.14, -0.3)])  # one lid hangs, the other brow is raised
    pen.line(_arc((0.36, -0.36), 0.22, 0.2, 200, 340))
    pen.line([(-0.34, 0.48), (0.0, 0.46), (0.26, 0.36), (0.46, 0.18)])


def _unsure(pen: Pen) -> None:
    """A question mark."""
    pen.line([*_arc((0, -0.24), 0.3, 0.3, 180, 410), (0.03, 0.12), (0.0, 0.26)], _WHITE, 1.3)
    pen.disc((0, 0.58), max(0.11, 0.75 * pen.stroke), max(0.11, 0.75 * pen.stroke), _WHITE)


def _unknown(pen: Pen) -> None:
    pen.eyes()


_FACES: dict[str, Callable[[Pen], None]] = {
    "angry": _angry,
    "disgust": _disgust,
    "fear": _fear,
    "happy": _happy,
    "sad": _sad,
    "surprise": _surprise,
    "neutral": _neutral,
    "contempt": _contempt,
    UNSURE: _unsure,
}
