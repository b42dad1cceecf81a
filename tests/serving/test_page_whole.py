"""The page as a whole: tokens, keyboard, screen sizes, themes, accessibility, size."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra [web]")
pytest.importorskip("playwright", reason="Playwright drives the browser")

from playwright.sync_api import Page, expect

from conftest import TOKEN
from made_server import until
from mien.labels import EXPRESSIONS, color_rgb
from page_browser import DROP, axe_findings, image_file
from page_stub import Stub
from places import ASTRONAUT

OpenPage = Callable[..., Page]


def test_a_token_is_asked_for_and_kept_in_memory_only(token_port: int, open_page: OpenPage) -> None:
    page = open_page(token_port, "camera", ready=False)
    expect(page.locator("#token-dialog")).to_be_visible()
    page.keyboard.type("wrong-token-0123456789")
    page.keyboard.press("Enter")
    expect(page.locator("#token-why")).to_contain_text("not accepted")
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#limits")).to_contain_text("MB")
    page.click("text=Start the camera")
    expect(page.locator("#camera .face")).to_have_count(1)
    kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
    assert "right-token" not in kept
    page.evaluate("location.reload()")
    expect(page.locator("#token-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#server-state")).to_contain_text("token")
    expect(page.locator("#server-retry")).to_be_visible()


def test_the_first_load_is_small_and_the_first_image_is_answered_in_view(port: int, open_page: OpenPage) -> None:
    for width, height in ((1280, 800), (390, 844)):
        page = open_page(port, width=width, height=height)
        kinds = "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
        sizes = page.evaluate(f"{kinds}.map((one) => one.encodedBodySize)")
        assert sum(sizes) < 100_000  # on the wire, compressed
        assert len(sizes) < 32
        expect(page.locator("#device-choice")).to_be_hidden()  # the server has no exported folder
        expect(page.locator("label", has=page.locator("#model"))).to_be_hidden()  # there is one model
        expect(page.locator(".with-keys")).to_be_visible(visible=width > 500)
        page.click("#sample-image")
        expect(page.locator(".face .name")).to_have_text("happy")
        expect(page.locator(".face .number")).to_have_text("1")
        assert page.evaluate("scrollY") == 0
        for selector in ("canvas.image", ".face .head", ".face .bars li:visible >> nth=0"):
            box = page.locator(selector).first.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= height, selector
        assert page.locator("#notice").bounding_box()["height"] < 60  # type: ignore[index]


def test_files_dropped_anywhere_go_to_the_panel_of_their_kind(stub: Stub, stub_port: int, open_page: OpenPage) -> None:
    stub.states = [{"state": "running", "progress": 0.1}]
    page = open_page(stub_port, "camera")
    data = base64.b64encode(image_file("x")["buffer"]).decode()
    assert page.evaluate(DROP, ["footer", [["a.png", "image/png", data], ["b.png", "image/png", data]]])
    expect(page.locator("#images")).to_be_visible()
    expect(page.locator(".entry .title")).to_have_text(["a.png", "b.png"])
    assert page.evaluate(DROP, [".notice", [["film.mkv", "", data]]])
    expect(page.locator("#video")).to_be_visible()
    expect(page.locator("#video-step")).to_contain_text("10 %")
    assert page.evaluate(DROP, ["#panels", [["second.mp4", "video/mp4", data]]])
    expect(page.locator("#video-state")).to_contain_text("second.mp4 was not added")
    assert page.evaluate(DROP, ["body", []])  # a text
    assert page.url.startswith(f"http://127.0.0.1:{stub_port}/")


def test_leaving_asks_first_where_work_would_be_lost(
    stub: Stub, stub_port: int, open_page: OpenPage, clip: Path
) -> None:
    stub.busy = 10**6
    page = open_page(stub_port)
    asks = "!dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert not page.evaluate(asks)
    page.set_input_files("#files", [image_file("a.png")])
    assert page.evaluate(asks)
    stub.busy = 0
    expect(page.locator(".face")).to_have_count(2)
    assert not page.evaluate(asks)

    stub.uploads.clear()  # an upload is received, and not answered
    stub.states = [{"state": "running", "progress": 0.1}]
    page.set_input_files("#video-file", clip)
    until(lambda: "POST /v1/videos" in stub.asked)
    assert page.evaluate(asks)
    stub.uploads.set()
    until(lambda: "GET /v1/videos/job-1" in stub.asked)
    assert not page.evaluate(asks)  # the job goes on, and its address shows it again
    assert page.url.endswith("#video=job-1")


HOSTILE = """a'b"c;d $(touch x) <img src=x onerror=alert(1)>,=cmd.png"""


