"""Measures memory and speed of `mien watch` over a long video: a clip looped to an hour, with all outputs except sound.

    python benchmarks/long_video.py [--minutes 60] [--clip CLIP] [--record] [--details]

Requirements: memory at the end within 50 MB of that at minute 2 of the video, and the last tenth of its frames as
fast as the first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
from page import SHARED, arguments, table, write_page


def looped(clip: Path, path: Path, minutes: float) -> int:
    """The clip's images again and again, copied without encoding; how many there are."""
    packets = []
    with av.open(str(clip)) as source:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        step = packets[1].dts - packets[0].dts
        length = packets[-1].dts - packets[0].dts + step
        stamps = [(packet.pts, packet.dts) for packet in packets]
        rounds = max(1, round(minutes * 60 / float(length * stream.time_base)))
        with av.open(str(path), "w") as target:
            copy = target.add_stream_from_template(stream)
            for turn in range(rounds):
                for packet, (pts, dts) in zip(packets, stamps, strict=True):
                    packet.pts, packet.dts = pts + turn * length, dts + turn * length
                    packet.stream = copy
                    target.mux(packet)
    return rounds * len(packets)


def resident_mb(pid: int) -> float:
    """Memory of a process now, MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * 4096 / 1e6


def processor_s(pid: int) -> float:
    """Processor time that a process has used, s: what other work on the machine changes least."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def frames_so_far(timeline: Path) -> int:
    """The number of the last frame in a timeline that grows."""
    if not timeline.exists() or timeline.stat().st_size < 2000:
        return 0
    with timeline.open("rb") as file:
        file.seek(-1500, 2)
        lines = file.read().splitlines()
    return int(lines[-2].split(b",")[0])


def main() -> None:
    parser = arguments(__doc__, repeats=1)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clip", type=Path, default=SHARED / "media" / "one-face-pexels.mp4")
    parser.add_argument("--record", action="store_true", help="record the drawn frames, too")
    parser.add_argument("--details", action="store_true", help="write the details of faces, too")
    options = parser.parse_args()
    readings: list[tuple[float, int, float, float]] = []  # seconds, frames, MB, seconds of processor time
    with tempfile.TemporaryDirectory() as folder:
        video, timeline = Path(folder) / "long.mp4", Path(folder) / "rows.csv"
        frames = looped(options.clip, video, options.minutes)
        network = ["-m", "mien-nano", "-d", "yunet"]
        outputs = ["--timeline", str(timeline), "--plot", str(Path(folder) / "plot.png"), "--quiet"]
        command = [sys.executable, "-m", "mien", "watch", str(video), *network, *outputs]
        if options.details:
            command.append("--details")
        if options.record:
            command += ["--record", str(Path(folder) / "out.mp4")]
        started = time.monotonic()
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while running.poll() is None:
            pid = running.pid
            readings.append((time.monotonic() - started, frames_so_far(timeline), resident_mb(pid), processor_s(pid)))
            time.sleep(0.5)
        if running.returncode:
            sys.exit(f"mien watch ended with {running.returncode}")
    rate = frames / (options.minutes * 60)
    early = next(mb for _, n, mb, _ in readings if n >= 120 * rate)
    # The last frames, before the plot is drawn: matplotlib is loaded for that, and its memory is not the video's.
    late = max(mb for _, n, mb, _ in readings if 0.95 * frames <= n < frames - 20)

    def at(share: float) -> tuple[float, float]:
        return next((s, cpu) for s, n, _, cpu in readings if n >= share * (frames - 200))

    (first, first_cpu), (last, last_cpu) = (
        tuple(b - a for a, b in zip(at(start), at(start + 0.1), strict=True)) for start in (0.02, 0.9)
    )
    tenth = 0.1 * (frames - 200)
    rows = [
        (f"{early:.0f}", f"{late:.0f}", f"{late - early:+.0f}", f"{tenth / first:.0f}", f"{tenth / last:.0f}",
         f"{first / last:.2f}", f"{1000 * first_cpu / tenth:.2f}", f"{1000 * last_cpu / tenth:.2f}"),
    ]  # fmt: skip
    header = ("MB at minute 2", "MB at the end", "difference", "first tenth, frames/s", "last tenth, frames/s", "ratio",
              "first tenth, processor ms a frame", "last tenth")  # fmt: skip
    lines = [
        f"`mien watch` with mien-nano and yunet, timeline and plot{' and recording' if options.record else ''}"
        f"{', with --details' if options.details else ''}, "
        f"{options.clip.name} looped: {options.minutes:g} minutes, {frames:,} frames, in {readings[-1][0]:.0f} s.",
        "",
        *table(header, rows),
    ]
    name = "long-video-details" if options.details else "long-video"
    write_page(options.results, name, "A long video", lines, packages=("av", "onnxruntime"))


if __name__ == "__main__":
    main()
