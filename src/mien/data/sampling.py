"""Samples a few labelled faces of each class of a source, without reading all of it, for the check of labels."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mien.crop import fit_face
from mien.data.dataset import Dataset
from mien.data.reading.opening import Opened
from mien.data.reading.sources import ImageFiles, ImageRows
from mien.data.source import Source
from mien.labels import EIGHT

PER_CLASS = 40
"""Faces of each class that suffice to detect two exchanged classes, see docs/data.md."""

TABLE_ROWS = 2000
"""This many records are taken at random where labels are not known before they are read."""

MAX_PIXELS = 300_000_000
"""Reading ends here: 25 photographs of a phone, or more faces than are wanted."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Labelled images: uint8 (N, size, size, C), and labels int64 (N,). cut: ended early, as the images are large."""

    faces: NDArray[np.uint8]
    labels: NDArray[np.int64]
    cut: bool = False


def sample_labelled(source: Source, *, size: int, channels: int, per_class: int = PER_CLASS, seed: int = 0) -> Sample:
    """At most `per_class` images of each expression, over the whole source; the same for the same source and seed.

    Only the sampled images are read where the source can take records out; otherwise all of it passes once. Images that
    can't be read are passed over. size, channels: what images are resized and converted to. Raises what reading raises.
    """
    rng = np.random.default_rng(seed)
    wanted = [i for i, name in enumerate(source.label_names) if name in EIGHT]
    held: dict[int, list[tuple[float, int, NDArray[np.uint8]]]] = {i: [] for i in wanted}
    if not wanted:
        return Sample(np.zeros((0, size, size, channels), np.uint8), np.zeros(0, np.int64))
    part, bounded = _taken_out(source, wanted, per_class, rng)
    pixels = count = 0
    for chunk in part.chunks():
        keys = rng.random(len(chunk.images))
        for i, label in enumerate(chunk.columns["label"].tolist()):
            best = held.get(label)
            if best is None or (len(best) >= per_class and -keys[i] <= best[0][0]):
                continue
            entry = (-float(keys[i]), count + i, fit_face(chunk.images[i], size, channels).copy())
            (heapq.heappush if len(best) < per_class else heapq.heapreplace)(best, entry)
        count += len(chunk.images)
        pixels += sum(image.shape[0] * image.shape[1] for image in chunk.images)
        if bounded and pixels > MAX_PIXELS:
            break
    found = [(place, label, face) for label, best in held.items() for _, place, face in best]
    found.sort(key=lambda one: one[0])
    faces = [face for _, _, face in found] or [np.zeros((0, size, size, channels), np.uint8)]
    labels = np.array([label for _, label, _ in found], np.int64)
    return Sample(np.stack(faces) if found else faces[0], labels, pixels > MAX_PIXELS)


def sample_rows(
    labels: NDArray[np.int64], wanted: Sequence[int], per_class: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Places of at most `per_class` of each wanted label, taken at random, and in turns of all labels."""
    each = [rng.permutation(np.flatnonzero(labels == label))[:per_class] for label in wanted]
    turns = np.concatenate([np.arange(len(places)) for places in each])
    return np.concatenate(each)[np.argsort(turns, kind="stable")]


def _taken_out(source: Source, wanted: Sequence[int], per_class: int, rng: np.random.Generator) -> tuple[Source, bool]:
    """A source of the sample alone, or of somewhat more; and whether its records may be left out at the end."""
    if isinstance(source, Opened):
        source = source.source
    if isinstance(source, ImageFiles):
        if source.complete:  # labels are in files of their own
            rows = rng.permutation(len(source.records))[:TABLE_ROWS]
        else:
            rows = sample_rows(_labels_of(source), wanted, per_class, rng)
        return replace(source, records=[source.records[i] for i in rows.tolist()]), True
    if isinstance(source, Dataset):
        return source.take(sample_rows(source.labels, wanted, per_class, rng)), True
    if isinstance(source, ImageRows):
        places = np.sort(sample_rows(source.columns["label"][source.rows], wanted, per_class, rng))
        return replace(source, rows=source.rows[places]), False
    return source, False


def _labels_of(source: ImageFiles) -> NDArray[np.int64]:
    """Labels before the images are read; those that need `complete` count as none."""
    known = {text: source.labels.index(text) for text in {r.label for r in source.records}}
    found = [-1 if r.wrong else known[r.label] for r in source.records]
    return np.array([-1 if label is None else label for label in found], np.int64)
