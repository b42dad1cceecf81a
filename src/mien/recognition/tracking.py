"""Tracks faces from frame to frame: stable numbers, and boxes between two detections.

Matching in two passes after Zhang et al., ByteTrack: Multi-Object Tracking by Associating Every Detection Box (2022),
arXiv:2110.06864. Movement is the median of many small movements after Kalal, Mikolajczyk, Matas, Forward-Backward
Error: Automatic Detection of Tracking Failures (2010), doi:10.1109/ICPR.2010.675.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError
from mien.results import Detections

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]

_PATCH = 64  # pixels of the grey patch in which a face is followed
_PATCH_MARGIN = 1.6  # the patch's side over the face's longer edge
_GRID = 6  # points a side that are followed
_FLOW_WINDOW, _FLOW_LEVELS = (11, 11), 2
_FORWARD_BACKWARD = 1.0  # pixels of the patch by which a point may miss its start when it is followed back
_APPEARANCE = 16  # pixels a side of the stored appearance of a face
# Appearances of one face 0.2 seconds apart correlate by at least 0.80, a second apart by 0.56 (19 of 20); those of
# different people by 0.43 (median).
_SAME_FACE = 0.5
_FOUND_AGAIN = 0.25  # nearness times likeness


@dataclass(frozen=True, slots=True, eq=False)
class Tracked:
    """The faces of one frame, from left to right.

    tracks: the faces' numbers. detections: boxes, scores of the last detection, and landmarks. detected: whether the
    detector found each face in this frame.
    """

    tracks: tuple[int, ...]
    detections: Detections
    detected: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.tracks)


@dataclass(slots=True, eq=False)
class _Patch:
    """A grey square of one frame; left, top: of the image; scale: patch pixels an image pixel."""

    grey: Image
    left: int
    top: int
    side: int

    @property
    def scale(self) -> float:
        return _PATCH / self.side


@dataclass(slots=True, eq=False)
class _Track:
    """A face that is followed.

    number: 0 until it is confirmed. velocity: of the box's centre, pixels a second. broken: the movement of the
    image lost it since the last detection, as where a film is cut.
    """

    box: Floats
    score: float
    landmarks: Floats | None
    time_s: float
    seen_s: float
    patch: _Patch
    appearance: Floats
    velocity: Floats
    number: int = 0
    lost: bool = False
    broken: bool = False
    detected: bool = True


class Tracker:
    """Gives faces their numbers, from 1; none is given twice.

    Example:
        >>> from mien.faces import make_detector
        >>> from mien.images import read_image
        >>> frame, detector, tracker = read_image("photo.jpg"), make_detector("yunet"), Tracker()
        >>> tracker.update(detector.detect(frame), 0.0, frame).tracks
        (1,)
        >>> tracker.follow(frame, 0.04).detections.boxes.shape
        (1, 4)
    """

    def __init__(
        self, *, lost_s: float = 2.0, high_score: float = 0.65, sure_score: float = 0.85, min_overlap: float = 0.2
    ) -> None:
        """lost_s: how long a lost face keeps its track, seconds.

        high_score: the score that a detection needs to start a track; a lower one only continues a track. sure_score:
        from this score on, one detection confirms a face; below, two do. min_overlap: of a box with its expected place,
        intersection over union. Raises ArgumentError for values out of range.
        """
        if lost_s < 0 or not 0 <= high_score <= 1 or not 0 <= sure_score <= 1 or not 0 < min_overlap < 1:
            raise ArgumentError("tracker: lost_s must not be negative; scores and min_overlap lie between 0 and 1")
        self._lost_s, self._high_score, self._sure_score = lost_s, high_score, sure_score
        self._min_overlap = min_overlap
        self._tracks: list[_Track] = []
        self._given = 0
        self._size_wh = (0, 0)
        self.unsure = False
        """Whether tracking failed for a face in the last frame, so that the next one needs a detection."""

    def update(self, detections: Detections, time_s: float, image: Image) -> Tracked:
        """The faces of a frame with detections: RGB (H, W, 3), seconds, what the detector found.

        Boxes are the detector's, smoothed: a box that is close to its tracked place moves there only in part. A
        detection that is already a face crop is track 1.
        """
        if detections.cropped:
            return Tracked((1,) * len(detections), detections, (True,) * len(detections))
        self._tracks = [t for t in self._tracks if not t.lost or time_s - t.seen_s <= self._lost_s]
        self._move_all(image, time_s)
        high = [i for i in range(len(detections)) if detections.scores[i] >= self._high_score]
        low = [i for i in range(len(detections)) if detections.scores[i] < self._high_score]
        in_view = [track for track in self._tracks if not track.lost]
        left_over = self._match(in_view, detections, high, image, time_s)
        in_view = [track for track in in_view if not track.detected]
        self._match(in_view, detections, low, image, time_s)
        left_over = self._find_again(detections, left_over, image, time_s)
        for track in self._tracks:
            track.lost = not track.detected
        self._tracks = [track for track in self._tracks if track.detected or track.number]
        for i in left_over:
            self._begin(detections, i, image, time_s)
        self.unsure = False
        return self._shown()

    def follow(self, image: Image, time_s: float) -> Tracked:
        """The faces of a frame without detections, moved with the image."""
        self._move_all(image, time_s)
        return self._shown()

    def _shown(self) -> Tracked:
        shown = sorted((t for t in self._tracks if t.number and not t.lost), key=lambda t: float(t.box[0]))
        boxes = np.array([t.box for t in shown], np.float32).reshape(-1, 4)
        marks = [t.landmarks for t in shown if t.landmarks is not None]
        landmarks = np.array(marks, np.float32) if marks and len(marks) == len(shown) else None
        scores = np.array([t.score for t in shown], np.float32)
        return Tracked(
            tuple(t.number for t in shown), Detections(boxes, scores, landmarks), tuple(t.detected for t in shown)
        )

    def _move_all(self, image: Image, time_s: float) -> None:
        """Carries every box in view to this frame."""
        size_wh = (image.shape[1], image.shape[0])
        if self._size_wh not in ((0, 0), size_wh):  # the stream changed its size: the same view at another scale
            grow = np.array(size_wh, np.float32) / np.array(self._size_wh, np.float32)
            for track in self._tracks:
                track.box = track.box * np.tile(grow, 2)
                if track.landmarks is not None:
                    track.landmarks = (track.landmarks * grow).astype(np.float32)
                track.velocity = (track.velocity * grow).astype(np.float32)
                track.patch = _cut(image, track.box)
        self._size_wh = size_wh
        self.unsure = False
        for track in self._tracks:
            track.detected = False
            if not track.lost:
                self._move(track, image, time_s)

    def _move(self, track: _Track, image: Image, time_s: float) -> None:
        passed = max(0.0, time_s - track.time_s)
        now = _cut_same(image, track.patch)
        expected = (track.velocity * passed).astype(np.float32)
        change = _movement(track.patch, now, track.box, expected)
        centre = (track.box[:2] + track.box[2:]) / 2
        if change is None:
            shift, scale = expected, 1.0
            track.velocity = (track.velocity / 2).astype(np.float32)
            self.unsure = track.broken = True
        else:
            shift, scale = change
            if passed > 0:
                track.velocity = ((track.velocity + shift / passed) / 2).astype(np.float32)
        track.box = (np.tile(centre + shift, 2) + (track.box - np.tile(centre, 2)) * scale).astype(np.float32)
        if track.landmarks is not None:
            track.landmarks = (centre + shift + (track.landmarks - centre) * scale).astype(np.float32)
        middle_x, middle_y = (centre + shift).tolist()
        track.lost = not (0 <= middle_x < image.shape[1] and 0 <= middle_y < image.shape[0])
        track.time_s = time_s
        track.patch = now if _fits(now, track.box) else _cut(image, track.box)

    def _match(
        self, tracks: list[_Track], found: Detections, rows: list[int], image: Image, time_s: float
    ) -> list[int]:
        """Gives detections to the tracks that they overlap, the closest pairs first; returns the rows left over."""
        if not tracks or not rows:
            return rows
        overlap = overlaps(np.array([t.box for t in tracks], np.float32), found.boxes[rows])
        for t, track in enumerate(tracks):
            if track.broken:  # after a cut, a face in the same place may be another person's
                overlap[t] *= [
                    float(track.appearance @ _appearance(image, found.boxes[row])) >= _SAME_FACE for row in rows
                ]
        taken = set()
        for t, r in _best_first(overlap, self._min_overlap):
            self._attach(tracks[t], found, rows[r], image, time_s)
            taken.add(rows[r])
        return [row for row in rows if row not in taken]

    def _find_again(self, found: Detections, rows: list[int], image: Image, time_s: float) -> list[int]:
        """Gives detections to tracks without one that fit by place, size and appearance; returns the rows left over."""
        lost = [track for track in self._tracks if track.number and not track.detected]
        if not lost or not rows:
            return rows
        fit = np.zeros((len(lost), len(rows)), np.float32)
        for r, row in enumerate(rows):
            appearance = _appearance(image, found.boxes[row])
            for t, track in enumerate(lost):
                likeness = float(track.appearance @ appearance)
                if likeness >= _SAME_FACE:
                    fit[t, r] = likeness * _nearness(track.box, found.boxes[row], time_s - track.seen_s)
        taken = set()
        for t, r in _best_first(fit, _FOUND_AGAIN):
            lost[t].box, lost[t].velocity = found.boxes[rows[r]], np.zeros(2, np.float32)
            self._attach(lost[t], found, rows[r], image, time_s)
            taken.add(rows[r])
        return [row for row in rows if row not in taken]

    def _attach(self, track: _Track, found: Detections, row: int, image: Image, time_s: float) -> None:
        box = found.boxes[row]
        side = float((track.box[2:] - track.box[:2]).max())
        away = float(np.abs(box - track.box).max()) / max(side, 1.0)
        # What the detector's box trembles by is a few hundredths of the face; what is more is movement.
        share = np.float32(min(1.0, 0.35 + away / 0.15))
        track.box = track.box + (box - track.box) * share
        if found.landmarks is not None:
            marks = found.landmarks[row]
            track.landmarks = marks if track.landmarks is None else track.landmarks + (marks - track.landmarks) * share
        track.score, track.time_s, track.seen_s = float(found.scores[row]), time_s, time_s
        track.patch = _cut(image, track.box)
        track.appearance = _unit(track.appearance * np.float32(0.7) + _appearance(image, track.box) * np.float32(0.3))
        track.detected, track.lost, track.broken = True, False, False
        if not track.number:
            self._number(track)

    def _begin(self, found: Detections, row: int, image: Image, time_s: float) -> None:
        box, score = found.boxes[row].astype(np.float32), float(found.scores[row])
        track = _Track(
            box=box,
            score=score,
            landmarks=None if found.landmarks is None else found.landmarks[row],
            time_s=time_s,
            seen_s=time_s,
            patch=_cut(image, box),
            appearance=_appearance(image, box),
            velocity=np.zeros(2, np.float32),
        )
        self._tracks.append(track)
        if score >= self._sure_score:
            self._number(track)

    def _number(self, track: _Track) -> None:
        self._given += 1
        track.number = self._given


def overlaps(first: Floats, second: Floats) -> Floats:
    """Intersection over union of every box of `first` (N, 4) with every box of `second` (M, 4): float32 (N, M)."""
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    opposite = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared: Floats = np.maximum(opposite - corner, 0).prod(axis=2)
    area_1 = np.maximum(first[:, 2:] - first[:, :2], 0).prod(axis=1)
    area_2 = np.maximum(second[:, 2:] - second[:, :2], 0).prod(axis=1)
    whole: Floats = area_1[:, None] + area_2[None] - shared
    overlap: Floats = (shared / np.maximum(whole, np.float32(1e-9))).astype(np.float32)
    return overlap


def _best_first(fit: Floats, least: float) -> list[tuple[int, int]]:
    """Pairs (row, column) of the matrix, the highest first, none of them twice, down to `least`."""
    pairs: list[tuple[int, int]] = []
    left = fit.copy()
    while left.size and float(left.max()) >= least:
        row, column = divmod(int(left.argmax()), left.shape[1])
        pairs.append((row, column))
        left[row], left[:, column] = -1, -1
    return pairs


def _nearness(old: Floats, new: Floats, gap_s: float) -> float:
    """How well a box fits one of `gap_s` seconds ago, 0 to 1: by place and by size."""
    sides = [max(float((box[2:] - box[:2]).max()), 1.0) for box in (old, new)]
    distance = float(np.hypot(*((new[:2] + new[2:] - old[:2] - old[2:]) / 2))) / max(sides)
    place = max(0.0, 1 - distance / (1 + gap_s))
    return place * min(sides) / max(sides)


def _appearance(image: Image, box: Floats) -> Floats:
    """The appearance of a face: its small grey image with zero mean and unit length; products are correlations."""
    grey = _cut(image, box, margin=1.0).grey
    small = cv2.resize(grey, (_APPEARANCE, _APPEARANCE), interpolation=cv2.INTER_AREA)
    values: Floats = small.astype(np.float32).ravel()
    return _unit(values - values.mean())


def _unit(values: Floats) -> Floats:
    unit: Floats = (values / max(float(np.linalg.norm(values)), 1e-6)).astype(np.float32)
    return unit


def _cut(image: Image, box: Floats, *, margin: float = _PATCH_MARGIN) -> _Patch:
    side = max(4, round(float((box[2:] - box[:2]).max()) * margin))
    left, top = (round(float(v) - side / 2) for v in (box[:2] + box[2:]) / 2)
    return _Patch(_grey(image, left, top, side), left, top, side)


def _cut_same(image: Image, patch: _Patch) -> _Patch:
    return _Patch(_grey(image, patch.left, patch.top, patch.side), patch.left, patch.top, patch.side)


def _grey(image: Image, left: int, top: int, side: int) -> Image:
    """A square of the image, grey, `_PATCH` pixels a side; the border's pixels are repeated beyond it."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    if x1 >= x2 or y1 >= y2:
        return np.zeros((_PATCH, _PATCH), np.uint8)
    part: Any = cv2.cvtColor(image[y1:y2, x1:x2], cv2.COLOR_RGB2GRAY)  # OpenCV's stubs know no uint8
    columns, rows = (max(1, round(n * _PATCH / side)) for n in (x2 - x1, y2 - y1))
    while part.shape[0] >= 2 * rows and part.shape[1] >= 2 * columns:  # whole halves are fast
        half = part.shape[1] // 2, part.shape[0] // 2
        part = cv2.resize(part[: 2 * half[1], : 2 * half[0]], half, interpolation=cv2.INTER_AREA)
    grey: Any = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_LINEAR)
    if (columns, rows) == (_PATCH, _PATCH):
        return grey  # type: ignore[no-any-return]
    x, y = (min(round((a - b) * _PATCH / side), _PATCH - n) for a, b, n in ((x1, left, columns), (y1, top, rows)))
    # Edges at whole patch pixels: the border then does not move.
    whole: Image = cv2.copyMakeBorder(grey, y, _PATCH - y - rows, x, _PATCH - x - columns, cv2.BORDER_REPLICATE)
    return whole


