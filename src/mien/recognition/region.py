"""A region of the frame: faces are detected and tracked in it alone; results are in pixels of the whole frame."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mien.errors import VideoError
from mien.results import Detections


@dataclass(frozen=True, slots=True)
class Region:
    """Left, top, width and height in pixels of the upright frame, or in fractions of it where all are 1 at most."""

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        """Raises VideoError for numbers that fit no frame."""
        numbers = (self.x, self.y, self.width, self.height)
        if not all(math.isfinite(n) and n >= 0 for n in numbers) or self.width == 0 or self.height == 0:
            raise VideoError(f"region {self}: expected x, y of 0 or more and a width and height above 0")
        if self.is_fractional and (self.x + self.width > 1 + 1e-9 or self.y + self.height > 1 + 1e-9):
            raise VideoError(f"region {self}: extends beyond the frame (numbers of at most 1 are fractions of it)")

    def __str__(self) -> str:
        return f"{self.x:g},{self.y:g},{self.width:g},{self.height:g}"

    @classmethod
    def parse(cls, text: str) -> Region:
        """From `x,y,width,height`, as in `320,0,320,360` or `0.5,0,0.5,1`. Raises VideoError."""
        number = r"\s*(\d{1,6}(?:\.\d{1,9})?|\.\d{1,9})\s*"
        match = re.fullmatch(",".join([number] * 4), text)
        if match is None:
            raise VideoError(
                f"region {text!r}: expected x,y,width,height in pixels of the frame, e.g. 320,0,320,360, "
                "or in fractions of it, e.g. 0.5,0,0.5,1"
            )
        return cls(*(float(part) for part in match.groups()))

    @property
    def is_fractional(self) -> bool:
        """Whether the numbers are fractions of the frame."""
        return max(self.x, self.y, self.width, self.height) <= 1

    def of(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in whole pixels of a frame of this size. Raises VideoError where it is not in it."""
        across, down = (width, height) if self.is_fractional else (1, 1)
        left, top = round(self.x * across), round(self.y * down)
        right, bottom = round((self.x + self.width) * across), round((self.y + self.height) * down)
        if right > width or bottom > height or left >= right or top >= bottom:
            raise VideoError(f"region {self}: is not within the frame, which is {width} x {height} pixels")
        return left, top, right, bottom


def as_region(value: Region | tuple[float, float, float, float] | str) -> Region:
    """From its four numbers, or from them as text. Raises VideoError."""
    if isinstance(value, Region):
        return value
    return Region.parse(value) if isinstance(value, str) else Region(*value)


def cut_out(image: NDArray[np.uint8], region: Region) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The region's part of an image (H, W, 3), contiguous and read-only, and its left, top. Raises VideoError."""
    left, top, right, bottom = region.of(image.shape[1], image.shape[0])
    part = np.ascontiguousarray(image[top:bottom, left:right])
    part.flags.writeable = False
    return part, (left, top)


def moved(detections: Detections, left_top: tuple[int, int]) -> Detections:
    """Faces of a part in the pixels of the whole, in which the part begins at left, top."""
    offset = np.asarray(left_top, np.float32)
    landmarks = None if detections.landmarks is None else detections.landmarks + offset
    return replace(detections, boxes=detections.boxes + np.tile(offset, 2), landmarks=landmarks)
