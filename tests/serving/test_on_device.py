"""Images looked at in the browser alone: the exported folder, its checks, and the served page's switch."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from places import ASTRONAUT, ROOT, SHARED

pytest.importorskip("fastapi", reason="needs the extra [web]")

from typer.testing import CliRunner

from mien.balance import Balance, model_balance
from mien.cli import app
from mien.crop import CropSpec, crop_faces
from mien.errors import ExportError
from mien.exporting import web as web_export
from mien.exporting.web import RUNTIME_VERSION, check_web_export, export_web
from mien.faces import auto, make_detector
from mien.faces.auto import Auto
from mien.faces.mesh import MESH_CROP, MESH_SIZE, FaceMesh, mesh_settings
from mien.faces.one_pass import YuNet
from mien.images import read_image
from mien.model_file import load_model
from mien.recognition.recognizer import Recognizer
from mien.results import Detections
from mien.serving.settings import ServeSettings
from page_browser import axe_findings

DEVICE = ROOT / "src" / "mien" / "serving" / "static" / "device"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NODE = shutil.which("node")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)  # fmt: skip
PREDICT = """async ([files, detector]) => {
  const { predict } = await import("./device/client.js");
  const images = [];
  for (const [name, bytes] of files) {
    const file = new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name);
    images.push((await predict(file, { detector })).image);
  }
  return images;
}"""


# Without a browser: what an export accepts and writes


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for onnxruntime-web, whose checksums are the expected ones."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    for name in web_export._RUNTIME_SHA256:
        (folder / name).write_bytes(name.encode())
    sums = {name: hashlib.sha256(name.encode()).hexdigest() for name in web_export._RUNTIME_SHA256}
    monkeypatch.setattr(web_export, "_RUNTIME_SHA256", sums)
    return folder


def test_the_manifest_names_every_file_with_its_checksum(tmp_path: Path, runtime: Path) -> None:
    out = tmp_path / "deep" / "site"
    export = export_web(out, onnxruntime_web=runtime)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest == json.loads(json.dumps(export.to_dict()))
    found = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert {file["path"] for file in manifest["files"]} == found - {"manifest.json"}
    for file in manifest["files"]:
        assert hashlib.sha256((out / file["path"]).read_bytes()).hexdigest() == file["sha256"]
    assert [path.name for path in out.parent.iterdir()] == ["site"]
    check_web_export(out)


def test_no_file_of_the_page_points_elsewhere(tmp_path: Path, runtime: Path) -> None:
    export_web(tmp_path / "site", onnxruntime_web=runtime)
    index = (tmp_path / "site" / "index.html").read_text()
    assert "'unsafe-inline'" not in index
    assert "'wasm-unsafe-eval'" in index
    for address in re.findall(r'(?:src|href)="([^"]+)"', index):
        assert not address.startswith(("http:", "https:", "//", "/")), address
    for path in (tmp_path / "site").rglob("*.js"):
        text = re.sub(r"/\*!.*?\*/", "", path.read_text())  # a licence names its project
        assert not re.search(r"https?://(?!localhost|www.w3.org/2000/svg)", text), path


def test_an_older_export_is_replaced_only_when_told_and_other_things_never(tmp_path: Path, runtime: Path) -> None:
    site, mine = tmp_path / "site", tmp_path / "mine"
    first = export_web(site, onnxruntime_web=runtime)
    with pytest.raises(ExportError, match="--force"):
        export_web(site, onnxruntime_web=runtime)
    second = export_web(site, model="mien-small", onnxruntime_web=runtime, force=True)
    releases = [next(f.sha256 for f in e.files if f.path == "offline.js") for e in (first, second)]
    assert releases[0] != releases[1]  # a browser that holds the first one sees that there is another
    mine.mkdir()
    (mine / "thesis.txt").write_text("x")
    with pytest.raises(ExportError, match="other things"):
        export_web(mine, onnxruntime_web=runtime, force=True)
    assert (mine / "thesis.txt").read_text() == "x"


def test_a_failed_export_leaves_nothing_and_the_old_one_untouched(tmp_path: Path, runtime: Path) -> None:
    site = tmp_path / "site"
    export_web(site, onnxruntime_web=runtime)
    (runtime / "ort.wasm.bundle.min.mjs").write_text("other")
    with pytest.raises(ExportError, match=f"not the one of onnxruntime-web@{RUNTIME_VERSION}"):
        export_web(site, onnxruntime_web=runtime, force=True)
    check_web_export(site)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runtime", "site"]


def test_an_archive_with_another_checksum_is_not_opened(tmp_path: Path) -> None:
    archive = tmp_path / "other.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("package/dist/../../../../evil")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(ExportError, match="sha512"):
        export_web(tmp_path / "site", onnxruntime_web=archive)
    assert [path.name for path in tmp_path.iterdir()] == ["other.tgz"]


def test_without_npm_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError, match=r"npm is not installed.*--onnxruntime-web FILE.tgz"):
        export_web(tmp_path / "site")


def test_when_npm_fails_its_reason_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error 404 Not Found' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ExportError, match="404 Not Found") as caught:
        export_web(tmp_path / "site")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("harm", ["changed", "missing", "version", "no manifest"])
def test_the_server_takes_only_a_whole_folder_of_its_own_version(harm: str, tmp_path: Path, runtime: Path) -> None:
    from mien.serving.app import create_app

    site = tmp_path / "site"
    export_web(site, onnxruntime_web=runtime)
    manifest = site / "manifest.json"
    if harm == "changed":
        (site / "device" / "crop.js").write_text("//")
    elif harm == "missing":
        (site / "device" / "worker.js").unlink()
    elif harm == "version":
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "mien": "0.0.0"}))
    else:
        manifest.unlink()
    with pytest.raises(ExportError, match="mien export web"):
        create_app(ServeSettings(models=("mien-nano",), detectors=("none",), on_device=site))


def test_the_command_prints_the_manifest_and_ends_with_2_on_a_mistake(tmp_path: Path, runtime: Path) -> None:
    run = CliRunner().invoke(
        app, ["export", "web", "--out", str(tmp_path / "site"), "--onnxruntime-web", str(runtime), "--format", "json"]
    )
    assert run.exit_code == 0
    assert json.loads(run.output)["model"] == "mien-nano"
    again = CliRunner().invoke(
        app, ["export", "web", "--out", str(tmp_path / "site"), "--onnxruntime-web", str(runtime)]
    )
    assert isinstance(again.exception, ExportError)


def test_the_worker_looks_for_faces_as_the_default_detector_does(tmp_path: Path, runtime: Path) -> None:
    export_web(tmp_path / "site", onnxruntime_web=runtime)
    told = json.loads((tmp_path / "site" / "device" / "recognizer.json").read_text())["detector"]
    assert not (tmp_path / "site/device/networks/mesh.onnx").exists()
    usual = {**Auto.__init__.__kwdefaults__, **YuNet.__init__.__kwdefaults__}
    assert {name: told.pop(name) for name in ("min_face", "threshold", "max_side")}.items() <= usual.items()
    assert told == {"scale": auto._LEAST_FACE / usual["min_face"], "small_side": auto._SMALL_SIDE}


# The crop contract in JavaScript, against crop.py

CROPPED = [(30, 25), (48, 48), (60, 48), (48, 60), (49, 48), (47, 48), (96, 96), (96, 48), (144, 97), (100, 40), (1, 1),
           (2, 90), (50, 50), (64, 64), (112, 112), (200, 220), (48, 47), (95, 97), (72, 71), (224, 224)]  # fmt: skip
"""Width and height of whole face crops; crop.py averages by area unless a side grows."""


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
def test_the_crops_are_those_of_python(tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    coarse = generator.integers(0, 256, (23, 31, 3), np.uint8)
    image = cv2.resize(coarse, (311, 233), interpolation=cv2.INTER_CUBIC)
    boxes = [[20, 30, 60, 80], [-15.3, -20.7, 60.2, 70.9], [100.4, 50.1, 130.8, 79.3], [5, 5, 305, 228],
             [250.5, 180.5, 340.2, 260.1], [150, 100, 246, 196]]  # fmt: skip
    marks = generator.uniform(0, 200, (1 + len(CROPPED), 5, 2)).astype(np.float32)
    cases, wanted = [], []
    for cropped in (False, True):
        own = [[0, 0, 311, 233], *([3, 5, 3 + w, 5 + h] for w, h in CROPPED)] if cropped else boxes
        for spec in (CropSpec(), CropSpec(margin=0.3, align=True, shift_y=0.1)):
            for channels in (1, 3):
                found = Detections(np.float32(own), np.ones(len(own), np.float32), marks[: len(own)], cropped)
                own_boxes = found.boxes.tolist()
                wanted.append(crop_faces(image, found, spec, size=48, channels=channels).ravel())
                cases.append({
                    "found": {"boxes": own_boxes, "landmarks": marks[: len(own)].tolist(), "cropped": cropped},
                    "spec": {"margin": spec.margin, "align": spec.align, "shift_y": spec.shift_y},
                    "channels": channels,
                })  # fmt: skip
    shutil.copytree(DEVICE, tmp_path / "device")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "run.js").write_text(
        """import { readFileSync } from "node:fs";
        import { cropFaces } from "./device/crop.js";
        const { data, width, height, cases } = JSON.parse(readFileSync("cases.json"));
        const image = { data: Uint8Array.from(data), width, height };
        const crops = cases.map(({ found, spec, channels }) => cropFaces(image, found, spec, { size: 48, channels }));
        console.log(JSON.stringify(crops.map((crop) => [...crop])));"""
    )
    told = {"data": image.ravel().tolist(), "width": 311, "height": 233, "cases": cases}
    (tmp_path / "cases.json").write_text(json.dumps(told))
    answer = subprocess.run([str(NODE), "run.js"], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    for case, expected, found in zip(cases, wanted, json.loads(answer.stdout), strict=True):
        off = np.abs(np.asarray(found, int) - expected)
        assert off.max() <= 2, case
        assert off.mean() < 0.02, case  # fixed-point steps that are not repeated: one level off, seldom


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
def test_the_balance_is_that_of_python(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).dirichlet(np.full(7, 0.5), 9).astype(np.float32)
    balance = Balance(0.6, (0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17))
    assert balance.weights is not None
    shutil.copytree(DEVICE, tmp_path / "device")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "run.js").write_text(
        """import { readFileSync } from "node:fs";
        import { balanced } from "./device/recognizer.js";
        const { rows, weights } = JSON.parse(readFileSync("cases.json"));
        const same = Float32Array.from(rows);
        console.log(JSON.stringify([[...balanced(same, weights)], balanced(same, null) === same]));"""
    )
    (tmp_path / "cases.json").write_text(
        json.dumps({"rows": rows.ravel().tolist(), "weights": balance.weights.tolist()})
    )
    answer = subprocess.run([str(NODE), "run.js"], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    found, unchanged = json.loads(answer.stdout)
    assert unchanged
    np.testing.assert_allclose(np.reshape(found, rows.shape), balance.apply(rows), atol=1e-6)


@pytest.mark.parametrize("balance", [None, 0.0, 0.6])
def test_the_exported_page_has_the_balance_of_the_model(balance: float | None, tmp_path: Path, runtime: Path) -> None:
    export_web(tmp_path / "site", onnxruntime_web=runtime, balance=balance)
    told = json.loads((tmp_path / "site" / "device" / "recognizer.json").read_text())
    wanted = model_balance([load_model("mien-nano")], balance)
    assert told["weights"] == (None if wanted.weights is None else wanted.weights.tolist())
    assert told["model"] == Recognizer("mien-nano", detector="none", balance=balance).summary().to_dict()


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
def test_details_are_read_from_the_network_as_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = read_image(ASTRONAUT)
    found = make_detector("auto").detect(photo)
    turned = Detections(found.boxes, found.scores, found.landmarks[:, ::-1])  # another square, turned by 180 degrees
    small = Detections(found.boxes / 3, found.scores, found.landmarks / 3)
    mesh, cases, wanted = FaceMesh(), [], []
    for each in (found, turned, small):
        crops = crop_faces(photo, each, MESH_CROP, size=MESH_SIZE, channels=3)
        outputs = mesh._network.run(["mesh", "presence", "blendshapes"], {"image": crops})
        if each is found:
            outputs[2][0, [9, 10]] = 0.2, 0.9  # one eye closed
        monkeypatch.setattr(mesh, "_network", SimpleNamespace(run=lambda *_, given=outputs: given))
        wanted.append(mesh.details(photo, each)[0].to_dict())
        monkeypatch.undo()
        cases.append({
            "found": {"boxes": each.boxes.tolist(), "landmarks": each.landmarks.tolist(), "cropped": False},
            "outputs": [output.ravel().tolist() for output in outputs],
        })  # fmt: skip
    shutil.copytree(DEVICE, tmp_path / "device")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "run.js").write_text(
        """import { readFileSync } from "node:fs";
        import { FaceMesh } from "./device/mesh.js";
        const { settings, cases } = JSON.parse(readFileSync("cases.json"));
        const image = { data: new Uint8Array(512 * 512 * 3), width: 512, height: 512 };
        const answers = cases.map(({ found, outputs: [mesh, presence, blendshapes] }) => {
          const told = { mesh: { data: mesh }, presence: { data: presence }, blendshapes: { data: blendshapes } };
          return new FaceMesh(async () => told, settings).details(image, found);
        });
        console.log(JSON.stringify(await Promise.all(answers)));"""
    )
    (tmp_path / "cases.json").write_text(json.dumps({"settings": mesh_settings(), "cases": cases}))
    answer = subprocess.run([str(NODE), "run.js"], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    for expected, (ours,) in zip(wanted, json.loads(answer.stdout), strict=True):
        assert_same_details(ours, expected, points=0.11, degrees=0.11, share=0.0002)
    assert wanted[0]["gaze"] and wanted[2]["error"] == "smaller than 40 pixels"


def assert_same_details(
    ours: dict[str, Any], expected: dict[str, Any], *, points: float, degrees: float, share: float
) -> None:
    """points: pixels that a point may be off. The depth of irises, the last ten, depends on the last bit of a crop."""
    assert list(ours) == list(expected) and ours["error"] == expected["error"]
    if expected["error"] is not None:
        assert ours == expected
        return
    off = np.abs(np.subtract(ours["mesh"], expected["mesh"]))
    assert off[:, :2].max() <= points and off[:-10, 2].max() <= points
    for name, within in (("pose", degrees), ("gaze", degrees), ("eyes_open", share), ("blendshapes", share)):
        assert list(ours[name]) == list(expected[name])
        assert np.abs(np.subtract(list(ours[name].values()), list(expected[name].values()))).max() <= within, name
    assert abs(ours["mouth_open"] - expected["mouth_open"]) <= share


# In the browser


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def static_host(folder: Path) -> Iterator[str]:
    """Any web host: files below a path, no special headers."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real export below a host's root; skips where onnxruntime-web can't be had."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    given = os.environ.get("MIEN_TEST_ONNXRUNTIME_WEB")
    if given is None and shutil.which("npm") is None:
        pytest.skip("npm is not installed, and MIEN_TEST_ONNXRUNTIME_WEB names no copy of onnxruntime-web")
    out = tmp_path_factory.mktemp("host") / "below" / "site"
    try:
        export_web(out, details=True, onnxruntime_web=Path(given) if given else None)
    except ExportError as error:
        if given is None and "npm could not download" in str(error):
            pytest.skip(f"no registry can be reached: {error}")
        raise
    return out


