"""Sends hostile requests to `mien serve` and counts the answers: mutated files, generated calls, load with faults.

    python benchmarks/hostile.py [--images 2000] [--videos 200] [--minutes 20] [--cases 5000]

Everything runs on this machine, over loopback. The load has clients with photos, huge images, streams, floods of large
frames, slow heads and uploads, broken forms and videos; meanwhile a worker is killed now and then, and the file system
of temporary files is full for a while (a small one of its own where mounting is allowed).
Allowed are answers below 500, and 503 with `Retry-After`; every refusal must have a code and a message. An answer is
lost if the connection ends without one, unless a worker was killed in that second.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from page import ROOT, SHARED, arguments, table, write_page
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect as open_stream

from mien.errors import MienError

DISK_MB = 300
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000")


class Tally:
    """What came back, by what was sent."""

    def __init__(self) -> None:
        self.seen: dict[str, Counter[str]] = {}
        self.bad: list[str] = []
        self.killed_at = 0.0
        self._lock = threading.Lock()

    def add(self, what: str, status: int, headers: dict[str, str], body: bytes) -> None:
        name = str(status)
        if status >= 400:
            try:
                error = json.loads(body)["error"]
                name += f" {error['code']}"
                reason = "" if error["message"] else "no message"
            except (ValueError, KeyError, TypeError):
                reason = "" if status == 400 else "no reason"
            if status >= 500 and (status != 503 or "retry-after" not in headers):
                reason = "a 5xx"
            if reason:
                self.bad.append(f"{what}: {status} {reason}: {body[:80]!r}")
        with self._lock:
            self.seen.setdefault(what, Counter())[name] += 1

    def lose(self, what: str, error: Exception) -> None:
        name = "killed worker" if time.monotonic() - self.killed_at < 3 else f"lost ({type(error).__name__})"
        with self._lock:
            self.seen.setdefault(what, Counter())[name] += 1
        if name.startswith("lost"):
            self.bad.append(f"{what}: {error!r}")

    def lines(self) -> list[str]:
        rows = [
            (what, sum(found.values()), ", ".join(f"{count} x {name}" for name, count in found.most_common()))
            for what, found in self.seen.items()
        ]
        return [*table(("sent", "requests", "answers"), rows), "", *(f"- {line}" for line in self.bad[:20])]


def send(
    port: int, tally: Tally, what: str, body: bytes, path: str = "/v1/predict", method: str = "POST", kind: str = ""
) -> tuple[int, bytes]:
    """One request; its answer is counted."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=100, source_address=(address(what), 0))
    try:
        client.request(method, path, body, {"Content-Type": kind} if kind else {})
        answer = client.getresponse()
        data = answer.read()
    except (OSError, http.client.HTTPException) as error:
        tally.lose(what, error)
        return 0, b""
    finally:
        client.close()
    tally.add(what, answer.status, {name.lower(): value for name, value in answer.getheaders()}, data)
    return answer.status, data


