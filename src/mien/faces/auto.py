"""The default detector: YuNet, and a second look by both networks at what YuNet is unsure of, at any angle.

The scores that the constants rest on are in docs/experiments.md, "A detector for any angle". Rows are as in `one_pass`.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.crop import rolls
from mien.faces.geometry import Floats, Image, nms, shrunk
from mien.faces.one_pass import NO_ROWS, CenterFace, YuNet
from mien.results import Detections

# YuNet gives upright faces 0.88 and more; turned ones, dogs, clocks and blurred crowds 0.3 to 0.88.
_SURE, _CANDIDATE = 0.88, 0.45
# In a level patch, YuNet gives faces 0.6 and more, CenterFace 0.75 and more, and other things 0.2, rarely 0.6.
_SEEN, _CONFIRMED = 0.6, 0.7
_SEEN_TURNED = 0.85  # a search at all angles meets more that looks like a face: dogs with 0.83 and 0.7
_LEVEL_DEG = 8.0  # a face that is tilted by more gets a second look, as its landmarks understate the tilt
_TURNED_DEG = 20.0  # a face that is turned by more makes all others doubtful
_ANGLES = np.arange(0, 360, 45)  # YuNet finds faces that are up to 23 degrees off
_LEAST_FACE = 10.0  # YuNet finds faces of this size: images are searched so small that `min_face` has it
_CROWD_FACE = 2 * _LEAST_FACE  # if most faces are searched at less than this, there may be more of half their size
_MOST = 256  # candidates of one image that get a second look
_PATCH, _AROUND = 128, 2.0  # a patch's side: its pixels, and how many times the face's
_TINY_SIDE, _MOST_GROWTH = 256, 8.0  # an image with a smaller longer side is enlarged to it
_SMALL_SIDE = 320  # an image is not searched at a smaller longer side than this
_TURNED_SIDE = 480  # the longer side of an image that is searched at other angles
_CLOSE_SIDE = 96  # of an image that is searched for a face that fills it
_LEAST_SHARE = 1 / 200  # of a turned image that faces cover; less is a photograph in the scene
_GREY = (128, 128, 128)


class Auto:
    """Finds faces at any angle, with five landmarks, and drops what one network alone takes for a face."""

    name = "auto"

    def __init__(self, *, min_face: float = 20, max_side: int = 1920, threads: int = 0, device: str = "cpu") -> None:
        """min_face: the smallest face to report, pixels. max_side: a larger image is searched at this size.

        threads, device: for the networks, as in `mien.inference`. Raises DeviceError.
        """
        self._max_side = max_side
        self._scale = float(np.clip(_LEAST_FACE / min_face, 0.1, 1))
        self._fast = YuNet(min_face=min_face, threshold=_CANDIDATE, max_side=max_side, threads=threads, device=device)
        self._thorough = CenterFace(threshold=_CONFIRMED, threads=threads, device=device)

    def detect(self, image: Image) -> Detections:
        """Faces in an RGB image (H, W, 3) of 0-255, best first, with landmarks. Boxes may reach over its border.

        The landmarks show how a face is turned. Its box has the size of the upright face.
        """
        return self._detect(image, turned=True)

    def detect_upright(self, image: Image) -> Detections:
        """As `detect`, but an image in which nothing is found is not searched at other angles, which takes longest."""
        return self._detect(image, turned=False)

    def _detect(self, image: Image, *, turned: bool) -> Detections:
        if not image.size:
            return self._fast.reported(NO_ROWS)
        side = max(image.shape[:2])
        grow = min(max(_TINY_SIDE / side, 1.0), _MOST_GROWTH, 2 * self._max_side / side)
        if grow != 1:
            way = cv2.INTER_CUBIC if grow > 1 else cv2.INTER_AREA
            size = [max(1, round(edge * grow)) for edge in image.shape[1::-1]]
            image = cv2.resize(image, size, interpolation=way)  # type: ignore[assignment]
        rows = self._search(image, min(1.0, self._scale / min(grow, 1.0)), turned=turned)
        rows[:, :14] /= np.float32(grow)
        return self._fast.reported(rows)

    def _search(self, image: Image, scale: float, *, turned: bool) -> Floats:
        """Rows of the faces in the image, which is searched at its size times `scale`."""
        scale = min(1.0, max(scale, _SMALL_SIDE / max(image.shape[:2])))
        found = self._fast.find(image, scale=scale)
        if scale < 1 and len(found) and np.median(found[:, 3] - found[:, 1]) * scale < _CROWD_FACE:
            found = self._fast.find(image)
        found = found[nms(found[:, :4], found[:, 14], 0.3)]
        sure = (found[:, 14] >= _SURE) & (np.abs(_rolls_deg(found)) < _LEVEL_DEG)
        if len(found) and sure.all():
            return found
        faces = self._confirmed(image, found[~sure])
        if sure.any() and (np.abs(_rolls_deg(faces)) < _TURNED_DEG).all():
            found = np.concatenate([found[sure], faces])
        else:  # if the image lies on its side, a face may score high with the landmarks of an upright one
            found = np.concatenate([faces, self._confirmed(image, found[sure])])
        if not len(found) and not turned:
            return found
        return self._turned_too(image, found, min(round(max(image.shape[:2]) * scale), self._max_side))

    def _turned_too(self, image: Image, faces: Floats, side: int) -> Floats:
        """The faces, and what is found where they, or the lack of any, show that the image is turned."""
        tilts = _rolls_deg(faces)
        if not len(faces):
            turned = self._confirmed(image, self._anywhere(image, min(_TURNED_SIDE, side)), least=_SEEN_TURNED)
            sides = turned[:, 2:4] - turned[:, :2]
            if sides.prod(axis=1).sum() >= _LEAST_SHARE * image.shape[0] * image.shape[1]:
                faces, tilts = turned, _rolls_deg(turned)
        if len(faces):
            tilt = np.degrees(np.angle(np.exp(1j * np.radians(tilts)).mean()))
            quarter = 90 * np.rint(tilt / 90)  # photographs lie on their side more often than they lean
            angle = quarter if abs(tilt - quarter) < _TURNED_DEG else tilt
            if abs(tilt) > _TURNED_DEG:
                rows = self._turned(*shrunk(image, side), float(angle))
                faces = np.concatenate([faces, self._confirmed(image, rows, least=_SEEN)])
        return faces

    def _anywhere(self, image: Image, side: int) -> Floats:
        """Rows of what may be faces if the image is turned, or if one face fills it."""
        height, width = image.shape[:2]
        scale = min(1.0, _CLOSE_SIDE / max(height, width))
        close = _turn(np.array([width, height]) / 2, 1 / scale, 0, np.array([_CLOSE_SIDE * 2] * 2))
        padded = _cut(image, close, _CLOSE_SIDE * 2)
        same = np.ones(2, np.float32)
        found = [_moved(self._turned(padded, same, float(angle), whole=False), close) for angle in _ANGLES]
        small, grow = shrunk(image, side)
        return np.concatenate(found + [self._turned(small, grow, float(angle)) for angle in _ANGLES[1:]])

    def _turned(self, small: Image, grow: Floats, angle: float, *, whole: bool = True) -> Floats:
        """What is found in a shrunk image turned counterclockwise by an angle in degrees, as rows of the image itself.

        small, grow: as `shrunk` gives them. whole: with its corners.
        """
        height, width = small.shape[:2]
        size = np.array([width, height])
        if whole:
            cos, sin = abs(np.cos(np.radians(angle))), abs(np.sin(np.radians(angle)))
            size = np.rint([height * sin + width * cos, height * cos + width * sin]).astype(int)
        matrix = _turn(np.array([width, height]) / 2, 1.0, angle, size)
        view = cv2.warpAffine(small, matrix, size.tolist(), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        rows = _moved(self._fast.find(view), matrix)  # type: ignore[arg-type]
        rows[:, :14] *= np.tile(grow, 7)
        return rows

    def _confirmed(self, image: Image, candidates: Floats, *, least: float | None = None) -> Floats:
        """The rows among the candidates that both networks take for faces, at the angle at which they are upright.

        least: YuNet's score that they need; candidates of unknown angle (None) are looked at from all.
        """
        candidates = candidates[nms(candidates[:, :4], candidates[:, 14], 0.3)[:_MOST]]
        if not len(candidates):
            return candidates
        faces, patches = self._levelled(image, candidates)
        unsure = np.flatnonzero(faces[:, 14] < _SURE)
        if least is None and len(unsure):
            every, _ = self._best(image, candidates[unsure].repeat(len(_ANGLES), axis=0), np.tile(_ANGLES, len(unsure)))
            every = every.reshape(len(unsure), len(_ANGLES), -1)
            turned = every[np.arange(len(unsure)), every[:, :, 14].argmax(axis=1)]
            faces[unsure], patches[unsure] = self._levelled(image, turned)
        seen = faces[:, 14] >= (least or _SEEN)
        doubtful = np.flatnonzero(seen & (candidates[:, 14] < _SURE))
        if len(doubtful):
            seen[doubtful] = [len(_near_centre(rows)) > 0 for rows in self._thorough.find_each(patches[doubtful])]
        return faces[seen]

    def _levelled(self, image: Image, rows: Floats) -> tuple[Floats, Image]:
        """The rows as found in level patches, and these. Landmarks understate a turn, so it is taken twice."""
        faces, patches = self._best(image, rows, _rolls_deg(rows))
        off = np.abs((_rolls_deg(faces) - _rolls_deg(rows) + 180) % 360 - 180) > _LEVEL_DEG
        if off.any():
            again, seen = self._best(image, faces[off], _rolls_deg(faces[off]))
            better = again[:, 14] >= faces[off, 14] - 0.05
            rows_off = np.flatnonzero(off)[better]
            faces[rows_off], patches[rows_off] = again[better], seen[better]
        return faces, patches

    def _best(self, image: Image, candidates: Floats, angles: NDArray[np.floating]) -> tuple[Floats, Image]:
        """The best row at each candidate in the image turned counterclockwise by an angle; and the patches it saw.

        Where nothing is found, the candidate itself with score 0.
        """
        centres = (candidates[:, :2] + candidates[:, 2:4]) / 2
        sides = (candidates[:, 2:4] - candidates[:, :2]).max(axis=1) * _AROUND
        size = np.array([_PATCH, _PATCH])
        matrices = [_turn(*place, size) for place in zip(centres, sides / _PATCH, angles, strict=True)]
        patches = np.stack([_cut(image, matrix, _PATCH) for matrix in matrices])
        best = candidates.copy()
        best[:, 14] = 0
        for row, found, matrix in zip(best, self._fast.find_each(patches), matrices, strict=True):
            near = _near_centre(found)
            if len(near):
                row[:] = _moved(near[[near[:, 14].argmax()]], matrix)[0]
        return best, patches


def _turn(centre: NDArray[np.floating], scale: float, angle: float, size: NDArray[np.integer]) -> NDArray[np.float64]:
    """The matrix (2, 3) from pixels of a view of this size (width, height) to the image's.

    The view has the centre in its middle. scale: pixels of the image per pixel. angle: degrees by which the image is
    turned counterclockwise in the view.
    """
    cos, sin = np.cos(np.radians(angle)) * scale, np.sin(np.radians(angle)) * scale
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.hstack([turn, (centre - turn @ size / 2)[:, None]])


def _cut(image: Image, matrix: NDArray[np.float64], side: int) -> Image:
    """A view (side, side, 3) of the image, without aliasing where it shrinks; grey outside of the image."""
    scale = float(np.hypot(*matrix[:, 0]))
    if scale > 2:  # average first
        whole = np.array(image.shape[1::-1])
        size = np.maximum(1, whole // 2 ** int(np.log2(scale)))
        image = cv2.resize(image, size.tolist(), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        matrix = matrix * (size / whole)[:, None]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=_GREY)  # type: ignore[return-value]


def _moved(rows: Floats, matrix: NDArray[np.float64]) -> Floats:
    """Rows of a view as rows of the image. Boxes keep their size; where they lie on their side, edges change places."""
    matrix = matrix.astype(np.float32)
    turn = matrix[:, :2]
    scale = np.hypot(*turn[:, 0])
    centre = (rows[:, :2] + rows[:, 2:4]) / 2 @ turn.T + matrix[:, 2]
    half = (rows[:, 2:4] - rows[:, :2]) / 2 * scale
    if abs(turn[1, 0]) > abs(turn[0, 0]):
        half = half[:, ::-1]
    landmarks = rows[:, 4:14].reshape(-1, 5, 2) @ turn.T + matrix[:, 2]
    return np.hstack([centre - half, centre + half, landmarks.reshape(-1, 10), rows[:, 14:]])


def _near_centre(rows: Floats) -> Floats:
    """The rows of a patch that can be the face it was cut for."""
    centre = (rows[:, :2] + rows[:, 2:4]) / 2
    side = (rows[:, 2:4] - rows[:, :2]).max(axis=1, initial=0)
    near = (np.abs(centre - _PATCH / 2) < _PATCH / 4).all(axis=1)
    matching: Floats = rows[near & (side > _PATCH / 4) & (side < _PATCH * 0.9)]
    return matching


def _rolls_deg(rows: Floats) -> Floats:
    degrees: Floats = np.degrees(rolls(rows[:, 4:14].reshape(-1, 5, 2)))
    return degrees
