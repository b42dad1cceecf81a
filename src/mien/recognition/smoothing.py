"""Probabilities and details of faces over time: filters in seconds, so that the frame rate does not matter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError
from mien.results.details import BLENDSHAPES, Details, EyesOpen, Gaze, Pose

Floats = NDArray[np.float32]

_FORGET_S = 60.0  # a track ends after this time without a face
_STILL_HZ, _SPEED, _SPEED_HZ = 1.0, 5.0, 5.0  # the cutoffs of `DetailsSmoother`: docs/details.md has their figures
_BREAK_S = 0.5  # a face without details for longer begins anew
_POINTS = 3 * 478
_DEGREES = 45.0  # an angle that counts as much as a whole blendshape


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


@dataclass(slots=True, eq=False)
class _Moving:
    time_s: float
    values: NDArray[np.float64]
    speeds: NDArray[np.float64]


class DetailsSmoother:
    """A one-euro filter for each track (Casiez, Roussel and Vogel, 2012): steady where a face is still, quick where it
    moves, so that a blink keeps its depth.

    The cutoff of each value rises from 1 Hz by 5 Hz for each unit a second; units: the width of the mesh, 45 degrees,
    or a whole blendshape.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Moving] = {}

    def smooth(self, track: int, time_s: float, details: Details) -> Details:
        """A track's details in the frame at time_s, smoothed; those without values as they are."""
        if details.mesh is None:
            return details
        values, units = _numbers(details)
        last = self._tracks.get(track)
        if last is None:
            self._tracks = {t: m for t, m in self._tracks.items() if abs(time_s - m.time_s) < _FORGET_S}
        if last is None or not 0 < time_s - last.time_s < _BREAK_S or _turned(values, last.values):
            self._tracks[track] = _Moving(time_s, values, np.zeros_like(values))
            return details
        passed = time_s - last.time_s
        new = np.where(np.isnan(values - last.values), 0.0, (values - last.values) / passed)
        speeds = last.speeds + _weight(passed, _SPEED_HZ) * (new - last.speeds)
        mixed = last.values + _weight(passed, _STILL_HZ + _SPEED * np.abs(speeds) / units) * (values - last.values)
        mixed = np.where(np.isnan(mixed), values, mixed)  # a gaze that begins or ends
        self._tracks[track] = _Moving(time_s, mixed, speeds)
        return _as_details(mixed)


def _weight(passed_s: float, cutoff_hz: NDArray[np.float64] | float) -> NDArray[np.float64] | float:
    """The share of a new value in a low-pass filter of this cutoff."""
    turn = 2 * math.pi * passed_s * cutoff_hz
    return turn / (1 + turn)


def _numbers(details: Details) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Details as float64 (N,), NaN for a missing gaze, and what counts as a whole unit of each."""
    assert details.mesh is not None and details.pose is not None
    assert details.eyes_open is not None and details.blendshapes is not None
    shares = (*details.eyes_open, details.mouth_open or 0.0, *details.blendshapes.values())
    angles = (*details.pose, *(details.gaze or (math.nan, math.nan)))
    width = max(1.0, float(np.ptp(details.mesh[:, 0])))
    units = np.repeat((width, _DEGREES, 1.0), (_POINTS, len(angles), len(shares)))
    return np.concatenate((details.mesh.ravel(), angles, shares)).astype(np.float64), units


def _turned(values: NDArray[np.float64], last: NDArray[np.float64]) -> bool:
    """Whether an angle of the head jumps, as from 179 to -179 degrees."""
    return bool(np.abs(values - last)[_POINTS : _POINTS + 3].max() > 90)


def _as_details(values: NDArray[np.float64]) -> Details:
    yaw, pitch, roll, gaze_yaw, gaze_pitch, left, right, mouth, *shapes = values[_POINTS:].tolist()
    return Details(
        mesh=values[:_POINTS].reshape(-1, 3).astype(np.float32),
        pose=Pose(yaw, pitch, roll),
        gaze=None if math.isnan(gaze_yaw) else Gaze(gaze_yaw, gaze_pitch),
        eyes_open=EyesOpen(left, right),
        mouth_open=mouth,
        blendshapes=dict(zip(BLENDSHAPES, shapes, strict=True)),
    )
