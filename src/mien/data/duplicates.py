"""Finds images that are in a data set more than once, inside and across its splits.

Exact copies have the same pixels. Near copies (compressed again, resized, watermarked, lighter or darker) are looked
for by perceptual hash and then compared. Mirrored, rotated or cropped copies are not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import Dataset
from mien.errors import DataError
from mien.reporting import Progress

MAX_NEAR = 16
"""With more bits the search takes long and finds hardly more: of FER2013's near copies one in six needs more than 8."""

SAME = 0.95
"""How much the blurred images of near copies must correlate. Of FER2013's pairs between 0.95 and 0.956, looked at by
eye, 0 of 130 were different photographs; between 0.94 and 0.946, 1 of 107."""

MIN_CONTRAST = 2.0
"""Standard deviation in grey levels. An image below it is blank: its hash is noise, so only exact copies count."""

_HASH_SIDE, _COMPARED_SIDE = 8, 16  # frequencies in each direction
_PIECES = 4  # of 16 bits each
_CANDIDATES = 1 << 15  # pairs compared at once: what fits into a processor's cache
_COMPARED = 1 << 14  # pairs whose images are compared in one go
_BLOCK_PIXELS = 1 << 22  # pixels transformed in one go

_BITS_SET = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(1, dtype=np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class DuplicateGroups:
    """Which of N samples are copies of each other, in G groups.

    group: int64 (N,), the number of each sample's group, -1 for samples without a copy; groups are numbered in the
    order of their first samples. exact: bool (N,), another sample has the same pixels. distance: int64 (N,), bits in
    which a sample's hash differs from that of its group's first sample; 0 for exact copies of that, -1 without a group.
    near: bool (G,), not all pixels of the group are the same. conflicting: bool (G,), its samples have different labels
    (samples without a label contradict nobody). crossing: bool (G,), its samples are in more than one split.
    """

    group: NDArray[np.int64]
    exact: NDArray[np.bool_]
    distance: NDArray[np.int64]
    near: NDArray[np.bool_]
    conflicting: NDArray[np.bool_]
    crossing: NDArray[np.bool_]

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(self.near)

    @property
    def images(self) -> int:
        """How many samples are in a group."""
        return int((self.group >= 0).sum())

    @property
    def conflicts(self) -> int:
        """How many groups have different labels."""
        return int(self.conflicting.sum())

    @property
    def cross_split(self) -> int:
        """How many groups reach across splits."""
        return int(self.crossing.sum())


def find_duplicates(dataset: Dataset, *, near: int | None = None, progress: Progress | None = None) -> DuplicateGroups:
    """Groups of copies: samples with the same size, channels and pixels and, where `near` is given, near copies.

    near: in how many of 64 bits two hashes (`perceptual_hashes`) may differ, 0 to 16. Such pairs are candidates alone:
    their images are near copies if they also correlate by `SAME`, so that more bits find more copies and hardly more
    mistakes (of FER2013's candidates 27 % fail at 8 bits, half at 10). A group is what hangs together by pairs.
    progress: called with the number of hashed images. Raises DataError for bits out of range.
    """
    if near is not None and not 0 <= near <= MAX_NEAR:
        raise DataError(f"near copies within {near} bits can't be searched; expected 0 to {MAX_NEAR}")
    passes = 1 if near is None else 2
    digests = pixel_digests(dataset, lambda done: progress and progress(done, passes * len(dataset)))
    _, firsts, which = np.unique(digests, return_index=True, return_inverse=True)
    first = firsts[which.reshape(-1)].astype(np.int64)  # the first sample with the same pixels
    root, distance = first.copy(), np.zeros(len(dataset), np.int64)
    if near is not None:
        distinct = np.flatnonzero(first == np.arange(len(dataset)))
        hashes = np.zeros(len(dataset), np.uint64)
        hashes[distinct], contrast = perceptual_hashes(dataset, distinct)
        if progress:
            progress(passes * len(dataset), passes * len(dataset))
        clear = distinct[contrast >= MIN_CONTRAST]
        for left, right in _batches(near_pairs(hashes[clear], near)):
            _join_near_copies(dataset, root, clear[left], clear[right])
        root = _roots(root, first)
        distance = popcount(hashes[first] ^ hashes[root]).astype(np.int64)
    return _groups_by_root(dataset, root, first, distance)


# Hashes


def pixel_digests(dataset: Dataset, done: Callable[[int], object] = lambda rows: None) -> NDArray[np.bytes_]:
    """16 bytes for each sample, the same where size, channels and pixels are the same. done: gets the number.

    They are BLAKE2b digests.
    """
    ends = dataset.offsets + dataset.shapes.astype(np.int64).prod(1)
    shapes = [shape.tobytes() for shape in np.ascontiguousarray(dataset.shapes)]
    digests = bytearray()
    for row, (start, end) in enumerate(zip(dataset.offsets.tolist(), ends.tolist(), strict=True)):
        digests += hashlib.blake2b(dataset.pixels[start:end].data, digest_size=16, person=shapes[row]).digest()
        if row % 1024 == 1023:
            done(row + 1)
    return np.frombuffer(bytes(digests), "S16")


def perceptual_hashes(dataset: Dataset, rows: NDArray[Any]) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """A hash for each of these samples, uint64 (n,), and its contrast in grey levels, float32 (n,).

    Bit by bit the signs of the cosine transform's 8 x 8 lowest frequencies without the constant ones, as in Zauner,
    "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010). The signs replace that hash's
    comparison with the median, after which distances can only be even. The size of an image does not matter.
    """
    hashes, contrast = np.empty(len(rows), np.uint64), np.empty(len(rows), np.float32)
    for block in _blocks(dataset, rows):
        waves = low_frequencies(dataset, rows[block], _HASH_SIDE + 1)
        signs = (waves[:, 1:, 1:] > 0).reshape(len(waves), -1)
        hashes[block] = np.ascontiguousarray(np.packbits(signs, axis=1)).view(np.uint64)[:, 0]
        contrast[block] = np.sqrt(np.square(waves).sum((1, 2)) - np.square(waves[:, 0, 0])).clip(0)
    return hashes, contrast


def low_frequencies(dataset: Dataset, rows: NDArray[Any], count: int) -> NDArray[np.float32]:
    """The cosine transforms (DCT-II) of these samples in grey, their `count` lowest frequencies: (n, count, count).

    In grey levels: [0, 0] is the mean, the others' squares add up to the variance that they stand for.
    """
    waves = np.empty((len(rows), count, count), np.float32)
    shapes, which = np.unique(dataset.shapes[rows], axis=0, return_inverse=True)
    for number, (height, width, channels) in enumerate(shapes.tolist()):
        same = np.flatnonzero(which.reshape(-1) == number)
        images = np.stack([dataset.image(row) for row in rows[same].tolist()]).astype(np.float32)
        grey = images[..., 0] if channels == 1 else images @ np.array((0.299, 0.587, 0.114), np.float32)
        waves[same] = _cosines(height, count) @ grey @ _cosines(width, count).T
    return waves


@lru_cache(maxsize=64)
def _cosines(length: int, count: int) -> NDArray[np.float32]:
    """Rows are waves of 0 to count - 1 half periods over `length` pixels, so scaled that a product is an average."""
    waves = np.cos(np.pi * (np.arange(length) + 0.5) * np.arange(count)[:, None] / length)
    waves[1:] *= np.sqrt(2)
    waves[length:] = 0  # so few pixels don't have such waves
    return (waves / length).astype(np.float32)


def _blocks(dataset: Dataset, rows: NDArray[Any]) -> Iterator[slice]:
    """Slices of `rows` whose images have some millions of pixels together."""
    ends = np.cumsum(dataset.shapes[rows].astype(np.int64).prod(1))
    start = 0
    while start < len(rows):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _BLOCK_PIXELS, "right")))
        yield slice(start, stop)
        start = stop


