"""MTCNN: proposal, refinement and output networks over an image pyramid, in onnxruntime (the default, offline).

Zhang, Zhang, Li, Qiao: Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks (2016),
arXiv:1604.02878. Boxes in here are float32 (N, 4), x1, y1, x2, y2, in pixels of the working image.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from mien.errors import ArgumentError
from mien.faces.geometry import Floats, Image, nms, shrunk, square
from mien.faces.networks import open_shipped
from mien.results import Detections

_CELL, _STRIDE = 12, 2  # the proposal network sees 12x12 pixels at every second pixel
_CHUNK = 256  # patches that go through a network at once: bounds memory


class Mtcnn:
    """Finds faces and their five landmarks. Deterministic; not tied to an image size."""

    name = "mtcnn"

    def __init__(
        self,
        *,
        min_face: float = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.8),
        scale_factor: float = 0.709,
        max_side: int = 1920,
        threads: int = 0,
        device: str = "cpu",
    ) -> None:
        """min_face: the smallest face to detect, pixels. thresholds: of the three networks' scores, 0 to 1.

        scale_factor: from one pyramid level to the next, 0 to 1 (0.709 halves the area). max_side: a larger image
        is worked on at this size, which bounds time and memory; min_face then counts in the shrunk image.
        threads: for the networks; 0 lets onnxruntime choose. device: where they run, as in `mien.inference`.
        Raises ArgumentError for impossible values, DeviceError.
        """
        if not min_face > 0 or not 0 < scale_factor < 1 or max_side < _CELL:
            raise ArgumentError("mtcnn: min_face must be above 0, scale_factor between 0 and 1, max_side at least 12")
        self._min_face, self._thresholds = max(min_face, _CELL), thresholds
        self._scale_factor, self._max_side = scale_factor, max_side
        self._pnet, self._rnet, self._onet = (
            open_shipped(name, threads=threads, device=device) for name in ("pnet", "rnet", "onet")
        )

    def detect(self, image: Image) -> Detections:
        """Faces in an RGB image (H, W, 3) of 0-255, best first, with landmarks. Boxes may reach over its border."""
        small, grow = shrunk(image, self._max_side)
        boxes = self._propose(small)
        boxes = self._refine(small, boxes)
        boxes, scores, landmarks = self._finish(small, boxes)
        return Detections(boxes * np.tile(grow, 2), scores, landmarks * grow)

    def _propose(self, image: Image) -> Floats:
        """First network, over the pyramid."""
        all_boxes, all_scores = [_NO_BOXES], [_NO_SCORES]
        whole = np.array(image.shape[1::-1], np.float32)
        scale = _CELL / self._min_face
        while whole.min() * scale >= _CELL:
            level_size = np.rint(whole * scale).astype(int)
            while image.shape[1] >= 2 * level_size[0] and image.shape[0] >= 2 * level_size[1]:
                # The smaller levels are made from halves, which is faster.
                image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
            level = cv2.resize(image, level_size.tolist(), interpolation=cv2.INTER_AREA)
            offset, score = self._pnet.run(None, {"image": level[None]})
            y, x = np.nonzero(score[0] > self._thresholds[0])
            scores = score[0, y, x]
            corner = np.stack([x, y], axis=1).astype(np.float32) * _STRIDE
            boxes = np.hstack([corner, corner + np.float32(_CELL)]) + offset[0, y, x] * np.float32(_CELL)
            keep = nms(boxes, scores, 0.5)
            all_boxes.append(boxes[keep] * np.tile(whole / level_size, 2).astype(np.float32))
            all_scores.append(scores[keep])
            scale *= self._scale_factor
        boxes, scores = np.concatenate(all_boxes), np.concatenate(all_scores)
        return boxes[nms(boxes, scores, 0.7)]

    def _refine(self, image: Image, boxes: Floats) -> Floats:
        """Second network: most proposals go, the rest move closer."""
        squares = square(boxes)
        offset, score = _run(self._rnet, patches(image, squares, 24), ((4,), ()))
        chosen = np.flatnonzero(score > self._thresholds[1])
        moved = _moved(squares[chosen], offset[chosen])
        return moved[nms(moved, score[chosen], 0.7)]

    def _finish(self, image: Image, boxes: Floats) -> tuple[Floats, Floats, Floats]:
        """Third network: the boxes as they are returned, scores and landmarks (N, 5, 2)."""
        squares = square(boxes)
        offset, points, score = self._output(patches(image, squares, 48))
        chosen = np.flatnonzero(score > self._thresholds[2])
        squares, score = squares[chosen], score[chosen]
        moved = _moved(squares, offset[chosen])
        keep = nms(moved, score, 0.7, by_smaller=True)
        side = (squares[:, 2] - squares[:, 0])[:, None, None]
        landmarks = squares[:, None, :2] + points[chosen] * side
        return moved[keep], score[keep], landmarks[keep]

    def _output(self, faces: Image) -> tuple[Floats, Floats, Floats]:
        """Third network on patches and on their mirror images, averaged: offsets, landmarks (N, 5, 2), scores.

        The mirror is not in the paper. It costs little, as few patches are left, and parts faces from the rest: on
        three photographs at five sizes, faces had 0.78 and more and other things up to 0.81 in one view; 0.79 and
        more against 0.74 in both.
        """
        shapes: tuple[tuple[int, ...], ...] = ((4,), (10,), ())
        offset, points, score = _run(self._onet, faces, shapes)
        offset_m, points_m, score_m = _run(self._onet, np.ascontiguousarray(faces[:, :, ::-1]), shapes)
        offset_m = offset_m[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
        xy, xy_m = (p.reshape(-1, 2, 5).transpose(0, 2, 1) for p in (points, points_m))  # five x, then five y
        xy_m = np.stack([1 - xy_m[..., 0], xy_m[..., 1]], axis=-1)[:, [1, 0, 2, 4, 3]]
        half = np.float32(0.5)
        return (offset + offset_m) * half, (xy + xy_m) * half, (score + score_m) * half


_NO_BOXES: Floats = np.zeros((0, 4), np.float32)
_NO_SCORES: Floats = np.zeros(0, np.float32)


def patches(image: Image, squares: Floats, size: int) -> Image:
    """The squares of the image as uint8 (N, size, size, 3); mid-grey where they reach over the border."""
    height, width = image.shape[:2]
    out = np.full((len(squares), size, size, 3), 128, np.uint8)
    corners = np.rint(squares).astype(np.int64)
    inside = np.clip(corners, 0, [width, height, width, height])
    for patch, (x1, y1, x2, y2), (left, top, right, bottom) in zip(out, corners.tolist(), inside.tolist(), strict=True):
        if right <= left or bottom <= top:
            continue
        part = image[top:bottom, left:right]
        if (left, top, right, bottom) != (x1, y1, x2, y2):
            border = (top - y1, y2 - bottom, left - x1, x2 - right)
            part = cv2.copyMakeBorder(part, *border, cv2.BORDER_CONSTANT, value=(128, 128, 128))  # type: ignore[assignment]
        shrinks = part.shape[0] > size
        cv2.resize(part, (size, size), dst=patch, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return out


def _moved(boxes: Floats, offset: Floats) -> Floats:
    """Boxes moved by a network's offsets, which are shares of the boxes' width and height."""
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes + offset * np.hstack([size, size])


def _run(session: Any, inputs: Image, shapes: tuple[tuple[int, ...], ...]) -> list[Floats]:
    """All patches through a network, in chunks; `shapes` are the outputs' shapes without the first axis."""
    parts = [session.run(None, {"image": inputs[i : i + _CHUNK]}) for i in range(0, len(inputs), _CHUNK)]
    parts = parts or [[np.zeros((0, *shape), np.float32) for shape in shapes]]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
