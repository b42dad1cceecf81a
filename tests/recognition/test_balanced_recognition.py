"""Recognition with a balance: the same numbers from Python, the command line and the server's engine."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import mien
from mien.balance import Balance
from mien.cli import app
from mien.labels import FER2013
from mien.model_file import ModelFile
from mien.recognition.recognizer import Recognizer
from tiny_models import make_model

PRIOR = (0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17)
MINE = dict(zip(FER2013, (1, 1, 1, 5, 1, 1, 20), strict=True))


@pytest.fixture
def faces() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (7, 48, 48, 3), np.uint8))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "m.onnx", prior=PRIOR, balance=0.25)


def shares(recognizer: Recognizer, faces: list[np.ndarray]) -> np.ndarray:
    return np.array([list(result[0].probabilities.values()) for result in recognizer.predict(faces)])


def test_balance_0_gives_the_bits_of_a_file_without_a_prior(model: Path, faces: list, tmp_path: Path) -> None:
    bare = make_model(tmp_path / "bare.onnx")
    before = shares(Recognizer(bare, detector="none"), faces)
    np.testing.assert_array_equal(shares(Recognizer(model, detector="none", balance=0), faces), before)
    assert (shares(Recognizer(model, detector="none"), faces) != before).any()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Balance(0.25, PRIOR)),
        ({"balance": 0.7}, Balance(0.7, PRIOR)),
        ({"prior": MINE}, Balance(1.0, PRIOR, tuple(np.array(list(MINE.values())) / 30))),
    ],
)
@pytest.mark.parametrize("tta", [False, True])
def test_the_mean_is_balanced_once(options: dict, expected: Balance, tta: bool, model: Path, faces: list) -> None:
    plain = shares(Recognizer(model, detector="none", balance=0, tta=tta), faces)
    recognizer = Recognizer(model, detector="none", tta=tta, **options)
    np.testing.assert_allclose(shares(recognizer, faces), expected.apply(plain), atol=1e-6)
    said = recognizer.summary().to_dict()
    assert said["balance"] == expected.balance
    assert (said["prior"] is None) == (expected.target is None)


def test_abstaining_is_by_the_balanced_confidence(model: Path, faces: list) -> None:
    result = Recognizer(model, detector="none", balance=1.0).predict(faces[0])
    confidence = result[0].confidence
    for below, unsure in ((confidence - 1e-4, False), (confidence + 1e-4, True)):
        again = Recognizer(model, detector="none", balance=1.0, abstain_below=below).predict(faces[0])
        assert again[0].abstained is unsure


def test_a_kept_recognizer_is_one_with_the_same_balance(model: Path, faces: list) -> None:
    found = [mien.predict(faces[0], model=model, detector="none", balance=b)[0].confidence for b in (0, 1, 0)]
    assert found[0] == found[2] != found[1]
    mine = mien.predict(faces[0], model=model, detector="none", prior=MINE)[0]
    wanted = Recognizer(model, detector="none", prior=MINE).predict(faces[0])[0]
    assert mine.probabilities == wanted.probabilities


def test_the_command_line_gives_what_python_gives(model: Path, faces: list, tmp_path: Path) -> None:
    image, counts = tmp_path / "face.png", tmp_path / "counts.json"
    cv2.imwrite(str(image), faces[0][..., ::-1])
    counts.write_text(json.dumps(MINE))
    command = ["predict", str(image), "-m", str(model), "--detector", "none", "--format", "json"]
    for options, keywords in (
        ([], {}),
        (["--balance", "0"], {"balance": 0}),
        (["--balance", "0.5"], {"balance": 0.5}),
        (["--prior", str(counts)], {"prior": MINE}),
    ):
        run = CliRunner().invoke(app, [*command, *options])
        assert run.exit_code == 0, run.output
        wanted = mien.predict(image, model=model, detector="none", **keywords).to_dict()["faces"]
        assert json.loads(run.stdout)["images"][0]["faces"] == wanted


def test_watching_is_balanced(model: Path, faces: list, tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    cv2.imwrite(str(tmp_path / "clip" / "1.png"), faces[0][..., ::-1])
    found = {}
    for balance in (0.0, 1.0):
        (frame,) = mien.watch(tmp_path / "clip", model=model, detector="none", balance=balance, smooth_s=0)
        found[balance] = frame[0].face.probabilities
    wanted = Recognizer(model, detector="none", balance=1.0).predict(faces[0])[0].probabilities
    assert found[1.0] == pytest.approx(wanted, abs=1e-6)
    assert found[0.0] != found[1.0]


def test_shards_are_balanced(model: Path, faces: list, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    image, out = tmp_path / "face.png", tmp_path / "out"
    cv2.imwrite(str(image), faces[0][..., ::-1])
    command = ["predict", str(image), "-m", str(model), "--detector", "none", "--shards", str(out), "--balance"]
    assert CliRunner().invoke(app, [*command, "1"]).exit_code == 0
    (row,) = parquet.read_table(out / "shard-000000.parquet").to_pylist()
    wanted = Recognizer(model, detector="none", balance=1.0, threads=1, device="cpu").predict(image)[0]
    assert row["expression"] == wanted.expression
    assert row["confidence"] == pytest.approx(wanted.confidence, abs=1e-4)
    again = CliRunner().invoke(app, [*command, "0.5"])
    assert "holds other work" in str(again.exception)


def test_evaluate_calls_what_predict_calls(model: Path, faces: list, undrawn: list, tmp_path: Path) -> None:
    for number, face in enumerate(faces):
        place = tmp_path / "data" / "validation" / FER2013[number] / f"{number}.png"
        place.parent.mkdir(parents=True)
        cv2.imwrite(str(place), cv2.cvtColor(face, cv2.COLOR_RGB2GRAY))
    for keywords in ({}, {"balance": 0.0}, {"balance": 0.6}, {"prior": MINE}):
        report = mien.evaluate(
            model,
            tmp_path / "data",
            split="validation",
            out=tmp_path / "report",
            speed=False,
            leak_check=False,
            **keywords,
        )
        with (tmp_path / "report" / "predictions.csv").open() as file:
            table = list(csv.DictReader(file))
        paths = [next((tmp_path / "data").rglob(Path(row["source"]).name)) for row in table]
        found = mien.predict(paths, model=model, detector="none", **keywords)
        assert [row["expression"] for row in table] == [result[0].expression for result in found]
        sure = [float(row["confidence"]) for row in table]
        np.testing.assert_allclose(sure, [result[0].confidence for result in found], atol=1e-6)
        assert report.balance.used == Recognizer(model, detector="none", **keywords).summary().balance


def test_commands_refuse_what_they_cannot_balance(model: Path, tmp_path: Path) -> None:
    table, bare = tmp_path / "other.csv", make_model(tmp_path / "bare.onnx")
    table.write_text("image,truth,answer\na,happy,happy\n")
    runner = CliRunner()
    other = runner.invoke(
        app, ["evaluate", "--predictions", str(table), "--balance", "0.2", "--out", str(tmp_path / "o")]
    )
    assert "--balance: is for models" in str(other.exception)
    image = tmp_path / "face.png"
    cv2.imwrite(str(image), np.zeros((48, 48, 3), np.uint8))
    for command in (["predict", str(image)], ["watch", str(tmp_path)]):
        run = runner.invoke(app, [*command, "-m", str(bare), "--detector", "none", "--balance", "0.2"])
        assert "has no prior" in str(run.exception)
        run = runner.invoke(app, [*command, "-m", str(model), "--detector", "none", "--balance", "1.2"])
        assert run.exit_code == 2
    run = runner.invoke(app, ["predict", str(image), "-m", str(model), "--prior", str(tmp_path / "gone.json")])
    assert "gone.json: can't be read" in str(run.exception)


def test_explained_probabilities_are_balanced(model: Path, faces: list) -> None:
    from mien.evaluation.explain import explain_faces

    grey = np.stack([cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[..., None] for face in faces[:2]])
    found = explain_faces(ModelFile(model), grey, ("a", "b"))
    plain = ModelFile(model).probabilities(grey)
    np.testing.assert_allclose(found.probabilities, Balance(0.25, PRIOR).apply(plain).max(1), atol=1e-6)
