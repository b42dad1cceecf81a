"""The camera panel, in headless Chromium with the astronaut before its camera."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra [web]")
pytest.importorskip("playwright", reason="Playwright drives the browser")

from playwright.sync_api import Page, expect

from conftest import NANO
from made_server import serving
from page_browser import axe_findings, downloaded, pixels

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
    expect(page.locator("#camera .on-air")).to_be_hidden()
    page.click("text=Start the camera")
    expect(page.locator("#camera .on-air")).to_be_visible()
    assert page.title().startswith("●")
    expect(page.locator("#camera .face .head")).to_contain_text(re.compile(r"1\w+99 %"))
    expect(page.locator("#camera .timeline")).to_have_attribute("aria-label", re.compile("last 30 seconds: "))
    expect(page.locator("#camera .figures")).to_contain_text("frames/s")
    expect(page.locator("#camera [aria-live=polite]")).to_contain_text("face 1")

    assert page.evaluate("document.activeElement === document.body")  # the keys are those of the view
    page.keyboard.press("Space")
    expect(page.locator("#camera .on-air")).to_have_text("Camera on, paused")
    expect(page.locator("#camera .state")).to_contain_text("Paused")
    order = page.evaluate("order")
    page.wait_for_timeout(300)  # more than four frames take
    assert page.evaluate("order.length") == len(order)  # nothing more was sent
    assert len(order) >= 6
    # While a frame is under way no other one is; the listener of the page may come before the one of this test.
    sent = [i for i, what in enumerate(order) if what == "sent"]
    assert all("answered" in order[a:b] for a, b in itertools.pairwise(sent)), order

    assert [found for found in axe_findings(page) if "video-caption" not in found[0]] == []
    page.click("#camera [aria-keyshortcuts=Space]")
    expect(page.locator("#camera .state")).to_contain_text("Frames go")
    page.keyboard.press("s")
    expect(page.locator("#camera .shots img")).to_have_count(1)
    shot = cv2.imdecode(np.frombuffer(downloaded(page, "#camera .shots a"), np.uint8), cv2.IMREAD_COLOR)
    height_width = page.eval_on_selector("#camera-video", "video => [video.videoHeight, video.videoWidth]")
    assert list(shot.shape[:2]) == height_width

    page.click("#tab-images")
    assert page.eval_on_selector("#camera-video", "video => video.srcObject === null")
    assert page.title() == "mien"
    page.click("#tab-camera")
    expect(page.locator("#camera .state")).to_contain_text("switched off because you left")


def test_the_camera_may_be_missing_and_stops_when_the_tab_is_hidden(port: int, open_page: OpenPage) -> None:
    page = open_page(port, "camera")
    page.evaluate(
        """() => {
          const missing = async () => { throw new DOMException("", "NotFoundError"); };
          Object.defineProperty(navigator.mediaDevices, "getUserMedia", { value: missing, configurable: true });
        }"""
    )
    page.click("text=Start the camera")
    expect(page.locator("#camera .state")).to_have_text("No camera was found.")
    page.evaluate("delete navigator.mediaDevices.getUserMedia")
    page.click("text=Start the camera")
    expect(page.locator("#camera .face")).to_have_count(1)
    track = page.evaluate_handle("document.getElementById('camera-video').srcObject.getVideoTracks()[0]")
    page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { value: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    expect(page.locator("#camera .state")).to_contain_text("this tab was hidden")
    expect(page.locator("#camera .on-air")).to_be_hidden()
    assert track.evaluate("track => track.readyState") == "ended"


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
          return { seen, number: tracks.follow([face(105, 1)], 5.3)[0].number };
        }"""
    )
    assert sorted(found["seen"][4]) == sorted(found["seen"][19]) == [[1, "happy", 1], [2, "sad", 1]]
    assert found["seen"][9] == [[2, "sad", 1]]
    assert [0, "happy", 1] in found["seen"][5]
    assert found["number"] == 3


def test_a_lost_server_is_said_and_leaves_no_face(open_page: OpenPage) -> None:
    with serving(NANO, detectors=("auto",)) as port:
        page = open_page(port, "camera", width=390, height=844)
        expect(page.locator("#camera .hint")).to_have_text("Start the camera to see faces here.")
        page.click("text=Start the camera")
        expect(page.locator("#camera .face .head")).to_contain_text("happy")
        page.locator("#camera-video").scroll_into_view_if_needed()
        drawn = pixels(page, "#camera .overlay")
        # Seconds between the attempts pass in tenths.
        page.evaluate("() => { window.setTimeout = ((wait) => (then, time) => wait(then, time / 10))(setTimeout); }")
    expect(page.locator("#camera .state")).to_contain_text("connection was lost")
    expect(page.locator("#camera .face .name")).to_have_text("out of sight")
    assert pixels(page, "#camera .overlay") != drawn
    ink = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean)"
    assert not page.eval_on_selector("#camera .overlay", ink)
    expect(page.locator("#camera .state")).to_contain_text("does not respond", timeout=30_000)
    expect(page.locator("#camera .on-air")).to_be_hidden()
