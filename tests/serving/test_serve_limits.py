"""What hostile and unlucky clients do, and that others notice nothing: limits, time, places, memory, disk."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import struct
import sys
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra [web]")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from made_server import BOUNDARY, Gate, ask, form, jpeg, metric, png, post, serving, until

FUZZ_COUNT = int(os.environ.get("MIEN_FUZZ", "100"))
LEAKS = re.compile(rb"Traceback|site-packages|\.py\b|/home/|/root/|/usr/|/tmp/| at 0x|<class|Error\(", re.IGNORECASE)


@pytest.fixture(scope="module")
def strict(tiny: Path) -> Iterator[int]:
    """A server of small limits and little patience."""
    limits = {"max_upload_mb": 1, "max_pixels": 1_000_000, "max_files": 3}
    with serving(tiny, **limits, head_timeout_s=0.5, timeout_s=0.5) as port:
        yield port


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A detector that can be held."""
    gate = Gate()
    gate.open.set()
    monkeypatch.setattr("mien.serving.engine.make_detector", lambda *_, **__: gate)
    yield gate
    gate.open.set()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def head(length: str = "Content-Length: 1000") -> bytes:
    return f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n".encode()


def read_answer(client: socket.socket) -> bytes:
    """An error's whole answer, on a connection that stays open."""
    data = b""
    while not data.endswith(b"}}"):
        more = client.recv(65536)
        assert more
        data += more
    return data


def read_all(client: socket.socket) -> bytes:
    """What comes until the server closes."""
    data = b""
    while True:
        try:
            more = client.recv(65536)
        except ConnectionResetError:
            return data
        if not more:
            return data
        data += more


def send_until_closed(client: socket.socket, data: bytes) -> int:
    """Bytes sent before the server closed; fails where it goes on taking them."""
    sent = 0
    for _ in range(400):
        try:
            client.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return sent
        sent += len(data)
        threading.Event().wait(0.02)
    raise AssertionError("the server takes everything")


def test_a_declared_upload_of_two_gigabytes_is_refused_before_it_comes(strict: int) -> None:
    with connect(strict) as client:
        client.sendall(head("Content-Length: 2000000000"))
        answer = read_answer(client)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"too_large" in answer
        assert send_until_closed(client, b"x" * 1000) < 1_000_000


def test_an_upload_that_declares_no_length_is_counted(strict: int) -> None:
    with connect(strict) as client:
        client.sendall(head("Transfer-Encoding: chunked"))
        for _ in range(11):
            client.sendall(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 413")


def test_an_upload_within_the_limit_is_taken(strict: int) -> None:
    answer = ask(strict, "POST", "/v1/predict", bytes(1_000_000))
    assert (answer.status, len(answer.json["images"])) == (200, 1)


def test_too_many_files(strict: int) -> None:
    assert post(strict, "/v1/predict", *[("a", png())] * 3).status == 200
    assert post(strict, "/v1/predict", *[("a", png())] * 4).code == "too_large"


def test_a_bomb_of_a_image_is_refused_by_its_header(strict: int) -> None:
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + b"IEND"
    (image,) = post(strict, "/v1/predict", ("bomb.png", bomb)).json["images"]
    assert "3,600 million pixels, the limit is 1" in image["error"]


def test_slow_clients_are_let_go_and_others_notice_nothing(strict: int) -> None:
    with (
        connect(strict) as silent,
        connect(strict) as half_a_head,
        connect(strict) as dripping,
        connect(strict) as body,
    ):
        half_a_head.sendall(b"GET /healthz HTT")
        body.sendall(head() + b"x")
        dripping.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert post(strict, "/v1/predict", ("a", png())).status == 200
        assert send_until_closed(dripping, b"a") < 200
        assert (read_all(silent), read_all(half_a_head)) == (b"", b"")
        answer = read_all(body)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"upload_timeout" in answer
    assert post(strict, "/v1/predict", ("a", png())).status == 200


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 40_000,
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_strict_http_gets_400(strict: int, rubbish: bytes) -> None:
    with connect(strict) as client:
        client.sendall(rubbish)
        assert client.recv(65536).startswith(b"HTTP/1.1 400")


def test_a_large_head_is_refused_however_fast_it_comes(strict: int) -> None:
    with connect(strict) as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000 + b"\r\n\r\n")
        assert client.recv(65536)[9:12] in (b"400", b"431")


def test_connections_without_a_request_give_way(tiny: Path) -> None:
    with serving(tiny, max_connections=4, client_share=1) as port:
        held = [connect(port) for _ in range(8)]
        until(lambda: metric(port, 'mien_closed_total{reason="too_many"}') >= 4)
        assert _answers(port)
        for client in held:
            client.close()


def _answers(port: int) -> bool:
    try:
        return ask(port, "GET", "/healthz").status == 200
    except (OSError, http.client.HTTPException):
        return False


