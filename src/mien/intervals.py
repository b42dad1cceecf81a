"""The interval of a proportion: how far the share of a sample may be from that of all."""

from __future__ import annotations

import math


def wilson_interval(right: int, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """The score interval of a proportion `right / n` (Wilson 1927); z = 1.96 gives 95 %. Low and high, 0 to 1."""
    if n < 1 or not 0 <= right <= n:
        raise ValueError(f"{right} right of {n} samples; expected at least one sample and 0 <= right <= n")
    share = right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)
