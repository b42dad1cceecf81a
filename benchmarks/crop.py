"""Measures photographs/s and peak memory of `mien data crop`, and the faces that `mien data screen` keeps.

    python benchmarks/crop.py [--photos 200] [--faces 1000] [--detectors mtcnn yunet haar]

Photographs: copies of ../shared/media/several-faces.jpg at 640 x 480. Faces: drawn from FER2013 in ../shared/data, and
all that most FER+ raters called not a face.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from page import SHARED, arguments, table, write_page
from photo import photo_640

from mien.data.crops import Workers
from mien.data.screen import MIN_FACE, face_scores
from mien.faces import DetectorChoice
from mien.images import decode_image

NO_FACE_VOTE = 9  # FER+'s last column


def fer2013(count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """`count` random faces of both files, and all images that most raters call no face."""
    tables = [pq.read_table(SHARED / f"data/fer2013-{name}.parquet") for name in ("train", "public")]
    cells = [cell for t in tables for cell in t.column("image").to_pylist()]
    most = np.concatenate([np.array(t.column("ferplus_votes").to_pylist()).argmax(1) for t in tables])
    faces = np.random.default_rng(0).choice(np.flatnonzero(most != NO_FACE_VOTE), count, replace=False)
    return tuple([decode_image(cells[i]["bytes"], "") for i in rows] for rows in (faces, np.flatnonzero(most == 9)))


def crop_rows(detectors: dict[str, DetectorChoice], photos: int) -> list[tuple[object, ...]]:
    """A tenth of the photographs, then all, so that growth of memory would show; each in a process of its own."""
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "one.jpg"
        photo_640(SHARED / "media/several-faces.jpg", first)
        for name in detectors:
            for count in (photos // 10, photos):
                source, out = Path(folder) / f"{name}{count}", Path(folder) / f"{name}{count}-out"
                source.mkdir()
                for number in range(count):
                    os.link(first, source / f"{number:05}.jpg")
                command = [
                    sys.executable,
                    "-m",
                    "mien",
                    "data",
                    "crop",
                    str(source),
                    "--out",
                    str(out),
                    "-d",
                    name,
                    "-q",
                ]
                started = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                seconds = time.perf_counter() - started
                peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest so far
                rows.append((name, count, f"{seconds:.1f}", f"{count / seconds:.1f}", f"{peak:.0f}"))
    return rows


def screen_rows(detectors: dict[str, DetectorChoice], count: int) -> list[tuple[object, ...]]:
    faces, no_faces = fer2013(count)
    rows: list[tuple[object, ...]] = []
    found: dict[str, list[np.ndarray]] = {}
    workers = os.cpu_count() or 1
    for name, choice in detectors.items():
        with Workers(lambda c=choice: [c.make(min_face=MIN_FACE, threads=1)], workers) as pool:
            started = time.perf_counter()
            found[name] = [np.array(pool.map(face_scores, images))[:, 0] > 0 for images in (faces, no_faces)]
            rate = (len(faces) + len(no_faces)) / (time.perf_counter() - started)
        rows.append((name, *_shares(found[name]), f"{rate:.0f}"))
    names = list(detectors)
    for a, b in [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]:
        pairs = list(zip(found[a], found[b], strict=True))
        rows.append((f"{a} or {b} (--votes 1)", *_shares([x | y for x, y in pairs]), ""))
        rows.append((f"{a} and {b} (--votes 2)", *_shares([x & y for x, y in pairs]), ""))
    return rows


def _shares(kept: list[np.ndarray]) -> tuple[str, str]:
    return f"{kept[0].mean():.1%}", f"{1 - kept[1].mean():.1%} of {len(kept[1])}"


def main() -> None:
    parser = arguments(__doc__, repeats=1)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--faces", type=int, default=1000)
    parser.add_argument("--detectors", nargs="+", default=["mtcnn", "yunet", "haar"])
    options = parser.parse_args()
    detectors = {n: DetectorChoice(n) for n in options.detectors}
    lines = [
        "Cropping, with the time to start; memory is the largest of this line and those above.",
        "",
        *table(
            ("detector", "photographs", "seconds", "photographs/s", "peak MB"), crop_rows(detectors, options.photos)
        ),
        "",
        f"Screening {options.faces} random faces of FER2013, and those that most raters of FER+ call no face.",
        "",
        *table(("detectors", "faces kept", "no-faces rejected", "faces/s"), screen_rows(detectors, options.faces)),
    ]
    packages = ("onnxruntime", "opencv-python-headless")
    write_page(options.results, "crop", "Cropping photographs and screening faces", lines, packages=packages)


if __name__ == "__main__":
    main()