def popcount(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """How many bits are set in each word of a contiguous uint64 (n,)."""
    if hasattr(np, "bitwise_count"):  # since numpy 2
        return np.bitwise_count(words)
    counts: NDArray[np.uint8] = _BITS_SET[words.view(np.uint16).reshape(-1, 4)].sum(1, dtype=np.uint8)
    return counts


# Pairs


def near_pairs(hashes: NDArray[np.uint64], bits: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All pairs of `hashes`, uint64 (n,), that differ in at most `bits` bits: blocks of two int64 (m,), each pair once.

    Multi-index hashing (Norouzi, Punjani & Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", CVPR 2012):
    of four pieces of 16 bits, near hashes agree in one to a few bits (0 to 2 for up to 11 bits), so that only the
    hashes in that piece's near buckets are compared. Memory is that of some arrays of n and a block.
    """
    pieces = np.ascontiguousarray(hashes).view(np.uint16).reshape(-1, _PIECES)
    # If piece i differed in more than radii[i] bits for each i, all of them together would differ in more than `bits`.
    radii = [(bits - piece) // _PIECES for piece in range(_PIECES)]
    for piece in range(min(_PIECES, bits + 1)):
        order = np.argsort(pieces[:, piece], kind="stable")
        keys, words = pieces[order, piece].astype(np.int64), hashes[order]
        bucket = np.searchsorted(keys, np.arange((1 << 16) + 1))  # where each key's hashes begin
        for flips in _flips(radii[piece]):
            for left, right in _bucket_pairs(words, keys, bucket, flips, bits):
                differ = (words[left] ^ words[right]).view(np.uint16).reshape(-1, _PIECES)
                new = np.ones(len(left), bool)
                for earlier in range(piece):
                    new &= _BITS_SET[differ[:, earlier]] > radii[earlier]
                if new.any():
                    yield order[left[new]], order[right[new]]


def _flips(radius: int) -> list[int]:
    """All 16-bit numbers with at most `radius` bits set."""
    return [sum(1 << bit for bit in chosen) for n in range(radius + 1) for chosen in combinations(range(16), n)]


def _bucket_pairs(
    words: NDArray[np.uint64], keys: NDArray[np.int64], bucket: NDArray[np.int64], flips: int, bits: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Near pairs between the hashes of each key and those of `key ^ flips`; hashes are sorted by key."""
    rows = np.arange(len(words)) if flips == 0 else np.flatnonzero((keys ^ flips) > keys)  # not the same pair twice
    other = keys[rows] ^ flips
    starts = rows + 1 if flips == 0 else bucket[other]
    counts = bucket[other + 1] - starts
    ends = np.cumsum(counts)
    first = 0
    while first < len(rows):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _CANDIDATES, "right")))
        here, count = rows[first:last], counts[first:last]
        # The partners of row i are starts[i], starts[i] + 1, ...: a running number, less what the rows before took.
        right = np.repeat(starts[first:last] - (ends[first:last] - count - done), count)
        right += np.arange(len(right))
        differ = np.repeat(words[here], count)
        differ ^= words[right]
        found = np.flatnonzero(popcount(differ) <= bits)
        if len(found):
            yield here[np.searchsorted(ends[first:last] - done, found, "right")], right[found]
        first = last


