"""Reads pictures of any common kind as plain arrays, without trusting them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import PictureError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".pgm", ".ppm"})


def read_picture(path: Path, *, grey: bool = False) -> NDArray[np.uint8]:
    return decode_picture(path.read_bytes(), str(path), grey=grey)


def decode_picture(data: bytes, source: str, *, grey: bool = False) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise PictureError(f"{source}: not a picture")
    return image[..., None] if grey else image  # type: ignore[return-value]
