"""Measures what the details of faces cost, and how far the mesh depends on the crop and on the size of a face.

    python benchmarks/details.py

The cost: a photo of 640 x 480 with five faces by a fast and a slow detector, and a clip of 640 x 360, with and without
details, alternately. The pose: of turned and mirrored copies of photographs. The crop: the distance from MediaPipe's
points (tests/faces/mediapipe.npz) for crops of several sizes and places. The size: the distance from the points of the
whole photograph when the photograph is made smaller.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from detectors import pairs, turned
from page import ROOT, SHARED, arguments, table, write_page
from photo import photo_640

from mien.crop import sampled, squares
from mien.crop_spec import CropSpec
from mien.faces import mesh
from mien.images import read_image
from mien.recognition.recognizer import Recognizer
from mien.releases import DEFAULT_MODEL
from mien.results import Detections, ImageResult

PHOTOS = (SHARED / "media", SHARED / "cases/photos")
CLIP = SHARED / "media/one-face-pexels.mp4"


def photographs() -> dict[str, np.ndarray]:
    return {path.name: read_image(path) for folder in PHOTOS for path in sorted(folder.glob("*.[jp][pn]g"))}


def cost(model: str, repeats: int) -> list[tuple[str, ...]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.jpg")
        photo_640(SHARED / "media/several-faces.jpg", photo)
        work = {
            ("photo 640 x 480, 5 faces", "auto"): lambda r: r.predict(photo),
            ("photo 640 x 480, 5 faces", "mtcnn"): lambda r: r.predict(photo),
            ("clip 640 x 360, 1 face, a frame", "auto"): lambda r: sum(1 for _ in r.watch(CLIP)),
        }
        for (name, detector), run in work.items():
            recognizers = [Recognizer(model, detector=detector, details=details) for details in (False, True)]
            times: list[list[float]] = [[], []]
            for turn in range(repeats + 1 if "photo" in name else 4):
                for recognizer, seconds in zip(recognizers, times, strict=True):
                    started = time.perf_counter()
                    done = run(recognizer)
                    frames = 1 if isinstance(done, ImageResult) else done
                    if turn:
                        seconds.append((time.perf_counter() - started) / frames)
            plain, detailed = (float(np.median(seconds)) for seconds in times)
            cells = f"{plain * 1000:.1f}", f"{detailed * 1000:.1f}", f"{detailed / plain:.2f}", f"{1 / detailed:.0f}"
            rows.append((name, detector, *cells))
    return rows


def found_in(network: mesh.FaceMesh, image: np.ndarray, detections: Detections, spec: CropSpec) -> np.ndarray:
    places = squares(detections, spec)
    crops = np.stack([sampled(image, place, mesh.MESH_SIZE) for place in places])
    points, _, _ = network._network.run(None, {"image": crops})
    return np.stack([mesh._placed(p, s) for p, s in zip(points, places, strict=True)])


def apart(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The median distance of each face's points, in percent of the distance between the eyes."""
    eyes = np.linalg.norm(reference[:, 263, :2] - reference[:, 33, :2], axis=1)
    return 100 * np.median(np.linalg.norm((points - reference)[..., :2], axis=2), axis=1) / eyes


def crop_rows(recognizer: Recognizer, images: dict[str, np.ndarray]) -> list[tuple[str, ...]]:
    reference = dict(np.load(ROOT / "tests/faces/mediapipe.npz"))
    network, rows = recognizer.steps._mesh, []
    assert network is not None
    for margin in (0.1, 0.2, 0.27, 0.35, 0.5):
        for shift in (0.0, 0.062, 0.12):
            far = []
            for name, image in images.items():
                here = np.flatnonzero(reference["photo"] == name)
                if len(here):
                    found = found_in(network, image, recognizer.steps.detect(image), CropSpec(margin, True, shift))
                    far += apart(found[reference["face"][here]], reference["mesh"][here]).tolist()
            rows.append((f"{margin:g}", f"{shift:g}", f"{np.median(far):.2f}", f"{np.max(far):.2f}", str(len(far))))
    return rows


def pose_rows(recognizer: Recognizer, images: dict[str, np.ndarray]) -> list[tuple[str, ...]]:
    """How far roll is from the angle of turned copies, and yaw from its opposite in mirrored ones; degrees."""
    roll: list[float] = []
    yaw: list[float] = []
    for image in images.values():
        upright = recognizer.predict(image)
        for angle in (15, 30, 45, 90, 180, 270):
            copy, matrix = turned(image, angle)
            for face, other in pairs(upright, matrix, recognizer.predict(copy)):
                if face.pose and other.pose:
                    roll.append(abs((other.pose.roll - face.pose.roll - angle + 180) % 360 - 180))
        mirror = np.array([[-1, 0, image.shape[1]], [0, 1, 0]], np.float64)
        mirrored = np.ascontiguousarray(image[:, ::-1])
        for face, other in pairs(upright, mirror, recognizer.predict(mirrored)):
            if face.pose and other.pose:
                yaw.append(abs(other.pose.yaw + face.pose.yaw))
    named = {"roll of turned copies": roll, "yaw of mirrored copies": yaw}
    return [
        (name, str(len(far)), f"{np.median(far):.2f}", f"{np.quantile(far, 0.9):.2f}", f"{max(far):.2f}")
        for name, far in named.items()
    ]


def size_rows(recognizer: Recognizer, images: dict[str, np.ndarray]) -> list[tuple[str, ...]]:
    edges: dict[int, list[float]] = {}
    for image in images.values():
        whole = recognizer.steps.detect(image)
        if not len(whole):
            continue
        network = recognizer.steps._mesh
        assert network is not None
        reference = found_in(network, image, whole, mesh.MESH_CROP)
        for edge in (80, 60, 50, 40, 30, 20):
            for i, box in enumerate(whole.boxes):
                scale = edge / float((box[2:] - box[:2]).max())
                if scale > 0.8:
                    continue
                small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                grow = np.array([image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]], np.float32)
                marks = None if whole.landmarks is None else whole.landmarks[i : i + 1] / grow
                one = Detections(box[None] / np.tile(grow, 2), whole.scores[i : i + 1], marks)
                points = found_in(network, small, one, mesh.MESH_CROP)
                points[..., :2] *= grow
                edges.setdefault(edge, []).extend(apart(points, reference[i : i + 1]).tolist())
    return [
        (str(edge), str(len(far)), f"{np.median(far):.2f}", f"{np.quantile(far, 0.9):.2f}")
        for edge, far in edges.items()
    ]


def main() -> None:
    parser = arguments(__doc__, repeats=15)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    options = parser.parse_args()
    recognizer, images = Recognizer(options.model, details=True, threads=1), photographs()
    titles = ("work", "detector", "without, ms", "with details, ms", "ratio", "a second")
    lines = [
        *table(titles, cost(options.model, options.repeats)),
        "",
        "Pose of copies, degrees from what it was:",
        "",
        *table(("copies", "faces", "median", "nine in ten below", "largest"), pose_rows(recognizer, images)),
        "",
        "Distance from MediaPipe's points, percent of the distance between the eyes, median of each face:",
        "",
        *table(("margin", "shift_y", "median", "largest", "faces"), crop_rows(recognizer, images)),
        "",
        "Distance from the points in the whole photograph, when it is made smaller:",
        "",
        *table(("longer edge of the face, px", "faces", "median", "nine in ten below"), size_rows(recognizer, images)),
    ]
    packages = ("onnxruntime", "opencv-python-headless")
    write_page(options.results, "details", "Details of faces: cost and accuracy", lines, packages=packages)


if __name__ == "__main__":
    main()
