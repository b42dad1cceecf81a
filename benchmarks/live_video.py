"""Measures the latency of `mien watch` on a live source: a clip through a pipe in real time, like a camera.

    python benchmarks/live_video.py [--clip CLIP] [--seconds 30]

mien-nano and yunet; from the arrival of a frame to its result. Every frame has a result or counts as dropped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import av
from page import SHARED, arguments, table, write_page

RATE = 25


def fed(clip: Path, seconds: float, command: list[str]) -> tuple[int, dict[str, object]]:
    """Feeds the clip's frames at RATE; how many, and what the command says of them."""
    with av.open(str(clip)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    height, width = frames[0].shape[:2]
    command += ["--raw", f"{width}x{height}:rgb24@{RATE}"]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert running.stdin is not None and running.stdout is not None
    started, count = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        time.sleep(max(0.0, started + count / RATE - time.monotonic()))
        running.stdin.write(frames[count % len(frames)].tobytes())
        running.stdin.flush()
        count += 1
    running.stdin.close()
    told = json.loads(running.stdout.read())
    if running.wait():
        sys.exit(f"mien watch ended with {running.returncode}")
    return count, told


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--clip", type=Path, default=SHARED / "media" / "one-face-pexels.mp4")
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    network = ["-m", "mien-nano", "-d", "yunet"]
    rows = []
    for _ in range(options.repeats):
        command = [sys.executable, "-m", "mien", "watch", "-", "--live", "--no-browser", "--format", "json", *network]
        count, told = fed(options.clip, options.seconds, command)
        if count != told["frames"] + told["dropped"]:  # type: ignore[operator]
            sys.exit(f"{count} frames were fed, {told['frames']} answered and {told['dropped']} dropped")
        latency = [f"{1000 * told[key]:.0f}" for key in ("latency_p50_s", "latency_p95_s")]  # type: ignore[operator]
        rows.append((count, told["frames"], told["dropped"], *latency, told["detect_every"]))
    header = ("fed", "answered", "dropped", "p50, ms", "p95, ms", "detector at the end on every k-th")
    lines = [f"{options.clip.name} at {RATE} frames/s for {options.seconds:g} s, {options.repeats} times.", ""]
    lines += table(header, rows)
    write_page(options.results, "live-video", "Latency of a live source", lines, packages=("av", "onnxruntime"))


if __name__ == "__main__":
    main()
