"""Draws results onto images: boxes, labels and confidences that can be read at any size and on any background.

All arrays are uint8 RGB (H, W, 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError, ImageError
from mien.files import make_folder, write_bytes
from mien.labels import color_rgb
from mien.lettering import blend, text_mask
from mien.results.badges import UNSURE, draw_badge
from mien.results.details import Gaze
from mien.results.faces import Face
from mien.suggestions import did_you_mean

Color = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]  # x1, y1, x2, y2, pixels

ABSTAINED: Color = (90, 90, 90)


@dataclass(frozen=True, slots=True)
class _Style:
    """Sizes in pixels: of a box's line, of a label's plate, and of the room inside it."""

    line: int
    plate_height: int
    padding: int


def draw_faces(
    image: NDArray[np.uint8], faces: Sequence[Face], *, emoji: bool = False, draw: Sequence[str] = ()
) -> NDArray[np.uint8]:
    """A copy of the RGB image (H, W, 3) with each face's box, expression and confidence in percent.

    A prediction that abstained is grey and has a question mark. Labels that would cover each other move around their
    box, and then become smaller and shorter. emoji: a badge of the expression beside each box. draw: what is drawn of
    faces' details: `mesh`, `pose`, `gaze`.
    """
    canvas = image.copy()
    height, width = canvas.shape[:2]
    boxes = [box_pixels(face, width, height) for face in faces]
    style = _style(width, height, [box[3] - box[1] for box in boxes])
    for face, box in zip(faces, boxes, strict=True):
        draw_details(canvas, face, draw, style.line)
        draw_box(canvas, box, _color(face), style.line)
        if emoji:
            draw_badge(canvas, UNSURE if face.abstained else face.expression, box, 2 * style.plate_height)
    taken: list[Rectangle] = []
    # Confident predictions are placed first, so that uncertain ones move.
    for i in sorted(range(len(faces)), key=lambda i: -faces[i].confidence):
        others = [box for j, box in enumerate(boxes) if j != i]
        place, text = _place(faces[i], boxes[i], others, taken, style, (width, height))
        _draw_plate(canvas, place, text, _color(faces[i]))
        taken.append(place)
    return canvas


def encode_image(image: NDArray[np.uint8], suffix: str, *, quality: int = 92) -> bytes:
    """An RGB image (H, W, 3) as the bytes of a .png, .jpg or .jpeg file. quality: a JPEG's, 1 to 100."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix != ".png" else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ImageError(f"an image of shape {image.shape} can't be written as {suffix}; use .png or .jpg")
    return data.tobytes()


class AnnotatedFolder:
    """Writes drawn images into a folder: NAME-annotated.jpg for JPEG sources, otherwise .png.

    Images of equal name from different folders are numbered (NAME-annotated-2.jpg) in the order in which they come.
    """

    def __init__(self, folder: Path) -> None:
        """Creates the folder if it is missing. Raises OutputError."""
        self.folder = folder
        self._taken: set[str] = set()
        make_folder(folder)

    def write(self, source: str, drawn: NDArray[np.uint8]) -> Path:
        """Writes the drawn image (H, W, 3) of a source; returns the path."""
        place = Path(source if not source.startswith("data URL (") else "data-url")
        suffix = ".jpg" if place.suffix.lower() in {".jpg", ".jpeg", ".jfif"} else ".png"
        path = self.folder / self._unique(place.stem, suffix)
        write_bytes(path, encode_image(drawn, suffix))
        return path

    def _unique(self, stem: str, suffix: str) -> str:
        name, number = f"{stem}-annotated{suffix}", 2
        while name.casefold() in self._taken:  # in some file systems A.jpg and a.jpg are one file
            name, number = f"{stem}-annotated-{number}{suffix}", number + 1
        self._taken.add(name.casefold())
        return name


