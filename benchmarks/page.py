"""Shared by the benchmarks: timing, the speed of the machine, and the dated page."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
RESULTS = Path(__file__).parent / "results"


def arguments(description: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats, help="measurements, of which the median is given")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the dated page goes")
    return parser


def median_s(work: Callable[[], object], repeats: int, *, warm_up: int = 1) -> tuple[float, float]:
    """Seconds of one call: the median of `repeats`, and the spread (largest less smallest) as a share of it."""
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    middle = statistics.median(times)
    return middle, (max(times) - min(times)) / middle


def machine(*packages: str) -> str:
    """One line: processor, cores, system, versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{p} {metadata.version(p)}" for p in ("numpy", *packages))
    return f"{_processor()}, {cores} cores, {platform.system()}, Python {platform.python_version()}, {versions}"


def _processor() -> str:
    """The processor's name and, on x86, the number format that decides its speed for networks."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    lines = [line.partition(":") for line in info.read_text("utf-8").splitlines()]
    values = {key.strip(): value.strip() for key, _, value in lines}
    flags = values.get("flags", "").split()
    best = next((f for f in ("avx512_bf16", "avx512_vnni", "avx512f", "avx2") if f in flags), "")
    return f"{values.get('model name', platform.machine())} ({best})" if best else values.get("model name", "?")


def gemm_macs_per_s(repeats: int = 7, n: int = 1536) -> float:
    """The machine's fp32 multiply-adds a second on all cores: NumPy's product of n x n matrices, best run."""
    a = np.random.default_rng(0).random((n, n), np.float32)
    b = a.T.copy()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - started)
    return n**3 / min(times)


def write_page(folder: Path, name: str, title: str, lines: Sequence[str], *, packages: Sequence[str]) -> None:
    """Writes results/<date>-<name>.md and prints it; a page of the same day is replaced."""
    date = datetime.date.today().isoformat()
    text = "\n".join((f"# {title}", "", f"{date}. {machine(*packages)}.", "", *lines)) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{date}-{name}.md"
    temporary = path.with_suffix(".part")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)
    print(text)
    print(path)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A Markdown table's lines."""
    line = [f"| {' | '.join(str(v) for v in row)} |" for row in (header, *rows)]
    return [line[0], f"|{'---|' * len(header)}", *line[1:]]
