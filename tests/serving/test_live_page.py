"""The live page: who may look, what a browser gets, and what it does with it."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from mien.errors import OutputError
from mien.recognition.watch import StageSeconds, WatchStats
from mien.results import Box, Face, FrameResult, TrackedFace
from mien.results.details import Details, EyesOpen, Pose
from mien.serving import live
from mien.serving.live import LivePage
from page_browser import axe_findings

LABELS = ("happy", "sad", "neutral")
CHROMIUM = Path("/usr/bin/chromium")


def stats() -> WatchStats:
    return WatchStats(50, 47, 3, 47, 0, 2.0, 23.5, 0.041, 0.093, 3, StageSeconds())


DETAILS = Details(
    mesh=np.zeros((478, 3), np.float32), pose=Pose(3, -4, 5), eyes_open=EyesOpen(0.1, 0.2), mouth_open=0.5,
    blendshapes={"jawOpen": 0.5},
)  # fmt: skip


def frame(
    number: int,
    *,
    faces: int = 1,
    grey: int = 90,
    size_wh: tuple[int, int] = (160, 120),
    details: Details | None = None,
) -> FrameResult:
    shares = (0.5, 0.2, 0.3) if number % 2 else (0.1, 0.2, 0.7)
    smoothed = dict(zip(LABELS, shares, strict=True))
    best = LABELS[int(np.argmax(shares))]
    seen = tuple(
        TrackedFace(
            k + 1,
            Face(Box(60 * k, 20, 60 * k + 40, 70), 0.9, best, max(shares), smoothed, details=details),
            True,
            smoothed,
            best,
        )
        for k in range(faces)
    )
    width, height = size_wh
    return FrameResult(number, number / 25, width, height, seen, image=np.full((height, width, 3), grey, np.uint8))


@pytest.fixture
def page() -> Iterator[LivePage]:
    served = LivePage(LABELS, stats=stats, source="camera <0>", port=None)
    yield served
    served.close()


def ask(
    page: LivePage, method: str, path: str, headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    """A whole answer to a request below the token."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    connection.request(method, urlsplit(page.address).path + path, headers=headers or {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