@pytest.fixture(scope="module")
def browser(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium with the astronaut before its camera; wants `site` so that it does not start in vain."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser")
    clip = tmp_path_factory.mktemp("camera") / "astronaut.mjpeg"
    clip.write_bytes(cv2.imencode(".jpg", cv2.imread(str(ASTRONAUT)))[1].tobytes() * 10)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, f"--use-file-for-fake-video-capture={clip}"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that breaks neither a script nor the policy."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(30_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if "Content Security" in message.text else None)
    yield page
    context.close()
    assert problems == []


def base64(data: bytes) -> str:
    from base64 import b64encode

    return b64encode(data).decode()


def shares(image: dict[str, Any]) -> list[list[float]]:
    return [list(face["probabilities"].values()) for face in image["faces"]]


def test_two_hundred_faces_get_the_answers_of_python(site: Path, page: Any) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = SHARED / "data" / "fer2013-public.parquet"
    if not path.is_file():
        pytest.skip("FER2013 is not here")
    images = parquet.read_table(path, columns=["image"])["image"][:200].to_pylist()
    files = [(f"{i}.png", image["bytes"] if isinstance(image, dict) else image) for i, image in enumerate(images)]
    with static_host(site.parents[1]) as host:
        page.goto(f"{host}/below/site/")
        found = page.evaluate(PREDICT, [[(name, base64(data)) for name, data in files], "none"])
    wanted = Recognizer("mien-nano", detector="none").predict([data for _, data in files])
    ours = np.array([shares(result.to_dict())[0] for result in wanted])
    theirs = np.array([shares(image)[0] for image in found])
    assert np.abs(ours - theirs).max() <= 0.02
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() >= 0.98


