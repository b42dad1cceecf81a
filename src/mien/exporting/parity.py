"""Two ways to run one model, compared: how far apart their probabilities are, how often they are right, how fast."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.errors import ExportError

Runner = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Faces uint8 (N, H, W, C) -> probabilities float32 (N, K)."""

BATCH = 64
_REPEATS = 9
_ROUND_S = 0.05


@dataclass(frozen=True, slots=True)
class Parity:
    """An export against its source on the same faces, in one process on this machine.

    faces: how many; shown: which. largest, mean: difference of a probability. same_label: share of faces with the same
    most likely label, 0 to 1. truth: what counts as right; '' where nothing is known of the faces, and n is 0.
    accuracy_before, accuracy_after: the source's and the export's share of right answers over n faces, 0 to 1.
    source_faces_s, export_faces_s: faces per second in batches of 64, medians of repeated, alternating runs.
    """

    faces: int
    shown: str
    largest: float
    mean: float
    same_label: float
    truth: str
    n: int
    accuracy_before: float | None
    accuracy_after: float | None
    source_faces_s: float
    export_faces_s: float

    @property
    def lost_points(self) -> float:
        """By how many points the accuracy fell; 0 where it is unknown."""
        if self.accuracy_before is None or self.accuracy_after is None:
            return 0.0
        return 100 * (self.accuracy_before - self.accuracy_after)

    @property
    def speed_up(self) -> float:
        """How many times as fast as its source the export is."""
        return self.export_faces_s / self.source_faces_s


def compare_outputs(
    source: Runner, export: Runner, faces: NDArray[np.uint8], *, shown: str, right: NDArray[np.int64] | None, truth: str
) -> Parity:
    """Runs both on faces uint8 (N, H, W, C). right: int64 (N,), the class that counts as right, -1 where none does.

    Raises ExportError where the export does not answer with as many numbers.
    """
    expected, found = in_batches(source, faces), in_batches(export, faces)
    if found.shape != expected.shape:
        raise ExportError(f"the export answers with {found.shape} numbers and its source with {expected.shape}")
    known = right >= 0 if right is not None else np.zeros(len(faces), bool)
    before, after = (
        None if right is None else float((p.argmax(1)[known] == right[known]).mean()) for p in (expected, found)
    )
    rates = faces_per_second((source, export), faces[:BATCH])
    return Parity(
        faces=len(faces),
        shown=shown,
        # NaN stays NaN here, and no bound admits it.
        largest=float(np.abs(found - expected).max()),
        mean=float(np.abs(found - expected).mean()),
        same_label=float((found.argmax(1) == expected.argmax(1)).mean()),
        truth=truth,
        n=int(known.sum()),
        accuracy_before=before,
        accuracy_after=after,
        source_faces_s=rates[0],
        export_faces_s=rates[1],
    )


def in_batches(runner: Runner, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities of all faces, float32 (N, K)."""
    return np.concatenate([runner(faces[start : start + BATCH]) for start in range(0, len(faces), BATCH)])


def faces_per_second(runners: tuple[Runner, ...], faces: NDArray[np.uint8]) -> list[float]:
    """The median of several runs of each, alternating, so that other load on the machine affects all alike."""
    calls = []
    for runner in runners:
        runner(faces)
        began = time.perf_counter()
        runner(faces)
        calls.append(max(1, round(_ROUND_S / (time.perf_counter() - began))))
    times: list[list[float]] = [[] for _ in runners]
    for _ in range(_REPEATS):
        for runner, count, taken in zip(runners, calls, times, strict=True):
            began = time.perf_counter()
            for _ in range(count):
                runner(faces)
            taken.append((time.perf_counter() - began) / count)
    return [len(faces) / float(np.median(each)) for each in times]
