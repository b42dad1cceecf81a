"""Fixtures of the tests of the page: Chromium, the real server, and a stub where that can't be made to say it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from places import ASTRONAUT, ROOT

TOKEN = "right-token-0123456789"
NANO = ROOT / "src" / "mien" / "models" / "mien-nano.onnx"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium with the astronaut before its camera."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser")
    from page_browser import CHROMIUM, FLAGS

    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    clip = tmp_path_factory.mktemp("camera") / "astronaut.mjpeg"
    image = cv2.imread(str(ASTRONAUT))
    frames = [np.roll(image, shift, axis=1) for shift in (0, 4, 8, 4)]
    clip.write_bytes(b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames * 5))
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, f"--use-file-for-fake-video-capture={clip}"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is opened at once."""
    from tiny_models import make_model

    return make_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    from made_server import serving

    with serving(NANO, detectors=("auto", "none")) as port:
        yield port


@pytest.fixture(scope="module")
def token_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server that requires `TOKEN`."""
    from made_server import serving

    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    with serving(NANO, detectors=("auto",), token_file=tokens) as port:
        yield port


@pytest.fixture
def stub() -> Any:
    from page_stub import Stub

    return Stub()


@pytest.fixture
def stub_port(stub: Any) -> Iterator[int]:
    with stub.serving() as port:
        yield port


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages; in the end none of them has asked another server for anything, or broken the policy or a script."""
    from playwright.sync_api import expect

    expect.set_options(timeout=30_000)  # a busy machine takes its time
    contexts, problems = [], []

    def open_one(
        port: int, panel: str = "", *, width: int = 1280, height: int = 800, dark: bool = False, ready: bool = True
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            has_touch=width < 500,
            is_mobile=width < 500,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)

        def look(address: str) -> None:
            parts = urlsplit(address)
            if parts.scheme not in ("blob", "data") and parts.netloc != f"127.0.0.1:{port}":
                problems.append(f"asked {address}")

        def listen(text: str) -> None:
            # That a request was refused or lost is what some tests are about, and the browser says it here too.
            if "the server responded with a status" not in text and "net::ERR_" not in text:
                problems.append(text)

        page.on("request", lambda request: look(request.url))
        page.on("websocket", lambda socket: look(socket.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: listen(message.text) if message.type in ("error", "warning") else None)
        page.goto(f"http://127.0.0.1:{port}/" + (f"#{panel}" if panel else ""))
        page.bring_to_front()  # focus is of the page in front
        if ready:
            expect(page.locator("#limits")).to_contain_text("MB")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds without a face."""
    pytest.importorskip("av", reason="PyAV is not installed")
    from made_video import make_clip

    return make_clip(tmp_path / "clip.mp4", frames=51)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """short.mp4: a second; long.mp4: more than anybody waits for; astronaut.mp4: a face that moves, with a tone."""
    from made_video import astronaut_clip, make_clip

    folder = tmp_path_factory.mktemp("clips")
    make_clip(folder / "short.mp4", frames=25)
    make_clip(folder / "long.mp4", frames=6000)
    astronaut_clip(folder / "astronaut.mp4", frames=10, rate=10)
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where servers make their private folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder
