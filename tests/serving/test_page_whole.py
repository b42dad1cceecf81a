"""The page as a whole: tokens, keyboard, screen sizes, themes, accessibility, size."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra [web]")
pytest.importorskip("playwright", reason="Playwright drives the browser")

from playwright.sync_api import Page, expect

from made_server import serving
from page_browser import image_file
from page_stub import Stub

OpenPage = Callable[..., Page]


def test_a_token_is_asked_for_and_kept_in_memory_only(open_page: OpenPage, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("right-token-0123456789\n")
    with serving(NANO, detectors=("auto",), token_file=tokens) as port:
        page = open_page(port, "camera", ready=False)
        expect(page.locator("#token-dialog")).to_be_visible()
        page.keyboard.type("wrong-token-0123456789")
        page.keyboard.press("Enter")
        expect(page.locator("#token-why")).to_contain_text("not accepted")
        page.fill("#token", "right-token-0123456789")
        page.keyboard.press("Enter")
        expect(page.locator("#limits")).to_contain_text("MB")
        page.click("#camera-start")
        expect(page.locator("#camera-faces li")).to_have_count(1)
        kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
        assert "right-token" not in kept
        page.evaluate("location.reload()")
        expect(page.locator("#token-dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#server-state")).to_contain_text("token")
        expect(page.locator("#server-retry")).to_be_visible()


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
    assert seen == ["theme", "SUMMARY", "model", "detector", "unsure", "files"]
    outline = page.eval_on_selector("label[for=files]", "label => getComputedStyle(label).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_have_count(2)
    for _ in range(4 + 2 + 1):  # the buttons of all images, those of this one, and its first card
        page.keyboard.press("Tab")
    expect(page.locator(".card summary").first).to_be_focused()
    expect(page.locator(".card").first).to_have_class(re.compile("chosen"))
    page.keyboard.press("Enter")
    assert page.locator(".card").first.get_attribute("open") is None
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".entry")).to_have_count(0)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, brought by npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed; it brings axe-core")
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--silent", "--ignore-scripts", "--no-save", "--prefix", str(folder), AXE]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip("npm can't bring axe-core; is there a network?")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")


VIOLATIONS = "async () => (await axe.run()).violations.map((v) => [v.id, v.nodes.map((n) => n.html)])"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(stub: Stub, stub_port: int, open_page: OpenPage, axe: str, clip: Path, dark: bool) -> None:
    stub.video = clip.read_bytes()
    stub.states = [{"state": "done", "progress": 1}]
    page = open_page(stub_port, dark=dark)
    page.evaluate(axe)

    def check(where: str) -> None:
        assert page.evaluate(VIOLATIONS) == [], where

    check("empty")
    page.click(".notice summary")
    page.set_input_files("#files", [image_file("a.png")])
    expect(page.locator(".card")).to_have_count(2)
    check("images")
    page.click("#tab-camera")
    check("camera")
    page.click("#tab-video")
    page.set_input_files("#video-file", clip)
    expect(page.locator(".track")).to_have_count(2)
    check("video")
    page.evaluate("document.getElementById('token-dialog').showModal()")
    check("token")


def test_axe_finds_nothing_with_a_face_before_the_camera(port: int, open_page: OpenPage, axe: str) -> None:
    page = open_page(port, "camera")
    page.evaluate(axe)
    page.click("#camera-start")
    expect(page.locator("#camera-faces li p")).to_contain_text(re.compile(r"Face 1: \w+ \d+ %"))
    assert page.evaluate(VIOLATIONS) == []


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(stub_port: int, open_page: OpenPage, width: int) -> None:
    page = open_page(stub_port, width=width)
    page.set_input_files("#files", [image_file("a" * 80 + ".png", 900, 300)])
    expect(page.locator(".card")).to_have_count(2)
    for panel in PANELS:
        page.click(f"#tab-{panel}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, panel


def test_the_theme_switch_is_remembered(stub_port: int, open_page: OpenPage) -> None:
    page = open_page(stub_port)
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.select_option("#theme", "dark")
    dark = page.evaluate(paper)
    assert dark != light
    page.reload()
    assert page.evaluate(paper) == dark
    expect(page.locator("#theme")).to_have_value("dark")


def test_colours_and_emoji_are_those_of_the_package(stub_port: int, open_page: OpenPage) -> None:
    page = open_page(stub_port)
    names = [*EXPRESSIONS, "bored", "toString"]
    script = """async (names) => {
      const { colorOf, emojiOf } = await import("/labels.js");
      return names.map((name) => [colorOf(name), emojiOf(name)]);
    }"""
    found = [(tuple(color), sign.removesuffix("\ufe0f")) for color, sign in page.evaluate(script, names)]
    assert found == [(color_rgb(name), emoji(name)) for name in names]


def test_the_first_load_is_small(port: int, open_page: OpenPage) -> None:
    page = open_page(port)
    loaded = page.evaluate("performance.getEntriesByType('resource').map((r) => [r.name, r.decodedBodySize])")
    assert sum(size for _, size in loaded) < 120_000
    assert len(loaded) < 20