@pytest.mark.parametrize("name", ["astronaut.png", "several-faces.jpg"])
def test_faces_are_where_python_finds_them(name: str, site: Path, page: Any) -> None:
    path = ASTRONAUT if name == ASTRONAUT.name else SHARED / "media" / name
    if not path.is_file():
        pytest.skip(f"{name} is not here")
    wanted = Recognizer("mien-nano", details=True).predict(path).to_dict()
    with static_host(site) as host:
        page.goto(f"{host}/")
        (found,) = page.evaluate(PREDICT, [[(name, base64(path.read_bytes()))], "yunet"])
    assert (found["width"], found["height"]) == (wanted["width"], wanted["height"])
    assert len(found["faces"]) == len(wanted["faces"]) == len(make_detector("auto").detect(read_image(path)))
    for ours, theirs in zip(wanted["faces"], found["faces"], strict=True):
        assert list(ours) == list(theirs)
        assert np.abs(np.subtract(ours["box"], theirs["box"])).max() <= 3
        assert ours["expression"] == theirs["expression"]
        # Browsers decode JPEG in their own way, which moves the box, and so the crop, by up to some pixels.
        off = (
            {"points": 0.15, "degrees": 0.15, "share": 0.01}
            if path == ASTRONAUT
            else {"points": 2.5, "degrees": 2, "share": 0.15}
        )
        assert_same_details(theirs["details"], ours["details"], **off)