def _style(width: int, height: int, face_heights: Sequence[int]) -> _Style:
    """Sizes grow with the image and shrink with the faces, but text stays legible."""
    edge = (width * height) ** 0.5
    plate = 4 + 0.024 * edge
    if face_heights:
        plate = min(plate, max(15.0, 0.4 * float(np.median(face_heights))))
    plate_height = max(13, round(plate))
    return _Style(line=max(2, round(0.0028 * edge)), plate_height=plate_height, padding=max(2, plate_height // 5))


def _color(face: Face) -> Color:
    return ABSTAINED if face.abstained else color_rgb(face.expression)


def ink(color: Color) -> Color:
    """Black or white: the one with more contrast, by the ratio of WCAG 2.1."""
    linear = [(c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in color]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if (luminance + 0.05) ** 2 > 1.05 * 0.05 else (255, 255, 255)


def box_pixels(face: Face, width: int, height: int) -> Rectangle:
    """A face's box in whole pixels, cut off at the image's edge."""
    x1, x2 = (int(np.clip(round(x), 0, width - 1)) for x in (face.box.x1, face.box.x2))
    y1, y2 = (int(np.clip(round(y), 0, height - 1)) for y in (face.box.y1, face.box.y2))
    return x1, y1, x2, y2


def draw_box(canvas: NDArray[np.uint8], box: Rectangle, color: Color, line: int) -> None:
    """A coloured line with a thin dark one around it (thick lines: on both sides), which sets it off."""
    rim = max(1, line // 3)
    outer = line // 2
    _frame(canvas, box, outer + rim, rim, (20, 20, 20))
    _frame(canvas, box, outer, line, color)
    if line > 2:
        _frame(canvas, box, outer - line, rim, (20, 20, 20))


def _frame(canvas: NDArray[np.uint8], box: Rectangle, outside: int, thickness: int, color: Color) -> None:
    """A rectangle's outline whose outer edge lies `outside` pixels around the box, cut off at the image's edge."""
    x1, y1 = box[0] - outside, box[1] - outside
    x2, y2 = box[2] + outside + 1, box[3] + outside + 1
    for left, top, right, bottom in (
        (x1, y1, x2, y1 + thickness),
        (x1, y2 - thickness, x2, y2),
        (x1, y1, x1 + thickness, y2),
        (x2 - thickness, y1, x2, y2),
    ):
        canvas[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = color


def _place(
    face: Face,
    box: Rectangle,
    others: Sequence[Rectangle],
    taken: Sequence[Rectangle],
    style: _Style,
    size_wh: tuple[int, int],
) -> tuple[Rectangle, NDArray[np.uint8]]:
    """The place of a label and its text as a mask: the place and size that cover least, near ones first."""
    mark = "?" if face.abstained else ""
    full = f"{face.expression}{mark} {100 * face.confidence:.0f}%"
    small, least = max(12, round(0.75 * style.plate_height)), 12
    variants = ((full, style.plate_height), (full, small), (full, least), (f"{face.expression}{mark}", least))
    near = [_grown(box, style.plate_height // 2) for box in others]
    best: tuple[float, Rectangle, NDArray[np.uint8]] | None = None
    for text, plate_height in variants:
        mask = text_mask(text, max(8, plate_height - style.padding))
        for plate in _candidates(box, mask.shape[1] + 2 * style.padding, plate_height, style.line, size_wh):
            # A label that covers another one, or another face, is worst; one beside another face may seem to be its.
            cost = sum(4.0 * _overlap(plate, t) for t in taken) + sum(4.0 * _overlap(plate, o) for o in others)
            cost += sum(0.4 * _overlap(plate, o) for o in near)
            cost += 0.5 * _overlap(plate, box) + 4.0 * _outside(plate, size_wh)
            cost /= (plate[2] - plate[0]) * (plate[3] - plate[1])
            if best is None or cost < best[0] - 0.02:
                best = (cost, plate, mask)
        if best is not None and best[0] < 0.1:
            break
    assert best is not None  # there are always candidates
    return best[1], best[2]


def _candidates(box: Rectangle, width: int, height: int, line: int, size_wh: tuple[int, int]) -> list[Rectangle]:
    """Plates above, below, beside and inside a box; moved so that they stay in the image."""
    x1, y1, x2, y2 = box
    edge = line // 2
    left, right, middle = x1 - edge, x2 + edge + 1 - width, (x1 + x2 - width) // 2
    above, below, top, bottom = y1 - edge - height, y2 + edge + 1, y1 + edge + 1, y2 - edge - height
    # One that starts at the box's middle, or ends there, keeps clear of the neighbour on the other side.
    start, end = (x1 + x2) // 2, (x1 + x2) // 2 - width
    places = [(x, y) for y in (above, below) for x in (left, middle, right, start, end)]
    places += [(x, y) for x in (x1 - edge - width, x2 + edge + 1) for y in (top, (y1 + y2 - height) // 2, bottom)]
    places += [(x, y) for y in (top, bottom) for x in (left, middle, right)]
    found = []
    for x, y in places:
        inside_x, inside_y = max(0, min(x, size_wh[0] - width)), max(0, min(y, size_wh[1] - height))
        found.append((inside_x, inside_y, inside_x + width, inside_y + height))
    return found


def _grown(box: Rectangle, by: int) -> Rectangle:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _overlap(a: Rectangle, b: Rectangle) -> int:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0


def _outside(plate: Rectangle, size_wh: tuple[int, int]) -> int:
    """How much of a plate falls outside of the image, in pixels."""
    return (plate[2] - plate[0]) * (plate[3] - plate[1]) - _overlap(plate, (0, 0, *size_wh))


def _draw_plate(canvas: NDArray[np.uint8], plate: Rectangle, mask: NDArray[np.uint8], color: Color) -> None:
    x1, y1, x2, y2 = plate
    area = canvas[y1:y2, x1:x2]  # an image smaller than the plate cuts it off
    area[:] = color
    top, left = (y2 - y1 - mask.shape[0] + 1) // 2, (x2 - x1 - mask.shape[1]) // 2
    blend(area[top:, left:], mask, ink(color))


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
