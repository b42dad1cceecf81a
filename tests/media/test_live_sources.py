"""Frames in from cameras and the network: what comes back, what stays away, what is never reached."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

av = pytest.importorskip("av")

from made_video import assert_ends_when_closed, is_scene, make_clip, scene  # noqa: E402
from mien.errors import VideoError  # noqa: E402
from mien.media.video import camera  # noqa: E402
from mien.media.video.opening import open_video  # noqa: E402


class FakeDevice:
    """A camera that is there for `lives` readings of some frames each."""

    lives = 1
    opened = 0

    def __init__(self, number: int) -> None:
        type(self).opened += 1
        self._left = 6 if type(self).opened <= type(self).lives else 0

    def isOpened(self) -> bool:
        return self._left > 0

    def set(self, key: int, value: float) -> bool:
        return False

    def get(self, key: int) -> float:
        return 30.0

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        time.sleep(0.01)
        self._left -= 1
        return (True, scene(0)[..., ::-1].copy()) if self._left >= 0 else (False, None)

    def release(self) -> None:
        self._left = 0


def test_camera_that_comes_back_and_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", type("Device", (FakeDevice,), {"lives": 2}))
    source = camera.Camera(0, reopen_for_s=1.2)
    frames = []
    with pytest.raises(VideoError, match="gone after 10 frames"):
        for frame in source:
            frames.append(frame)
    assert [f.number for f in frames] == list(range(10))  # one of each six shows that the camera works
    assert frames[5].time_s - frames[4].time_s > 0.4  # times go on by the clock
    assert (frames[0].image == scene(0)).all()
    assert source.live


def test_camera_gives_the_newest_frame_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = {"lives": 2, "read": lambda self: (time.sleep(0.01), (True, scene(1)))[1]}
    endless = type("Device", (FakeDevice,), reading)
    monkeypatch.setattr(cv2, "VideoCapture", endless)
    source = open_video("0")
    numbers = []
    for frame in source:
        numbers.append(frame.number)
        time.sleep(0.1)
        if len(numbers) == 4:
            break
    source.close()
    assert numbers[-1] >= 10  # who is slow misses some
    assert_ends_when_closed(open_video(0))


def test_no_camera() -> None:
    for number in ("7", 7):
        with pytest.raises(VideoError, match="camera 7: can't be opened"):
            open_video(number)
    with pytest.raises(VideoError, match="no camera has this number"):
        open_video(-1)


Answer = Callable[[http.server.BaseHTTPRequestHandler, int], None]


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """A web server on this machine; answer(request, number of the request)."""
    count = iter(range(1000))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                answer(self, next(count))
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        web.daemon_threads = True
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{web.server_address[1]}"
        finally:
            web.shutdown()
            thread.join()


def send(request: http.server.BaseHTTPRequestHandler, data: bytes, *, length: bool) -> None:
    request.send_response(200)
    if length:
        request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


def test_a_file_on_a_web_server_is_not_live(tmp_path: Path) -> None:
    data = make_clip(tmp_path / "a.ts").read_bytes()
    with server(lambda request, _: send(request, data, length=True)) as address:
        source = open_video(f"{address}/a.ts?token=secret")
        assert not source.live
        assert "secret" not in source.name
        assert len(list(source)) == 25
    with server(lambda request, _: request.send_error(404)) as address, pytest.raises(VideoError, match="refuses"):
        open_video(f"{address}/gone.ts")


def test_a_stream_that_is_lost_goes_on(tmp_path: Path) -> None:
    data = make_clip(tmp_path / "a.ts", frames=50, options={"crf": "5", "g": "5"}).read_bytes()

    def answer(request: http.server.BaseHTTPRequestHandler, number: int) -> None:
        if number == 1:
            request.send_error(503)
        else:
            send(request, data[: len(data) // 2] if number == 0 else data, length=False)

    with server(answer) as address:
        source = open_video(f"{address}/live.ts", give_up_after_s=20)
        assert source.live
        frames = []
        for frame in source:
            frames.append(frame)
            if len(frames) == 60:
                break
        source.close()
    assert [f.number for f in frames] == list(range(60))
    steps = np.diff([f.time_s for f in frames])
    assert (steps > 0).all()
    gap = int(steps.argmax())
    assert 15 <= gap < 30  # in the middle of the first connection's clip
    assert steps[gap] > 1.0  # it took a second and two to come back
    assert is_scene(frames[gap + 1], 0)


def test_a_stream_that_stays_away_ends_with_an_error(tmp_path: Path) -> None:
    data = make_clip(tmp_path / "a.ts").read_bytes()

    def answer(request: http.server.BaseHTTPRequestHandler, number: int) -> None:
        send(request, data if number == 0 else b"", length=False)

    with server(answer) as address:
        source = open_video(f"{address}/live.ts", give_up_after_s=1.5)
        with pytest.raises(VideoError, match=r"lost after 25 frames .* not back within 1.5 s"):
            list(source)


def test_closing_ends_a_stream_that_stalls(tmp_path: Path) -> None:
    data = make_clip(tmp_path / "a.ts", frames=50).read_bytes()
    left = threading.Event()

    def answer(request: http.server.BaseHTTPRequestHandler, _: int) -> None:
        send(request, data, length=False)
        left.wait(20)

    with server(answer) as address:
        assert_ends_when_closed(open_video(f"{address}/live.ts", live=True))
        left.set()


def test_no_other_protocol_is_reached(tmp_path: Path) -> None:
    secret = make_clip(tmp_path / "secret.ts", frames=25)
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
    hostile = playlist.format(f"file://{secret}").encode()
    with server(lambda r, _: send(r, hostile, length=True)) as address, pytest.raises(VideoError):
        list(open_video(f"{address}/live.m3u8"))
    asked: list[int] = []
    with server(lambda r, _: (asked.append(1), send(r, secret.read_bytes(), length=True))[1]) as address:
        local = tmp_path / "local.m3u8"
        local.write_text(playlist.format(f"{address}/a.ts"))
        with pytest.raises(VideoError):
            list(open_video(local))
    assert not asked
    for source in ("ftp://127.0.0.1/a.ts", "file:///etc/passwd", "concat://x", "lavfi://testsrc"):
        with pytest.raises(VideoError, match=r"not supported; expected http://"):
            open_video(source)
    for name in (f"concat:{secret}", f"subfile,,start,0,end,0,,:{secret}", "pipe:0", "lavfi:testsrc"):
        with pytest.raises(VideoError, match="no such file"):
            open_video(name)


def test_passwords_are_not_shown() -> None:
    with pytest.raises(VideoError) as error:
        open_video("rtsp://me:hush@127.0.0.1:1/cam?key=hush")
    assert "rtsp://127.0.0.1:1/cam" in str(error.value)
    assert "hush" not in str(error.value)
