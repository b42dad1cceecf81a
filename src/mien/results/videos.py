"""Results of video: faces that are tracked from frame to frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.results.documents import rounded
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

    Examples:
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

    Examples:
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
        return rounded(self, start_s=3, end_s=3, peak_s=3, peak=4)


@dataclass(frozen=True, slots=True)
class GestureEvent:
    """A blink, a nod or a shake of the head of one track.

    Attributes:
        track: The face's number.
        gesture: `blink`, `nod` or `shake`.
        start_s: Time of its first frame, seconds.
        end_s: Time of its last frame, seconds.
        size: Of a blink, how much the eyes closed, 0 to 1; else the mean swing, degrees.
    """

    track: int
    gesture: str
    start_s: float
    end_s: float
    size: float

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON has it."""
        return rounded(self, start_s=3, end_s=3, size=4)


@dataclass(frozen=True, slots=True)
class GestureSummary:
    """What one track did. seconds: how long its details were seen. blink_s: mean time from a blink's first to its last
    frame, None without one."""

    track: int
    seconds: float
    blinks: int
    blink_s: float | None
    nods: int
    shakes: int

    @classmethod
    def of(cls, track: int, seconds: float, events: Sequence[GestureEvent]) -> GestureSummary:
        """Counts events of one track."""
        names = [event.gesture for event in events]
        lasted = [event.end_s - event.start_s for event in events if event.gesture == "blink"]
        mean = sum(lasted) / len(lasted) if lasted else None
        return cls(track, seconds, len(lasted), mean, names.count("nod"), names.count("shake"))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, with the blinks a minute."""
        rate = round(60 * self.blinks / self.seconds, 1) if self.seconds > 0 else None
        return {
            "track": self.track,
            "seconds": round(self.seconds, 3),
            "blinks": self.blinks,
            "blinks_per_minute": rate,
            "blink_s": None if self.blink_s is None else round(self.blink_s, 3),
            "nods": self.nods,
            "shakes": self.shakes,
        }
