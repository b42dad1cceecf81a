"""The panel of images, in headless Chromium."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra [web]")
pytest.importorskip("playwright", reason="Playwright drives the browser")

from playwright.sync_api import Page, expect

from conftest import NANO
from made_server import BOUNDARY, ask, form, serving
from mien.media.sinks import CsvSink
from mien.recognition.recognizer import Recognizer
from page_browser import downloaded, image_file, pixels
from page_stub import Stub, face
from places import ASTRONAUT

OpenPage = Callable[..., Page]


def test_a_image_shows_its_faces_and_its_files_are_those_of_the_command_line(port: int, open_page: OpenPage) -> None:
    page = open_page(port)
    page.set_input_files("#files", ASTRONAUT)
    card = page.locator(".face")
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
        said = re.compile("Head: yaw [01]°, pitch 9°, roll 3°. Gaze: yaw")
        expect(page.locator(".face .details")).to_contain_text(said)
        body = form((ASTRONAUT.name, ASTRONAUT.read_bytes()))
        answer = ask(
            port, "POST", "/v1/predict?format=csv", body, Content_Type=f"multipart/form-data; boundary={BOUNDARY}"
        )
        assert downloaded(page, "#save-csv") == answer.body


def test_box_and_card_belong_together(stub_port: int, open_page: OpenPage) -> None:
    page = open_page(stub_port)
    page.set_input_files("#files", [image_file("two.png")])
    expect(page.locator(".face")).to_have_count(2)
    before = pixels(page, ".entry .overlay")
    page.locator(".face .head").nth(1).focus()
    expect(page.locator(".face").nth(1)).to_have_class(re.compile("chosen"))
    focused = pixels(page, ".entry .overlay")
    assert focused != before
    page.locator(".entry .overlay").hover(position={"x": 70, "y": 70})
    expect(page.locator(".face").nth(0)).to_have_class(re.compile("chosen"))
    expect(page.locator(".face").nth(1)).not_to_have_class(re.compile("chosen"))
    page.locator(".entry .overlay").click(position={"x": 70, "y": 70})
    expect(page.locator(".face .head").nth(0)).to_be_focused()


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
    expect(page.locator(".face")).to_contain_text("happy")
    expect(page.locator(".entry .note")).to_contain_text("can't show the image")
    expect(page.locator(".save")).to_be_hidden()


def test_unsure_answers_are_marked_on_the_page_and_in_the_files(stub_port: int, open_page: OpenPage) -> None:
    page = open_page(stub_port)
    page.set_input_files("#files", [image_file('a "b", c.png')])
    expect(page.locator(".face")).to_have_count(2)
    before = pixels(page, ".entry .overlay")
    page.click("#settings")
    page.locator("#unsure").fill("50")
    expect(page.locator("#unsure-value")).to_have_text("50 %")
    page.keyboard.press("Escape")
    expect(page.locator(".face .name")).to_have_text(["happy", "unsure (sad)"])
    assert pixels(page, ".entry .overlay") != before
    faces = json.loads(downloaded(page, "#save-json"))["images"][0]["faces"]
    assert [f["abstained"] for f in faces] == [False, True]
    rows = downloaded(page, "#save-csv").decode().splitlines()
    assert rows[1].startswith('"a ""b"", c.png",240,160,1,40.0,30.0,100.0,110.0,0.99,happy,0.9')
    assert rows[2].startswith('"a ""b"", c.png",240,160,2,150.0,40.0,200.0,100.0,0.99,,0.4')


def test_a_busy_server_is_asked_again(stub: Stub, stub_port: int, open_page: OpenPage) -> None:
    stub.busy = 2
    page = open_page(stub_port)
    page.set_input_files("#files", [image_file("a.png")])
    expect(page.locator(".face")).to_have_count(2, timeout=15_000)
    assert stub.asked.count("POST /v1/predict") == 3


def test_another_model_answers_anew(stub: Stub, stub_port: int, open_page: OpenPage) -> None:
    page = open_page(stub_port)
    page.set_input_files("#files", [image_file("a.png")])
    expect(page.locator(".face")).to_have_count(2)
    stub.faces = [face((40, 30, 100, 110), "fear", 0.8)]
    page.click("#settings")
    with page.expect_request("**/v1/predict?model=other&detector=a"):
        page.select_option("#model", "other")
    expect(page.locator(".face .name")).to_have_text(["fear"])


def test_hostile_names_and_labels_are_text_and_no_formula(stub: Stub, stub_port: int, open_page: OpenPage) -> None:
    label, name = "=cmd|'/c calc'!A0<img src=x onerror=alert(1)>", "@SUM(A1) <img src=x onerror=alert(1)>.png"
    stub.faces = [{**stub.faces[0], "expression": label, "confidence": 0.9, "probabilities": {label: 0.9, "sad": 0.1}}]
    stub.models = [{**stub.models[0], "name": "<b>", "labels": [label, "sad"]}]
    page = open_page(stub_port)
    page.set_input_files("#files", [image_file(name)])
    expect(page.locator(".entry .title")).to_have_text(name)
    expect(page.locator(".face .name")).to_have_text(label)
    assert page.locator("img[src=x]").count() == 0
    rows = list(csv.reader(io.StringIO(downloaded(page, "#save-csv").decode())))
    assert [rows[1][0], rows[1][9]] == [f"'{name}", f"'{label}"]
    assert (rows[1][4], rows[1][10]) == ("40.0", "0.9")