def test_the_exported_page_works_without_a_network_also_after_a_reload(site: Path, page: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    with static_host(site) as host:
        page.goto(f"{host}/")
        page.evaluate("navigator.serviceWorker.ready")
        page.wait_for_function("navigator.serviceWorker.controller !== null")
    # The host is gone from here on.
    page.context.set_offline(True)
    page.reload()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    page.set_input_files("#files", [ASTRONAUT, broken])
    expect(page.locator(".face")).to_contain_text("happy", timeout=30_000)
    expect(page.locator(".entry .note").nth(1)).to_contain_text("is not an image")
    page.click("#notice > summary")
    expect(page.locator("[data-place=device]").first).to_be_visible()
    expect(page.locator("#image-code")).to_be_hidden()  # there is no server to ask
    expect(page.locator("#tab-video")).to_have_count(0)
    assert axe_findings(page) == []
    page.click("#tab-camera")
    page.click("text=Start the camera")
    expect(page.locator("#camera .face .head")).to_contain_text(re.compile(r"1\w+\d+ %"), timeout=30_000)
    expect(page.locator("#camera .state")).to_have_text("Frames stay on this device.")
    assert {url.split("/")[2] for url in asked if url.startswith("http")} == {host.split("/")[2]}
    assert not [url for url in asked if "/v1/" in url]


def test_with_the_switch_on_the_served_page_sends_nothing(site: Path, page: Any) -> None:
    from playwright.sync_api import expect

    from made_server import ask, metric, serving

    with serving(ROOT / "src" / "mien" / "models" / "mien-nano.onnx", detectors=("auto",), on_device=site) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        page.click("#settings")
        page.check("#on-device")
        page.keyboard.press("Escape")
        expect(page.locator("#detector option")).to_have_count(2, timeout=30_000)  # this device's offer
        sent: list[str] = []
        page.on("request", lambda request: sent.append(f"{request.method} {request.url}"))
        page.on("websocket", lambda socket: sent.append(socket.url))
        page.context.set_offline(True)
        page.set_input_files("#files", ASTRONAUT)
        expect(page.locator(".face")).to_contain_text("happy", timeout=30_000)
        page.click("#tab-camera")
        page.click("text=Start the camera")
        expect(page.locator("#camera .face .head")).to_contain_text(re.compile(r"1\w+\d+ %"), timeout=30_000)
        page.click("text=Stop the camera")
        page.click("#tab-images")
        elsewhere = {what for what in sent if " blob:" not in what and " data:" not in what}
        assert elsewhere <= {f"GET http://127.0.0.1:{port}/icon.svg"}  # the tab's icon, anew with another title
        # The strict policy of the page itself is what it was; only the worker may compile WebAssembly.
        assert "wasm" not in ask(port, "GET", "/").headers["content-security-policy"]
        assert "wasm" in ask(port, "GET", "/device/worker.js").headers["content-security-policy"]
        assert ask(port, "GET", "/device/../manifest.json").status == 404

        page.context.set_offline(False)
        before = metric(port, "mien_faces_total")
        page.click("#settings")
        with page.expect_response("**/v1/predict?**") as answer:
            page.uncheck("#on-device")
        page.keyboard.press("Escape")
        assert answer.value.ok
        assert metric(port, "mien_faces_total") >= before
        page.click("#clear")