def _batches(
    pairs: Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Blocks of any length as blocks that are worth comparing."""
    waiting: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for pair in pairs:
        waiting.append(pair)
        if sum(len(left) for left, _ in waiting) >= _COMPARED:
            yield np.concatenate([p[0] for p in waiting]), np.concatenate([p[1] for p in waiting])
            waiting.clear()
    if waiting:
        yield np.concatenate([p[0] for p in waiting]), np.concatenate([p[1] for p in waiting])


def _join_near_copies(
    dataset: Dataset, root: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]
) -> None:
    """Joins the groups of those pairs whose blurred images are the same."""
    for first in range(0, len(left), _COMPARED):
        one, other = left[first : first + _COMPARED], right[first : first + _COMPARED]
        apart_yet = _roots(root, one) != _roots(root, other)  # spares most comparisons where copies are many
        one, other = one[apart_yet], other[apart_yet]
        if not len(one):
            continue
        rows, places = np.unique(np.concatenate((one, other)), return_inverse=True)
        blurred = np.empty((len(rows), _COMPARED_SIDE**2 - 1), np.float32)
        for block in _blocks(dataset, rows):
            waves = low_frequencies(dataset, rows[block], _COMPARED_SIDE).reshape(block.stop - block.start, -1)
            blurred[block] = waves[:, 1:]  # brightness does not count
        blurred /= np.linalg.norm(blurred, axis=1, keepdims=True)  # nor does contrast; blank ones don't come here
        same = np.einsum("ij,ij->i", blurred[places[: len(one)]], blurred[places[len(one) :]]) >= SAME
        _join(root, one[same], other[same])


# Groups: a forest in which `root[i]` is i or a sample of the same group before it (union-find)


def _roots(root: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first sample of each row's group."""
    found = root[rows]
    while True:
        above = root[found]
        if (above == found).all():
            break
        found = above
    root[rows] = found
    return found


def _join(root: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
    """Joins the groups of left[i] and right[i], for all i."""
    while len(left):
        left, right = _roots(root, left), _roots(root, right)
        apart_yet = left != right
        left, right = left[apart_yet], right[apart_yet]
        # If several compete for the same root one of them wins; the others are tried again.
        root[np.maximum(left, right)] = np.minimum(left, right)


def _groups_by_root(
    dataset: Dataset, root: NDArray[np.int64], first: NDArray[np.int64], distance: NDArray[np.int64]
) -> DuplicateGroups:
    size = np.bincount(root, minlength=len(root))
    number = np.cumsum(size > 1) - 1  # of the group that a first sample begins
    group = np.where(size[root] > 1, number[root], -1)
    members = np.flatnonzero(group >= 0)
    labelled = members[dataset.labels[members] >= 0]
    _, split = np.unique(dataset.splits[members].astype(str), return_inverse=True)
    return DuplicateGroups(
        group,
        np.bincount(first, minlength=len(first))[first] > 1,
        np.where(group >= 0, distance, -1),
        _vary(group[members], first[members], int((size > 1).sum())),
        _vary(group[labelled], dataset.labels[labelled], int((size > 1).sum())),
        _vary(group[members], split.reshape(-1), int((size > 1).sum())),
    )


def _vary(group: NDArray[np.int64], values: NDArray[Any], groups: int) -> NDArray[np.bool_]:
    """bool (groups,): whether a group's values are not all the same."""
    smallest, largest = np.full(groups, np.iinfo(np.int64).max), np.full(groups, -1)
    np.minimum.at(smallest, group, values)
    np.maximum.at(largest, group, values)
    return largest > smallest
