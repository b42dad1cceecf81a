"""Measures images/s and latency of `mien serve`, alternating with `Recognizer.stream` on the same machine and photo.

    python benchmarks/serve.py [--seconds 60] [--connections 8] [--workers 1] [--requests 20000]

The photo is ../shared/media/several-faces.jpg: five faces, 1000 x 667 pixels. Each connection sends it, waits for the
response and sends it again; 503 is counted and retried after a moment. Client and server share the machine's cores, so
the client's work counts against the server. The library is measured with its defaults and with one thread per network,
which is faster where images follow each other; the server's share of each is given. Wanted on a quiet machine: 0.9 of
`Recognizer.stream` with its defaults or more, and p99 of 1.5 times p50 or less.

Then a single connection is measured on an idle server beside `Recognizer.predict`, and while the server processes a
video. Last come --requests requests with a photo of 320 x 240, and the memory of all server processes after each tenth
of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
from page import SHARED, arguments, table, write_page

from mien.recognition.recognizer import Recognizer
from mien.releases import DEFAULT_MODEL


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


async def client(port: int, request: bytes, end: float, load: Load, requests: int | None = None) -> None:
    """Sends one request after the other; a response without a face has failed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (began := time.perf_counter()) < end and (requests is None or len(load.seconds) < requests):
        status, body = await ask(reader, writer, request)
        if status == 200 and b'"expression"' in body:
            load.seconds.append(time.perf_counter() - began)
        elif status == 503:
            load.refused += 1
            await asyncio.sleep(0.05)
        else:
            load.failed += 1
    writer.close()


async def press(
    port: int, request: bytes, connections: int, seconds: float, requests: int | None = None
) -> tuple[Load, float]:
    """All clients for so long, or until so many answers; what they saw, and images a second."""
    load, began = Load(), time.perf_counter()
    await asyncio.gather(*(client(port, request, began + seconds, load, requests) for _ in range(connections)))
    return load, len(load.seconds) / (time.perf_counter() - began)


def request_for(image: bytes) -> bytes:
    """The request that sends an image."""
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(image)}\r\n\r\n"
    return head.encode() + image


def offline(recognizer: Recognizer, photo: Path, seconds: float) -> float:
    """Images a second of `Recognizer.stream`."""
    began, count = time.perf_counter(), 0
    results = recognizer.stream(repeat(photo))
    while time.perf_counter() - began < seconds:
        next(results)
        count += 1
    rate = count / (time.perf_counter() - began)
    results.close()  # type: ignore[attr-defined]
    return rate


def memory_mb(process: int) -> float:
    """Resident memory of a process and of all it started; pages that they share count for each."""
    text = Path(f"/proc/{process}/status").read_text("utf-8")
    found = re.search(r"VmRSS:\s+(\d+)", text)
    children = " ".join(place.read_text("utf-8") for place in Path(f"/proc/{process}/task").glob("*/children"))
    return (int(found[1]) / 1024 if found else 0) + sum(memory_mb(int(child)) for child in children.split())


def beside_a_video(port: int, request: bytes, video: Path, seconds: float) -> Load:
    """A single connection while the server works on a video; ends with the work, or after so long."""
    boundary = "mien-benchmark"
    form = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{video.name}"\r\n\r\n'.encode()
    place = f"http://127.0.0.1:{port}/v1/videos"
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    body = form + video.read_bytes() + f"\r\n--{boundary}--\r\n".encode()

    def ask_for(method: str, address: str, data: bytes | None = None) -> dict[str, str]:
        sent = urllib.request.Request(address, data, headers, method=method)
        with urllib.request.urlopen(sent, timeout=60) as answer:
            return dict(json.loads(answer.read() or "{}"))

    job = f"{place}/{ask_for('POST', place, body)['id']}"
    load = Load()
    while ask_for("GET", job)["state"] == "queued":
        time.sleep(0.1)
    end = time.perf_counter() + seconds
    while ask_for("GET", job)["state"] == "running" and time.perf_counter() < end:
        asyncio.run(client(port, request, min(end, time.perf_counter() + 2), load))
    ask_for("DELETE", job)
    return load


