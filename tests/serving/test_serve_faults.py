"""What one client can't do to a server: take its memory, its time, its places or its probes. A real process each."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra [web]")
if not Path("/proc/self/statm").exists():
    pytest.skip("needs Linux's /proc and its many loopback addresses", allow_module_level=True)

from PIL import Image
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect as open_stream

from made_server import BOUNDARY, form, free_port
from places import ASTRONAUT

BYSTANDER, ATTACKER = "127.0.0.9", "127.0.0.5"
MOST_MEMORY_MB = 1000  # the default of --max-memory
HEAD_TIMEOUT_S = 4  # the default is 10; slow clients are let go after this time


@dataclass
class Process:
    """A running `mien serve`."""

    pid: int
    port: int
    stopped: bool = False  # by a test
    admin: int = 0  # the port for probes

    def memory_mb(self) -> float:
        """Resident memory of the server and of all that it started."""
        return sum(_resident(pid) for pid in (self.pid, *_children(self.pid)))

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, address: str = BYSTANDER, port: int = 0
    ) -> tuple[int, bytes, dict[str, str]]:
        """One request on a connection of its own, from an address of this machine."""
        client = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=90, source_address=(address, 0))
        try:
            client.request(method, path, body)
            answer = client.getresponse()
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        finally:
            client.close()

    def connect(self, address: str = ATTACKER) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60, source_address=(address, 0))


def _resident(pid: int) -> float:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for place in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in place.read_text().split():
                found += [int(child), *_children(int(child))]
    return found


@contextmanager
def server(folder: Path, **settings: int) -> Iterator[Process]:
    """A warm server with a shipped model and the default detector."""
    log = folder / "log"
    wanted = {"models": ("mien-nano",), "port": 0, "quiet": True, **settings}
    code = f"serve(ServeSettings(**{wanted}), log_line=lambda line: print(line, flush=True))"
    imports = "from mien.serving.run import serve; from mien.serving.settings import ServeSettings; "
    command = [sys.executable, "-c", imports + code]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, stdout=file)
    try:
        end = time.monotonic() + 60
        while not (found := re.search(r"serves on http://\S+:(\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        running = Process(process.pid, int(found[1]))
        while not _is_ready(running):
            assert time.monotonic() < end
            time.sleep(0.05)
        yield running
        assert running.stopped or process.poll() is None, "the server ended"
        assert "Traceback" not in log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def _is_ready(running: Process) -> bool:
    try:
        return running.ask("GET", "/readyz")[0] == 200
    except OSError:
        return False


@dataclass
class Watch:
    """What a probe and a bystander with a small photo see while others attack."""

    server: Process
    address: str = BYSTANDER
    ports: tuple[int, ...] = ()  # of probes, beside that of the server
    probes: list[tuple[int, float]] = field(default_factory=list)
    photos: list[tuple[int, float]] = field(default_factory=list)
    most_mb: float = 0.0

    def __enter__(self) -> Watch:
        self._ended = threading.Event()
        image = Image.open(ASTRONAUT).convert("RGB").resize((240, 160))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG")
        jobs = (self._probe, lambda: self._time(self.photos, "POST", "/v1/predict", buffer.getvalue()), self._measure)
        self._threads = [
            threading.Thread(target=self._repeat, args=(job, pause))
            for job, pause in zip(jobs, (0.2, 0.3, 0.05), strict=True)
        ]
        self._before = self.server.memory_mb()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, job: Callable[[], None], pause: float) -> None:
        while not self._ended.wait(pause):
            job()

    def _time(
        self, seen: list[tuple[int, float]], method: str, path: str, body: bytes | None = None, port: int = 0
    ) -> None:
        began = time.monotonic()
        try:
            status = self.server.ask(method, path, body, address=self.address, port=port)[0]
        except (OSError, http.client.HTTPException):
            status = 0
        seen.append((status, time.monotonic() - began))

    def _probe(self) -> None:
        for port in (self.server.port, *self.ports):
            for path in ("/healthz", "/readyz", "/metrics"):
                self._time(self.probes, "GET", path, port=port)

    def _measure(self) -> None:
        self.most_mb = max(self.most_mb, self.server.memory_mb())

    def check(self, most_mb: float = MOST_MEMORY_MB) -> None:
        """Fails unless every probe and photo was answered in time, and memory stayed in its limit and came back."""
        end = time.monotonic() + 20
        while (now := self.server.memory_mb()) > self._before + 300 and time.monotonic() < end:
            time.sleep(0.2)
        times = sorted(seconds for _, seconds in self.photos)
        print(
            f"probes {sum(status == 200 for status, _ in self.probes)} of {len(self.probes)}, slowest "
            f"{max(seconds for _, seconds in self.probes):.2f} s; photos {sum(s == 200 for s, _ in self.photos)} of "
            f"{len(self.photos)}, slowest {times[-1]:.2f} s; memory MB {self._before:.0f}, most {self.most_mb:.0f}, "
            f"after {now:.0f}"
        )
        assert self.probes
        assert {status for status, _ in self.probes} == {200}
        assert {status for status, _ in self.photos} == {200}
        assert times[len(times) // 2] <= 2
        assert times[-1] <= 10  # the clients of this test take both cores at times
        assert self.most_mb <= most_mb
        assert now <= self._before + 300


def head(length: str, path: str = "/v1/predict", kind: str = "") -> bytes:
    kind = f"Content-Type: {kind}\r\n" if kind else ""
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{kind}{length}\r\n\r\n".encode()


def drip(clients: list[socket.socket], seconds: float, pause: float = 1.0) -> None:
    """A byte from each client every so often."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for client in clients:
            with suppress(OSError):
                client.sendall(b"x")
        time.sleep(pause)


