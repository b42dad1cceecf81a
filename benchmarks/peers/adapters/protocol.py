"""What the adapters of the Python peers share: the three things that a peer is asked. Needs NumPy alone.

    python ask_PEER.py VARIANT answers OUT FACES          every face's probabilities
    python ask_PEER.py VARIANT speed OUT FACES PHOTO      faces/s, and ms for a photo, both warm
    python ask_PEER.py VARIANT photos OUT PHOTO...        the faces found in each photo

FACES holds grey face crops of 48 x 48 pixels, one after the other, a byte a pixel. OUT is written as JSON.
protocol.mjs is the same for Node.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

SIDE = 48
BATCH = 64
SECONDS = 2.0
"""How long each speed is measured, after a warm-up."""


class Peer(Protocol):
    """A peer, loaded. labels: its classes, in its own spelling."""

    labels: Sequence[str]

    def classify(self, faces: np.ndarray) -> np.ndarray:
        """Grey uint8 (N, 48, 48) -> (N, K), whatever it calls probabilities, without looking for a face."""

    def find(self, photo: str) -> list[str]:
        """The label of each face that it finds in an image file."""


def main(load: Callable[[str], Peer]) -> None:
    variant, task, out, *files = sys.argv[1:]
    peer = load(variant)
    if task == "photos":
        answer: dict[str, object] = {"faces": {Path(photo).name: list(peer.find(photo)) for photo in files}}
    else:
        faces = np.fromfile(files[0], np.uint8).reshape(-1, SIDE, SIDE)
        if task == "answers":
            chunks = [peer.classify(faces[i : i + BATCH]) for i in range(0, len(faces), BATCH)]
            answer = {"labels": list(peer.labels), "probabilities": np.concatenate(chunks).astype(float).tolist()}
        else:
            answer = speed(peer, faces, files[1])
    Path(out).write_text(json.dumps(answer), "utf-8")


def speed(peer: Peer, faces: np.ndarray, photo: str) -> dict[str, object]:
    """Faces a second, processor seconds spent per second meanwhile, and the median of the photo's milliseconds."""
    batches = [faces[i : i + BATCH] for i in range(0, len(faces) - BATCH + 1, BATCH)]
    peer.classify(batches[0])
    times, busy = _repeat(lambda i: peer.classify(batches[i % len(batches)]), at_least=3)
    peer.find(photo)
    photo_times, _ = _repeat(lambda i: peer.find(photo), at_least=5)
    return {
        "faces_per_s": BATCH / statistics.median(times),
        "cores_busy": busy,
        "photo_ms": statistics.median(photo_times) * 1000,
    }


def _repeat(work: Callable[[int], object], *, at_least: int) -> tuple[list[float], float]:
    """Seconds of each call, for about SECONDS; and the processor seconds spent per second."""
    times: list[float] = []
    processor = time.process_time()
    begun = time.perf_counter()
    while len(times) < at_least or time.perf_counter() - begun < SECONDS:
        started = time.perf_counter()
        work(len(times))
        times.append(time.perf_counter() - started)
    return times, (time.process_time() - processor) / (time.perf_counter() - begun)
