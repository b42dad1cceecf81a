"""`mien predict` from outside: exit codes, outputs, bad folders."""

from __future__ import annotations

import base64
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hostile_images import UNREADABLE, make_hostile_folder
from mien.cli import main
from mien.releases import DEFAULT_MODEL
from places import ASTRONAUT, ROOT
from tiny_models import make_model


def mien(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mien", "predict", *map(str, arguments)]
    path = str(ROOT / "src")
    environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "200"}
    return subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment, check=False)


def run_here(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """The exit code of `mien predict` in this process: quick, for what fails early."""
    monkeypatch.setattr(sys, "argv", ["mien", "predict", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "cheerful.onnx", favourite="happy")


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Two folders with images of the same name."""
    for i, folder in enumerate(("x", "y")):
        (tmp_path / "faces" / folder).mkdir(parents=True)
        noise = np.random.default_rng(i).integers(0, 255, (48, 48), np.uint8)
        Image.fromarray(noise).save(tmp_path / "faces" / folder / "face.png")
    return tmp_path / "faces"


@pytest.mark.parametrize("out", [(), ("--out", "-")], ids=["by default", "by a dash"])
def test_the_astronaut_as_json(model: Path, out: tuple[str, ...]) -> None:
    done = mien(ASTRONAUT, "-m", model, "--format", "json", *out)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["model"]["name"] == "cheerful"
    (image,) = document["images"]
    assert (image["source"], image["width"], image["error"]) == (str(ASTRONAUT), 512, None)
    assert [face["expression"] for face in image["faces"]] == ["happy"]
    assert set(image["faces"][0]) == {
        "box", "detection_score", "expression", "confidence", "probabilities", "abstained", "landmarks",
    }  # fmt: skip


def test_table_is_the_default(model: Path, faces: Path) -> None:
    done = mien(faces, "-m", model, "-d", "none")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("happy") == 2
    assert done.stdout.endswith("2 images read, 2 faces\n")


def test_a_list_on_standard_input_and_two_models(model: Path, faces: Path) -> None:
    listing = f"{faces}/x/face.png\n{faces}/gone.png\n"
    done = mien("-", "-m", f"{model}+{model}", "-d", "none", "-f", "jsonl", stdin=listing)
    assert done.returncode == 3
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(row["faces"]) for row in rows] == [1, 0]
    assert rows[1]["error"] == f"{faces}/gone.png: no such file; check the path"


def test_annotated_images_and_csv_inside_the_folder_that_is_read(model: Path, faces: Path) -> None:
    arguments = (faces, "-m", model, "-d", "none", "--annotate", faces / "out", "-f", "csv", "-o", faces / "a.csv")
    for _ in range(2):  # the second run does not read what the first one drew
        done = mien(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert len(list(csv.DictReader((faces / "a.csv").read_text(encoding="utf-8").splitlines()))) == 2
        assert sorted(p.name for p in (faces / "out").iterdir()) == ["face-annotated-2.png", "face-annotated.png"]
    assert sorted(p.name for p in faces.iterdir()) == ["a.csv", "out", "x", "y"]


def test_hostile_folder(model: Path, tmp_path: Path) -> None:
    folder = make_hostile_folder(tmp_path / "images")
    done = mien(folder, "-m", model, "--format", "csv", "--annotate", tmp_path / "drawn")
    assert (done.returncode, done.stderr) == (3, "")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert {Path(row["source"]).name for row in rows} == {p.name for p in folder.iterdir()}
    unread = [row for row in rows if row["error"]]
    assert tuple(sorted(Path(row["source"]).name for row in unread)) == UNREADABLE
    assert all(row["error"].startswith(row["source"]) for row in unread)
    assert len(list((tmp_path / "drawn").iterdir())) == len(rows) - len(unread)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--out", "missing/a.csv"], "can't be written"),
        (["--annotate", "notes.txt"], "can't be written"),
        (["--detector", "nose"], "nose"),
        (["--model", "gone.onnx"], "no such model file"),
        (["empty"], "no images in this folder"),
        (["*.gif"], "matches no file"),
        (["https://example.org/a.jpg"], "download the image first"),
        (["0"], "mien watch 0"),
    ],
)
def test_wrong_usage_is_one_line_and_leaves_nothing(
    model: Path,
    tmp_path: Path,
    arguments: list[str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.iterdir())
    own = () if "--model" in arguments else ("-m", str(model))
    code = run_here(monkeypatch, str(ASTRONAUT), "-d", "none", *own, *arguments)
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert reason in printed.err
    assert printed.err.startswith("mien: ")
    assert printed.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_what_a_folder_has_beside_images_is_counted(model: Path, faces: Path) -> None:
    (faces / "x" / "face.png").rename(faces / "x" / "face.jpg_large")
    (faces / "y" / "notes.txt").write_text("hello")
    done = mien(faces, "-m", model, "-d", "none", "-f", "json")
    assert (done.returncode, done.stderr) == (0, "mien: 1 file was skipped: 1 text\n")
    document = json.loads(done.stdout)
    assert [len(image["faces"]) for image in document["images"]] == [1, 1]
    assert document["skipped"] == {"text": 1}


def test_images_that_cannot_be_decoded_are_rows(model: Path, faces: Path) -> None:
    (faces / "photo").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    done = mien(faces, "-m", model, "-d", "none", "-f", "jsonl")
    assert (done.returncode, done.stderr) == (3, "")
    assert "HEIC" in json.loads(done.stdout.splitlines()[0])["error"]


def test_addresses_and_an_image_on_standard_input(model: Path, faces: Path, tmp_path: Path) -> None:
    face = faces / "x" / "face.png"
    url = "data:image/png;base64," + base64.b64encode(face.read_bytes()).decode()
    done = mien(url, f"file://{face}", "-m", model, "-d", "none", "-f", "jsonl", "--annotate", tmp_path / "drawn")
    assert (done.returncode, done.stderr) == (0, "")
    sources = [json.loads(line)["source"] for line in done.stdout.splitlines()]
    assert sources == [f"data URL (image/png, {face.stat().st_size / 1000:.0f} kB)", str(face)]
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["data-url-annotated.png", "face-annotated.png"]
    command = [sys.executable, "-m", "mien", "predict", "-", "-m", str(model), "-d", "none", "-f", "jsonl"]
    piped = subprocess.run(command, input=face.read_bytes(), capture_output=True, check=True)
    assert json.loads(piped.stdout)["source"] == "standard input"


@pytest.mark.parametrize("arguments", [[], ["--min-face", "0", "a"], ["--abstain-below", "2", "a"], ["-f", "xml", "a"]])
def test_options_out_of_range(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_here(monkeypatch, *arguments) == 2


def test_the_default_model_is_the_one_that_the_library_names() -> None:
    import inspect

    from mien.cli.predict import predict

    assert inspect.signature(predict).parameters["model"].default == [DEFAULT_MODEL]
