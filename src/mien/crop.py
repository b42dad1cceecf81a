"""From a detected face to the square that a network sees: the contract between training data and recognition."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.results import Detections


@dataclass(frozen=True, slots=True)
class CropSpec:
    """How faces are cut out. The square has the side of the box's longer edge times (1 + margin).

    align: turn the face so that its eyes lie level, where the detector gives landmarks.
    """

    margin: float = 0.0
    align: bool = False
    shift_y: float = 0.0


def crop_faces(
    picture: NDArray[np.uint8], detections: Detections, spec: CropSpec, *, size: int, channels: int
) -> NDArray[np.uint8]:
    """RGB picture (H, W, 3) -> uint8 (N, size, size, channels)."""
    raise NotImplementedError
