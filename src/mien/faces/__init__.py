"""Face detectors: one protocol, four methods. A detector is an object; `make_detector` makes one from its name."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mien.results import Detections

DETECTORS = ("mtcnn", "yunet", "haar", "none")


class FaceDetector(Protocol):
    """Finds faces in a picture."""

    name: str

    def detect(self, picture: NDArray[np.uint8]) -> Detections:
        """Faces in an RGB picture (H, W, 3) of 0-255, best first."""
        ...
