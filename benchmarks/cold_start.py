"""Measures the wall time of a cold `mien predict astronaut.png --format json`, and of its imports.

    python benchmarks/cold_start.py

Every measurement is a new process; after the first, the files are in the system's cache.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

from page import arguments, median_s, table, write_page

from mien.releases import DEFAULT_MODEL


def main() -> None:
    parser = arguments(__doc__, repeats=9)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    options = parser.parse_args()
    photo = Path(str(resources.files("mien.examples") / "astronaut.png"))
    predict = ["-m", "mien", "predict", str(photo), "--format", "json", "--model", options.model]
    commands = {
        "python -c pass": ["-c", "pass"],
        "python -c 'import cv2, onnxruntime, numpy' (the floor)": ["-c", "import cv2, onnxruntime, numpy"],
        "python -c 'import mien'": ["-c", "import mien"],
        "mien --help": ["-m", "mien", "--help"],
        "mien predict astronaut.png --format json": predict,
    }
    seconds = {}
    for name, command in commands.items():

        def work(command: list[str] = command) -> None:
            done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")

        seconds[name] = median_s(work, options.repeats)
    floor = seconds["python -c 'import cv2, onnxruntime, numpy' (the floor)"][0]
    rows = [(f"`{n}`", f"{s:.3f}", f"{spread:.0%}", f"{s / floor:.2f}") for n, (s, spread) in seconds.items()]
    lines = [
        f"A fresh process each; median of {options.repeats}. Reach for 1 s for the whole prediction.", "",
        *table(("command", "seconds", "spread", "times the floor"), rows),
    ]  # fmt: skip
    write_page(options.results, "cold-start", "Cold start", lines, packages=("onnxruntime", "opencv-python-headless"))


if __name__ == "__main__":
    main()
