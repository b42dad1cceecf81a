"""The default detector: YuNet, and where it finds nothing or is unsure, CenterFace and other angles."""

from __future__ import annotations

import math

import cv2
import numpy as np

from mien.faces.geometry import Floats, Image, nms
from mien.faces.one_pass import CenterFace, YuNet
from mien.results import Detections

# YuNet's scores of upright faces are 0.89 and above, masked ones too; of turned faces, dogs and clocks 0.6 to 0.88.
_SURE = 0.88
# What both networks must give together: CenterFace's score of what YuNet is unsure of.
_CONFIRMED = 0.35
# Both networks find faces within this angle of upright, and tell the angle of what they find.
_UPRIGHT_DEG = 18.0
_SECOND_SIDE = 960  # the longer side for the second look


class Auto:
    """Finds faces at any angle, with five landmarks, and drops what one network alone takes for a face."""

    name = "auto"

    def __init__(self, *, min_face: float = 20, max_side: int = 1920, threads: int = 0, device: str = "cpu") -> None:
        """min_face: the smallest face to report, pixels. max_side: a larger image is searched at this size.

        threads, device: for the networks, as in `mien.inference`. Raises DeviceError.
        """
        self._fast = YuNet(min_face=min_face, max_side=max_side, threads=threads, device=device)
        self._settings = {"min_face": min_face, "threads": threads, "device": device}
        self._thorough: CenterFace | None = None

    def detect(self, image: Image) -> Detections:
        """Faces in an RGB image (H, W, 3) of 0-255, best first, with landmarks. Boxes may reach over its border."""
        found = self._fast.detect(image)
        if len(found) and found.scores.min() >= _SURE:
            return found
        second = self._second(image)
        found = joined([_confirmed(found, second), _above(second, 0.6)])
        if not len(found):
            found = joined([_above(turned(self._fast, image, angle), 0.8) for angle in (90, 180, 270)])
        if not len(found):
            found = joined([_above(turned(self._fast, image, angle), 0.8) for angle in (45, 135, 225, 315)])
        return self._levelled(image, found)

    def _second(self, image: Image) -> Detections:
        if self._thorough is None:  # many images never need it
            self._thorough = CenterFace(threshold=_CONFIRMED, max_side=_SECOND_SIDE, **self._settings)  # type: ignore[arg-type]
        return self._thorough.detect(image)

    def _levelled(self, image: Image, found: Detections) -> Detections:
        """Searches once more at the angle of the tilted faces: there may be more of them."""
        searched = 0.0
        for _ in range(3):
            tilted = rolls_deg(found)
            tilted = tilted[np.abs(tilted) > _UPRIGHT_DEG]
            if not len(tilted) or abs((angle := float(np.median(tilted))) - searched) < _UPRIGHT_DEG / 2:
                break
            found, searched = joined([found, turned(self._fast, image, angle)]), angle
        return found


def rolls_deg(found: Detections) -> Floats:
    """The angle of each face, degrees clockwise as seen, from its eyes; 0 is upright."""
    assert found.landmarks is not None
    dx, dy = (found.landmarks[:, 1] - found.landmarks[:, 0]).T
    return np.degrees(np.arctan2(dy, dx)).astype(np.float32)


def turned(detector: YuNet | CenterFace, image: Image, angle_deg: float) -> Detections:
    """What a detector finds in the image turned counterclockwise, in pixels of the image as it is.

    A box keeps its size and its place; it is not turned.
    """
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle_deg, 1)
    cos, sin = abs(math.cos(math.radians(angle_deg))), abs(math.sin(math.radians(angle_deg)))
    size = round(height * sin + width * cos), round(height * cos + width * sin)
    matrix[:, 2] += np.array(size) / 2 - np.array([width, height]) / 2
    found = detector.detect(cv2.warpAffine(image, matrix, size))  # type: ignore[arg-type]
    back = cv2.invertAffineTransform(matrix).astype(np.float32)
    centre, half = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2, (found.boxes[:, 2:] - found.boxes[:, :2]) / 2
    centre = centre @ back[:, :2].T + back[:, 2]
    assert found.landmarks is not None
    return Detections(np.hstack([centre - half, centre + half]), found.scores, found.landmarks @ back[:, :2].T + back[:, 2])


def joined(found: list[Detections]) -> Detections:
    """The faces of several searches, each once, best first."""
    boxes, scores = np.concatenate([each.boxes for each in found]), np.concatenate([each.scores for each in found])
    landmarks = np.concatenate([each.landmarks for each in found if each.landmarks is not None])
    keep = nms(boxes, scores, 0.3)
    return Detections(boxes[keep], scores[keep], landmarks[keep])


def _above(found: Detections, score: float) -> Detections:
    return _rows(found, found.scores >= score)


def _rows(found: Detections, rows: object) -> Detections:
    assert found.landmarks is not None
    return Detections(found.boxes[rows], found.scores[rows], found.landmarks[rows])  # type: ignore[index]


def _confirmed(found: Detections, second: Detections) -> Detections:
    """What the first search is sure of, or the second one sees too."""
    centre = (found.boxes[:, None, :2] + found.boxes[:, None, 2:]) / 2
    inside = ((second.boxes[:, :2] < centre) & (centre < second.boxes[:, 2:])).all(axis=2).any(axis=1)
    return _rows(found, (found.scores >= _SURE) | inside)
