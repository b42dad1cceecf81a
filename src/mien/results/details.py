"""What a face does, beside its expression: mesh, head pose, gaze, eyes, mouth, blendshapes. See docs/details.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.results.documents import DetailsDocument

BLENDSHAPES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
"""MediaPipe's names of the blendshapes (face_blendshapes_graph.cc); left and right are the person's own."""


class Pose(NamedTuple):
    """How the head is turned, degrees, in the camera's frame: x to the right, y down, z away from the camera.

    The rotation is Rz(roll) Ry(yaw) Rx(pitch), right-handed; all angles are 0 for a face that looks at the camera.
    yaw: above 0, the face looks to the image's left. pitch: above 0, down. roll: above 0, tilted clockwise as seen.
    """

    yaw: float
    pitch: float
    roll: float


class Gaze(NamedTuple):
    """Where the eyes look, degrees, with the signs of `Pose`; 0, 0 is towards the camera. An estimate from the mesh."""

    yaw: float
    pitch: float


class EyesOpen(NamedTuple):
    """How far the person's left and right eye are open, 0 (closed) to 1."""

    left: float
    right: float


@dataclass(frozen=True, slots=True)
class Details:
    """What a face does in one image; all None, with the reason in `error`, where it can't be seen well enough.

    Attributes:
        mesh: float32 (478, 3), MediaPipe's points: x and y in pixels of the image, and depth on the same scale, smaller
            towards the camera; the last ten are the irises.
        pose: How the head is turned.
        gaze: Where the eyes look; None also where both are closed.
        eyes_open: 1 minus the blendshapes eyeBlinkLeft and eyeBlinkRight.
        mouth_open: The gap between the lips divided by the mouth's width, at most 1.
        blendshapes: MediaPipe's name -> 0 to 1, 52 of them; `_neutral` is one of its outputs.
        error: Why the others are None: too small, in profile, covered, or no detector found it.
    """

    mesh: NDArray[np.float32] | None = field(default=None, compare=False)
    pose: Pose | None = None
    gaze: Gaze | None = None
    eyes_open: EyesOpen | None = None
    mouth_open: float | None = None
    blendshapes: dict[str, float] | None = None
    error: str | None = None

    def __repr__(self) -> str:
        pose = self.pose and ", ".join(f"{name} {angle:.0f}" for name, angle in self.pose._asdict().items())
        return f"Details({pose or self.error})"

    def to_dict(self) -> DetailsDocument:
        """The details as JSON has them: pixels and degrees rounded to a tenth, shares to four digits."""
        return {
            "mesh": None if self.mesh is None else self.mesh.round(1).astype(float).round(1).tolist(),
            "pose": None if self.pose is None else {k: round(v, 1) for k, v in self.pose._asdict().items()},
            "gaze": None if self.gaze is None else {k: round(v, 1) for k, v in self.gaze._asdict().items()},
            "eyes_open": None
            if self.eyes_open is None
            else {k: round(v, 4) for k, v in self.eyes_open._asdict().items()},
            "mouth_open": None if self.mouth_open is None else round(self.mouth_open, 4),
            "blendshapes": None if self.blendshapes is None else {k: round(v, 4) for k, v in self.blendshapes.items()},
            "error": self.error,
        }
