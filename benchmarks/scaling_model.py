"""Models a billion images and ten thousand live streams from measured rates: the tables of docs/scaling.md.

    python benchmarks/scaling_model.py [--photos-per-core-s 10.8] [--frame-core-ms 14.1]

Two small simulations. Images: shards are assigned to workers that differ in speed and fail sometimes.
Streams: frames of many streams on the cores of one machine; the load at which frames become late.
"""

from __future__ import annotations

import argparse
import heapq
from dataclasses import dataclass

import numpy as np
from page import table


@dataclass(frozen=True, slots=True)
class Batch:
    """Work on many images. rate: images/s of a core. hand_over_s: of the writing process, for each shard.

    lost_per_hour: how often a core is lost with its shard (spot machines). new_s: until another one replaces it.
    """

    images: int
    rate: float
    shard_size: int
    hand_over_s: float
    lost_per_hour: float
    new_s: float = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces-per-core-s", type=float, default=400, help="face crops, detector none")
    parser.add_argument("--photos-per-core-s", type=float, default=10.8, help="640 x 480, mtcnn")
    parser.add_argument("--photo-bytes", type=float, default=80_000)
    parser.add_argument("--row-bytes", type=float, default=100, help="moved for each image")
    parser.add_argument("--hand-over-ms", type=float, default=5.0, help="the writing process, for each shard")
    parser.add_argument("--core-hour", type=float, default=0.02, help="price")
    parser.add_argument("--frame-core-ms", type=float, default=14.1, help="one frame of a stream, on average")
    parser.add_argument("--detect-share", type=float, default=0.45, help="of a frame's work, done on every fifth")
    parser.add_argument("--cores", type=int, default=16, help="of a machine for streams")
    options = parser.parse_args()
    print("\n".join(batch_table(options)))
    print()
    print("\n".join(stream_table(options)))


def batch_table(options: argparse.Namespace) -> list[str]:
    """A billion images: wall time, efficiency, traffic and cost for numbers of cores."""
    rows = []
    for what, rate, size in (("photos", options.photos_per_core_s, 1000), ("faces", options.faces_per_core_s, 10_000)):
        for cores in (2, 100, 1000, 4000, 16_000):
            work = Batch(10**9, rate, size, options.hand_over_ms / 1000, lost_per_hour=0.01)
            hours, efficiency, again = simulate_batch(work, cores)
            gigabits = options.photo_bytes * 8 * work.images / (hours * 3600) / 1e9 if what == "photos" else None
            rows.append(
                (
                    what, f"{cores:,}", f"{hours:,.1f}" if hours < 100 else f"{hours / 24:,.0f} days",
                    f"{efficiency:.2f}", f"{again:.2%}", "-" if gigabits is None else f"{gigabits:,.1f}",
                    f"{work.images * options.row_bytes / (hours * 3600) / 1e6:,.2f}",
                    f"{hours * cores * options.core_hour:,.0f}",
                )
            )  # fmt: skip
    header = ("images", "cores", "hours", "efficiency", "done again", "read, Gbit/s", "rows, MB/s", "cost")
    return table(header, rows)


def simulate_batch(work: Batch, cores: int, seed: int = 0) -> tuple[float, float, float]:
    """Hours, efficiency (ideal over real core time), and the share of shards that were done again."""
    draw = np.random.default_rng(seed)
    shards = -(-work.images // work.shard_size)
    speeds = np.clip(draw.normal(1.0, 0.1, cores), 0.5, None)  # machines are not alike
    seconds = (work.shard_size / work.rate * draw.lognormal(0, 0.2, shards)).tolist()
    losses = draw.exponential(3600 / work.lost_per_hour, shards).tolist()
    free = [(0.0, core) for core in range(cores)]
    handed, end, again = 0.0, 0.0, 0
    for own, lost_after in zip(seconds, losses, strict=True):
        ready, core = free[0]
        handed = max(handed, ready) + work.hand_over_s
        took = own / speeds[core]
        if lost_after < took:
            again += 1
            took += lost_after + work.new_s  # another worker does it anew
        heapq.heapreplace(free, (handed + took, core))
        end = max(end, handed + took)
    return end / 3600, work.images / work.rate / cores / end, again / shards


def stream_table(options: argparse.Namespace) -> list[str]:
    """Ten thousand streams of 25 frames/s: how many a machine carries at which delay, and so how many machines."""
    rows = []
    for load in (0.5, 0.7, 0.8, 0.9, 0.97):
        streams = round(load * options.cores / (25 * options.frame_core_ms / 1000))
        wait_ms, late = simulate_streams(options, streams)
        machines = -(-10_000 // streams)
        rows.append(
            (
                f"{load:.0%}", streams, f"{wait_ms:,.0f}", f"{late:.1%}", f"{machines:,}",
                f"{machines * options.cores:,}", f"{machines * options.cores * options.core_hour:,.0f}",
            )
        )  # fmt: skip
    header = (
        "load", f"streams on {options.cores} cores", "p95 delay, ms", "later than 150 ms", "machines for 10,000",
        "cores", "cost an hour",
    )  # fmt: skip
    return table(header, rows)


def simulate_streams(options: argparse.Namespace, streams: int, seconds: float = 30.0) -> tuple[float, float]:
    """The 95th percentile of the delay from a frame's arrival to its answer, ms, and the share beyond 150 ms.

    Frames come 25 times a second from each stream, at phases of their own; every fifth is searched for faces. They are
    worked on in the order of their arrival, each by one core.
    """
    draw = np.random.default_rng(0)
    mean = options.frame_core_ms / 1000
    plain, searched = (
        mean * (1 - options.detect_share),
        mean * (1 - options.detect_share) + 5 * mean * options.detect_share,
    )
    arrivals = []
    for phase, offset in zip(draw.random(streams) / 25, draw.integers(0, 5, streams), strict=True):
        times = phase + np.arange(int(seconds * 25)) / 25 + draw.normal(0, 0.004, int(seconds * 25))
        arrivals += [(float(t), (i + int(offset)) % 5 == 0) for i, t in enumerate(times)]
    arrivals.sort()
    free = [0.0] * options.cores
    delays = []
    for arrived, is_searched in arrivals:
        begun = max(arrived, heapq.heappop(free))
        done = begun + (searched if is_searched else plain) * float(draw.lognormal(-0.03, 0.25))
        heapq.heappush(free, done)
        delays.append(done - arrived)
    steady = np.array(delays[len(delays) // 3 :])
    return float(np.percentile(steady, 95) * 1000), float((steady > 0.15).mean())


if __name__ == "__main__":
    main()
