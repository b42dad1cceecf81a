"""Frame results made for tests: tracks whose faces look as the test says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mien.labels import FER2013
from mien.results import Box, Face, FrameResult, ModelSummary, TrackedFace

MODEL = ModelSummary("tiny", FER2013, "votes")


def seen(
    track: int,
    expression: str = "happy",
    confidence: float = 0.82,
    *,
    box: Sequence[float] = (100, 100, 200, 220),
    abstained: bool = False,
) -> TrackedFace:
    """A face whose smoothed answer is the same as its own."""
    rest = (1 - confidence) / (len(FER2013) - 1)
    probabilities = {name: confidence if name == expression else rest for name in FER2013}
    face = Face(Box(*box), 0.91, expression, confidence, probabilities, abstained)
    return TrackedFace(track, face, True, probabilities, expression)


def frame(number: int, time_s: float, *faces: TrackedFace, image: NDArray[np.uint8] | None = None) -> FrameResult:
    """A frame of 640x360 pixels."""
    return FrameResult(number, time_s, 640, 360, faces, image=image)
