"""A mesh of 478 points on each face, and what is read from it: head pose, gaze, eyes, mouth, blendshapes.

MediaPipe Face Landmarker (Google, Apache-2.0): the face mesh of Grishchenko et al., "Attention Mesh" (2020),
arXiv:2006.10962, in its second version, and a network from the mesh to blendshapes. scripts/convert_mesh.py made the
file. Left and right are the person's own in the names of blendshapes, and in here.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.crop import Square, sampled, squares
from mien.crop_spec import CropSpec
from mien.faces.geometry import Floats
from mien.faces.networks import open_shipped
from mien.results import Detections
from mien.results.details import BLENDSHAPES, Details, EyesOpen, Gaze, Pose

MESH_CROP = CropSpec(margin=0.27, align=True, shift_y=0.062)
"""The square that the network sees; benchmarks/details.py shows how it was found."""

MESH_SIZE = 256
"""Pixels of that square."""

LEAST_FACE, LEAST_PRESENCE, MOST_YAW = 40.0, 7.0, 60.0
"""Details are absent for a smaller face (longer edge of its box, pixels), one with a lower score of the network (a
logit), and one that is turned further (degrees): half of it can't be seen. docs/details.md has the measurements."""

SMALL_FACE, MOST_TURN, AROUND = 64.0, 8.0, 1.5
"""A detector's five points are rough on smaller faces than this (pixels), and where the mesh is turned from its crop by
more than this (degrees). The network then looks again, at a square around the mesh, this many times as large."""

# Points of the mesh: corners of the right and the left eye, outer first; centres of the irises; the lips' inner edges
# and corners.
_EYES, _IRISES = np.array([[33, 133], [263, 362]]), np.array([468, 473])
_LIPS, _MOUTH = (13, 14), (78, 308)
_OUTPUTS = ["mesh", "presence", "blendshapes"]
_BLINKS = [BLENDSHAPES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
_CLOSED = 0.5  # an eye that is less open has no gaze

# Where the iris is in the image when the eyes look at the camera, from the middle between the eye's corners: a constant
# and a share of the way that the face looks, x and y; and the eyeball's radius. In the canonical face's centimetres,
# fitted to faces that look into the camera (docs/details.md).
_REST, _BACK, _EYEBALL = np.array([0.0, -0.15]), np.array([0.65, 0.17]), 1.2


class FaceMesh:
    """Fits a mesh to faces that a detector has found."""

    def __init__(self, *, threads: int = 0, device: str = "cpu") -> None:
        """threads: faces at once; 0: one for each core. device: as in `mien.inference`. Raises DeviceError."""
        # A face a thread takes half of the time of all threads on one face, and a batch of five half longer than five.
        self._network = open_shipped("mesh", threads=1, device=device)
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="face-mesh")
        points = _pose_points(self._network)
        self._fitted, self._weights, self._frontal = points[:, 0].astype(int), points[:, 1], points[:, 2:]

    def details(self, image: NDArray[np.uint8], detections: Detections) -> list[Details]:
        """What each face of an RGB image (H, W, 3) does."""
        if detections.cropped:
            return [Details(error="a face crop: details need an image in which a detector finds the face")] * len(
                detections
            )
        edges = (detections.boxes[:, 2:] - detections.boxes[:, :2]).max(axis=1, initial=0)
        found = [Details(error=f"smaller than {LEAST_FACE:.0f} pixels")] * len(detections)
        chosen = np.flatnonzero(edges >= LEAST_FACE).tolist()
        places = squares(detections, MESH_CROP)

        def read(i: int) -> Details:
            return self._read(image, places[i], 0 if edges[i] < SMALL_FACE else MOST_TURN)

        for i, details in zip(chosen, (map if len(chosen) == 1 else self._pool.map)(read, chosen), strict=True):
            found[i] = details
        return found

    def _read(self, image: NDArray[np.uint8], square: Square, most_turn: float) -> Details:
        """most_turn: degrees by which the mesh may be turned from the square."""
        outputs = self._network.run(_OUTPUTS, {"image": sampled(image, square, MESH_SIZE)[None]})
        points, presence, blendshapes = (output[0] for output in outputs)
        if presence < LEAST_PRESENCE:
            return Details(error="covered, dark or blurred: no mesh fits well")
        mesh = _placed(points, square)
        turn, size = self._fit(mesh)
        pose = _angles(turn)
        if abs(pose.yaw) > MOST_YAW:
            return Details(error=f"in profile: turned by {abs(pose.yaw):.0f} degrees")
        if abs((pose.roll - np.degrees(square.roll) + 180) % 360 - 180) > most_turn:
            return self._read(image, _around(mesh, np.radians(pose.roll)), np.inf)
        left, right = (1 - blendshapes[_BLINKS]).clip(0, 1).tolist()
        irises = ((mesh[_IRISES] - mesh[_EYES].mean(axis=1)) / size)[[right >= _CLOSED, left >= _CLOSED], :2]
        gap, width = (float(np.linalg.norm(mesh[one] - mesh[other])) for one, other in (_LIPS, _MOUTH))
        return Details(
            mesh=mesh,
            pose=pose,
            gaze=_gaze(irises, turn) if len(irises) else None,
            eyes_open=EyesOpen(left, right),
            mouth_open=min(1.0, gap / max(width, 1e-6)),
            blendshapes=dict(zip(BLENDSHAPES, blendshapes.tolist(), strict=True)),
        )

    def _fit(self, mesh: Floats) -> tuple[NDArray[np.float64], float]:
        """The rotation (3, 3) from a face that looks at the camera to this one, and its size, pixels per cm.

        Weighted least squares over the points of the canonical face (Umeyama 1991), under weak perspective.
        """
        seen = mesh[self._fitted].astype(np.float64)
        centre, own = self._weights @ seen, self._weights @ self._frontal
        left, singular, right = np.linalg.svd((seen - centre).T @ ((self._frontal - own) * self._weights[:, None]))
        signs = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
        turn = (left * signs) @ right
        scale = (singular * signs).sum() / (self._weights @ ((self._frontal - own) ** 2).sum(axis=1))
        return turn, float(scale)


