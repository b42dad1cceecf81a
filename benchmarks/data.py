"""Measures the import of FER2013's CSV and class folders and the export of folders, beside a pandas and OpenCV loop.

    python benchmarks/data.py [--rows 32298]

Makes a fer2013.csv from ../shared/data, then runs each task in its own process: seconds and peak memory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from page import SHARED, arguments, table, write_page

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def import_csv(csv: Path, out: Path) -> None:
    from mien.data.importing import import_dataset

    import_dataset(csv, out)


def loop_csv(csv: Path, out: Path) -> None:
    """The loop, as notebooks have it: rows to a list, the list to one array."""
    import numpy as np
    import pandas as pd

    data = pd.read_csv(csv)
    images, labels = [], []
    for _, row in data.iterrows():
        images.append(np.array([int(p) for p in row["pixels"].split(" ")], dtype="uint8").reshape(48, 48, 1))
        labels.append(row["emotion"])
    out.mkdir()
    np.save(out / "images.npy", np.array(images))
    np.save(out / "labels.npy", np.array(labels))


def write_folders(arrays: Path, out: Path) -> None:
    from mien.data.export import export_dataset
    from mien.data.readers import open_dataset

    export_dataset(open_dataset(arrays), out, as_="folders")


def loop_write_folders(arrays: Path, out: Path) -> None:
    """From arrays in memory to a PNG per face."""
    import cv2
    import numpy as np

    from mien.data.readers import open_dataset

    data = open_dataset(arrays)
    images = np.array(data.faces(size=48, channels=1))
    for i, (image, label, split) in enumerate(zip(images, data.labels, data.splits, strict=True)):
        folder = out / split / LABELS[label]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{i}.png"), image)


def read_folders(folder: Path, out: Path) -> None:
    import_csv(folder, out)  # the same function reads every layout


def loop_read_folders(folder: Path, out: Path) -> None:
    import cv2
    import numpy as np

    images, labels = [], []
    for split in sorted(p for p in folder.iterdir() if p.is_dir()):
        for name in sorted(p.name for p in split.iterdir()):
            for file in sorted(p.name for p in (split / name).iterdir()):
                images.append(cv2.imread(str(split / name / file), cv2.IMREAD_GRAYSCALE))
                labels.append(LABELS.index(name))
    out.mkdir()
    np.save(out / "images.npy", np.array(images))
    np.save(out / "labels.npy", np.array(labels))


def measured(work: str, *arguments_: Path) -> tuple[float, float]:
    """Seconds and peak MB of one of the functions above, in a process of its own."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, __file__, "--work", work, *map(str, arguments_)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{work} failed")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def make_csv(place: Path, rows: Path) -> None:
    """fer2013.csv of the first `rows` faces; in a process of its own, because a child begins with its parent's peak."""
    from mien.data.export import export_dataset
    from mien.data.readers import open_dataset

    dataset = open_dataset(SHARED / "data")
    export_dataset(dataset.take(slice(0, int(str(rows)))), place, as_="csv")  # type: ignore[arg-type]


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--rows", type=int, default=32_298)
    parser.add_argument("--work", nargs="+", help="one piece of work, as the benchmark starts it")
    options = parser.parse_args()
    if options.work:
        globals()[options.work[0]](*map(Path, options.work[1:]))
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        csv, arrays, folders = place / "fer2013.csv", place / "arrays", place / "folders"
        measured("make_csv", csv, Path(str(options.rows)))
        measured("import_csv", csv, arrays)
        measured("write_folders", arrays, folders)
        for what, ours, loop, source in (
            (
                f"CSV of {options.rows:,} rows ({csv.stat().st_size / 1e6:.0f} MB) -> arrays",
                "import_csv",
                "loop_csv",
                csv,
            ),
            ("arrays -> PNG folders", "write_folders", "loop_write_folders", arrays),
            ("PNG folders -> arrays", "read_folders", "loop_read_folders", folders),
        ):
            seconds: dict[str, float] = {}
            peaks: dict[str, float] = {}
            for work in (ours, loop):
                runs = []
                for _ in range(options.repeats):
                    runs.append(measured(work, source, place / "out"))
                    shutil.rmtree(place / "out")
                seconds[work], peaks[work] = sorted(runs)[len(runs) // 2]
            rows.append((what, f"{seconds[ours]:.1f}", f"{seconds[loop]:.1f}", f"{seconds[loop] / seconds[ours]:.1f}",
                         f"{peaks[ours]:.0f}", f"{peaks[loop]:.0f}"))  # fmt: skip
    header = ("work", "mien, s", "loop, s", "loop / mien", "mien, peak MB", "loop, peak MB")
    write_page(
        options.results,
        "data",
        "Importing and writing a data set",
        [
            f"Whole processes, start included; median of {options.repeats}. The loop is pandas, a Python loop over "
            "rows or files, OpenCV for images, and a list that becomes one array (`benchmarks/data.py` has it).",
            "",
            *table(header, rows),
            "",
            "Peak memory of mien counts the pages of the memory-mapped files that were touched, where the system does.",
        ],
        packages=("pandas", "opencv-python-headless", "pyarrow"),
    )


if __name__ == "__main__":
    main()
