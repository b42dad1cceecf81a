"""Probabilities over time: a filter with a time constant in seconds, so that the frame rate does not matter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError

Floats = NDArray[np.float32]

_FORGET_S = 60.0  # a track ends after this time without a face


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    time_s: float
    value: Floats
    smoothed: Floats


class Smoother:
    """A first-order exponential filter for each track.

    A time constant of T seconds: after a sudden change, 63 % of it shows after T, 95 % after 3 T. Values since
    the last frame get the weight 1 - exp(-dt / T). Between two frames the probabilities change linearly, so the result
    is the same at 10 and at 60 frames a second. After a gap much longer than T little of the past remains.
    """

    def __init__(self, time_constant_s: float) -> None:
        """time_constant_s: 0 for no smoothing. Raises ArgumentError where it is negative or no number."""
        if not 0 <= time_constant_s < math.inf:
            raise ArgumentError(f"the time constant is {time_constant_s}; expected seconds, 0 for none")
        self._time_constant_s = time_constant_s
        self._states: dict[int, _State] = {}

    def smooth(self, track: int, time_s: float, value: Floats) -> Floats:
        """A track's probabilities float32 (K,) in the frame at time_s -> smoothed, float32 (K,) with the same sum."""
        last = self._states.get(track)
        if last is None:
            self._states = {t: s for t, s in self._states.items() if abs(time_s - s.time_s) < _FORGET_S}
        if last is not None and time_s < last.time_s:  # the clock was set back
            last = None
        smoothed = value if last is None else self._step(last, time_s - last.time_s, value)
        self._states[track] = _State(time_s, value, smoothed)
        return smoothed

    def _step(self, last: _State, passed_s: float, value: Floats) -> Floats:
        if self._time_constant_s == 0:
            return value
        passed = passed_s / self._time_constant_s
        if passed < 1e-6:
            return last.smoothed
        new = -math.expm1(-passed)
        # The exact solution of T y' = x - y for an x that changes linearly from the last value to this one.
        of_value = 1 - new / passed
        of_last = new - of_value
        mixed: Floats = last.smoothed * (1 - new) + last.value * of_last + value * of_value
        return mixed
