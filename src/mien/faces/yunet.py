"""YuNet in onnxruntime: one small network that looks at a whole image.

Wu, Peng, Yu: YuNet: A Tiny Millisecond-level Face Detector (2023), doi:10.1007/s11633-023-1423-y. The weights are those
of its author's package yuface (BSD-3), converted by scripts/convert_yunet.py.
"""

from __future__ import annotations

from importlib import resources

import cv2
import numpy as np

from mien.faces.geometry import Floats, Image, nms, shrunk
from mien.inference import open_network
from mien.results import Detections

_STRIDES = (8, 16, 32)

# YuNet was trained on faces of 10 to 300 px and misses many above 600 px: a large image is also searched at this size.
_SECOND_SIDE = 640

# The network invents faces where its coarsest layer has a single row or column: narrow images are widened.
_LEAST_SIDE = 64


class YuNet:
    """Finds faces and their five landmarks."""

    name = "yunet"

    def __init__(
        self,
        *,
        min_face: float = 20,
        threshold: float = 0.6,
        max_side: int = 1920,
        threads: int = 0,
        device: str = "cpu",
    ) -> None:
        """min_face: the smallest face to report, pixels (longer edge of its box; it finds none below about 10).

        threshold: of the score, 0 to 1. max_side: a larger image is searched at this size. threads: for the network; 0
        lets onnxruntime choose. device: where it runs, as in `mien.inference`. Raises DeviceError.
        """
        self._min_face, self._threshold, self._max_side = min_face, threshold, max_side
        weights = resources.files("mien.faces").joinpath("weights", "yunet.onnx").read_bytes()
        self._network = open_network(weights, threads=threads, spin=False, any_shape=True, device=device)

    def detect(self, image: Image) -> Detections:
        """Faces in an RGB image (H, W, 3) of 0-255, best first, with landmarks. Boxes may reach over its border."""
        found = self._find(image, self._max_side)
        if max(image.shape[:2]) > 2 * _SECOND_SIDE:
            found = np.concatenate([found, self._find(image, _SECOND_SIDE)])
        boxes, scores = found[:, :4], found[:, 14]
        large = np.flatnonzero((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) >= self._min_face)
        keep = large[nms(boxes[large], scores[large], 0.3)]
        return Detections(boxes[keep], scores[keep], found[keep, 4:14].reshape(-1, 5, 2))

    def _find(self, image: Image, max_side: int) -> Floats:
        """Rows (N, 15): x1, y1, x2, y2, five landmarks x, y, score; in pixels of the image, with overlaps."""
        small, grow = shrunk(image, max_side)
        height, width = small.shape[:2]
        if min(height, width) < 10:  # no face fits
            return np.zeros((0, 15), np.float32)
        below, beside = (max(-side % 32, _LEAST_SIDE - side) for side in (height, width))
        small = cv2.copyMakeBorder(small, 0, below, 0, beside, cv2.BORDER_CONSTANT)  # type: ignore[assignment]
        outputs = self._network.run(None, {"image": small[None]})
        levels = zip(_STRIDES, outputs[::2], outputs[1::2], strict=True)
        rows = np.concatenate([_decoded(stride, score[0], values[0], self._threshold) for stride, score, values in levels])
        rows[:, :14] *= np.tile(grow, 7)
        return rows


def _decoded(stride: int, score: Floats, values: Floats, threshold: float) -> Floats:
    """The rows of one level whose score (h, w) is high enough, from the network's values (14, h, w)."""
    y, x = np.nonzero(score >= threshold)
    corner = np.stack([x, y], axis=1).astype(np.float32)
    found = values[:, y, x].T
    centre, half = corner + found[:, :2], np.exp(found[:, 2:4]) / 2
    landmarks = found[:, 4:] + np.tile(corner, 5)
    places = np.hstack([centre - half, centre + half, landmarks]) * np.float32(stride)
    return np.hstack([places, score[y, x, None]])
