"""No detection: each picture is a face crop already, as in a folder of FER2013 faces."""

from __future__ import annotations

import numpy as np

from mien.faces.geometry import Picture
from mien.results import Detections


class Whole:
    """Answers with one box of the whole picture, which `crop_faces` then only resizes."""

    name = "none"

    def detect(self, picture: Picture) -> Detections:
        """One face with score 1 in an RGB picture (H, W, 3); none in an empty one."""
        height, width = picture.shape[:2]
        count = 1 if height and width else 0
        boxes = np.array([[0, 0, width, height]] * count, np.float32).reshape(count, 4)
        return Detections(boxes, np.ones(count, np.float32), cropped=True)
