"""The panel of videos, in headless Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra [web]")
pytest.importorskip("playwright", reason="Playwright drives the browser")

from playwright.sync_api import Page, expect

from made_server import serving
from page_browser import downloaded
from page_stub import Stub

OpenPage = Callable[..., Page]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    pytest.importorskip("av", reason="PyAV is not installed")
    from made_video import make_clip

    return make_clip(tmp_path / "clip.mp4", frames=50)


def test_a_video_becomes_a_player_over_a_timeline(stub: Stub, stub_port: int, open_page: OpenPage, clip: Path) -> None:
    stub.video = clip.read_bytes()
    stub.states = [
        {"state": "queued", "progress": 0},
        {"state": "running", "progress": None},
        {"state": "running", "progress": 0.4},
        {"state": "done", "progress": 1},
    ]
    page = open_page(stub_port, "video")
    page.set_input_files("#video-file", clip)
    expect(page.locator("#video-step")).to_have_text("Detecting faces")
    expect(page.locator("#video-step")).to_have_text("Detecting faces 40 %")
    sliders = page.get_by_role("slider", name=re.compile("Time, face"))
    expect(sliders).to_have_count(2)
    expect(page.locator(".track p")).to_have_text(["Face 1: happy 100 %", "Face 2: sad 100 %"])
    expect(page.locator("#video-player")).to_have_js_property("readyState", 4)
    now = "document.getElementById('video-player').currentTime"

    width = page.locator(".track canvas").first.bounding_box()["width"]  # type: ignore[index]
    page.locator(".track canvas").first.click(position={"x": width / 4, "y": 20})
    assert page.evaluate(now) == pytest.approx(0.5, abs=0.05)
    page.keyboard.press("ArrowRight")
    assert page.evaluate(now) == pytest.approx(1.5, abs=0.05)
    expect(sliders.first).to_have_attribute("aria-valuetext", "1.5 of 2.0 seconds")
    page.keyboard.press("Home")
    assert page.evaluate(now) == 0

    page.locator("#unsure").fill("75")
    expect(page.locator(".track p")).to_have_text(["Face 1: unsure 100 %", "Face 2: unsure 100 %"])
    assert downloaded(page, "#video-csv").decode() == stub.timeline
    assert downloaded(page, "#video-mp4") == stub.video
    page.click("#video-remove")
    expect(page.locator("#video-result")).to_be_hidden()
    expect(page.locator("#video-state")).to_contain_text("removed from the server")
    assert stub.asked[-1] == "DELETE /v1/videos/job-1"


def test_a_video_can_be_cancelled(stub: Stub, stub_port: int, open_page: OpenPage, clip: Path) -> None:
    stub.states = [{"state": "running", "progress": 0.1}]
    page = open_page(stub_port, "video")
    page.set_input_files("#video-file", clip)
    expect(page.locator("#video-step")).to_contain_text("10 %")
    page.click("#video-cancel")
    expect(page.locator("#video-state")).to_contain_text("Cancelled")
    expect(page.locator("#video-drop")).to_be_visible()
    assert "DELETE /v1/videos/job-1" in stub.asked


def test_a_video_that_fails_says_why(stub: Stub, stub_port: int, open_page: OpenPage, clip: Path) -> None:
    stub.states = [{"state": "failed", "progress": 0, "error": "The file has no video in it."}]
    page = open_page(stub_port, "video")
    page.set_input_files("#video-file", clip)
    expect(page.locator("#video-state")).to_have_text("The file has no video in it.")


def test_a_video_from_upload_to_removal_on_the_real_server(port: int, open_page: OpenPage, tmp_path: Path) -> None:
    if not ask(port, "GET", "/v1/models").json["videos"]:
        pytest.skip("PyAV is not installed")
    from made_video import astronaut_clip

    page = open_page(port, "video")
    page.set_default_timeout(60_000)
    page.set_input_files("#video-file", astronaut_clip(tmp_path / "clip.mp4"))
    expect(page.locator("#video-work")).to_be_visible()
    expect(page.locator(".track p")).to_have_text([re.compile("Face 1: happy")], timeout=60_000)
    expect(page.locator("#video-player")).to_have_js_property("readyState", 4)
    assert page.eval_on_selector("#video-player", "video => video.duration") == pytest.approx(2, abs=0.1)
    page.locator(".track canvas").press("ArrowRight")
    assert page.eval_on_selector("#video-player", "video => video.currentTime") == pytest.approx(1, abs=0.05)
    assert len(downloaded(page, "#video-csv").decode().splitlines()) == 31
    assert downloaded(page, "#video-mp4")[4:8] == b"ftyp"
    page.click("#video-remove")
    expect(page.locator("#video-state")).to_contain_text("removed from the server")
    page.set_input_files("#video-file", {"name": "no.mp4", "mimeType": "video/mp4", "buffer": b"no video"})
    expect(page.locator("#video-state")).to_contain_text("This is not a video")


def test_a_server_without_videos_says_so(open_page: OpenPage) -> None:
    with serving(NANO, videos=False) as port:
        page = open_page(port, "video")
        expect(page.locator("#video-not-offered")).to_be_visible()
    expect(page.locator("#video-offered")).to_be_hidden()
