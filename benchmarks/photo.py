"""Measures milliseconds per photo of 640 x 480 from file to results, for each face detector.

    python benchmarks/photo.py

The photo is ../shared/media/several-faces.jpg, cut to 4:3 and resized.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
from page import SHARED, arguments, median_s, table, write_page

from mien.faces import make_detector
from mien.images import read_image
from mien.recognition.recognizer import Recognizer
from mien.releases import DEFAULT_MODEL


def photo_640(source: Path, place: Path) -> None:
    """The largest 4:3 cut of the image's middle, as a JPEG of 640 x 480."""
    image = cv2.imread(str(source))
    if image is None:
        raise SystemExit(f"{source}: can't read it; this benchmark needs the folder `shared` beside the repository")
    height, width = image.shape[:2]
    w, h = min(width, height * 4 // 3), min(height, width * 3 // 4)
    x, y = (width - w) // 2, (height - h) // 2
    small = cv2.resize(image[y : y + h, x : x + w], (640, 480), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(place), small)


def main() -> None:
    parser = arguments(__doc__, repeats=15)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--photo", type=Path, default=SHARED / "media/several-faces.jpg")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        photo_640(options.photo, photo)
        reading, _ = median_s(lambda: read_image(photo), options.repeats, warm_up=2)
        image = read_image(photo)
        for name in ("auto", "mtcnn", "yunet", "centerface", "haar"):
            detector = make_detector(name)
            recognizer = Recognizer(options.model, detector=detector)
            whole, spread = median_s(lambda r=recognizer: r.predict(photo), options.repeats, warm_up=2)
            finding, _ = median_s(lambda d=detector: d.detect(image), options.repeats, warm_up=2)
            faces = len(recognizer.predict(photo).faces)
            row = (name, faces, *(f"{s * 1000:.1f}" for s in (whole, reading, finding, whole - reading - finding)))
            rows.append((*row, f"{finding / whole:.0%}", f"{spread:.0%}"))
    header = (
        "detector",
        "faces",
        "whole ms",
        "reading",
        "detection",
        "crops and model",
        "share of detection",
        "spread",
    )
    lines = [
        f"{options.photo.name} at 640 x 480, {options.model}; median of {options.repeats}.",
        "",
        *table(header, rows),
    ]
    packages = ("onnxruntime", "opencv-python-headless")
    write_page(options.results, "photo", "A photo of 640 x 480, end to end", lines, packages=packages)


if __name__ == "__main__":
    main()
