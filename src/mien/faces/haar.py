"""OpenCV's cascades of boosted Haar features: fast, no weights to fetch, frontal faces only.

Viola, Jones: Rapid Object Detection using a Boosted Cascade of Simple Features (2001), doi:10.1109/CVPR.2001.990517.
"""

from __future__ import annotations

import threading
from importlib.metadata import distributions
from pathlib import Path

import cv2
import numpy as np

from mien.errors import DetectorError
from mien.faces.geometry import Image, shrunk
from mien.results import Detections

_SHIPPED = Path(cv2.__file__).parent / "data"  # with OpenCV
DEFAULT_CASCADE = _SHIPPED / "haarcascade_frontalface_default.xml"

# The last stage's sum of weights that becomes the score 0.5, and the sum that adds one to its log-odds: chosen so
# that clear faces of photographs (6 to 12) get 0.8 to 1. Not a probability.
_HALF, _SPREAD = 4.0, 1.5

_WHEELS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")


def installed_opencv() -> tuple[str, ...]:
    """The installed wheels of OpenCV with their versions. Several overwrite each other's files."""
    found = {each.name.lower(): each.version for each in distributions() if each.name.lower() in _WHEELS}
    return tuple(f"{name} {found[name]}" for name in _WHEELS if name in found)


class Haar:
    """Finds faces with a cascade; no landmarks."""

    name = "haar"

    def __init__(
        self,
        *,
        cascade: Path | None = None,
        min_face: float = 20,
        scale_factor: float = 1.1,
        min_neighbours: int = 5,
        max_side: int = 1920,
    ) -> None:
        """cascade: any OpenCV cascade file; without it the frontal face one that OpenCV ships.

        min_face: the smallest face to detect, pixels. scale_factor: from one window size to the next, above 1.
        min_neighbours: how many windows must agree. max_side: a larger image is worked on at this size.
        Raises DetectorError where the file is missing or not a cascade, and where OpenCV has no cascades.
        """
        if not hasattr(cv2, "CascadeClassifier"):
            raise DetectorError(
                f"haar: OpenCV {cv2.__version__} has no cascades (installed: {', '.join(installed_opencv())}); "
                "choose another detector, or pip install 'opencv-python-headless<5' in the place of these"
            )
        path = cascade or DEFAULT_CASCADE
        if not path.is_file():
            raise DetectorError(f"{path}: no such cascade file; OpenCV's lie in {_SHIPPED}")
        self._cascade = cv2.CascadeClassifier()
        try:
            loaded = self._cascade.load(str(path))
        except (cv2.error, SystemError):  # OpenCV raises either for XML that is not a cascade
            loaded = False
        if not loaded or self._cascade.empty():
            raise DetectorError(f"{path}: not an OpenCV cascade; OpenCV's lie in {_SHIPPED}")
        self._min_face, self._scale_factor = min_face, scale_factor
        self._min_neighbours, self._max_side = min_neighbours, max_side
        self._lock = threading.Lock()  # a cascade keeps buffers of the image at hand

    def detect(self, image: Image) -> Detections:
        """Faces in an RGB image (H, W, 3) of 0-255, best first."""
        small, grow = shrunk(image, self._max_side)
        if small.size == 0:
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        least = max(1, round(self._min_face / float(grow.max())))
        with self._lock:
            found, _, weights = self._cascade.detectMultiScale3(
                grey, self._scale_factor, self._min_neighbours, minSize=(least, least), outputRejectLevels=True
            )
        rows = np.asarray(found, np.float32).reshape(-1, 4)
        weight = np.asarray(weights, np.float32).reshape(-1)
        scores = 1 / (1 + np.exp((_HALF - weight) / np.float32(_SPREAD)))
        order = np.argsort(-weight, kind="stable")
        boxes = np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:]]) * np.tile(grow, 2)
        return Detections(boxes[order], scores[order])
