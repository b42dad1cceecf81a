"""What the layouts of `mien data export` share: safe names, encoded images, files that appear whole, the manifest."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.data.samples import SampleTable
from mien.data.source import CHUNK, split_rank
from mien.files import csv_text, resumable_path
from mien.images import IMAGE_SUFFIXES
from mien.labels import EIGHT, FERPLUS_VOTES
from mien.reporting import Progress

NO_SPLIT = "data"
"""What samples of no split are filed under where a layout needs a name."""

_BATCH_BYTES = 64_000_000
_SUFFIX = re.compile("(" + "|".join(re.escape(s) for s in sorted(IMAGE_SUFFIXES)) + r")(?=(#\d+)?$)", re.IGNORECASE)
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)  # names Windows keeps for itself


def file_names(dataset: SampleTable, rows: NDArray[np.intp] | None = None) -> list[str]:
    """A name for each of these rows (None: all), without a suffix: its row, which keeps it unique, and its source."""
    width = len(str(max(len(dataset) - 1, 0)))
    places = range(len(dataset)) if rows is None else rows.tolist()
    stems = [(row, safe_stem(dataset.sources[row])) for row in places]
    return [f"{row:0{width}d}-{stem}" if stem else f"{row:0{width}d}" for row, stem in stems]


def safe_stem(source: str) -> str:
    """The last part of a source without its suffix, in letters, digits, `-` and `_`: no program reads more into it."""
    stem = _SUFFIX.sub("", re.split(r"[/\\]", source)[-1])
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:60]


def folder_names(names: Sequence[str]) -> list[str]:
    """Folder names for labels or splits: as they are where every system can have them, and never two alike."""
    taken: set[str] = set()
    result = []
    for name in names:
        safe = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]+', "-", name).strip(" ")[:100].rstrip(". ")
        if not safe or safe.startswith((".", "__")) or _RESERVED.match(safe):
            safe = f"x{safe}"
        unique, number = safe, 1
        while unique.casefold() in taken:
            number += 1
            unique = f"{safe}-{number}"
        taken.add(unique.casefold())
        result.append(unique)
    return result


def split_rows(dataset: SampleTable) -> dict[str, NDArray[np.intp]]:
    """The rows of each split, splits in the usual order."""
    names = sorted(set(dataset.splits.tolist()), key=split_rank)
    return {name: np.flatnonzero(dataset.splits == name) for name in names}


def encode(image: NDArray[np.uint8], jpeg: int | None) -> bytes:
    """An image, uint8 (H, W, 1 or 3) RGB, as the bytes of a PNG, or of a JPEG of this quality."""
    pixels = image[..., ::-1] if image.shape[2] == 3 else image
    options = [] if jpeg is None else [cv2.IMWRITE_JPEG_QUALITY, jpeg]
    return cv2.imencode(".png" if jpeg is None else ".jpg", np.ascontiguousarray(pixels), options)[1].tobytes()


def write_images(
    dataset: SampleTable, places: Sequence[Path], jpeg: int | None, progress: Progress | None = None
) -> None:
    """Each sample's image to its place, in threads; those that are there already are left."""

    def write(row: int) -> None:
        if not places[row].exists():
            with resumable_path(places[row]) as place:
                place.write_bytes(encode(dataset.image(row), jpeg))

    for folder in sorted({place.parent for place in places}):
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, len(dataset), CHUNK):
            last = min(first + CHUNK, len(dataset))
            list(pool.map(write, range(first, last)))
            if progress:
                progress(last, len(dataset))


def write_manifest(dataset: SampleTable, files: Sequence[str] | None, place: Path) -> None:
    """All that is known of the samples besides pixels, as CSV: file, source, split, label, then the other columns."""
    columns: dict[str, list[Any]] = {} if files is None else {"file": list(files)}
    columns |= {"source": dataset.sources.tolist(), "split": dataset.splits.tolist(), "label": label_texts(dataset)}
    for name, values in dataset.columns.items():
        if values.ndim == 2:
            ends = EIGHT if name == "votes" else range(values.shape[1])
            columns |= {f"{name}_{end}": values[:, i].tolist() for i, end in enumerate(ends)}
        elif name not in columns:
            columns[name] = values.tolist()
    write_plain(place, csv_text([tuple(columns), *zip(*columns.values(), strict=True)], exact=True))


def write_plain(place: Path, text: str) -> None:
    """A text file (UTF-8). It need not appear whole: a resumed run writes it again, and until then nobody sees it."""
    place.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def label_texts(dataset: SampleTable) -> list[str]:
    """Each sample's label by name, '' where it has none."""
    names = (*dataset.label_names, "")
    return [names[label] for label in dataset.labels.tolist()]


def row_blocks(dataset: SampleTable, rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Rows in pieces of at most `CHUNK`, and of some 64 MB of pixels, so that large images fit into memory too."""
    sizes = np.cumsum(dataset.shapes[rows].astype(np.int64).prod(1))
    start = 0
    while start < len(rows):
        before = sizes[start - 1] if start else 0
        end = int(np.searchsorted(sizes, before + _BATCH_BYTES, "right"))
        end = min(max(end, start + 1), start + CHUNK)
        yield rows[start:end]
        start = end


def encoded(dataset: SampleTable, rows: NDArray[np.intp], jpeg: int | None, pool: ThreadPoolExecutor) -> list[bytes]:
    """Those rows' images as files, made in the threads of `pool`."""
    return list(pool.map(lambda row: encode(dataset.image(row), jpeg), rows.tolist()))


def counted(progress: Progress | None, total: int) -> Callable[[int], None]:
    """A function that adds to the number done of `total`, and reports it to `progress`."""
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    return add


def size_text(dataset: SampleTable, row: int) -> str:
    """A sample's size, as messages give it."""
    height, width, channels = dataset.shapes[row].tolist()
    return f"{height} x {width} {'grey' if channels == 1 else 'RGB'}"


def ferplus_votes(dataset: SampleTable, votes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Votes (N, 8) as FER+ has them, float32 (N, 10); the last two, unknown and no face, from `ferplus_other`."""
    ten = np.zeros((len(votes), len(FERPLUS_VOTES)), np.float32)
    for column, name in enumerate(FERPLUS_VOTES):
        if name is not None:
            ten[:, column] = votes[:, EIGHT.index(name)]
    other = dataset.columns.get("ferplus_other")
    if other is not None:
        ten[:, [i for i, name in enumerate(FERPLUS_VOTES) if name is None]] = other
    return ten