def milliseconds(load: Load) -> tuple[str, str, str]:
    """Median and 99th percentile of the waiting time, and the second divided by the first."""
    p50, p99 = np.quantile(load.seconds, (0.5, 0.99)) * 1000
    return f"{p50:.0f}", f"{p99:.0f}", f"{p99 / p50:.2f}"


def throughput(port: int, process: int, photo: Path, options: argparse.Namespace) -> list[str]:
    """Lines about many connections beside the library."""
    request = request_for(photo.read_bytes())
    recognizers = [Recognizer(options.model, threads=threads) for threads in (0, 1)]
    for recognizer in recognizers:
        offline(recognizer, photo, 1)
    asyncio.run(press(port, request, options.connections, 1))
    rows, shares = [], []  # shares: of each library's throughput
    for turn in range(1, options.repeats + 1):
        library = [offline(recognizer, photo, min(options.seconds, 15)) for recognizer in recognizers]
        load, rate = asyncio.run(press(port, request, options.connections, options.seconds))
        shares.append([rate / r for r in library])
        figures = (*(f"{r:.1f}" for r in (*library, rate)), *(f"{s:.2f}" for s in shares[-1]), *milliseconds(load))
        rows.append((turn, *figures, load.refused, load.failed, f"{memory_mb(process):.0f}"))
    names = "turn, library /s, one thread /s, server /s, share, share of one thread, p50 ms, p99 ms, p99/p50, 503"
    default, single = (f"{statistics.median(column):.2f}" for column in zip(*shares, strict=True))
    median = f"Median share of the library's throughput: {default}; with one thread per network: {single}."
    return [*table([*names.split(", "), "failed", "memory MB"], rows), "", median, ""]


def waiting(port: int, photo: Path, video: Path, model: str) -> list[str]:
    """Lines about a single connection, with and without a video at work, and about the library's `predict`."""
    request, recognizer = request_for(photo.read_bytes()), Recognizer(model)
    recognizer.predict(photo)
    library = Load()
    for _ in range(50):
        began = time.perf_counter()
        recognizer.predict(photo)
        library.seconds.append(time.perf_counter() - began)
    alone = asyncio.run(press(port, request, 1, 10))[0]
    loads = {
        "`Recognizer.predict`": library,
        "a single connection": alone,
        f"a single connection, beside `{video.name}`": beside_a_video(port, request, video, 60),
    }
    rows = [(what, len(load.seconds), *milliseconds(load), load.failed) for what, load in loads.items()]
    return ["One photo at a time:", "", *table(("what", "answers", "p50 ms", "p99 ms", "p99/p50", "failed"), rows), ""]


def memory(port: int, process: int, image: bytes, options: argparse.Namespace) -> list[str]:
    """Lines about the server's memory over many requests."""
    rows, done = [], 0
    for tenth in range(1, 11):
        some = options.requests * tenth // 10 - done
        load, rate = asyncio.run(press(port, request_for(image), options.connections, 3600, some))
        done += len(load.seconds)
        rows.append((done, f"{rate:.0f}", f"{memory_mb(process):.0f}", load.refused, load.failed))
    about = f"{done:,} requests with a photo of 320 x 240, {options.connections} connections:"
    return [about, "", *table(("requests", "a second", "memory MB", "503", "failed"), rows)]


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--seconds", type=float, default=60, help="of each measurement")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--requests", type=int, default=20_000, help="over which the memory is watched")
    options = parser.parse_args()
    lines = [
        f"{options.connections} connections, {options.workers} worker(s), {options.seconds:g} s a measurement, model "
        f"`{options.model}`, detector `auto`, five faces, 1000 x 667 pixels.",
        "",
    ]
    photo = SHARED / "media/several-faces.jpg"
    small = cv2.resize(cv2.imread(str(photo)), (320, 240), interpolation=cv2.INTER_AREA)
    with server(options.model, options.workers) as (port, process):
        lines += throughput(port, process, photo, options)
        lines += waiting(port, photo, SHARED / "media/one-face-pexels.mp4", options.model)
        lines += memory(port, process, cv2.imencode(".jpg", small)[1].tobytes(), options)
    write_page(options.results, "serve", "Serving", lines, packages=("onnxruntime", "uvicorn", "fastapi"))


if __name__ == "__main__":
    main()
