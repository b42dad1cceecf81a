"""The camera panel, in headless Chromium with the astronaut before its camera."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import pytest

pytest.importorskip("fastapi", reason="needs the extra [web]")
pytest.importorskip("playwright", reason="Playwright drives the browser")

from playwright.sync_api import Page, expect

from page_browser import downloaded

OpenPage = Callable[..., Page]


def test_the_camera_shows_faces_and_sends_a_frame_only_after_an_answer(port: int, open_page: OpenPage) -> None:
    page = open_page(port, "camera")
    page.evaluate(
        """() => {
          window.order = [];
          const { send } = WebSocket.prototype;
          WebSocket.prototype.send = function (data) {
            if (!order.length) this.addEventListener("message", () => order.push("answered"), { capture: true });
            order.push("sent");
            return send.call(this, data);
          };
        }"""
    )
    expect(page.locator("#camera-on")).to_be_hidden()
    page.click("#camera-start")
    expect(page.locator("#camera-on")).to_be_visible()
    assert page.title().startswith("●")
    expect(page.locator("#camera-faces li p")).to_contain_text(re.compile(r"Face 1: \w+ \d+ %"))
    expect(page.locator("#camera-faces canvas")).to_have_attribute("aria-label", re.compile("last 30 seconds: "))
    expect(page.locator("#camera-figures")).to_contain_text("frames/s")
    expect(page.locator("#camera-said")).to_contain_text("face 1")

    page.click("#camera-pause")
    expect(page.locator("#camera-on-text")).to_have_text("Camera on, paused")
    page.wait_for_timeout(500)
    order = page.evaluate("order")
    page.wait_for_timeout(700)
    assert page.evaluate("order.length") == len(order)  # nothing more was sent
    assert len(order) >= 6
    # While a frame is under way no other one is; the listener of the page may come before the one of this test.
    sent = [i for i, what in enumerate(order) if what == "sent"]
    assert all("answered" in order[a:b] for a, b in itertools.pairwise(sent)), order

    page.click("#camera-pause")
    expect(page.locator("#camera-state")).to_contain_text("Frames go")
    page.click("#camera-snapshot")
    expect(page.locator("#camera-shots img")).to_have_count(1)
    shot = cv2.imdecode(np.frombuffer(downloaded(page, "#camera-shots a"), np.uint8), cv2.IMREAD_COLOR)
    height_width = page.eval_on_selector("#camera-video", "video => [video.videoHeight, video.videoWidth]")
    assert list(shot.shape[:2]) == height_width

    page.click("#tab-images")
    assert page.eval_on_selector("#camera-video", "video => video.srcObject === null")
    assert page.title() == "mien"
    page.click("#tab-camera")
    expect(page.locator("#camera-state")).to_contain_text("switched off because you left")


def test_the_camera_stops_when_the_tab_is_hidden(port: int, open_page: OpenPage) -> None:
    page = open_page(port, "camera")
    page.click("#camera-start")
    expect(page.locator("#camera-faces li")).to_have_count(1)
    track = page.evaluate_handle("document.getElementById('camera-video').srcObject.getVideoTracks()[0]")
    page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { value: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    expect(page.locator("#camera-state")).to_contain_text("this tab was hidden")
    expect(page.locator("#camera-on")).to_be_hidden()
    assert track.evaluate("track => track.readyState") == "ended"


def test_without_a_camera_the_page_says_so(port: int, open_page: OpenPage) -> None:
    page = open_page(port, "camera")
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError'); } }"
    )
    page.click("#camera-start")
    expect(page.locator("#camera-state")).to_have_text("No camera was found.")


def test_faces_keep_their_numbers_from_frame_to_frame(stub_port: int, open_page: OpenPage) -> None:
    page = open_page(stub_port)
    found = page.evaluate(
        """async () => {
          const { Tracks } = await import("/tracks.js");
          const tracks = new Tracks();
          const face = (x, happy) => ({ box: [x, 0, x + 50, 60], probabilities: { happy, sad: 1 - happy } });
          const seen = [];
          for (let i = 0; i < 20; i += 1) {
            const faces = [face(10 + 5 * i, 1), face(300 - 5 * i, 0)];
            if (i === 5) faces.push(face(600, 1)); // a ghost
            if (i > 7 && i < 11) faces.shift(); // not found for a moment
            if (i % 2) faces.reverse();
            seen.push(tracks.follow(faces, i / 10).map((t) => [t.number, t.expression, Math.round(t.confidence)]));
          }
          for (let i = 0; i < 3; i += 1) tracks.follow([face(105, 1)], 5 + i / 10); // much later
          return { seen, numbers: tracks.numbered.map((t) => t.number) };
        }"""
    )
    assert sorted(found["seen"][4]) == sorted(found["seen"][19]) == [[1, "happy", 1], [2, "sad", 1]]
    assert found["seen"][9] == [[2, "sad", 1]]
    assert [0, "happy", 1] in found["seen"][5]
    assert found["numbers"] == [1, 2, 3]
