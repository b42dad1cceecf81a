"""Draws tracked faces onto the frames of a video, fast, steady from frame to frame, and legible from 160x120 to 4K.

Sizes follow the frame, and places follow the boxes without a choice between alternatives, so that nothing jumps.
Faces are hidden, where that is wanted, before anything is drawn. All arrays are uint8 RGB (H, W, 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError
from mien.labels import color_rgb
from mien.lettering import blend, text_mask
from mien.results import Box, FrameResult, TrackedFace
from mien.results.badges import UNSURE, draw_badge
from mien.results.draw import ABSTAINED, Color, Rectangle, box_pixels, draw_box, draw_details, ink

Privacy = Literal["none", "blur", "box"]

_MARGIN = 0.3  # of a face's size, hidden on each side of its box: hair, ears, and how far it moves between detections
_CELLS = 6  # colours that remain across a hidden region's shorter side, about four of them across the face
_HIDDEN: Color = (60, 64, 70)


def draw_frame(
    image: NDArray[np.uint8],
    faces: Sequence[TrackedFace],
    *,
    emoji: bool = False,
    draw: Sequence[str] = (),
    privacy: Privacy = "none",
    also_hide: Sequence[Box] = (),
) -> NDArray[np.uint8]:
    """A copy of the RGB image (H, W, 3) with each face's box, track, smoothed expression and how likely it is.

    The plate of a face shows its track, expression and percent; its bar is as long as the percent. A prediction that
    abstained is grey and has a question mark. emoji: a round face beside each box (on a hidden face: over it) shows
    the expression. draw: details of faces, see `mien.results.draw`; none of hidden ones. privacy: `blur`
    leaves each face a few blots of colour, `box` a plain rectangle, which is the safer one: a network trained for it
    can recognise blurred faces (McPherson et al., "Defeating image obfuscation with deep learning", 2016). also_hide:
    more places to hide, as `RecentBoxes` knows them. A face that was not found stays visible. Raises ArgumentError
    for another privacy.
    """
    if privacy not in {"none", "blur", "box"}:
        raise ArgumentError(f"privacy is '{privacy}'; expected none, blur or box")
    canvas = image.copy()
    height, width = canvas.shape[:2]
    if privacy != "none":
        for place in (*(tracked.face.box for tracked in faces), *also_hide):
            _hide(canvas, place, privacy)
    boxes = [box_pixels(tracked.face, width, height) for tracked in faces]
    line, plate_height = _sizes(width, height, boxes)
    for tracked, box in zip(faces, boxes, strict=True):
        draw_details(canvas, tracked.face, draw if privacy == "none" else (), line)
        draw_box(canvas, box, _color(tracked.smoothed_expression, tracked.face.abstained), line)
        if emoji:
            expression = UNSURE if tracked.face.abstained else tracked.smoothed_expression
            draw_badge(canvas, expression, box, 2 * plate_height, over=privacy != "none")
    most = width if len(faces) == 1 else width * 11 // 20
    taken: list[Rectangle] = []
    for i in sorted(range(len(faces)), key=lambda i: faces[i].track):  # the older track keeps its place
        tracked = faces[i]
        percent = round(100 * tracked.smoothed[tracked.smoothed_expression])
        plate = _plate(tracked.track, tracked.smoothed_expression, percent, tracked.face.abstained, plate_height, most)
        x, y = _place(plate, boxes[i], line, taken, (width, height))
        room = canvas[y : y + plate.shape[0], x : x + plate.shape[1]]  # an image smaller than the plate cuts it off
        room[:] = plate[: room.shape[0], : room.shape[1]]
        taken.append((x, y, x + plate.shape[1], y + plate.shape[0]))
    return canvas


class RecentBoxes:
    """The recent places of faces, so that a face stays hidden if the detector misses it in some frames.

    hold_s: seconds that a place is kept after its track was last detected.
    """

    def __init__(self, hold_s: float = 1.0) -> None:
        self._hold_s = hold_s
        self._seen: dict[int, tuple[float, Box]] = {}

    def update(self, result: FrameResult) -> tuple[Box, ...]:
        """Adds a frame; returns the last boxes of tracks that were lost within the last `hold_s` seconds."""
        now = {tracked.track: (result.time_s, tracked.face.box) for tracked in result.faces}
        kept = {
            track: (time_s, box)
            for track, (time_s, box) in self._seen.items()
            if result.time_s - time_s <= self._hold_s
        }
        self._seen = kept | now
        return tuple(box for track, (_, box) in self._seen.items() if track not in now)


def _sizes(width: int, height: int, boxes: Sequence[Rectangle]) -> tuple[int, int]:
    """Pixels of a box's line and of a plate's height: by the frame's size; in a crowd of small faces, smaller."""
    edge = (width * height) ** 0.5
    plate_height = 5 + 0.021 * edge
    if len(boxes) > 3:
        middle = sorted(box[3] - box[1] for box in boxes)[len(boxes) // 2]
        # Two steps, so that plates don't change with every pixel of the faces.
        plate_height *= 1.0 if middle > 4 * plate_height else 0.8 if middle > 2.5 * plate_height else 0.65
    return max(2, round(0.0026 * edge)), max(13, round(plate_height))


def _color(expression: str, abstained: bool) -> Color:
    return ABSTAINED if abstained else color_rgb(expression)


def _darker(color: Color) -> Color:
    return color[0] * 11 // 20, color[1] * 11 // 20, color[2] * 11 // 20


# Plates


@lru_cache(maxsize=256)
def _plate(track: int, expression: str, percent: int, abstained: bool, height: int, most: int) -> NDArray[np.uint8]:
    """A face's plate, RGB (height, width, 3), not to be written on: track, expression, percent, the bar below them.

    Its width depends on the track and the expression alone, not on the percent. Where it is wider than `most`, the
    percent (which the bar shows, too) and then the track are left out.
    """
    bar, padding = max(2, height // 8), max(2, height // 6)
    letters = height - bar - padding
    name = text_mask(expression + ("?" if abstained else ""), letters)
    number, figure = text_mask(f"#{track}", letters), text_mask(f"{percent}%", letters)
    track_width = number.shape[1] + 2 * padding
    name_width = name.shape[1] + 2 * padding
    percent_width = text_mask("100%", letters).shape[1] + padding
    if track_width + name_width + percent_width > most:
        percent_width = 0
    if track_width + name_width + percent_width > most:
        track_width = 0
    width = track_width + name_width + percent_width
    color = _color(expression, abstained)
    plate = np.empty((height, width, 3), np.uint8)
    plate[:] = color
    plate[:, :track_width] = _darker(color)
    top = padding // 2
    if track_width:
        blend(plate[top:, padding:], number, ink(_darker(color)))
    blend(plate[top:, track_width + padding :], name, ink(color))
    if percent_width:
        blend(plate[top:, width - padding - figure.shape[1] :], figure, ink(color))
    plate[-bar:] = _darker(_darker(color))
    plate[-bar:, : round(width * percent / 100)] = 255
    return plate


def _place(
    plate: NDArray[np.uint8], box: Rectangle, line: int, taken: Sequence[Rectangle], size_wh: tuple[int, int]
) -> tuple[int, int]:
    """The plate's left upper corner: on the box, at its left, inside of the image, pushed off the plates before it.

    It is pushed the shortest way that stays in the image, so it glides aside when two plates meet.
    """
    height, width = plate.shape[:2]
    most_x, most_y = max(0, size_wh[0] - width), max(0, size_wh[1] - height)
    x = max(0, min(box[0] - line // 2 - 1, most_x))
    y = max(0, min(box[1] - line // 2 - 1 - height, most_y))
    for _ in range(4):  # pushed off one plate it may meet another
        for other in taken:
            left, right = x + width - other[0], other[2] - x
            up, down = y + height - other[1], other[3] - y
            if min(left, right, up, down) <= 0:
                continue
            ways = [(left, x - left, y), (right, x + right, y), (up, x, y - up), (down, x, y + down)]
            inside = [way for way in ways if 0 <= way[1] <= most_x and 0 <= way[2] <= most_y]
            if inside:
                _, x, y = min(inside)
    return x, y


# Privacy


def _hide(canvas: NDArray[np.uint8], box: Box, privacy: Privacy) -> None:
    """Hides a face in place, with a margin."""
    height, width = canvas.shape[:2]
    margin = _MARGIN * max(box.x2 - box.x1, box.y2 - box.y1)
    x1, x2 = (int(np.clip(x, 0, width)) for x in (box.x1 - margin, box.x2 + margin + 1))
    y1, y2 = (int(np.clip(y, 0, height)) for y in (box.y1 - margin, box.y2 + margin + 1))
    room = canvas[y1:y2, x1:x2]
    if not room.size:
        return
    if privacy == "box":
        room[:] = _HIDDEN
        return
    cell = max(1.0, min(room.shape[:2]) / _CELLS)
    size_wh = max(1, round(room.shape[1] / cell)), max(1, round(room.shape[0] / cell))
    few = cv2.resize(room, size_wh, interpolation=cv2.INTER_AREA)
    room[:] = cv2.resize(few, (room.shape[1], room.shape[0]), interpolation=cv2.INTER_LINEAR)