class Viewer:
    """An open stream, read line by line."""

    def __init__(self, page: LivePage, path: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", page.port), timeout=10)
        request = f"GET {urlsplit(page.address).path}{path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        self._socket.sendall(request.encode())
        self.file = self._socket.makefile("rb")
        self.head = b"".join(iter(self.file.readline, b"\r\n")).decode()

    def jpeg(self) -> np.ndarray[Any, Any]:
        """The next image of the stream, grey."""
        head = b"".join(iter(self.file.readline, b"\r\n"))
        size = re.search(rb"Content-Length: (\d+)", head)
        assert size is not None
        image = cv2.imdecode(np.frombuffer(self.file.read(int(size[1])), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert self.file.readline() == b"\r\n"
        assert image is not None
        return image

    def event(self) -> tuple[str, Any]:
        """The next event: its name and its data."""
        name = "message"
        while line := self.file.readline().decode().rstrip("\n"):
            key, _, value = line.partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                self.file.readline()
                return name, json.loads(value)
            elif not key:
                self.file.readline()
        return "closed", None

    def close(self) -> None:
        self.file.close()
        self._socket.close()


def test_the_page_and_its_files_carry_their_policy_and_nothing_else_is_served(page: LivePage) -> None:
    for path, kind in (
        ("", "text/html"),
        ("design/tokens.css", "text/css"),
        ("watch.js", "text/javascript"),
        ("design/timeline.js", "text/javascript"),
    ):
        answer, body = ask(page, "GET", path)
        assert answer.status == 200
        assert (answer.getheader("Content-Type") or "").startswith(kind)
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("Cache-Control") == "no-store"
        policy = answer.getheader("Content-Security-Policy") or ""
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert b"http://" not in body
        assert b"https://" not in body
    html = ask(page, "GET", "")[1].decode()
    assert not re.search(r"<script(?![^>]* src=)|\son\w+=|<style|\sstyle=", html), "the policy forbids what is inline"
    for path in (
        "live.html",
        "design/../watch.js",
        "design/LICENSE.uplot",
        "../app.css",
        "%2e%2e/live.py",
        "static/app.css",
        "app.js",
        "snapshot",
        "__init__.py",
        "/",
    ):
        assert ask(page, "GET", path)[0].status == 404, path
    for method in ("PUT", "DELETE", "OPTIONS", "BREW"):
        answer, _ = ask(page, method, "")
        assert answer.status == 501
        assert answer.getheader("Content-Security-Policy")


def test_without_the_token_or_under_a_foreign_name_there_is_nothing(page: LivePage) -> None:
    page.write(frame(1))
    token = urlsplit(page.address).path.strip("/")
    assert len(token) >= 20
    for path in ("/", f"/{token}", f"/{token[:-1]}x/", f"/x{token}/", "//", "/\xff/", f"/{token}/{token}/"):
        with socket.create_connection(("127.0.0.1", page.port), timeout=10) as plain:
            plain.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("latin-1"))
            assert b" 404 " in plain.makefile("rb").readline(), path
    for host, status in (
        (f"localhost:{page.port}", 200), ("LOCALHOST:9000", 200), ("127.0.0.1", 200), ("[::1]:80", 200),
        ("evil.example", 404), (f"evil.example:{page.port}", 404), ("127.0.0.1.evil.example", 404),
        ("127.0.0.1@evil", 404), ("localhost:80:80", 404), ("localhost\u0661", 404), ("", 404),
    ):  # fmt: skip
        for method, path in (("GET", ""), ("POST", "snapshot")):
            answer, _ = ask(page, method, path, {"Host": host.encode("utf-8").decode("latin-1")})
            assert answer.status == status, host
    for origin, status in (("http://localhost:9000", 200), ("http://evil.example", 404), ("null", 404)):
        answer, _ = ask(page, "POST", "snapshot", {"Host": "localhost:9000", "Origin": origin})
        assert answer.status == status, origin


def test_it_listens_on_one_address_alone(page: LivePage) -> None:
    assert page.address.startswith(f"http://127.0.0.1:{page.port}/")
    with pytest.raises(OSError, match=r".*"):  # a server on all addresses would answer on this one, too
        socket.create_connection(("127.0.0.2", page.port), timeout=2).close()


def test_a_port_that_is_taken(page: LivePage) -> None:
    with pytest.raises(OutputError, match=f"port {page.port}: can't be used"):
        LivePage(LABELS, stats=stats, port=page.port)
    other = LivePage(LABELS, stats=stats)  # any free one, where none was asked for
    assert other.port != page.port
    other.close()
    other.close()


def test_each_viewer_gets_the_newest_frame_and_none_waits_for_another(page: LivePage) -> None:
    slow, quick = Viewer(page, "stream.mjpeg"), Viewer(page, "stream.mjpeg?7")
    assert "multipart/x-mixed-replace" in slow.head
    for viewer in (slow, quick):
        assert viewer.file.readline().startswith(b"--")
    for number, grey in ((1, 20), (2, 220)):
        page.write(frame(number, grey=grey, size_wh=(2560, 1440)))
        image = quick.jpeg()
        assert quick.file.readline().startswith(b"--")
        assert image.shape == (720, 1280)  # a stream is shrunk, a snapshot is not
        assert abs(int(image.mean()) - grey) < 3
    for number in range(3, 200):  # the slow one has read nothing yet
        page.write(frame(number, grey=number))
    seen = []
    while not seen or abs(seen[-1] - 199) > 2:
        seen.append(int(slow.jpeg().mean()))
        slow.file.readline()
    assert len(seen) < 100
    slow.close()
    quick.close()


def test_a_viewer_that_is_gone_is_let_go_and_too_many_are_refused(
    page: LivePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_MAX_VIEWERS", 2)
    monkeypatch.setattr(live, "_KEEP_ALIVE_S", 0.05)
    page.write(frame(1))
    first, second = Viewer(page, "stream.mjpeg"), Viewer(page, "events")
    third = Viewer(page, "events")
    assert " 503 " in third.head
    for viewer in (first, second, third):
        viewer.close()
    deadline = time.monotonic() + 10
    while " 200 " not in (viewer := Viewer(page, "events")).head:
        viewer.close()
        assert time.monotonic() < deadline, "the places of those who went are still taken"
    viewer.close()


def test_events_tell_labels_then_frames_then_the_end(page: LivePage) -> None:
    viewer = Viewer(page, "events")
    name, about = viewer.event()
    assert (name, about["source"]) == ("about", "camera <0>")
    assert about["labels"] == list(LABELS)
    page.write(frame(1, faces=2))
    name, message = viewer.event()
    assert name == "message"
    assert (message["frame"], message["time_s"], message["fps"], message["dropped"]) == (1, 0.04, 23.5, 3)
    assert (message["latency_p50_s"], message["latency_p95_s"]) == (0.041, 0.093)
    assert [face["track"] for face in message["faces"]] == [1, 2]
    assert message["faces"][0]["smoothed"] == {"happy": 0.5, "sad": 0.2, "neutral": 0.3}
    page.close()
    assert viewer.event() == ("ended", {})
    viewer.close()


def test_events_are_few_however_many_frames_there_are(page: LivePage) -> None:
    viewer = Viewer(page, "events")
    stop = threading.Event()

    def feed() -> None:
        number = 0
        while not stop.wait(0.002):
            number += 1
            page.write(frame(number))

    feeder = threading.Thread(target=feed)
    feeder.start()
    viewer.event()
    times = []
    for _ in range(6):
        viewer.event()
        times.append(time.monotonic())
    stop.set()
    feeder.join()
    viewer.close()
    assert times[-1] - times[0] > 0.4


def test_a_snapshot_is_one_frame_with_its_rows_at_full_size(page: LivePage) -> None:
    assert ask(page, "POST", "snapshot")[0].status == 503  # no frame yet
    shown = frame(7, faces=2, grey=140, size_wh=(1921, 1081))
    page.write(shown)
    answer, body = ask(page, "POST", "snapshot")
    document = json.loads(body)
    assert answer.getheader("Content-Type") == "application/json"
    assert document["name"] == "frame-000007"
    assert document["frame"] == shown.to_dict()
    image = cv2.imdecode(np.frombuffer(base64.b64decode(document["jpeg"]), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (1081, 1921, 3)
    assert abs(int(image.mean()) - 140) < 3


def test_closing_leaves_no_thread_and_no_port(page: LivePage) -> None:
    viewer = Viewer(page, "stream.mjpeg")
    page.write(frame(1))
    page.close()
    viewer.file.read()  # to its end: the viewer was let go
    viewer.close()
    with pytest.raises(OSError, match=r".*"):
        socket.create_connection(("127.0.0.1", page.port), timeout=2)
    assert not [thread for thread in threading.enumerate() if thread.name == "mien-live"]


@pytest.fixture
def feed(page: LivePage) -> Iterator[threading.Event]:
    """Frames at 25 a second, until the event is set."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.04):
            number += 1
            page.write(frame(number, faces=2, details=DETAILS))

    feeder = threading.Thread(target=write)
    feeder.start()
    yield stop
    stop.set()
    feeder.join()


def expect(locator: Any) -> Any:
    """What Playwright waits for. Waiting until JavaScript is true would need eval, which the page forbids itself."""
    from playwright.sync_api import expect as expected

    return expected(locator)


def says(tab: Any, selector: str, text: str) -> None:
    """Waits until the text of an element begins so."""
    expect(tab.locator(selector)).to_have_text(re.compile(f"^{re.escape(text)}"))


def look(tab: Any) -> None:
    expect(tab.locator(".face")).to_have_count(2)
    expect(tab.locator("#image")).to_have_js_property("naturalWidth", 160)
    assert tab.inner_text("#source") == "camera <0>"
    assert tab.inner_text(".figures") == "23.5 frames/s · latency 41 / 93 ms · 3 dropped"
    assert tab.locator(".face").first.locator(".bars li:visible").count() == 3
    says(tab, ".face >> nth=0 >> .details", "Head: yaw 3°, pitch -4°, roll 5°. Eyes closed.")
    expect(tab.locator(".timeline").first).to_have_attribute("aria-label", re.compile("^Face 1, last 30 seconds: "))
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


def open_by_keyboard(tab: Any) -> None:
    tab.locator(".face .head").nth(1).focus()
    tab.keyboard.press("Enter")
    expect(tab.locator(".face").nth(1)).to_have_class(re.compile("open"))
    ink = "document.querySelector('.timeline canvas').getContext('2d').getImageData(0, 0, 300, 200).data.some(Boolean)"
    assert tab.evaluate(ink)
    tab.evaluate("document.activeElement.blur()")


def pause_and_save(tab: Any) -> None:
    tab.keyboard.press("Space")
    tab.wait_for_selector(".stage.still")
    said = tab.inner_text(".state")
    assert said.startswith("Paused at ")
    tab.wait_for_timeout(300)
    assert tab.inner_text(".state") == said
    tab.keyboard.press("s")
    with tab.expect_download() as image:
        tab.get_by_role("link", name="image").click()
    assert Path(image.value.path()).read_bytes()[:2] == b"\xff\xd8"
    with tab.expect_download() as rows:
        tab.get_by_role("link", name="rows").click()
    saved = json.loads(Path(rows.value.path()).read_text("utf-8"))
    assert f"Paused at {saved['time_s']:.1f} s." == said
    assert rows.value.suggested_filename == f"frame-{saved['frame']:06d}.json"
    tab.get_by_role("button", name="Resume").click()
    expect(tab.locator(".state")).to_have_text("")


@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is absent")
def test_in_a_browser(page: LivePage, feed: threading.Event) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
    complaints: list[str] = []
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        tab = browser.new_page(viewport={"width": 360, "height": 740})
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(page.address, wait_until="domcontentloaded")
        look(tab)
        open_by_keyboard(tab)
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            assert axe_findings(tab) == []
        pause_and_save(tab)
        feed.set()
        page.close()
        says(tab, ".state", "The source has ended.")
        expect(tab.locator(".face .name")).to_have_text(["out of sight", "out of sight"])
        browser.close()
    assert [text for text in complaints if "ERR_" not in text] == []  # the stream is cut off when the page closes
