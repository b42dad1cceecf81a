"""The WebSocket for cameras: newest wins, and it ends well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra [web]")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from made_server import Gate, jpeg, metric, png, post, serving, until

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def port(tiny: Path) -> Iterator[int]:
    with serving(tiny, max_streams=2, max_upload_mb=1, stream_timeout_s=5) as port:
        yield port


def stream(port: int, query: str = "", **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/v1/stream{query}", proxy=None, **options)


def refusal(port: int, query: str = "", **options: Any) -> tuple[int, str]:
    """Status and code of a stream that was not opened."""
    with pytest.raises(InvalidStatus) as caught:
        stream(port, query, **options).close()
    response = caught.value.response
    assert "content-security-policy" in response.headers
    return response.status_code, json.loads(response.body or b"")["error"]["code"]


def test_each_frame_is_answered_as_predict_answers_it(port: int) -> None:
    (expected,) = post(port, "/v1/predict", ("frame 0", jpeg(3))).json["images"]
    with stream(port) as socket:
        socket.send(jpeg(3))
        assert json.loads(socket.recv(20)) == expected
        socket.send(b"no image")
        second = json.loads(socket.recv(20))
        assert (second["source"], second["faces"]) == ("frame 1", [])
        assert second["error"].startswith("frame 1: is not an image")
        socket.send(png(1))
        assert len(json.loads(socket.recv(20))["faces"]) == 1


def test_the_newest_of_a_flood_wins(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    gate.open.set()
    monkeypatch.setattr("mien.serving.engine.make_detector", lambda *_, **__: gate)
    with serving(tiny, threads=1) as port, stream(port) as socket:
        gate.open.clear()
        warm = gate.entered
        socket.send(jpeg(0))
        until(lambda: gate.entered == warm + 1)
        for seed in range(1, 500):
            socket.send(jpeg(seed % 5))
        until(lambda: metric(port, 'mien_frames_total{outcome="dropped"}') == 498)
        gate.open.set()
        assert [json.loads(socket.recv(20))["source"] for _ in range(2)] == ["frame 0", "frame 499"]
        socket.send(jpeg(0))
        assert json.loads(socket.recv(20))["source"] == "frame 500"


@pytest.mark.parametrize(("message", "code"), [("text", 1003), (b"", 1003), (b"x" * 1_000_001, 1009)])
def test_other_messages_end_the_stream(port: int, message: str | bytes, code: int) -> None:
    with stream(port) as socket:
        socket.send(message)
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(20)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == code


def test_a_stream_without_frames_ends(tiny: Path) -> None:
    with serving(tiny, stream_timeout_s=0.2) as port, stream(port) as socket:
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(20)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001


def test_streams_are_counted_and_one_that_is_gone_makes_room(port: int) -> None:
    until(lambda: metric(port, "mien_streams") == 0)
    with stream(port) as first, stream(port):
        until(lambda: metric(port, "mien_streams") == 2)
        assert refusal(port) == (503, "busy")
        first.send(jpeg())
        first.socket.close()  # in the middle of things
        until(lambda: metric(port, "mien_streams") == 1)
        with stream(port) as another:
            another.send(jpeg())
            assert json.loads(another.recv(20))["source"] == "frame 0"


def test_who_may_not_stream(port: int) -> None:
    assert refusal(port, "?model=other") == (400, "unknown_model")
    assert refusal(port, origin="https://evil.example") == (403, "wrong_origin")
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{port}/v1/nothing", proxy=None).close()


def test_a_token_opens_the_stream_by_header_or_subprotocol(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(TOKEN)
    with serving(tiny, token_file=tmp_path / "tokens") as port:
        assert refusal(port) == (401, "token_needed")
        assert refusal(port, subprotocols=["mien.v1", "mien.token.wrong"]) == (401, "token_needed")
        with stream(port, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as socket:
            socket.send(jpeg())
            assert json.loads(socket.recv(20))["error"] is None
        with stream(port, subprotocols=["mien.v1", f"mien.token.{TOKEN}"]) as socket:
            assert socket.subprotocol == "mien.v1"


def test_a_stream_is_closed_when_the_server_stops(tiny: Path) -> None:
    with ExitStack() as stack:
        with serving(tiny) as port:
            socket = stack.enter_context(stream(port))
            socket.send(jpeg())
            socket.recv(20)
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(20)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1012