def _fits(patch: _Patch, box: Floats) -> bool:
    """Whether a box still lies about the middle of a patch, at about its size."""
    off = np.abs((box[:2] + box[2:]) / 2 - np.array([patch.left, patch.top]) - patch.side / 2).max() / patch.side
    size = float((box[2:] - box[:2]).max()) * _PATCH_MARGIN / patch.side
    return bool(off < 0.08 and 0.85 < size < 1.15)


_FIRST, _SECOND = (index[::3] for index in np.triu_indices(_GRID * _GRID, k=1))  # pairs of points: a third is plenty


def _lengths(vectors: Floats) -> Floats:
    return np.hypot(vectors[:, 0], vectors[:, 1])


def _movement(before: _Patch, now: _Patch, box: Floats, expected: Floats) -> tuple[Floats, float] | None:
    """How a box moved between two patches: the shift of its centre (2,) in pixels and its growth; None: not known."""
    centre = ((box[:2] + box[2:]) / 2 - np.array([before.left, before.top])) * before.scale
    half = (box[2:] - box[:2]) * (before.scale * 0.4)
    steps = np.linspace(-1, 1, _GRID, dtype=np.float32)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    start = (centre + grid * half).astype(np.float32)
    guess = (start + expected * np.float32(before.scale)).astype(np.float32)
    options = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
    end, found, _ = cv2.calcOpticalFlowPyrLK(
        before.grey, now.grey, start, guess, None, None, _FLOW_WINDOW, _FLOW_LEVELS, options,
        cv2.OPTFLOW_USE_INITIAL_FLOW,
    )  # fmt: skip
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(
        now.grey, before.grey, end, start.copy(), None, None, _FLOW_WINDOW, _FLOW_LEVELS, options,
        cv2.OPTFLOW_USE_INITIAL_FLOW,
    )  # fmt: skip
    miss = _lengths(back - start)
    good = (found[:, 0] > 0) & (found_back[:, 0] > 0) & (miss < _FORWARD_BACKWARD)
    if good.sum() < _GRID * _GRID // 4:
        return None
    both = good[_FIRST] & good[_SECOND]
    apart, apart_now = (_lengths((p[_FIRST] - p[_SECOND])[both]) for p in (start, end))
    start, end = start[good], end[good]
    scale = float(np.median(apart_now / apart))
    if not 0.8 < scale < 1.25 or not math.isfinite(scale):
        return None
    # The shift of the box's centre, not that of the points' middle: the face grows around the former.
    shift = np.median(end - (centre + (start - centre) * scale), axis=0)
    return (shift / before.scale).astype(np.float32), scale
