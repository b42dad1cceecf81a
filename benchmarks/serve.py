"""Pictures a second and waiting time of `mien serve` beside `Recognizer.stream` on the same machine, in turns.

    python benchmarks/serve.py [--seconds 20] [--connections 64] [--workers 1]

Each connection sends a photo of 640 x 480 with one face, waits for the answer and sends the next; 503 is counted and
tried again after a moment. Client and server share the machine's cores, so that the client's work counts against the
server. The library is measured as it is by default and with one thread a network, which is how the server runs it; the
share is that of the faster one.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
from page import ROOT, arguments, table, write_page
from photo import photo_640

from mien.model_file import DEFAULT_MODEL
from mien.recognition.recognizer import Recognizer


@dataclass
class Load:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    failed: int = 0


@contextlib.contextmanager
def server(model: str, workers: int) -> Iterator[tuple[int, int]]:
    """Port and process id of a running server."""
    command = [sys.executable, "-m", "mien", "serve", "--quiet", "--port", "0", "-m", model, "--workers", str(workers)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        found = re.search(r":(\d+)( |$)", process.stderr.readline().strip())
        if found is None:
            raise SystemExit("the server did not start")
        asyncio.run(ready(int(found[1])))
        yield int(found[1]), process.pid
    finally:
        process.terminate()
        process.wait()


async def ready(port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            status, _ = await ask(reader, writer, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            writer.close()
            if status == 200:
                return
        await asyncio.sleep(0.1)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    """One request on an open connection: status and body."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    body = await reader.readexactly(int(length[1]) if length else 0)
    return int(head[9:12]), body


async def client(port: int, request: bytes, end: float, load: Load) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (began := time.perf_counter()) < end:
        status, body = await ask(reader, writer, request)
        if status == 200 and body.count(b'"expression"') == 1:
            load.seconds.append(time.perf_counter() - began)
        elif status == 503:
            load.refused += 1
            await asyncio.sleep(0.05)
        else:
            load.failed += 1
    writer.close()


async def press(port: int, request: bytes, connections: int, seconds: float) -> tuple[Load, float]:
    """All clients for so long; what they saw, and pictures a second."""
    load, began = Load(), time.perf_counter()
    await asyncio.gather(*(client(port, request, began + seconds, load) for _ in range(connections)))
    return load, len(load.seconds) / (time.perf_counter() - began)


def offline(recognizer: Recognizer, photo: Path, seconds: float) -> float:
    """Pictures a second of `Recognizer.stream`."""
    began, count = time.perf_counter(), 0
    results = recognizer.stream(repeat(photo))
    while time.perf_counter() - began < seconds:
        next(results)
        count += 1
    rate = count / (time.perf_counter() - began)
    results.close()  # type: ignore[attr-defined]
    return rate


def memory_mb(process: int) -> float:
    text = Path(f"/proc/{process}/status").read_text("utf-8")
    found = re.search(r"VmRSS:\s+(\d+)", text)
    return int(found[1]) / 1024 if found else 0


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    rows, shares = [], []
    with tempfile.TemporaryDirectory() as folder, server(options.model, options.workers) as (port, process):
        photo = Path(folder) / "photo.jpg"
        photo_640(ROOT / "src/mien/examples/astronaut.png", photo)
        data = photo.read_bytes()
        head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
        recognizers = [Recognizer(options.model, threads=threads) for threads in (0, 1)]
        for recognizer in recognizers:
            offline(recognizer, photo, 1)
        asyncio.run(press(port, head.encode() + data, options.connections, 1))
        for turn in range(1, options.repeats + 1):
            library = [offline(recognizer, photo, options.seconds) for recognizer in recognizers]
            load, rate = asyncio.run(press(port, head.encode() + data, options.connections, options.seconds))
            p50, p95 = np.quantile(load.seconds, (0.5, 0.95)) * 1000
            shares.append(rate / max(library))
            figures = (*(f"{r:.1f}" for r in library), f"{rate:.1f}", f"{shares[-1]:.0%}", f"{p50:.0f}", f"{p95:.0f}")
            rows.append((turn, *figures, load.refused, load.failed, f"{memory_mb(process):.0f}"))
    header = (
        "turn",
        "library /s",
        "one thread /s",
        "server /s",
        "share",
        "p50 ms",
        "p95 ms",
        "503",
        "failed",
        "memory MB",
    )
    lines = [
        f"{options.connections} connections, {options.workers} worker(s), {options.seconds:g} s a measurement, model "
        f"`{options.model}`, detector `mtcnn`, one face of 640 x 480 pixels. Memory: the first process.",
        "",
        *table(header, rows),
        "",
        f"Median share of the library's throughput: {statistics.median(shares):.0%}.",
    ]
    write_page(options.results, "serve", "Serving", lines, packages=("onnxruntime", "uvicorn", "fastapi"))


if __name__ == "__main__":
    main()
