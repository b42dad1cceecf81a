"""Draws what a face does: its mesh, the direction of its head, and that of its eyes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError
from mien.results.details import Gaze
from mien.results.faces import Face
from mien.suggestions import did_you_mean

DRAWN = ("mesh", "pose", "gaze")
"""The names of what can be drawn."""

_WHITE, _AXES, _GAZE = (255, 255, 255), ((225, 60, 60), (70, 190, 80), (70, 110, 235)), (250, 200, 40)
_EYES = ((33, 133), (362, 263))  # the corners of each eye, points of the mesh


def check_drawn(names: Sequence[str]) -> None:
    """Raises ArgumentError for a name that is not in `DRAWN`."""
    for name in names:
        if name not in DRAWN:
            raise ArgumentError(f"draw: '{name}' is unknown; {did_you_mean(name, DRAWN)}expected {', '.join(DRAWN)}")


def draw_details(canvas: NDArray[np.uint8], face: Face, names: Sequence[str], line: int) -> None:
    """Draws details of one face onto the RGB canvas (H, W, 3); nothing where it has none. line: pixels.

    mesh: its points. pose: the head's axes, red to its right, green down, blue the way it looks. gaze: a ray from
    each eye, half as long as the face.
    """
    if face.mesh is None or face.pose is None:
        return
    length = face.box.height / 2
    if "mesh" in names:
        for x, y in face.mesh[:, :2]:
            cv2.circle(canvas, (round(float(x)), round(float(y))), max(1, line // 3), _WHITE, -1, cv2.LINE_AA)
    if "pose" in names:
        yaw, pitch, roll = np.radians(face.pose)
        (sy, cy), (sp, cp), (sr, cr) = ((np.sin(a), np.cos(a)) for a in (yaw, pitch, roll))
        right = (cr * cy, sr * cy)
        down = (cr * sy * sp - sr * cp, sr * sy * sp + cr * cp)
        ahead = (-(cr * sy * cp + sr * sp), -(sr * sy * cp - cr * sp))
        for axis, color in zip((right, down, ahead), _AXES, strict=True):
            _ray(canvas, face.mesh[4, :2], np.array(axis) * length, color, line)
    if "gaze" in names and face.gaze is not None:
        for corners in _EYES:
            _ray(canvas, face.mesh[list(corners), :2].mean(axis=0), _towards(face.gaze) * length, _GAZE, line)


def _towards(gaze: Gaze) -> NDArray[np.float64]:
    yaw, pitch = np.radians(gaze)
    return np.array([-np.sin(yaw) * np.cos(pitch), np.sin(pitch)])


def _ray(
    canvas: NDArray[np.uint8],
    start: NDArray[np.float32],
    way: NDArray[np.float64],
    color: tuple[int, int, int],
    line: int,
) -> None:
    first, last = ((round(float(x)), round(float(y))) for x, y in (start, start + way))
    cv2.arrowedLine(canvas, first, last, color, max(1, line), cv2.LINE_AA, tipLength=0.2)
