"""Box arithmetic that the detectors share. Boxes are float32 (N, 4): x1, y1, x2, y2 in pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.results import Detections

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]


def nms(boxes: Floats, scores: Floats, threshold: float, *, by_smaller: bool = False) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: the indices that stay, best score first.

    boxes (N, 4), scores (N,). A box is dropped if it overlaps a better one by more than `threshold`. Overlap
    is intersection over union, or over the smaller area (`by_smaller`: also removes a box inside another).
    """
    order = np.argsort(-scores, kind="stable")
    x1, y1, x2, y2 = boxes[order].T
    area = np.maximum(x2 - x1, 0) * np.maximum(y2 - y1, 0)
    alive = np.ones(len(order), bool)
    keep = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        keep.append(i)
        rest = slice(i + 1, None)
        width = np.minimum(x2[i], x2[rest]) - np.maximum(x1[i], x1[rest])
        height = np.minimum(y2[i], y2[rest]) - np.maximum(y1[i], y1[rest])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        whole = np.minimum(area[i], area[rest]) if by_smaller else area[i] + area[rest] - shared
        alive[rest] &= shared <= threshold * whole
    return order[keep]


def square(boxes: Floats) -> Floats:
    """Squares around the boxes' centres with the side of their longer edges."""
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + size / 2
    half = size.max(axis=1, keepdims=True, initial=0) / 2
    return np.hstack([centre - half, centre + half])


def shrunk(image: Image, max_side: int) -> tuple[Image, Floats]:
    """The image with its longer side at most `max_side`, and the factors (2,) from its x, y back to the image's."""
    height, width = image.shape[:2]
    if max(height, width) <= max_side:
        return image, np.ones(2, np.float32)
    scale = max_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small, np.array([width / size[0], height / size[1]], np.float32)  # type: ignore[return-value]


def large_enough(found: Detections, *, min_face: float) -> Detections:
    """The faces whose longer edge has at least `min_face` pixels, from left to right.

    An image that is a face already (`cropped`) is never too small.
    """
    if found.cropped:
        return found
    edges = (found.boxes[:, 2:] - found.boxes[:, :2]).max(axis=1, initial=0)
    return taken(found, np.flatnonzero(edges >= min_face))


def taken(found: Detections, rows: NDArray[np.intp]) -> Detections:
    """Some of the detections, from left to right."""
    rows = rows[np.argsort(found.boxes[rows, 0], kind="stable")]
    landmarks = None if found.landmarks is None else found.landmarks[rows]
    return Detections(found.boxes[rows], found.scores[rows], landmarks)
