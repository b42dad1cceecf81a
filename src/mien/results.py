"""Frozen result objects: what recognition returns, and what every output (table, JSON, CSV, picture) is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Faces found in one picture, best first.

    boxes: float32 (N, 4), pixels of the picture, x1, y1, x2, y2. scores: float32 (N,), 0 to 1.
    landmarks: float32 (N, 5, 2), x, y of the eye on the picture's left, the eye on its right, nose, mouth corner on
    its left, mouth corner on its right; None where the method has none. cropped: the boxes are face crops already,
    framed as a model expects them, and are not framed anew.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32] | None = None
    cropped: bool = False

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the picture: left, top, right, bottom."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class Face:
    """One face and how it appears.

    probabilities: label -> the model's calibrated probability; they sum to 1. expression: the likeliest label.
    abstained: the confidence was below what the caller asked for.
    """

    box: Box
    detection_score: float
    expression: str
    confidence: float
    probabilities: dict[str, float]
    abstained: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: box rounded to a tenth of a pixel, probabilities to four digits."""
        return {
            "box": [round(v, 1) for v in (self.box.x1, self.box.y1, self.box.x2, self.box.y2)],
            "detection_score": round(self.detection_score, 4),
            "expression": self.expression,
            "confidence": round(self.confidence, 4),
            "probabilities": {name: round(p, 4) for name, p in self.probabilities.items()},
            "abstained": self.abstained,
        }


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One picture: its faces from left to right, or the reason why it could not be read.

    width, height: pixels after the picture was turned upright, and made smaller where it has more than 100 million;
    boxes are in these pixels. 0 where it could not be read.
    """

    source: str
    width: int
    height: int
    faces: tuple[Face, ...] = ()
    error: str | None = None
    picture: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    """RGB (H, W, 3), kept where the caller asked for it (drawing)."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, without the picture."""
        return {
            "source": self.source,
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict() for face in self.faces],
            "error": self.error,
        }

    def _repr_png_(self) -> bytes | None:
        """The picture with its faces drawn, for notebooks; None where the picture is not at hand."""
        from mien.media.draw import notebook_png  # the one import upwards: a notebook asks the object itself

        return notebook_png(self)


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """One face in one frame of a video, followed through it.

    track: the face's number, from 1; never given to another face. face: what this frame alone shows; between two
    detections its box is the tracker's. detected: whether the detector saw it in this frame. smoothed: label -> the
    probability over the track's last moments, by a filter with a time constant; they sum to 1. smoothed_expression:
    the likeliest of those.
    """

    track: int
    face: Face
    detected: bool
    smoothed: dict[str, float]
    smoothed_expression: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "track": self.track,
            **self.face.to_dict(),
            "detected": self.detected,
            "smoothed": {name: round(p, 4) for name, p in self.smoothed.items()},
            "smoothed_expression": self.smoothed_expression,
        }


@dataclass(frozen=True, slots=True)
class FrameResult:
    """One frame of a video, camera or stream: its faces from left to right.

    frame: its number in the source, from 0; numbers that are missing were dropped (live sources). time_s: seconds since
    the first frame, by the source's own timestamps. latency_s: from its arrival to its answer, for live sources.
    """

    frame: int
    time_s: float
    width: int
    height: int
    faces: tuple[TrackedFace, ...] = ()
    latency_s: float | None = field(default=None, compare=False)
    picture: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    """RGB (H, W, 3), kept where the caller asked for it (drawing)."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, without the picture."""
        return {
            "frame": self.frame,
            "time_s": round(self.time_s, 6),
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict() for face in self.faces],
        }


@dataclass(frozen=True, slots=True)
class ExpressionEvent:
    """A stretch of a track in which one expression was the likeliest, by its smoothed probabilities.

    start_s, end_s: time of its first and of its last frame. peak_s, peak: when it was likeliest, and how likely.
    """

    track: int
    expression: str
    start_s: float
    end_s: float
    peak_s: float
    peak: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "track": self.track,
            "expression": self.expression,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "peak_s": round(self.peak_s, 3),
            "peak": round(self.peak, 4),
        }


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """Which model answered: stands at the head of a JSON document and names a CSV's columns.

    name: several models are joined by " + ". sha256: of each model file, in the same order.
    """

    name: str
    labels: tuple[str, ...]
    target: str
    sha256: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"name": self.name, "labels": list(self.labels), "target": self.target, "sha256": list(self.sha256)}