def address(what: str) -> str:
    """A loopback address for each kind of client."""
    return f"127.0.0.{10 + sum(what.encode()) % 200}"


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A folder on a file system of its own, or a plain one where mounting is not allowed."""
    place = folder / "temporary"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "mien-hostile", str(place)]
    mounted = os.name == "posix" and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield place
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextlib.contextmanager
def server(workers: int, folder: Path, admin: int) -> Iterator[tuple[int, int]]:
    """Port and process id of a running server, whose log must have no traceback."""
    log, temporary = folder / "log", folder / "temporary"
    command = [sys.executable, "-m", "mien", "serve", "-m", "mien-nano", "--port", "0", "--workers", str(workers)]
    command += ["--admin-port", str(admin)]
    with log.open("ab") as file:
        process = subprocess.Popen(command, stderr=file, stdout=file, env={**os.environ, "TMPDIR": str(temporary)})
    try:
        while not (found := re.search(r"serves on http://\S+:(\d+)", log.read_text())):
            time.sleep(0.1)
        port = int(found[1])
        while True:
            with contextlib.suppress(OSError):
                if send(port, Tally(), "ready", b"", "/readyz", "GET")[0] == 200:
                    break
            time.sleep(0.2)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def mutated(data: bytes, random_: random.Random) -> bytes:
    """Some bytes changed, a piece removed or repeated, or the end cut off."""
    changed = bytearray(data)
    for _ in range(random_.randint(0, 12)):
        changed[random_.randrange(len(changed))] = random_.randrange(256)
    at, length = random_.randrange(len(changed)), random_.randrange(1, 200)
    match random_.randrange(4):
        case 0:
            del changed[at : at + length]
        case 1:
            changed[at:at] = changed[at : at + length]
        case 2:
            del changed[at:]
    return bytes(changed)


def images(port: int, tally: Tally, count: int) -> None:
    """Mutated images of every kind."""
    random_, photo, seeds = random.Random(1), Image.open(ROOT / "src/mien/examples/astronaut.png").convert("RGB"), []
    for kind in KINDS:
        for mode in ("RGB", "L"):
            buffer = io.BytesIO()
            with contextlib.suppress(OSError, MienError):
                photo.resize((96, 96)).convert(mode).save(buffer, kind)
                seeds.append((kind, buffer.getvalue()))
    for number in range(count):
        kind, data = seeds[number % len(seeds)]
        send(port, tally, f"mutated {kind}", mutated(data, random_))


def videos(port: int, tally: Tally, count: int) -> None:
    """Mutated videos; each is removed when it has ended."""
    random_ = random.Random(2)
    data = (SHARED / "media/short-one-face.mp4").read_bytes()
    for _ in range(count):
        video(port, tally, "mutated video", mutated(data, random_))


def video(port: int, tally: Tally, what: str, body: bytes) -> None:
    """A video that is sent, followed to its end and removed."""
    status, answer = send(port, tally, what, body, "/v1/videos")
    if status != 202:
        return
    place, end, job = f"/v1/videos/{json.loads(answer)['id']}", time.monotonic() + 60, {"state": "queued"}
    while job.get("state") in ("queued", "running") and time.monotonic() < end:
        time.sleep(0.3)
        job = json.loads(send(port, tally, "state of a video", b"", place, "GET")[1] or b"{}")
    reason = job.get("error")
    if isinstance(reason, dict):  # of an answer that is no state
        reason = reason["message"]
    ended = f"{job.get('state', 'no state')}: {reason}" if reason else job.get("state", "no answer")
    tally.seen.setdefault("ended videos", Counter())[ended] += 1
    send(port, tally, "removed video", b"", place, "DELETE")


def stream(port: int, tally: Tally, frames: list[bytes], *, wait: bool) -> None:
    """A stream: each frame is answered, or, without waiting, all are sent at once and the newest is."""
    what = "frame of a stream" if wait else "flood of frames"
    try:
        path = f"ws://127.0.0.1:{port}/v1/stream"
        with open_stream(
            path, proxy=None, source_address=(address(what), 0), open_timeout=100, max_size=None
        ) as opened:
            for frame in frames:
                opened.send(frame)
                if wait:
                    json.loads(opened.recv(60))["faces"]
                    tally.add(what, 200, {}, b"")
            if not wait:
                opened.recv(60)
                tally.add(what, 200, {}, b"")
    except InvalidStatus as error:
        answer = error.response
        tally.add(what, answer.status_code, {k.lower(): v for k, v in answer.headers.raw_items()}, answer.body or b"")
    except ConnectionClosed as error:
        if error.rcvd is None:
            tally.lose(what, error)
        else:
            tally.seen.setdefault(what, Counter())[f"closed with {error.rcvd.code}"] += 1
    except (OSError, WebSocketException) as error:
        tally.lose(what, error)


def children_of(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        files = Path(f"/proc/{process}/task").glob("*/children")
        return [int(child) for file in files for child in file.read_text().split()]
    return []


def command_of(process: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def resident_mb(process: int) -> float:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0


def mixed(
    port: int, process: int, tally: Tally, minutes: float, folder: Path, admin: int
) -> tuple[dict[str, float], list[str]]:
    """Clients of all kinds at once, while workers are killed and the disk is full.

    Returns the most memory of a process, by kind, and what the workers that live have counted.
    """
    end = time.monotonic() + minutes * 60
    photo = (ROOT / "src/mien/examples/astronaut.png").read_bytes()
    buffer = io.BytesIO()
    Image.new("RGB", (7050, 7050), (90, 120, 60)).save(buffer, "WEBP", quality=1, method=0)
    huge, clip = buffer.getvalue(), (SHARED / "media/short-one-face.mp4").read_bytes()
    most: dict[str, float] = {}
    form = b"--b\r\n\r\n\r\n" * 200_000

    def repeat(job: Callable[[], object], pause: float) -> threading.Thread:
        def run() -> None:
            while time.monotonic() < end:
                job()
                time.sleep(pause)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def slow() -> None:
        beginning = b"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(random.choice((beginning, b"GET /healthz HTTP/1.1\r\n")))
            for _ in range(15):
                client.sendall(b"x")
                time.sleep(1)

    def kill() -> None:
        time.sleep(60)
        found = children_of(process)
        workers = [pid for pid in found if b"spawn_main" in command_of(pid)]
        if workers:
            tally.killed_at = time.monotonic()
            os.kill(random.choice(workers), signal.SIGKILL)

    def fill() -> None:
        time.sleep(45)
        full = folder / "temporary" / "full"
        with contextlib.suppress(OSError), full.open("wb", buffering=0) as file:
            while file.tell() < DISK_MB * 2_000_000:
                file.write(bytes(1_000_000))
        time.sleep(10)
        full.unlink()

    def measure() -> None:
        workers = children_of(process)
        found = [child for worker in workers for child in children_of(worker)]
        videos = [child for child in found if b"video_work" in command_of(child)]  # others are still forks of a worker
        for kind, found in (("worker", workers), ("video", videos)):
            most[kind] = max([most.get(kind, 0), *map(resident_mb, found)])

    threads = [
        *(repeat(lambda: send(port, tally, "photo", photo), 0.1) for _ in range(3)),
        repeat(lambda: send(port, tally, "huge image", huge), 0.5),
        repeat(lambda: send(port, tally, "form of empty parts", form, kind="multipart/form-data; boundary=b"), 1),
        repeat(lambda: video(port, tally, "video", clip), 1),
        repeat(lambda: stream(port, tally, [photo] * 20, wait=True), 0.5),
        *(repeat(lambda: stream(port, tally, [bytes(3_900_000)] * 4, wait=False), 0.5) for _ in range(4)),
        repeat(lambda: send(port, tally, "probe", b"", "/healthz", "GET"), 0.2),
        repeat(lambda: send(admin, tally, "probe of the admin port", b"", "/readyz", "GET"), 0.2),
        repeat(lambda: send(admin, tally, "metrics of the admin port", b"", "/metrics", "GET"), 1),
        repeat(measure, 0.2),
        *(repeat(slow, 0.1) for _ in range(8)),
        repeat(kill, 0),
        repeat(fill, 0),
    ]
    for thread in threads:
        thread.join()
    text = send(admin, tally, "metrics of the admin port", b"", "/metrics", "GET")[1].decode()
    return most, re.findall(r"^mien_(?:refused|closed|videos)_total\{.*", text, re.MULTILINE)


def generated(port: int, cases: int) -> list[str]:
    """Lines about calls that schemathesis generated from the OpenAPI document."""
    program = shutil.which("schemathesis")
    if program is None:
        return ["schemathesis is not installed."]
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [
        *(program, "run", f"http://127.0.0.1:{port}/v1/openapi.json", "--checks", checks, "--seed", "1"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(cases // 13), "--no-color"),
        *("--generation-database", "none", "--suppress-health-check", "all"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.findall(r"^.*(?:cases|generated|found|failed|passed).*$", done.stdout[-3000:], re.MULTILINE)
    return [f"schemathesis ended with {done.returncode}.", "", "```", *found, "```"]


def main() -> None:
    parser = arguments(__doc__, repeats=1)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--cases", type=int, default=5000)
    options: argparse.Namespace = parser.parse_args()
    files, load = Tally(), Tally()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with socket.create_server(("127.0.0.1", 0)) as found:
            admin = int(found.getsockname()[1])
        with small_disk(folder), server(1, folder, admin) as (port, _):
            images(port, files, options.images)
            videos(port, files, options.videos)
            calls = generated(port, options.cases) if options.cases else []
        shutil.rmtree(folder / "temporary")
        (folder / "log").write_text("")
        with small_disk(folder), server(2, folder, admin) as (port, process):
            most, counted = mixed(port, process, load, options.minutes, folder, admin)
        log = (folder / "log").read_text()
    tracebacks, crashed = log.count("Traceback"), log.count("a video failed")
    lines = []
    if files.seen:
        lines += ["Mutated files, one worker:", "", *files.lines(), "", "Generated calls:", "", *calls, ""]
    lines += [f"Mixed load with faults, two workers, {options.minutes:g} minutes:", "", *load.lines(), ""]
    lines += [f"Most memory of a process: {', '.join(f'{kind} {mb:.0f} MB' for kind, mb in most.items())}.", ""]
    lines += ["Counted by `/metrics`:", "", "```", *counted, "```", ""]
    lines += [f"Workers that were killed: {log.count('died')}. Videos whose process crashed: {crashed}.", ""]
    lines += [f"Not allowed: {len(files.bad) + len(load.bad)}. Tracebacks in the log of the mixed load: {tracebacks}."]
    write_page(options.results, "hostile", "Hostile requests", lines, packages=("uvicorn", "fastapi", "starlette"))


if __name__ == "__main__":
    main()
