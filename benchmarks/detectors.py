"""Measures how many faces of turned photographs are found, how many expressions stay, and milliseconds per photograph.

    python benchmarks/detectors.py [--detector auto mtcnn] [--model mien-small mien-base]

The photographs are those in ../shared/media and ../shared/cases/photos, turned about their centre on a black canvas.
A face that a detector finds upright counts as found if one is found within half its size. One thread.
"""

from __future__ import annotations

import math
from collections import Counter

import cv2
import numpy as np
from numpy.typing import NDArray
from page import SHARED, arguments, median_s, table, write_page

from mien.faces import make_detector
from mien.images import read_image
from mien.recognition.recognizer import Recognizer
from mien.results import Face, ImageResult

ANGLES = (15, 30, 45, 60, 90, 135, 180, 270)
Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]


def turned(image: Image, angle: float) -> tuple[Image, Matrix]:
    """The image turned clockwise by degrees, none of it cut off; and the matrix (2, 3) of its pixels."""
    height, width = image.shape[:2]
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    size = round(height * sin + width * cos), round(height * cos + width * sin)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -angle, 1)
    matrix[:, 2] += np.array(size) / 2 - np.array([width, height]) / 2
    return cv2.warpAffine(image, matrix, size), matrix  # type: ignore[return-value]


def pairs(upright: ImageResult, matrix: Matrix, found: ImageResult) -> list[tuple[Face, Face]]:
    """The faces that were found again, each with its face in the turned image."""
    left = list(found)
    matched = []
    for face in upright:
        x, y = matrix[:, :2] @ face.box.center + matrix[:, 2]
        half = max(face.box.width, face.box.height) / 2
        near = [f for f in left if max(abs(f.box.center[0] - x), abs(f.box.center[1] - y)) < half]
        if near:
            left.remove(near[0])
            matched.append((face, near[0]))
    return matched


def main() -> None:
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--detector", nargs="+", default=["auto", "mtcnn", "yunet", "centerface"])
    parser.add_argument("--model", nargs="+", default=["mien-small", "mien-base"])
    options = parser.parse_args()
    paths = [SHARED / "media" / name for name in ("astronaut.png", "several-faces.jpg", "solvay-1927.jpg")]
    paths += sorted((SHARED / "cases" / "photos").glob("*.jpg"))
    images = [read_image(path) for path in paths if path.is_file()]
    rows, times = [], []
    for name in options.detector:
        detector = make_detector(name, threads=1)
        models = [Recognizer(model, detector=detector, threads=1) for model in options.model]
        count: Counter[tuple[str, int]] = Counter()
        for image in images:
            upright = [model.predict(image) for model in models]
            count["faces", 0] += len(upright[0])
            for angle in ANGLES:
                view, matrix = turned(image, angle)
                for model, before in zip(options.model, upright, strict=True):
                    after = models[options.model.index(model)].predict(view)
                    again = pairs(before, matrix, after)
                    count[f"same {model}", angle] += sum(a.expression == b.expression for a, b in again)
                count["found", angle] += len(again)
                count["others", angle] += len(after) - len(again)
        rows.append((name, "found", count["faces", 0], *(count["found", angle] for angle in ANGLES)))
        rows.append((name, "others", 0, *(count["others", angle] for angle in ANGLES)))
        for model in options.model:
            same = (count[f"same {model}", a] / max(1, count["found", a]) for a in ANGLES)
            rows.append((name, f"same expression, {model}", "", *(f"{share:.2f}" for share in same)))
        for path, image in zip(paths, images, strict=True):
            seconds, _ = median_s(lambda d=detector, i=image: d.detect(i), options.repeats, warm_up=1)
            times.append((path.name, f"{image.shape[1]}x{image.shape[0]}", name, f"{seconds * 1000:.1f}"))
    lines = [
        f"{len(images)} photographs, one thread. `others` are faces that are not where one was found upright.",
        "",
        *table(("detector", "", "0°", *(f"{angle}°" for angle in ANGLES)), rows),
        "",
        f"Milliseconds to search a photograph, median of {options.repeats}:",
        "",
        *table(("photograph", "size", "detector", "ms"), times),
    ]
    packages = ("onnxruntime", "opencv-python-headless")
    write_page(options.results, "detectors", "Detectors on turned photographs", lines, packages=packages)


if __name__ == "__main__":
    main()
