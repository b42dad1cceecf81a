"""Measures training from disk beside training from memory, and the share of a step that waits for faces.

    python benchmarks/streaming.py [--data ../shared/data] [--recipe scratch-cnn2]

FER2013 as `mien data import` writes it; both ways alternate, two epochs each; the first is the warm-up.
The smallest networks are the hardest test: their steps leave the least time for reading.
"""

from __future__ import annotations

import csv
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from page import SHARED, arguments, table, write_page

RUN = """
import resource, sys
from mien.cli import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""


def mien(*words: str) -> int:
    """Runs a command of mien; its peak memory in MB."""
    done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"mien {' '.join(words)}\n{done.stderr[-2000:]}")
    return int(done.stderr.split()[-1])


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--data", default=str(SHARED / "data"))
    parser.add_argument("--recipe", default="scratch-cnn2")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {"memory": [], "disk": []}
    shares: dict[str, list[float]] = {"memory": [], "disk": []}
    peaks: dict[str, list[int]] = {"memory": [], "disk": []}
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "faces")
        mien("data", "import", options.data, "--out", data)
        for turn in range(options.repeats):
            for way, extra in (("memory", []), ("disk", ["--stream"])):
                out = Path(folder) / f"{way}-{turn}"
                changes = ["--set", "optimizer.epochs=2", "--set", "optimizer.warmup_epochs=0"]
                peaks[way].append(mien("train", options.recipe, "--data", data, "--out", str(out), *changes, *extra))
                with (out / "timing.csv").open(encoding="utf-8") as file:
                    rows = list(csv.DictReader(file))[1:]
                seconds[way].append(statistics.median(float(row["seconds"]) for row in rows))
                shares[way].append(statistics.median(float(row["loading_share"]) for row in rows))
    base = statistics.median(seconds["memory"])
    rows_out = [
        (
            f"from {way}", f"{statistics.median(seconds[way]):.1f}", f"{statistics.median(seconds[way]) / base:.2f}",
            f"{statistics.median(shares[way]):.1%}", f"{statistics.median(peaks[way]):,.0f}",
        )
        for way in seconds
    ]  # fmt: skip
    lines = [
        f"Recipe {options.recipe}, {options.repeats} runs of each in turn; an epoch with validation and checkpoint.",
        "",
        *table(("faces", "s an epoch", "ratio", "of a step, waiting for faces", "peak memory, MB"), rows_out),
    ]
    write_page(options.results, f"streaming-{options.recipe}", "Training from disk", lines, packages=("torch",))


if __name__ == "__main__":
    main()
