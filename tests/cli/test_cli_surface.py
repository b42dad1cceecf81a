"""One way for each thing: formats, ensembles, suggestions, completion, panels, drawings."""

import json

import numpy as np
import pytest
from PIL import Image

from mien.cli import COMMANDS
from mien.cli.completion import complete_detector, complete_model, complete_network, complete_recipe
from mien.suggestions import did_you_mean
from tiny_models import make_model


@pytest.fixture
def happy(tmp_path):
    return make_model(tmp_path / "happy.onnx", favourite="happy")


@pytest.fixture
def sad(tmp_path):
    return make_model(tmp_path / "sad.onnx", favourite="sad")


@pytest.fixture
def face(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 48), np.uint8)).save(tmp_path / "face.png")
    return tmp_path / "face.png"


@pytest.mark.parametrize(
    ("name", "begins"), [("a.csv", "source,"), ("a.json", "{"), ("a.jsonl", "{"), ("a.txt", "image")]
)
def test_the_suffix_of_out_chooses_the_format(run, happy, face, tmp_path, name, begins):
    assert run("predict", face, "-m", happy, "-d", "none", "--out", tmp_path / name)[0] == 0
    assert (tmp_path / name).read_text("utf-8").startswith(begins)


def test_the_format_wins_over_the_suffix(run, happy, face, tmp_path):
    assert run("predict", face, "-m", happy, "-d", "none", "-o", tmp_path / "a.log", "-f", "json")[0] == 0
    assert json.loads((tmp_path / "a.log").read_text("utf-8"))["model"]["name"] == "happy"


@pytest.mark.parametrize("name", ["a.xlsx", "answers"])
def test_a_suffix_of_no_format_is_refused(run, happy, face, tmp_path, name):
    code, out, err = run("predict", face, "-m", happy, "-d", "none", "--out", tmp_path / name)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert name in err
    assert ".csv, .json, .jsonl or .txt" in err
    assert not (tmp_path / name).exists()


def test_a_plus_names_an_ensemble_and_a_second_model_is_refused(run, happy, sad, face):
    code, out, _ = run("predict", face, "-m", f"{happy}+{sad}", "-d", "none", "-f", "json")
    assert (code, json.loads(out)["model"]["name"]) == (0, "happy + sad")
    code, _, err = run("predict", face, "-m", happy, "-m", sad, "-d", "none")
    assert code == 2
    assert f"--model {happy}+{sad}" in err
    assert run("predict", face, "-m", f"{happy}+", "-d", "none")[0] == 2


def test_a_file_with_a_plus_in_its_name_is_one_model(run, face, tmp_path):
    odd = make_model(tmp_path / "a+b.onnx", favourite="happy")
    code, out, _ = run("predict", face, "-m", odd, "-d", "none", "-f", "json")
    assert (code, json.loads(out)["model"]["name"]) == (0, "a+b")


def test_models_are_evaluated_side_by_side(run, happy, sad, undrawn, tmp_path):
    for label in ("happy", "sad"):
        (tmp_path / "faces/validation" / label).mkdir(parents=True)
        for i in range(2):
            image = np.random.default_rng(i).integers(0, 255, (48, 48), np.uint8)
            Image.fromarray(image).save(tmp_path / "faces/validation" / label / f"{i}.png")
    options = ("--data", tmp_path / "faces", "--out", tmp_path / "e", "--no-speed", "--format")
    code, out, err = run("evaluate", happy, sad, f"{happy}+{sad}", *options, "json")
    assert code == 0, err
    rows = json.loads(out)
    assert [row["accuracy"] for row in rows[:2]] == [0.5, 0.5]
    assert [len(row["models"]) for row in rows] == [1, 1, 2]
    for name in ("happy", "sad", "happy+sad"):
        assert (tmp_path / "e" / name / "metrics.json").is_file()
    printed = run("evaluate", happy, sad, *options, "table")[1]
    assert "4 faces of validation" in printed
    assert printed.count("0.500") >= 2


def test_all_faces_are_drawn_on_one_sheet(run, happy, face, tmp_path):
    sheet, drawn = tmp_path / "sheet.png", tmp_path / "drawn"
    code, *_ = run("predict", face, "-m", happy, "-d", "none", "--grid", sheet, "--annotate", drawn, "--emoji", "-q")
    assert code == 0
    with Image.open(sheet) as image:
        width, height = image.size
    assert 96 < width < height  # a tile with its label below
    assert len(list(drawn.iterdir())) == 1
    assert run("predict", face, "-m", happy, "-d", "none", "--grid", tmp_path / "sheet.gif")[0] == 2
    assert "--annotate" in run("predict", face, "-m", happy, "-d", "none", "--emoji")[2]


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("train", "cnn2", "--data", "x", "--out", "y"), "'scratch-cnn2'"),
        (("recipes", "resnet-10"), "'scratch-resnet10'"),
        (("networks", "minixception"), "'mini-xception'"),
        (("models", "show", "mien-smal"), "'mien-small'"),
        (("models", "fetch", "mien-smal"), "'mien-small'"),
        (("predict", "x.png", "-d", "mtcn"), "'mtcnn'"),
    ],
)
def test_misspelt_names_are_suggested(run, face, arguments, meant):
    code, _, err = run(*(str(face) if word == "x.png" else word for word in arguments))
    assert (code, len(err.splitlines())) == (2, 1)
    assert f"did you mean {meant}?" in err


def test_nothing_alike_is_not_suggested():
    assert did_you_mean("zzz", ["mtcnn", "haar"]) == did_you_mean("", ["a"]) == ""


def test_names_are_completed():
    assert "mien-small" in complete_model("mien-s")
    assert complete_model("mien-nano+mien-b")[0] == "mien-nano+mien-base"
    assert complete_detector("y") == ["yunet"]
    assert "scratch-cnn2" in complete_recipe("scratch-c")
    assert "mini-xception" in complete_network("mini")


def test_help_has_the_commands_in_panels(run):
    out = run("--help")[1]
    places = [out.index(panel) for panel in ("Recognise", "Train", "Data", "Models", "More")]
    assert places == sorted(places)
    assert all(name in out for name in COMMANDS)
