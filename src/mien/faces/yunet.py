"""YuNet through OpenCV's FaceDetectorYN; its weights are not shipped, but fetched on request or given by path.

Wu, Peng, Yu: YuNet: A Tiny Millisecond-level Face Detector (2023), doi:10.1007/s11633-023-1423-y.
"""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np

from mien.cache import cache_folder, fetch_file, sha256_of
from mien.errors import DetectorError
from mien.faces.geometry import Floats, Image, nms, shrunk
from mien.results import Detections

FILE = "face_detection_yunet_2023mar.onnx"
URL = f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{FILE}"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

# YuNet was trained on faces of 10 to 300 px and misses many above 600 px: a large image is searched at two sizes.
_SECOND_SIDE = 640

# OpenCV's network invents faces where its coarsest layer has a single row or column: narrow images are widened.
_LEAST_SIDE = 64


class YuNet:
    """Finds faces and their five landmarks."""

    name = "yunet"

    def __init__(
        self, *, weights: Path | None = None, min_face: float = 20, threshold: float = 0.6, max_side: int = 1920
    ) -> None:
        """weights: an own file; without it the one that `fetch_yunet` keeps in the cache, checked by sha256.

        min_face: the smallest face to report, pixels (longer edge of its box; it finds none below about 10).
        threshold: of the score, 0 to 1. max_side: a larger image is worked on at this size.
        Raises DetectorError where the weights are missing or not YuNet's.
        """
        path = weights or cached_yunet()
        if not path.is_file():
            raise DetectorError(
                f"{path}: no YuNet weights; fetch them with  mien models fetch yunet  or give --yunet-weights FILE"
            )
        if weights is None:
            _check(path)
        self._min_face, self._max_side = min_face, max_side
        self._lock = threading.Lock()  # OpenCV's object holds the size of the image at hand
        try:
            self._detector = cv2.FaceDetectorYN.create(str(path), "", (320, 320), threshold, 0.3, 5000)
            if weights is not None:  # OpenCV takes any network, and fails only when it is used
                self._find(np.zeros((320, 320, 3), np.uint8), 320)
        except cv2.error as error:
            raise DetectorError(f"{path}: not YuNet's ONNX file; fetch it with  mien models fetch yunet") from error

    def detect(self, image: Image) -> Detections:
        """Faces in an RGB image (H, W, 3) of 0-255, best first, with landmarks. Boxes may reach over its border."""
        found = self._find(image, self._max_side)
        if max(image.shape[:2]) > 2 * _SECOND_SIDE:
            found = np.concatenate([found, self._find(image, _SECOND_SIDE)])
        size = found[:, 2:4]
        found = found[size.max(axis=1, initial=0) >= self._min_face]
        boxes = np.hstack([found[:, :2], found[:, :2] + found[:, 2:4]])
        scores = np.clip(found[:, 14], 0, 1)
        keep = nms(boxes, scores, 0.3)
        return Detections(boxes[keep], scores[keep], found[keep, 4:14].reshape(-1, 5, 2))

    def _find(self, image: Image, max_side: int) -> Floats:
        """OpenCV's rows (N, 15): x, y, width, height, five landmarks x, y, score; in pixels of the image."""
        small, grow = shrunk(image, max_side)
        if min(small.shape[:2]) < 10:  # no face fits
            return np.zeros((0, 15), np.float32)
        below, beside = (max(0, _LEAST_SIDE - side) for side in small.shape[:2])
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        bgr = cv2.copyMakeBorder(bgr, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        with self._lock:
            self._detector.setInputSize(bgr.shape[1::-1])
            _, rows = self._detector.detect(bgr)
        if rows is None:
            return np.zeros((0, 15), np.float32)
        return np.asarray(rows, np.float32) * np.append(np.tile(grow, 7), np.float32(1))


def cached_yunet() -> Path:
    """Where fetched weights lie."""
    return cache_folder() / FILE


def fetch_yunet(*, url: str = URL) -> Path:
    """Downloads YuNet's weights (MIT, OpenCV Zoo, 230 kB) into the cache and returns where they lie.

    Only ever called because the user asked for it. Raises DetectorError when the download fails or what came is not
    the known file, OutputError where the cache can't be written.
    """
    advice = "try again, or get the file elsewhere and give --yunet-weights FILE"
    return fetch_file(url, cached_yunet(), sha256=SHA256, max_bytes=8_000_000, failure=DetectorError, advice=advice)


def _check(path: Path) -> None:
    digest = sha256_of(path)
    if digest != SHA256:
        raise DetectorError(
            f"{path}: sha256 is {digest[:16]}…, expected {SHA256[:16]}…: damaged or another file; "
            "delete it and run  mien models fetch yunet"
        )