@lru_cache(maxsize=4)
def open_mesh(*, threads: int, device: str) -> FaceMesh:
    """The mesh that all recognizers with these settings share."""
    return FaceMesh(threads=threads, device=device)


def mesh_settings() -> dict[str, Any]:
    """What a port of this module needs beside the network, as JSON; the page's device/mesh.js reads it."""
    pose = _pose_points(open_shipped("mesh", threads=1, device="cpu")).tolist()
    return {
        "crop": asdict(MESH_CROP), "size": MESH_SIZE, "least_face": LEAST_FACE, "least_presence": LEAST_PRESENCE,
        "most_yaw": MOST_YAW, "small_face": SMALL_FACE, "most_turn": MOST_TURN, "around": AROUND,
        "eyes": _EYES.tolist(), "irises": _IRISES.tolist(), "lips": _LIPS, "mouth": _MOUTH, "blinks": _BLINKS,
        "closed": _CLOSED, "rest": _REST.tolist(), "back": _BACK.tolist(), "eyeball": _EYEBALL,
        "blendshapes": BLENDSHAPES, "pose": [[int(index), *values] for index, *values in pose],
    }  # fmt: skip


def _pose_points(network: Any) -> NDArray[np.float64]:
    """Index, weight (of sum 1) and place of the points that pose is fitted to, of a face that looks at the camera."""
    points: NDArray[np.float64] = np.array(json.loads(network.get_modelmeta().custom_metadata_map["pose"]))
    points[:, 1] /= points[:, 1].sum()
    points[:, 2:] *= (1, -1, -1)  # the canonical face's y goes up and its z to the camera
    return points


def _around(mesh: Floats, roll: float) -> Square:
    cos, sin = np.cos(roll), np.sin(roll)
    turn = np.array([[cos, -sin], [sin, cos]])
    upright = mesh[: _IRISES[0], :2] @ turn
    x, y = turn @ (upright.min(axis=0) + upright.max(axis=0)) / 2
    return Square(x, y, np.ptp(upright, axis=0).max() * AROUND, roll)


def _placed(points: Floats, square: Square) -> Floats:
    """Points (N, 3) of the network's square as points of the image."""
    cos, sin = np.cos(square.roll), np.sin(square.roll)
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) * (square.side / MESH_SIZE)
    placed: Floats = ((points - (MESH_SIZE / 2, MESH_SIZE / 2, 0)) @ turn + (square.x, square.y, 0)).astype(np.float32)
    return placed


def _angles(turn: NDArray[np.float64]) -> Pose:
    yaw = np.arcsin(np.clip(-turn[2, 0], -1, 1))
    pitch, roll = np.arctan2(turn[2, 1], turn[2, 2]), np.arctan2(turn[1, 0], turn[0, 0])
    return Pose(*np.degrees([yaw, pitch, roll]).tolist())


def _gaze(irises: NDArray[np.float64], turn: NDArray[np.float64]) -> Gaze:
    """irises (N, 2): from the middle between an eye's corners, in cm of the canonical face, as seen in the image."""
    x, y = (irises.mean(axis=0) - _REST - _BACK * turn[:2, 2]) / _EYEBALL
    shrink = min(1.0, 0.99 / max(float(np.hypot(x, y)), 1e-9))
    x, y = x * shrink, y * shrink
    z = -np.sqrt(1 - x * x - y * y)
    return Gaze(*np.degrees([np.arctan2(-x, -z), np.arctan2(y, np.hypot(x, z))]).tolist())
