"""The currency of video: frames with exact times, from whatever gives them."""

from __future__ import annotations

import time
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
    """Gives frames in order, once.

    name: what it is called in messages. live: frames come when they come, and who is slow misses some. rate: frames a
    second as the source states it, None where it doesn't. frames: how many there will be, as far as is known.
    """

    name: str
    live: bool
    rate: float | None
    frames: int | None

    def __iter__(self) -> Iterator[Frame]:
        """The frames. Raises VideoError where the source fails; what came before stands."""
        ...

    def close(self) -> None:
        """Lets go of the source, also from another thread while it is being read; once is enough."""
        ...