def test_a_full_queue_answers_at_once_and_a_client_that_is_gone_frees_its_place(tiny: Path, gate: Gate) -> None:
    with serving(tiny, queue_length=2, max_files=2, threads=1) as port, ThreadPoolExecutor(1) as other:
        gate.open.clear()
        warm = gate.entered
        leaving = connect(port)
        leaving.sendall(head(f"Content-Length: {len(png())}") + png())
        until(lambda: gate.entered == warm + 1)
        staying = other.submit(post, port, "/v1/predict", ("stays", png(1)))
        until(lambda: metric(port, "mien_queue_images") == 2)
        refused = post(port, "/v1/predict", ("late", png()))
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "busy", "1")
        leaving.close()
        until(lambda: metric(port, "mien_queue_images") == 1)
        gate.open.set()
        assert staying.result().json["images"][0]["source"] == "stays"
        until(lambda: metric(port, "mien_queue_images") == 0)
        assert post(port, "/v1/predict", ("a", png()), ("b", png())).status == 200


def test_work_that_takes_too_long_is_given_up(tiny: Path, gate: Gate) -> None:
    with serving(tiny, timeout_s=0.3, threads=1) as port:
        gate.open.clear()
        slow = post(port, "/v1/predict", ("a", png()))
        assert (slow.status, slow.code) == (503, "too_slow")
        gate.open.set()
        until(lambda: post(port, "/v1/predict", ("a", png())).status == 200)


def test_a_mistake_of_the_servers_own_says_nothing_about_itself(
    tiny: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tiny) as port:
        with monkeypatch.context() as broken:
            broken.setattr(gate, "detect", lambda image: 1 / 0)
            answer = post(port, "/v1/predict", ("secret.png", png()))
        assert (answer.status, answer.code) == (500, "internal")
        assert not LEAKS.search(answer.body)
        assert post(port, "/v1/predict", ("a", png())).status == 200
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text


def test_uploads_in_memory_are_bounded_together(tiny: Path) -> None:
    with serving(tiny, max_upload_mb=20, max_memory_mb=200) as port, connect(port) as holding:
        holding.sendall(head("Content-Length: 19000000") + b"x" * 18_000_000)
        until(lambda: metric(port, "mien_upload_bytes") >= 18_000_000)
        assert ask(port, "POST", "/v1/predict", b"y" * 18_000_000).code == "busy"
        assert metric(port, 'mien_refused_total{code="busy",kind="memory"}') == 1
        assert post(port, "/v1/predict", ("small", png())).status == 200
        holding.close()
        until(lambda: metric(port, "mien_upload_bytes") == 0)
        assert ask(port, "POST", "/v1/predict", bytes(18_000_000)).status == 200


def test_running_requests_finish_when_the_server_is_told_to_stop(tiny: Path, gate: Gate) -> None:
    with ThreadPoolExecutor(1) as other:
        with serving(tiny) as port:
            gate.open.clear()
            warm = gate.entered
            answer = other.submit(post, port, "/v1/predict", ("a", png()))
            until(lambda: gate.entered == warm + 1)
            threading.Timer(0.3, gate.open.set).start()
        assert answer.result().status == 200


_opened: list[str] = []
_watching = threading.Event()


def _watch_files(event: str, details: tuple[object, ...]) -> None:
    if (
        _watching.is_set()
        and event == "open"
        and isinstance(details[2], int)
        and details[2] & (os.O_WRONLY | os.O_RDWR)
    ):
        _opened.append(str(details[0]))


def test_nothing_is_written_to_disk(tiny: Path) -> None:
    sys.addaudithook(_watch_files)
    large = png(0, 1200, 1600)
    assert len(large) > 3_000_000
    with serving(tiny) as port:
        _watching.set()
        try:
            Path(os.devnull).write_text("x")  # that the watching works
            answers = [post(port, "/v1/predict", ("a", large)), post(port, "/v1/predict?annotate=1", ("a", large))]
        finally:
            _watching.clear()
    assert [answer.status for answer in answers] == [200, 200]
    assert _opened == [os.devnull]


SEEDS = (png(), jpeg(), b"GIF89a", b"RIFF\x00\x00\x00\x00WEBPVP8 ", b"BM", b"II*\x00", b"P6\n9 9\n255\n")


@st.composite
def broken_images(draw: st.DrawFn) -> bytes:
    """Beginnings of images with some bytes changed, followed by anything."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) + draw(st.binary(max_size=64))


@pytest.fixture(scope="module")
def fuzzed(tiny: Path) -> Iterator[http.client.HTTPConnection]:
    with serving(tiny, detectors=("auto", "none"), max_pixels=1_000_000) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        yield connection
        connection.close()


@given(
    data=broken_images() | st.binary(max_size=200),
    name=st.text(max_size=20),
    path=st.sampled_from(["/v1/predict", "/v1/predict/faces", "/v1/predict?annotate=1"]),
    kind=st.sampled_from(["", "image/png", f"multipart/form-data; boundary={BOUNDARY}", "multipart/form-data"]),
    wrap=st.booleans(),
)
@settings(
    max_examples=FUZZ_COUNT, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
def test_any_bytes_get_a_proper_answer(
    fuzzed: http.client.HTTPConnection, data: bytes, name: str, path: str, kind: str, wrap: bool
) -> None:
    body = form((name.encode("utf-8", "replace").decode().replace('"', ""), data)) if wrap else data
    fuzzed.request("POST", path, body, {"Content-Type": kind})
    answer = fuzzed.getresponse()
    text = answer.read()
    assert answer.status in (200, 400, 422)
    if answer.headers["content-type"].startswith("image/"):
        return
    assert not LEAKS.search(text.replace(name.encode("utf-8", "replace"), b""))
    assert next(iter(json.loads(text))) == ("error" if answer.status != 200 else "model")
