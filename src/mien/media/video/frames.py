"""Frames with exact times, and what all sources of frames have in common."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame: uint8 RGB (H, W, 3), upright, read-only; its number from 0; seconds since the first frame.

    arrived: by `time.monotonic()`, when it came out of the source, from which latency is counted.
    """

    number: int
    time_s: float
    image: NDArray[np.uint8]
    arrived: float = field(default_factory=time.monotonic)


class FrameSource(Protocol):
    """Frames in order, once.

    name: for messages. live: whether frames arrive in real time, so that a slow reader misses some. rate: frames a
    second, or None if the source states none. frames: their number, if known.
    """

    name: str
    live: bool
    rate: float | None
    frames: int | None

    @property
    def skipped(self) -> int:
        """Damaged frames or images left out so far."""

    def __iter__(self) -> Iterator[Frame]:
        """The frames. Raises VideoError if the source fails; earlier frames are valid."""

    def close(self) -> None:
        """Closes the source, also from another thread while it is read; once is enough."""


class SingleUse(ABC):
    """A source that is read once and can be closed from another thread.

    The thread that reads it also releases it: FFmpeg and drivers do not allow that from outside. A source that was
    closed before it was read is released by `close`.
    """

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._started = False

    @abstractmethod
    def _frames(self) -> Iterator[Frame]:
        """The frames, until the source ends or `_closed` is set."""

    @abstractmethod
    def _release(self) -> None:
        """Closes the file or device."""

    def __iter__(self) -> Iterator[Frame]:
        """The frames. A second iteration, or one after `close`, gives none."""
        with self._lock:
            if self._started:
                return
            self._started = True
        try:
            yield from self._frames()
        finally:
            self._release()

    def close(self) -> None:
        """Ends the iteration; a thread that reads ends with its next frame."""
        self._closed.set()
        with self._lock:
            if not self._started:
                self._started = True
                self._release()


def ended_early(name: str, frames: int, time_s: float, why: str) -> str:
    """The error of a file that ends before its end."""
    return (
        f"{name}: truncated or damaged, ends after {frames} frames ({time_s:.1f} s; {why}); "
        "what came before stands; get a whole copy for the rest"
    )
