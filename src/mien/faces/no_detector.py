"""The detector `none`: each image is a face crop already, as in a folder of FER2013 faces."""

from __future__ import annotations

import numpy as np

from mien.faces.geometry import Image
from mien.results import Detections


class NoDetector:
    """Returns one box that covers the image; `crop_faces` then only resizes it."""

    name = "none"

    def detect(self, image: Image) -> Detections:
        """One face with score 1 in an RGB image (H, W, 3); none in an empty one."""
        height, width = image.shape[:2]
        count = 1 if height and width else 0
        boxes = np.array([[0, 0, width, height]] * count, np.float32).reshape(count, 4)
        return Detections(boxes, np.ones(count, np.float32), cropped=True)
