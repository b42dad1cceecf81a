"""From a detected face to the square that a network sees: the contract between training data and recognition."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.crop_spec import CropSpec
from mien.errors import ArgumentError
from mien.results import Detections

Image = NDArray[np.uint8]

VIEWS = 10
"""How many views `ten_views` makes."""

_TILTED = math.radians(15)  # networks were trained on faces that are turned by at most 12 degrees

# Eyes, nose and corners of the mouth of an upright face seen from the front, in any unit, about their mean.
_FRONTAL = np.array([[-0.5, -0.6], [0.5, -0.6], [0.0, 0.0], [-0.4, 0.6], [0.4, 0.6]], np.float32)

_CUT = 12  # a shifted view leaves out 1/12 of the face's edge: 4 of 48 pixels


def crop_faces(
    image: NDArray[np.uint8], detections: Detections, spec: CropSpec, *, size: int, channels: int
) -> NDArray[np.uint8]:
    """RGB image (H, W, 3) -> uint8 face crops (N, size, size, channels), in the order of the detections.

    channels: 3 for RGB, 1 for grey (luma of ITU-R BT.601). Where a square reaches over the image's border, the
    border's pixels are repeated. Detections that are `cropped` are only resized, without `spec`.
    Raises ArgumentError for other channels.
    """
    if channels not in (1, 3):
        raise ArgumentError(f"channels is {channels}; expected 1 (grey) or 3 (RGB)")
    crops = np.empty((len(detections), size, size, channels), np.uint8)
    for i, square in enumerate(squares(detections, spec)):
        if detections.cropped:
            x1, y1, x2, y2 = map(round, detections.boxes[i].tolist())
            face = image[y1:y2, x1:x2]
        else:
            face = resampled(image, square, size)
        crops[i] = fit_face(face, size, channels)
    return crops


@dataclass(frozen=True, slots=True)
class Square:
    """The part of an image that a crop shows. x, y: its centre, pixels. roll: radians clockwise as seen."""

    x: float
    y: float
    side: float
    roll: float


def squares(detections: Detections, spec: CropSpec) -> list[Square]:
    """What the crops of `crop_faces` show, in the order of the detections."""
    marks = detections.landmarks
    turns = np.zeros(len(detections)) if marks is None else rolls(marks)
    found = []
    for (x1, y1, x2, y2), turn in zip(detections.boxes.tolist(), turns.tolist(), strict=True):
        roll = turn if spec.align or abs(turn) > _TILTED else 0.0
        side = max(x2 - x1, y2 - y1, 1.0) * (1 + spec.margin)
        down = spec.shift_y * side
        found.append(Square((x1 + x2) / 2 - math.sin(roll) * down, (y1 + y2) / 2 + math.cos(roll) * down, side, roll))
    return found


def fit_face(face: NDArray[np.uint8], size: int, channels: int) -> NDArray[np.uint8]:
    """Resizes and converts a face crop to a network's input; training, evaluation and recognition all do it here.

    face: uint8 (H, W, 1 or 3), grey or RGB. channels: 1 (grey, luma of ITU-R BT.601) or 3 (RGB). Returns uint8 (size,
    size, channels): averaged by area where neither side grows, else cubic; the face itself where it already fits.
    """
    if face.shape[2] == 3 and channels == 1:
        face = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[..., None].astype(np.uint8, copy=False)
    elif face.shape[2] == 1 and channels == 3:
        face = np.repeat(face, 3, axis=2)
    if face.shape[:2] == (size, size):
        return face
    way = cv2.INTER_AREA if min(face.shape[:2]) >= size else cv2.INTER_CUBIC
    resized = cv2.resize(face, (size, size), interpolation=way)
    return resized.reshape(size, size, channels).astype(np.uint8, copy=False)


def ten_views(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (N, H, W, C) -> (N * 10, H, W, C): each face, four cuts towards its corners, and the five mirrored.

    The ten-crop test of Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks" (2012),
    with the whole face instead of the centre cut.
    """
    count, height, width, channels = faces.shape
    views = np.empty((count, VIEWS, height, width, channels), np.uint8)
    dy, dx = max(1, height // _CUT), max(1, width // _CUT)
    views[:, 0] = faces
    for view, (top, left) in enumerate(((0, 0), (0, dx), (dy, 0), (dy, dx)), start=1):
        for i, face in enumerate(faces):
            cut = face[top : top + height - dy, left : left + width - dx]
            views[i, view] = cv2.resize(cut, (width, height), interpolation=cv2.INTER_LINEAR).reshape(face.shape)
    views[:, VIEWS // 2 :] = views[:, : VIEWS // 2, :, ::-1]
    return views.reshape(count * VIEWS, height, width, channels)


def rolls(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far faces are turned in the image, radians clockwise as seen, from landmarks (N, 5, 2); 0 is upright.

    The turn that brings an upright face closest to the five points (Umeyama 1991): where a face is seen from the side
    its eyes almost coincide, but the axis from eyes to mouth remains.
    """
    x, y = np.moveaxis(landmarks - landmarks.mean(axis=1, keepdims=True), 2, 0)
    along = (x * _FRONTAL[:, 0] + y * _FRONTAL[:, 1]).sum(axis=1)
    across = (y * _FRONTAL[:, 0] - x * _FRONTAL[:, 1]).sum(axis=1)
    turns: NDArray[np.float32] = np.arctan2(across, along)
    return turns


def resampled(image: NDArray[np.uint8], square: Square, size: int) -> NDArray[np.uint8]:
    """A square of an RGB image as uint8 (size, size, 3): resampled once where it grows, averaged where it shrinks."""
    side, centre_x, centre_y = square.side, square.x, square.y
    cos, sin = math.cos(square.roll), math.sin(square.roll)

    # Only the part of the image around the square is touched, first averaged down to about twice the wanted size.
    step = side / size
    shrink = max(1.0, step / 2)
    reach = side / 2 * (abs(cos) + abs(sin)) + 2 * shrink + 2
    part, left, top = _part(image, centre_x, centre_y, reach)
    full_height, full_width = part.shape[:2]
    width, height = max(1, round(full_width / shrink)), max(1, round(full_height / shrink))
    if shrink > 1:
        part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    scale = np.array([width / full_width, height / full_height])

    # Pixel centres lie at half coordinates: (u + 0.5) / n - 0.5 is a crop pixel's place in the square, -0.5 to 0.5.
    n = size * 2 if step > 1 else size
    turn = np.array([[cos, -sin], [sin, cos]]) * (side / n)
    offset = np.array([centre_x - left, centre_y - top]) + turn @ np.full(2, 0.5 - n / 2)
    matrix = np.hstack([turn * scale[:, None], (offset * scale - 0.5)[:, None]])
    way = (cv2.INTER_LINEAR if step > 1 else cv2.INTER_CUBIC) | cv2.WARP_INVERSE_MAP
    face = cv2.warpAffine(part, matrix, (n, n), flags=way, borderMode=cv2.BORDER_REPLICATE)
    return face if n == size else cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def sampled(image: NDArray[np.uint8], square: Square, size: int) -> NDArray[np.uint8]:
    """A square of an RGB image as uint8 (size, size, 3), bilinear from corner to corner, as MediaPipe does.

    Pixel u of it shows the point u, where `resampled` shows u + 0.5. The image's own pixel centres lie at halves.
    """
    cos, sin = math.cos(square.roll), math.sin(square.roll)
    part, left, top = _part(image, square.x, square.y, square.side / 2 * (abs(cos) + abs(sin)) + 2)
    turn = np.array([[cos, -sin], [sin, cos]]) * (square.side / size)
    offset = np.array([square.x - left, square.y - top]) - 0.5 - turn @ np.full(2, size / 2)
    way, matrix = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, np.hstack([turn, offset[:, None]])
    return cv2.warpAffine(part, matrix, (size, size), flags=way, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def _part(image: Image, x: float, y: float, reach: float) -> tuple[Image, int, int]:
    """What lies within reach of a point, with the border's pixels repeated outside; and its left and top."""
    left, x1, x2, right = _span(x, reach, image.shape[1])
    top, y1, y2, bottom = _span(y, reach, image.shape[0])
    part = image[y1:y2, x1:x2]
    border = (y1 - top, bottom - y2, x1 - left, right - x2)
    if any(border):
        part = cv2.copyMakeBorder(part, *border, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    return part, left, top


def _span(centre: float, reach: float, length: int) -> tuple[int, int, int, int]:
    """Along one axis: the first wanted pixel, the first and last + 1 in the image (at least one), last + 1 wanted."""
    first, last = math.floor(centre - reach), math.ceil(centre + reach)
    first_in = min(max(first, 0), length - 1)
    last_in = min(max(last, first_in + 1), length)
    return min(first, first_in), first_in, last_in, max(last, last_in)