def answer_of(client: socket.socket, seconds: float = 0.5) -> int:
    """The status of what the server said; 0: it said nothing."""
    client.settimeout(seconds)
    with suppress(OSError):
        return int((client.recv(4096) or b"HTTP/1.1 000")[9:12])
    return 0


@pytest.fixture(scope="module")
def huge() -> bytes:
    """A WebP of 49.7 megapixels in less than 200 kB."""
    buffer = io.BytesIO()
    Image.new("RGB", (7050, 7050), (90, 120, 60)).save(buffer, "WEBP", quality=1, method=0)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One server for several attacks, so each also begins where the one before it ended."""
    admin = free_port()
    limits = {"max_video_mb": 8, "head_timeout_s": HEAD_TIMEOUT_S}
    with server(tmp_path_factory.mktemp("server"), **limits, admin_port=admin) as process:
        process.admin = admin
        yield process


@pytest.mark.parametrize("size", [31_000_000, 3_900_000])
def test_large_frames_of_many_streams_take_no_memory(size: int, running: Process) -> None:
    def flood(address: str) -> None:
        with suppress(OSError, WebSocketException), ExitStack() as stack:
            path = f"ws://127.0.0.1:{running.port}/v1/stream"
            opened = open_stream(path, proxy=None, source_address=(address, 0), max_size=None)
            socket_ = stack.enter_context(opened)
            for _ in range(4):
                socket_.send(b"x" * size)

    with Watch(running) as seen, ThreadPoolExecutor(16) as clients:
        for _ in range(3):
            list(clients.map(flood, [ATTACKER] * 16))
    seen.check()


def test_many_huge_images_let_a_small_photo_by(huge: bytes, tmp_path: Path) -> None:
    """Also that of the same client, as all of one office or proxy are."""
    assert len(huge) < 200_000
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    few, many = (form(*[(f"{number}.webp", huge) for number in range(count)]) for count in (1, 32))
    with server(tmp_path) as running:
        clients = [running.connect() for _ in range(8)]
        with Watch(running) as other, Watch(running, ATTACKER) as own:
            for client, body in zip(clients, (few, few, *[many] * 6), strict=True):
                client.sendall(head(f"Content-Length: {len(body)}", kind=kind) + body)
            said = [answer_of(client, 25) for client in clients]
            for client in clients:
                client.close()
        print(said)
        other.check()
        own.check()
        # What can be done is done, and what can't be done in time is refused at once.
        assert said[:2] == [200, 200]
        assert set(said[2:]) == {503}


def sent_until_answered(client: socket.socket, body: bytes, chunked: bool = False) -> tuple[int, int]:
    """The status of the answer, and how many bytes were sent when it came."""
    client.setblocking(False)
    data, at = memoryview(body), 0
    end = time.monotonic() + 30
    while time.monotonic() < end:
        readable, writable, _ = select.select([client], [client] if at < len(data) else [], [], 1)
        if readable:
            return answer_of(client), at
        with suppress(BlockingIOError, ConnectionError):
            if writable and not chunked:
                at += client.send(data[at : at + (1 << 16)])
            elif writable:
                client.setblocking(True)
                client.sendall(b"186a0\r\n" + bytes(data[at : at + 100_000]).ljust(100_000) + b"\r\n")
                client.setblocking(False)
                at += 100_000
    return 0, at


def test_many_parts_and_plain_fields_take_no_time(running: Process) -> None:
    part = f"--{BOUNDARY}\r\n\r\n\r\n".encode()
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    end = f"--{BOUNDARY}--\r\n".encode()
    parts = part * (30_000_000 // len(part)) + end
    field_ = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n'.encode() + b"x" * 200_000_000

    def send(path: str, body: bytes, length: str = "") -> tuple[int, int]:
        with running.connect() as client:
            client.sendall(head(length or f"Content-Length: {len(body)}", path, kind))
            return sent_until_answered(client, body, chunked=bool(length))

    with Watch(running) as seen, ThreadPoolExecutor(10) as clients:
        time.sleep(1)
        asked = [clients.submit(send, "/v1/predict", parts) for _ in range(8)]
        asked += [clients.submit(send, "/v1/videos", parts) for _ in range(2)]
        answers = [each.result() for each in asked]
        declared, chunked = send("/v1/videos", field_), send("/v1/videos", field_, "Transfer-Encoding: chunked")
        time.sleep(1)
    print(answers, declared, chunked)
    assert {status for status, _ in answers} <= {413, 503}
    assert (declared[0], chunked[0]) == (413, 413)
    assert declared[1] < 5_000_000  # refused by its length
    assert chunked[1] < 40_000_000  # the limit and what is in buffers
    seen.check()


def test_slow_uploads_of_videos_take_no_place(running: Process, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs the extra [video]")
    from made_video import make_clip

    clip = make_clip(tmp_path / "short.mp4", frames=5).read_bytes()
    slow = [running.connect() for _ in range(5)]
    for client in slow:
        client.sendall(head("Content-Length: 1000000", "/v1/videos") + b"\0\0\0\x20ftypisom")
    with Watch(running) as seen:
        drip(slow, 2)
        status, body, _ = running.ask("POST", "/v1/videos", clip)
        assert (status, json.loads(body)["state"]) == (202, "queued")
        said = [answer_of(client, 0.1) for client in slow]  # the slowest gave way to the others
        drip(slow, HEAD_TIMEOUT_S)
        said = [before or answer_of(client) for before, client in zip(said, slow, strict=True)]
        for client in slow:
            client.close()
        assert set(said) <= {408, 503}
    seen.check()


def test_260_slow_uploads_leave_room_for_probes_and_photos(running: Process) -> None:
    slow = [running.connect() for _ in range(260)]
    with Watch(running, ports=(running.admin,)) as seen:
        for client in slow:
            client.sendall(head("Content-Length: 1000000") + b"x")
        drip(slow, HEAD_TIMEOUT_S + 4)
    seen.check()
    for client in slow:
        client.close()


def test_every_request_that_began_is_answered_when_the_server_stops(tmp_path: Path) -> None:
    """Clients send one photo after the other on open connections; one has sent half of its upload."""
    photo, answered = ASTRONAUT.read_bytes(), [0] * 8
    lost: list[str] = []

    def load(number: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
        while True:
            try:
                client.request("POST", "/v1/predict", photo)
                answer = client.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                lost.append(repr(error))
                return
            answered[number] += answer.status == 200
            if answer.status not in (200, 503):
                lost.append(str(answer.status))
            if answer.headers["connection"] == "close":
                return

    with server(tmp_path) as running, ThreadPoolExecutor(8) as clients:
        jobs = [clients.submit(load, number) for number in range(8)]
        half = running.connect()
        half.sendall(head(f"Content-Length: {len(photo)}") + photo[:1000])
        time.sleep(2)
        os.kill(running.pid, signal.SIGTERM)
        time.sleep(1.5)
        half.sendall(photo[1000:])
        assert answer_of(half, 20) == 200
        half.close()
        for job in jobs:
            job.result(30)
        assert lost == []
        assert min(answered) > 0
        running.stopped = True