def test_the_code_is_what_was_done(token_port: int, open_page: OpenPage, tmp_path: Path) -> None:
    """Each language's request, run as it is shown, brings what the page shows; also with a hostile name and a token."""
    (tmp_path / HOSTILE).write_bytes(ASTRONAUT.read_bytes())
    page = open_page(token_port, ready=False)
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#limits")).to_contain_text("MB")
    page.set_input_files("#files", tmp_path / HOSTILE)
    expect(page.locator(".face .name")).to_have_text("happy")
    expect(page.locator(".entry .title")).to_have_text(HOSTILE)
    page.click("#image-code")
    curl, python, script = page.locator("#code-list pre").all_inner_texts()
    assert "right-token" not in curl + python + script
    environment = {**os.environ, "MIEN_TOKEN": TOKEN}

    def run(*command: str) -> str:
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    if shutil.which("curl"):
        (image,) = json.loads(run("bash", "-c", curl))["images"]
        assert image["faces"][0]["expression"] == "happy"
    assert "happy" in run(sys.executable, "-c", python)
    assert [path.name for path in tmp_path.iterdir()] == [HOSTILE]
    assert "Bearer ${MIEN_TOKEN}" in script


def test_the_page_of_the_api_lists_and_sends(token_port: int, open_page: OpenPage) -> None:
    page = open_page(token_port, ready=False)
    page.goto(f"http://127.0.0.1:{token_port}/api.html")
    predict = page.locator(".operation", has_text="/v1/predict").first
    predict.locator("summary").first.click()
    predict.locator("input[type=file]").set_input_files(ASTRONAUT)
    predict.locator("button").click()
    expect(predict.locator(".output")).to_contain_text("401")
    page.fill("#token", TOKEN)
    predict.locator("button").click()
    expect(predict.locator(".output")).to_contain_text('"expression": "happy"')
    assert axe_findings(page) == []


def test_axe_finds_nothing(stub: Stub, stub_port: int, open_page: OpenPage, clip: Path) -> None:
    stub.video = clip.read_bytes()
    stub.states = [stub.done()]
    page = open_page(stub_port)

    def check(where: str) -> None:
        for scheme, options in (("dark", {"runOnly": ["color-contrast"]}), ("light", {})):  # only colours change
            page.emulate_media(color_scheme=scheme)
            page.evaluate("document.getAnimations().forEach((one) => one.finish())")
            assert axe_findings(page, **options) == [], (where, scheme)

    check("empty")
    page.click("#settings")
    check("settings")
    page.keyboard.press("Escape")
    page.set_input_files("#files", [image_file("a.png")])
    expect(page.locator(".face")).to_have_count(2)
    check("images")
    page.click("#image-code")
    check("code")
    page.keyboard.press("Escape")
    page.click("#tab-camera")
    check("camera")
    page.click("#tab-video")
    page.set_input_files("#video-file", clip)
    expect(page.locator("#video .timeline")).to_have_count(2)
    check("video")
    page.evaluate("document.getElementById('token-dialog').showModal()")
    check("token")


def test_everything_works_from_the_keyboard(stub_port: int, open_page: OpenPage) -> None:
    page = open_page(stub_port)
    page.on("filechooser", lambda chooser: chooser.set_files([image_file("keys.png")]))
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#tab-images")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#camera")).to_be_visible()
    page.keyboard.press("End")
    expect(page.locator("#video")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#images")).to_be_visible()
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        if seen[-1] == "files":
            break
    assert seen == ["settings", "SUMMARY", "SUMMARY", "files"]
    outline = page.eval_on_selector("label[for=files]", "label => getComputedStyle(label).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.locator(".face")).to_have_count(2)
    for _ in range(5 + 2 + 1):  # the buttons of all images, those of this one, and its first card
        page.keyboard.press("Tab")
    expect(page.locator(".face .head").first).to_be_focused()
    expect(page.locator(".face").first).to_have_class(re.compile("chosen"))
    page.keyboard.press("Enter")
    expect(page.locator(".face .head").first).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".entry")).to_have_count(0)


def test_nothing_is_wider_than_the_screen(stub_port: int, open_page: OpenPage) -> None:
    page = open_page(stub_port, width=390)
    page.set_input_files("#files", [image_file("a" * 80 + ".png", 900, 300)])
    expect(page.locator(".face")).to_have_count(2)
    for width, panel in itertools.product((1280, 768, 390, 320), ("images", "camera", "video")):
        page.set_viewport_size({"width": width, "height": 800})
        page.click(f"#tab-{panel}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (width, panel)


def test_colours_are_those_of_the_package_and_the_theme_is_remembered(stub_port: int, open_page: OpenPage) -> None:
    page = open_page(stub_port)
    names = [*EXPRESSIONS, "bored", "toString"]
    script = """async (names) => {
      const { colorOf, emojiOf } = await import("/design/labels.js");
      return names.map((name) => [colorOf(name), emojiOf(name) !== null]);
    }"""
    found = [(tuple(color), drawn) for color, drawn in page.evaluate(script, names)]
    assert found == [(color_rgb(name), name in EXPRESSIONS) for name in names]
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.click("#settings")
    page.select_option("#theme", "dark")
    dark = page.evaluate(paper)
    assert dark != light
    page.reload()
    assert page.evaluate(paper) == dark
    expect(page.locator("#theme")).to_have_value("dark")
