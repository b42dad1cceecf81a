"""Settings of recognition and watching: the only place of their defaults, ranges and help. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mien.config import Setting, default_of


@dataclass(frozen=True, slots=True)
class RecognitionSettings:
    """Which faces are results, and which predictions count as unsure."""

    min_face: Annotated[int, Setting("Leave out smaller faces, in pixels.", 1, metavar="PX")] = 20
    abstain_below: Annotated[float, Setting("Mark predictions with less confidence as unsure.", 0, 1, metavar="P")] = (
        0.0
    )
    balance: Annotated[
        float | None,
        Setting("How far the training mix of expressions is evened out. [default: the model's own]", 0, 1, metavar="B"),
    ] = None
    prior: Annotated[
        Path | None,
        Setting("Your mix of expressions: JSON, label -> count or share; balance 1 if none is given.", metavar="FILE"),
    ] = None


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How the faces of a video are followed."""

    every: Annotated[
        int | None, Setting("Detect faces in every Nth frame, and track them in between.", 1, metavar="N")
    ] = None
    smooth_s: Annotated[
        float, Setting("Time constant of the smoothing, seconds; 0 = none.", 0, flags=("--smooth",), metavar="S")
    ] = 0.5
    region: Annotated[
        str, Setting("Use only this part of the frame: pixels, or fractions if all are <= 1.", metavar="X,Y,W,H")
    ] = ""
    max_seconds: Annotated[float | None, Setting("Stop after T seconds.", 0, open=True, metavar="T")] = None


MIN_FACE: int = default_of(RecognitionSettings, "min_face")
ABSTAIN_BELOW: float = default_of(RecognitionSettings, "abstain_below")
SMOOTH_S: float = default_of(WatchSettings, "smooth_s")
