"""Results of video: faces that are tracked from frame to frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.results.faces import Box, Face, faces_text


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """One tracked face in one frame of a video.

    Attributes:
        track: The face's number, from 1; never given to another face.
        face: The prediction for this frame alone; between two detections its box is the tracker's.
        detected: Whether the detector found it in this frame.
        smoothed: Label -> the probability over the track's last moments, by a filter with a time constant; they sum
            to 1.
        smoothed_expression: The most likely label by `smoothed`.

    Example:
        >>> import mien
        >>> (frame,) = mien.watch("src/mien/examples")
        >>> face = frame[0]
        >>> face.track, face.smoothed_expression, face.face.expression, round(face.box.width)
        (1, 'happy', 'happy', 89)
    """

    track: int
    face: Face
    detected: bool
    smoothed: dict[str, float]
    smoothed_expression: str

    @property
    def box(self) -> Box:
        """Its place in this frame, pixels."""
        return self.face.box

    def to_dict(self) -> dict[str, Any]:
        """The face as JSON has it."""
        return {
            "track": self.track,
            **self.face.to_dict(),
            "detected": self.detected,
            "smoothed": {name: round(p, 4) for name, p in self.smoothed.items()},
            "smoothed_expression": self.smoothed_expression,
        }


@dataclass(frozen=True, slots=True, repr=False)
class FrameResult:
    """One frame of a video, camera or stream: its faces from left to right. `len`, iteration and indices give faces.

    Attributes:
        frame: Its number in the source, from 0; numbers that are missing were dropped (live sources).
        time_s: Seconds since the first frame, by the source's own timestamps.
        width: Pixels.
        height: Pixels.
        faces: From left to right.
        latency_s: Seconds from its arrival to its result, for live sources; else None.
        image: uint8 RGB (H, W, 3), with `keep_images`; else None.

    Example:
        >>> import mien
        >>> list(mien.watch("src/mien/examples"))
        [FrameResult(0, 0.000 s, 512x512, 1 face: happy 0.99)]
    """

    frame: int
    time_s: float
    width: int
    height: int
    faces: tuple[TrackedFace, ...] = ()
    latency_s: float | None = field(default=None, compare=False)
    image: NDArray[np.uint8] | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.faces)

    def __bool__(self) -> bool:
        return True  # a frame without faces is a frame

    def __iter__(self) -> Iterator[TrackedFace]:
        return iter(self.faces)

    def __getitem__(self, index: int) -> TrackedFace:
        return self.faces[index]

    def to_dict(self) -> dict[str, Any]:
        """The frame as JSON has it, without the image."""
        return {
            "frame": self.frame,
            "time_s": round(self.time_s, 6),
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict() for face in self.faces],
        }

    def __repr__(self) -> str:
        found = faces_text(tuple(tracked.face for tracked in self.faces))
        return f"FrameResult({self.frame}, {self.time_s:.3f} s, {self.width}x{self.height}, {found})"


@dataclass(frozen=True, slots=True)
class ExpressionEvent:
    """A stretch of a track in which one expression was the most likely, by smoothed probability.

    Attributes:
        track: The face's number.
        expression: The label.
        start_s: Time of its first frame, seconds.
        end_s: Time of its last frame, seconds.
        peak_s: Time of the highest probability, seconds.
        peak: That probability, 0 to 1.
    """

    track: int
    expression: str
    start_s: float
    end_s: float
    peak_s: float
    peak: float

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON has it."""
        return {
            "track": self.track,
            "expression": self.expression,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "peak_s": round(self.peak_s, 3),
            "peak": round(self.peak, 4),
        }
