"""The page in headless Chromium, against the real server, and against a stub where that can't be made to say it.

One file, so that one browser is started for all of it.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from places import ASTRONAUT, ROOT

pytest.importorskip("fastapi", reason="needs the extra [web]")
pytest.importorskip("playwright", reason="Playwright drives the browser")

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from made_server import BOUNDARY, ask, form, serving
from mien.labels import EXPRESSIONS, color_rgb, emoji
from mien.media.sinks import CsvSink
from mien.recognition.recognizer import Recognizer
from page_stub import Stub, face

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("Chromium is not installed", allow_module_level=True)

NANO = ROOT / "src" / "mien" / "models" / "mien-nano.onnx"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)  # fmt: skip
AXE = "axe-core@4.11.0"
PANELS = ("images", "camera", "video")
OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium with the astronaut before its camera."""
    clip = tmp_path_factory.mktemp("camera") / "astronaut.mjpeg"
    image = cv2.imread(str(ASTRONAUT))
    frames = [np.roll(image, shift, axis=1) for shift in (0, 4, 8, 4)]
    clip.write_bytes(b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames * 5))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, f"--use-file-for-fake-video-capture={clip}"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(NANO, detectors=("auto", "none")) as port:
        yield port


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def stub_port(stub: Stub) -> Iterator[int]:
    with stub.serving() as port:
        yield port


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens pages; in the end none of them has asked another server for anything, or broken the policy or a script."""
    contexts, problems = [], []

    def open_one(port: int, panel: str = "", *, width: int = 1280, dark: bool = False, ready: bool = True) -> Page:
        size = ViewportSize(width=width, height=800)
        context = browser.new_context(viewport=size, color_scheme="dark" if dark else "light")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)

        def look(address: str) -> None:
            parts = urlsplit(address)
            if parts.scheme not in ("blob", "data") and parts.netloc != f"127.0.0.1:{port}":
                problems.append(f"asked {address}")

        def listen(text: str) -> None:
            # That a request was refused is what some tests are about, and the browser says it here too.
            if "the server responded with a status" not in text:
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


def downloaded(page: Page, button: str) -> bytes:
    with page.expect_download() as waiting:
        page.click(button)
    return Path(waiting.value.path()).read_bytes()


def pixels(page: Page, selector: str) -> Any:
    return page.eval_on_selector(selector, "canvas => canvas.toDataURL()")


def image_file(name: str, width: int = 240, height: int = 160) -> Any:
    data = cv2.imencode(".png", np.full((height, width, 3), 128, np.uint8))[1].tobytes()
    return {"name": name, "mimeType": "image/png", "buffer": data}


# Images


def test_a_image_shows_its_faces_and_its_files_are_those_of_the_command_line(port: int, open_page: OpenPage) -> None:
    page = open_page(port)
    page.set_input_files("#files", ASTRONAUT)
    card = page.locator(".card")
    expect(card).to_contain_text("happy")
    expect(card.locator(".bars li")).to_have_count(8)
    expect(page.locator("#image-state")).to_have_text("1 image read, 1 face.")
    expect(page.locator("canvas.image")).to_have_attribute("aria-label", re.compile("astronaut.png, 1 face: happy"))

    body = form(("astronaut.png", ASTRONAUT.read_bytes()))
    wanted = ask(port, "POST", "/v1/predict", body, Content_Type="multipart/form-data; boundary=test-boundary").json
    assert json.loads(downloaded(page, "#save-json")) == wanted

    recognizer = Recognizer("mien-nano")
    text = io.StringIO()
    sink = CsvSink(text, recognizer.classifier.summary())
    sink.write(recognizer.predict(ASTRONAUT))
    rows, expected = downloaded(page, "#save-csv").decode(), text.getvalue()
    assert rows == expected.replace(str(ASTRONAUT), "astronaut.png")

    drawn = cv2.imdecode(np.frombuffer(downloaded(page, ".save"), np.uint8), cv2.IMREAD_COLOR)
    before = cv2.imread(str(ASTRONAUT))
    assert drawn.shape == before.shape
    changed = np.argwhere((drawn != before).any(axis=2))
    x1, y1, x2, y2 = wanted["images"][0]["faces"][0]["box"]
    assert abs(changed[:, 0].max() - y2) < 8
    assert abs(changed[:, 1].min() - x1) < 8
    assert not (changed == [(y1 + y2) // 2, (x1 + x2) // 2]).all(axis=1).any()


def test_details_are_on_the_card_and_in_the_files(open_page: OpenPage) -> None:
    with serving(NANO, detectors=("auto",), details=True) as port:
        page = open_page(port)
        page.set_input_files("#files", ASTRONAUT)
        expect(page.locator(".card .details")).to_contain_text("Head: yaw 1°, pitch 8°, roll 3°. Gaze: yaw")
        body = form((ASTRONAUT.name, ASTRONAUT.read_bytes()))
        answer = ask(
            port, "POST", "/v1/predict?format=csv", body, Content_Type=f"multipart/form-data; boundary={BOUNDARY}"
        )
        assert downloaded(page, "#save-csv") == answer.body


def test_box_and_card_belong_together(stub_port: int, open_page: OpenPage) -> None:
    page = open_page(stub_port)
    page.set_input_files("#files", [image_file("two.png")])
    expect(page.locator(".card")).to_have_count(2)
    before = pixels(page, ".overlay")
    page.locator(".card summary").nth(1).focus()
    expect(page.locator(".card").nth(1)).to_have_class(re.compile("chosen"))
    focused = pixels(page, ".overlay")
    assert focused != before
    page.locator(".overlay").hover(position={"x": 70, "y": 70})
    expect(page.locator(".card").nth(0)).to_have_class(re.compile("chosen"))
    expect(page.locator(".card").nth(1)).not_to_have_class(re.compile("chosen"))
    page.locator(".overlay").click(position={"x": 70, "y": 70})
    expect(page.locator(".card summary").nth(0)).to_be_focused()


def test_images_can_be_dropped_and_pasted(stub_port: int, open_page: OpenPage) -> None:
    page = open_page(stub_port)
    page.evaluate(
        """async () => {
          const canvas = Object.assign(document.createElement("canvas"), { width: 240, height: 160 });
          const blob = await new Promise((resolve) => canvas.toBlob(resolve));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([blob], "dropped.png", { type: "image/png" }));
          const drop = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
          document.getElementById("drop").dispatchEvent(drop);
          const clipboardData = new DataTransfer();
          clipboardData.items.add(new File([blob], "pasted.png", { type: "image/png" }));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }"""
    )
    expect(page.locator(".entry .title")).to_have_text(["dropped.png", "pasted.png"])
    expect(page.locator("#image-state")).to_have_text("2 images read, 4 faces.")
    page.bring_to_front()
    page.click(".entry >> nth=0 >> .remove")
    expect(page.locator("#image-state")).to_have_text("1 image read, 2 faces.")
    expect(page.get_by_role("button", name="Remove pasted.png")).to_be_focused()


def test_what_is_wrong_with_a_file_stands_at_that_file(port: int, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(port)
    broken, large, text = (tmp_path / name for name in ("broken.png", "large.png", "text.png"))
    broken.write_bytes(ASTRONAUT.read_bytes()[:5000])
    large.touch()
    os.truncate(large, 32_500_000)
    text.write_text("x")
    empty = tmp_path / "empty.png"
    empty.write_bytes(image_file("empty.png")["buffer"])
    page.set_input_files("#files", [broken, large, empty, text])
    notes = page.locator(".entry .note")
    expect(notes.nth(0)).to_contain_text("This file is a truncated PNG")
    expect(notes.nth(1)).to_have_text("It has 33 MB; this server takes up to 32 MB.")
    expect(notes.nth(2)).to_have_text("No face found.")
    expect(notes.nth(3)).to_contain_text("This file is not an image")
    assert "broken.png" not in notes.nth(0).inner_text()
    expect(page.locator("#image-state")).to_have_text("1 image read, 0 faces, 3 images not read.")


def test_a_image_that_only_the_server_can_read_has_its_answer_all_the_same(
    port: int, open_page: OpenPage, tmp_path: Path
) -> None:
    tiff = tmp_path / "astronaut.tiff"
    cv2.imwrite(str(tiff), cv2.imread(str(ASTRONAUT)))
    page = open_page(port)
    page.set_input_files("#files", tiff)
    expect(page.locator(".card")).to_contain_text("happy")
    expect(page.locator(".note")).to_contain_text("can't show the image")
    expect(page.locator(".save")).to_be_hidden()


def test_unsure_answers_are_marked_on_the_page_and_in_the_files(stub_port: int, open_page: OpenPage) -> None:
    page = open_page(stub_port)
    page.set_input_files("#files", [image_file('a "b", c.png')])
    expect(page.locator(".card")).to_have_count(2)
    before = pixels(page, ".overlay")
    page.locator("#unsure").fill("50")
    expect(page.locator("#unsure-value")).to_have_text("50 %")
    expect(page.locator(".card .name")).to_have_text(["happy", "unsure (sad)"])
    assert pixels(page, ".overlay") != before
    faces = json.loads(downloaded(page, "#save-json"))["images"][0]["faces"]
    assert [f["abstained"] for f in faces] == [False, True]
    rows = downloaded(page, "#save-csv").decode().splitlines()
    assert rows[1].startswith('"a ""b"", c.png",240,160,1,40.0,30.0,100.0,110.0,0.99,happy,0.9')
    assert rows[2].startswith('"a ""b"", c.png",240,160,2,150.0,40.0,200.0,100.0,0.99,,0.4')


def test_a_busy_server_is_asked_again(stub: Stub, stub_port: int, open_page: OpenPage) -> None:
    stub.busy = 2
    page = open_page(stub_port)
    page.set_input_files("#files", [image_file("a.png")])
    expect(page.locator(".card")).to_have_count(2, timeout=15_000)
    assert stub.asked.count("POST /v1/predict") == 3


def test_another_model_answers_anew(stub: Stub, stub_port: int, open_page: OpenPage) -> None:
    page = open_page(stub_port)
    page.set_input_files("#files", [image_file("a.png")])
    expect(page.locator(".card")).to_have_count(2)
    stub.faces = [face((40, 30, 100, 110), "fear", 0.8)]
    with page.expect_request("**/v1/predict?model=other&detector=a"):
        page.select_option("#model", "other")
    expect(page.locator(".card .name")).to_have_text(["fear"])


def test_hostile_names_are_text(stub_port: int, open_page: OpenPage) -> None:
    page = open_page(stub_port)
    name = "<img src=x onerror=alert(1)>.png"
    page.set_input_files("#files", [image_file(name)])
    expect(page.locator(".entry .title")).to_have_text(name)


# Camera


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


# Videos


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


# Tokens


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


# The page as a whole


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
