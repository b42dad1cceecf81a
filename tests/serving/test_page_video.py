"""The panel of videos, in headless Chromium."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra [web]")
pytest.importorskip("playwright", reason="Playwright drives the browser")

from playwright.sync_api import Page, expect

from conftest import NANO
from made_server import ask, serving, until
from mien.media.timeline_summary import clock
from page_browser import downloaded, pixels
from page_stub import Stub
from places import SHARED

OpenPage = Callable[..., Page]


NOW = "document.getElementById('video-player').currentTime"


def test_a_video_becomes_a_player_over_timelines(stub: Stub, stub_port: int, open_page: OpenPage, clip: Path) -> None:
    stub.video = clip.read_bytes()
    stub.states = [
        {"state": "queued", "progress": 0},
        {"state": "running", "progress": None},
    ]
    page = open_page(stub_port, "video")
    page.set_input_files("#video-file", clip)
    expect(page.locator("#video-step")).to_have_text("Detecting faces")
    stub.states.append({"state": "running", "progress": 0.4, "seconds_left": 3.2, "latest": stub.frames["frames"][15]})
    expect(page.locator("#video-step")).to_have_text("Detecting faces 40 %, about 4 s left")
    expect(page.locator("#video-stage")).to_be_visible()  # a preview
    assert page.evaluate(NOW) == pytest.approx(1.5, abs=0.05)
    stub.states.append(stub.done())
    sliders = page.get_by_role("slider", name=re.compile("Time, face"))
    expect(sliders).to_have_count(2)
    expect(page.locator("#video .details")).to_have_text(["In view 0:02.0: happy 100 %.", "In view 0:01.0: sad 100 %."])
    assert page.url.endswith("#video=job-1")
    expect(page.locator("#video-player")).to_have_js_property("readyState", 4)
    with_boxes = pixels(page, "#video-overlay")
    page.uncheck("#video-boxes")
    without = pixels(page, "#video-overlay")
    assert without != with_boxes
    page.check("#video-hide")
    assert pixels(page, "#video-overlay") != without

    areas = page.locator("#video .timeline .u-over")
    width = areas.first.bounding_box()["width"]  # type: ignore[index]
    areas.first.hover(position={"x": 0.8 * width, "y": 40})
    expect(page.locator("#video .tip").first).to_have_text(re.compile(r"0:01\.6happy 70 %"))
    expect(page.locator("#video .face").nth(1)).to_contain_text("sad70 %")  # bars at the pointer
    areas.first.click(position={"x": width / 5, "y": 40})
    assert page.evaluate(NOW) == pytest.approx(0.4, abs=0.05)
    expect(page.locator("#video .face").nth(1)).to_contain_text("not in view at 0:00.4")
    page.locator("#video .timeline").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(NOW) == pytest.approx(1.4, abs=0.05)
    expect(sliders.first).to_have_attribute("aria-valuetext", "1.4 of 2.0 seconds")
    page.keyboard.press("Home")
    assert page.evaluate(NOW) == 0

    assert downloaded(page, "#video-csv") == b"csv"
    assert json.loads(downloaded(page, "#video-json")) == stub.frames
    # The drawn video shows the faces that the page hides.
    expect(page.locator("#video-mp4")).to_be_disabled()
    expect(page.locator("#video-mp4-why")).to_be_visible()
    expect(page.locator("#video .thumb").first).to_be_hidden()
    expect(page.locator("#video-player")).to_have_attribute("controlslist", "nodownload nofullscreen")
    page.uncheck("#video-hide")
    expect(page.locator("#video-mp4-why")).to_be_hidden()
    assert downloaded(page, "#video-mp4") == stub.video
    assert cv2.imdecode(np.frombuffer(downloaded(page, "#video-png"), np.uint8), cv2.IMREAD_COLOR).shape[0] > 300
    page.click("#video-remove")
    expect(page.locator("#video-result")).to_be_hidden()
    expect(page.locator("#video-state")).to_contain_text("removed from the server")
    until(lambda: stub.asked[-1] == "DELETE /v1/videos/job-1")
    assert page.url.endswith("#video")


def test_a_reload_shows_the_job_again(stub: Stub, stub_port: int, open_page: OpenPage, clip: Path) -> None:
    stub.video = clip.read_bytes()
    stub.states = [{"state": "running", "progress": 0.1}]
    page = open_page(stub_port, "video")
    page.set_input_files("#video-file", clip)
    expect(page.locator("#video-step")).to_contain_text("10 %")
    page.reload()
    expect(page.locator("#video-step")).to_contain_text("10 %")
    stub.states = [stub.done()]
    expect(page.locator("#video .timeline")).to_have_count(2)
    page.reload()
    expect(page.locator("#video .timeline")).to_have_count(2)
    expect(page.locator("#video-player")).to_have_js_property("readyState", 4)
    assert [what for what in stub.asked if what.startswith(("POST", "DELETE"))] == ["POST /v1/videos"]


def test_a_video_can_be_cancelled_and_one_that_fails_says_why(
    stub: Stub, stub_port: int, open_page: OpenPage, clip: Path
) -> None:
    stub.states = [{"state": "running", "progress": 0.1}]
    page = open_page(stub_port, "video")
    page.set_input_files("#video-file", clip)
    expect(page.locator("#video-step")).to_contain_text("10 %")
    page.click("#video-cancel")
    expect(page.locator("#video-state")).to_contain_text("Cancelled")
    expect(page.locator("#video-drop")).to_be_visible()
    assert "DELETE /v1/videos/job-1" in stub.asked
    stub.states = [{"state": "failed", "progress": 0, "error": "The file has no video in it."}]
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
    expect(page.locator("#video .details")).to_have_text([re.compile(": happy")], timeout=60_000)
    expect(page.locator("#video-player")).to_have_js_property("readyState", 4)
    assert page.eval_on_selector("#video-player", "video => video.duration") == pytest.approx(2, abs=0.1)
    page.locator("#video .timeline").press("ArrowRight")
    assert page.eval_on_selector("#video-player", "video => video.currentTime") == pytest.approx(1, abs=0.05)
    assert len(downloaded(page, "#video-csv").decode().splitlines()) == 31
    assert downloaded(page, "#video-mp4")[4:8] == b"ftyp"
    page.reload()
    expect(page.locator("#video .timeline")).to_have_count(1)
    expect(page.locator("#video-player")).to_have_js_property("readyState", 4)
    page.click("#video-remove")
    expect(page.locator("#video-state")).to_contain_text("removed from the server")
    page.set_input_files("#video-file", {"name": "no.mp4", "mimeType": "video/mp4", "buffer": b"no video"})
    expect(page.locator("#video-state")).to_contain_text("This is not a video")


def test_its_figures_are_those_of_the_command_line(port: int, open_page: OpenPage, tmp_path: Path) -> None:
    clip = SHARED / "media" / "short-one-face.mp4"
    if not clip.is_file() or not ask(port, "GET", "/v1/models").json["videos"]:
        pytest.skip("the clip or PyAV is absent")
    command = [sys.executable, "-m", "mien", "watch", str(clip), "-m", str(NANO), "--format", "json"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=300)
    wanted = json.loads(done.stdout)["tracks"]
    page = open_page(port, "video")
    page.set_input_files("#video-file", clip)
    expect(page.locator("#video .timeline")).to_have_count(len(wanted), timeout=120_000)
    for note, track in zip(page.locator("#video .details").all_inner_texts(), wanted, strict=True):
        shares = ", ".join(f"{one['expression']} {round(100 * one['share'])} %" for one in track["expressions"])
        assert note.startswith(f"In view {clock(track['seconds'], tenths=True)}: {shares}.")
    frames = json.loads(downloaded(page, "#video-json"))["frames"]
    (face,) = frames[0]["faces"]
    page.locator("#video .timeline").press("Home")
    share = round(100 * face["smoothed"][face["smoothed_expression"]])
    expect(page.locator("#video .face .head")).to_contain_text(f"{face['smoothed_expression']}{share} %")


def test_a_server_without_videos_says_so(open_page: OpenPage) -> None:
    with serving(NANO, videos=False) as port:
        page = open_page(port, "video")
        expect(page.locator("#video-not-offered")).to_be_visible()
    expect(page.locator("#video-offered")).to_be_hidden()
