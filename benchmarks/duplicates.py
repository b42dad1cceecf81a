"""Measures the search for duplicates in FER2013, and for near pairs in a million hashes, beside pandas and imagehash.

    python benchmarks/duplicates.py [--hashes 1000000] [--bits 8]

Needs ../shared/data and `pip install pandas imagehash`. The loop runs on a part of the faces and is extrapolated:
hashing by their number, comparison by its square. The page has CPU and wall seconds, for a busy machine.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from itertools import combinations
from typing import TypeVar

import imagehash
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from page import SHARED, arguments, table, write_page
from PIL import Image

from mien.data.dataset import Dataset
from mien.data.dedupe import dedupe_rows
from mien.data.duplicates import MIN_CONTRAST, find_duplicates, near_pairs, perceptual_hashes, popcount
from mien.data.readers import open_dataset

PART = 1000
BITS = (0, 2, 4, 6, 8, 10, 12)

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float, float]:
    """The result, seconds on the clock, and seconds of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - processor


def loop_exact(dataset: Dataset) -> int:
    """Groups of the same pixels, as notebooks have it; returns their number."""
    digests = [hashlib.md5(dataset.image(row).tobytes()).hexdigest() for row in range(len(dataset))]
    frame = pd.DataFrame({"digest": digests, "split": dataset.splits, "label": dataset.labels})
    return sum(len(group) > 1 for _, group in frame.groupby("digest"))


def loop_hashes(dataset: Dataset) -> list[imagehash.ImageHash]:
    return [imagehash.phash(Image.fromarray(dataset.image(row)[..., 0])) for row in range(PART)]


def loop_pairs(hashes: list[imagehash.ImageHash], bits: int) -> int:
    return sum(a - b <= bits for a, b in combinations(hashes, 2))


def planted(count: int, bits: int) -> tuple[NDArray[np.uint64], set[tuple[int, int]]]:
    """Random hashes, and the 1,000 pairs in which one was made from the other by 0 to `bits` flips."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    rows = rng.permutation(count)[:2000].tolist()
    pairs = set()
    for number, (one, other) in enumerate(zip(rows[:1000], rows[1000:], strict=True)):
        flips = np.uint64(1) << rng.permutation(64)[: number % (bits + 1)].astype(np.uint64)
        hashes[other] = hashes[one] ^ np.bitwise_or.reduce(flips, initial=np.uint64(0))
        pairs.add((min(one, other), max(one, other)))
    return hashes, pairs


def search(hashes: NDArray[np.uint64], bits: int) -> set[tuple[int, int]]:
    return {
        (min(pair), max(pair))
        for left, right in near_pairs(hashes, bits)
        for pair in zip(left.tolist(), right.tolist(), strict=True)
    }


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--hashes", type=int, default=1_000_000)
    parser.add_argument("--bits", type=int, default=8)
    options = parser.parse_args()
    dataset = open_dataset(SHARED / "data")

    def best(work: Callable[[], T]) -> tuple[T, float, float]:
        runs = sorted((timed(work) for _ in range(options.repeats)), key=lambda run: run[1])
        return runs[len(runs) // 2]

    exact, exact_s, exact_cpu = best(lambda: find_duplicates(dataset))
    near, near_s, near_cpu = best(lambda: find_duplicates(dataset, near=options.bits))
    loop_groups, loop_s, loop_cpu = timed(lambda: loop_exact(dataset))
    assert loop_groups == exact.groups
    hashes, hash_s, hash_cpu = timed(lambda: loop_hashes(dataset))
    _, pairs_s, pairs_cpu = timed(lambda: loop_pairs(hashes, options.bits))
    scale = len(dataset) / PART
    whole_s, whole_cpu = (a * scale + b * scale**2 for a, b in ((hash_s, pairs_s), (hash_cpu, pairs_cpu)))
    rows = [
        ("exact copies", f"{exact_s:.2f}", f"{exact_cpu:.2f}", f"{loop_s:.2f}", f"{loop_cpu:.2f}"),
        (
            f"near copies, {options.bits} bits",
            f"{near_s:.2f}",
            f"{near_cpu:.2f}",
            f"{whole_s:,.0f}",
            f"{whole_cpu:,.0f}",
        ),
    ]
    lines = [
        f"FER2013, {len(dataset):,} faces, already read. {exact.groups:,} groups of {exact.images:,} exact copies, "
        f"{exact.conflicts} with different labels, {exact.cross_split} across splits. With near copies {near.groups:,} "
        f"groups of {near.images:,}, {near.conflicts} and {near.cross_split}.",
        "",
        *table(("seconds", "mien", "processor", "loop", "processor"), rows),
        "",
        f"Loop: MD5 and pandas' groupby; imagehash.phash and all pairs, scaled up from {PART:,} faces "
        f"({hash_s:.1f} s and {pairs_s:.1f} s). Median of {options.repeats} runs of mien, one of the loop.",
        "",
        "## Bits",
        "",
        "Pairs of distinct FER2013 images whose hashes are near (candidates), and the groups that are left of them "
        "after their images were compared.",
        "",
        *table(
            ("bits", "pairs", "groups", "with near copies", "images", "conflicts", "across splits"),
            bits_rows(dataset),
        ),
        "",
        "## Many hashes",
        "",
    ]
    many, pairs = planted(options.hashes, options.bits)
    found, many_s, many_cpu = timed(lambda: search(many, options.bits))
    lines.append(
        f"All pairs within {options.bits} bits of {len(many):,} random hashes: {many_s:.0f} s, {many_cpu:.0f} s of the "
        f"processor. {len(found):,} pairs, among them {len(pairs & found):,} of the {len(pairs):,} planted ones."
    )
    write_page(options.results, "duplicates", "Duplicates", lines, packages=("pandas", "imagehash"))


def bits_rows(dataset: Dataset) -> list[tuple[object, ...]]:
    rows = dedupe_rows(dataset, find_duplicates(dataset), keep="first", conflicts="keep")
    hashes, contrast = perceptual_hashes(dataset, rows)
    clear = hashes[contrast >= MIN_CONTRAST]
    distances = np.concatenate([popcount(clear[a] ^ clear[b]) for a, b in near_pairs(clear, max(BITS))])
    made: list[tuple[object, ...]] = []
    for bits in BITS:
        found = find_duplicates(dataset, near=bits)
        near = int(found.near.sum())
        pairs = int((distances <= bits).sum())
        made.append(
            (bits, f"{pairs:,}", f"{found.groups:,}", near, f"{found.images:,}", found.conflicts, found.cross_split)
        )
    return made


if __name__ == "__main__":
    main()
