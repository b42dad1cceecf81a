"""Takes the screenshots of the served page and the live page that the documentation shows, in headless Chromium.

    python scripts/screenshots_pages.py

Writes docs/screenshots/*.webp. All faces are the astronaut, also before the camera.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, Page, expect, sync_playwright
from screenshots import small

from mien.images import read_image
from mien.media.video.opening import open_video
from mien.recognition.recognizer import Recognizer
from mien.recognition.watch_files import frame_drawer
from mien.serving.live import LivePage
from mien.serving.run import make_server
from mien.serving.settings import ServeSettings

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "screenshots"
EXAMPLES = ROOT / "src" / "mien" / "examples"
LAP_S = 8.1  # the sample clip, which is shown again and again
CAMERA_FLAGS = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")


def main() -> None:
    """Takes all screenshots."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, served() as address:
        camera = film_camera(Path(folder))
        flags = ["--no-sandbox", *CAMERA_FLAGS, f"--use-file-for-fake-video-capture={camera}"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        take(browser, address, "served-first", lambda page: None)
        take(browser, address, "served-images", show_image)
        take(browser, address, "served-phone", show_image, width=390, height=844)
        take(browser, address, "served-video", show_video, height=1120)
        take(browser, address, "served-video-dark", show_video, height=1120, dark=True)
        take(browser, address, "served-video-phone", show_video, width=390, height=1100, dark=True)
        take(browser, address, "served-camera-dark", show_camera, dark=True)
        take(browser, f"{address}api.html", "served-api", show_api)
        with watched() as live:
            take(browser, live, "live", show_live)
        browser.close()


def take(
    browser: Browser,
    address: str,
    name: str,
    show: Callable[[Page], None],
    *,
    width: int = 1280,
    height: int = 800,
    dark: bool = False,
) -> None:
    """Opens a page, brings it to what is to be seen, and writes the screenshot."""
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        has_touch=width < 500,
        device_scale_factor=1,
    )
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_timeout(600)
    show(page)
    page.wait_for_timeout(400)
    data = small(page.screenshot())
    (OUT / f"{name}.webp").write_bytes(data)
    print(f"{name}.webp: {len(data):,} bytes")
    page.close()


def show_image(page: Page) -> None:
    """The answer to the sample image."""
    page.click("#sample-image")
    expect(page.locator(".face .name")).to_have_text("happy")


def show_video(page: Page) -> None:
    """The timelines of the sample clip, in its middle."""
    page.click("#tab-video")
    page.click("#sample-clip")
    expect(page.locator("#video .timeline")).to_have_count(2, timeout=120_000)
    page.wait_for_timeout(3000)  # images of the faces
    page.locator("#video .timeline").first.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.locator("#video .timeline .u-over").first.hover()
    page.evaluate("document.activeElement.blur()")


def show_camera(page: Page) -> None:
    """Ten seconds of the camera."""
    page.click("#tab-camera")
    page.click("text=Start the camera")
    page.wait_for_timeout(14_000)


def show_api(page: Page) -> None:
    """One operation is open."""
    page.locator(".operation > summary").first.click()


def show_live(page: Page) -> None:
    """Some seconds of `mien watch`."""
    expect(page.locator(".face").first).to_be_visible()
    page.wait_for_timeout(12_000)


def film_camera(folder: Path) -> Path:
    """What the camera films: the astronaut, who moves a little."""
    image = cv2.cvtColor(read_image(EXAMPLES / "astronaut.png"), cv2.COLOR_RGB2BGR)
    frames = [cv2.imencode(".jpg", np.roll(image, round(12 * np.sin(i / 5)), axis=1))[1].tobytes() for i in range(60)]
    (folder / "camera.mjpeg").write_bytes(b"".join(frames))
    return folder / "camera.mjpeg"


@contextmanager
def served() -> Iterator[str]:
    """The address of a server."""
    server = make_server(ServeSettings(detectors=("auto",)))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def watched() -> Iterator[str]:
    """The address of a live page of the sample clip, which is shown at its own pace."""
    recognizer = Recognizer("mien-nano")
    watching = recognizer.watch(open_video(EXAMPLES / "clip.mp4"), keep_images=True)
    page = LivePage(recognizer.labels, stats=watching.stats, source="clip.mp4", port=0)
    draw, stop = frame_drawer(), threading.Event()

    def feed() -> None:
        results = list(watching)
        began, lap = time.monotonic(), 0
        while not stop.is_set():
            for result in results:
                at = result.time_s + LAP_S * lap
                stop.wait(max(0.0, began + at - time.monotonic()))
                page.write(replace(result, image=draw(result), time_s=at))
            lap += 1

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield page.address
    finally:
        stop.set()
        thread.join()
        page.close()


if __name__ == "__main__":
    main()
