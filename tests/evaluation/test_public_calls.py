"""Evaluation from Python: each command is one call, which prints nothing."""

import json
import logging
import shutil

import numpy as np
import pytest

import mien
from made_runs import made_run
from mien.data.readers import open_dataset
from mien.data.toy import write_toy_folders
from mien.evaluation.report import report_text


@pytest.fixture
def toys(tmp_path):
    write_toy_folders(tmp_path / "toys", train=14, validation=14, test=7)
    return tmp_path / "toys"


def test_an_evaluation_is_one_call_and_writes_a_folder(toys, tmp_path, capfd):
    pytest.importorskip("matplotlib")
    report = mien.evaluate("mien-nano-fer2013", toys, out=tmp_path / "out")
    assert report.n == 7 and report.split == "test"
    assert report.interval == report.accuracy_95
    assert [path.name for path in report.files] == ["report.html", "metrics.json", "report.txt", "predictions.csv"]
    assert all(path.is_file() for path in report.files)
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == json.loads(json.dumps(report.to_dict()))
    assert "files" not in report.to_dict()
    assert capfd.readouterr() == ("", "")


def test_an_opened_data_set_and_a_path_give_the_same_figures(toys):
    first = mien.evaluate("mien-nano-fer2013", toys)
    second = mien.evaluate(mien.load_model("mien-nano-fer2013"), open_dataset(toys))
    assert first.files == second.files == ()
    assert np.array_equal(first.probabilities, second.probabilities)
    assert first.per_class == second.per_class


def test_data_of_other_people_are_measured_whole_or_where_they_have_test_faces(toys, caplog):
    moved = toys.parent / "moved"
    (toys / "validation").rename(moved)
    assert mien.evaluate("mien-nano-fer2013", toys).split == "test"  # train/ and test/
    assert mien.evaluate("mien-nano-fer2013", toys, split="all").n == 21
    with caplog.at_level(logging.WARNING, "mien"):
        whole = mien.evaluate("mien-nano-fer2013", moved)  # folders of classes
    assert (whole.split, whole.n) == ("all", 14)
    assert "the data have no splits: all their faces are measured" in caplog.text
    (toys / "test").rename(toys / "validation")
    assert mien.evaluate("mien-nano-fer2013", toys).split == "validation"
    with pytest.raises(mien.MienError, match=r"no split 'test' \(found: train.*--split all"):
        mien.evaluate("mien-nano-fer2013", toys, split="test")


def test_accuracy_with_every_answer_stands_beside_that_without_absent_classes(toys):
    for neutral in toys.glob("*/neutral"):
        shutil.rmtree(neutral)
    found = mien.evaluate("mien-nano-fer2013", toys, split="all")
    assert found.dropped_classes == ("neutral",)
    assert found.accuracy_every_answer.n == found.n
    assert found.accuracy_every_answer.accuracy <= found.accuracy
    assert found.to_dict()["accuracy_every_answer"]["accuracy"] == round(found.accuracy_every_answer.accuracy, 6)
    text = report_text(found)
    assert "without the answers neutral" in text and "every answer " in text


def test_recalls_have_their_interval(toys):
    found = mien.evaluate("mien-nano-fer2013", toys, split="all")
    for score in found.per_class:
        low, high = score.recall_95
        assert low <= score.recall <= high and high - low > 0.3  # three faces
        assert found.to_dict()["per_class"][score.label]["recall_95"] == [round(low, 6), round(high, 6)]


def test_figures_of_the_classes_are_a_data_frame(toys):
    pytest.importorskip("pandas")
    table = mien.evaluate("mien-nano-fer2013", toys).per_class.to_pandas()
    assert list(table.columns) == ["label", "support", "recall", "precision", "f1"]
    assert table["support"].sum() == 7


def test_unusable_records_are_logged_and_not_printed(toys, capfd, caplog):
    (next((toys / "test").iterdir()) / "broken.png").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING, "mien"):
        assert mien.evaluate("mien-nano-fer2013", toys).n == 7
    assert "broken.png" in caplog.text
    assert capfd.readouterr().out == ""


def test_runs_are_compared_with_and_without_a_folder(tmp_path):
    runs = [made_run(tmp_path / "a", 0.5), made_run(tmp_path / "b", 0.6)]
    assert mien.compare(runs).runs[0].name == "b"
    pytest.importorskip("matplotlib")
    mien.compare(runs, tmp_path / "out")
    assert (tmp_path / "out/compare.html").is_file()


def test_a_face_crop_is_explained(toys, tmp_path):
    image = next((toys / "test").rglob("*.png"))
    (tmp_path / "broken.png").write_bytes(b"no image")
    found = mien.explain("mien-nano", [image, tmp_path / "broken.png"], tmp_path / "out", detector="none")
    assert found.maps.shape == (1, 48, 48) and len(found.problems) == 1
    assert (tmp_path / "out/sheet.png").is_file()


def test_a_calibrated_model_and_an_ensemble_are_model_files(toys, tmp_path):
    pytest.importorskip("onnx")
    one = mien.calibrate("mien-nano-fer2013", toys, tmp_path / "one.onnx")
    assert one.after.nll <= one.before.nll
    two = mien.ensemble(["mien-nano-fer2013", one.path], tmp_path / "two.onnx", data=toys)
    assert two.weights == (0.5, 0.5) and two.comparison is not None
    assert mien.load_model(two.path).info.members == ("mien-nano-fer2013", "one")
    with pytest.raises(ValueError, match="give data"):
        mien.ensemble(["mien-nano", "mien-small"], tmp_path / "three.onnx", weights="fit")


def test_models_joined_by_a_plus_are_averaged(toys):
    both = mien.evaluate("mien-nano-fer2013+mien-small-fer2013", toys)
    assert [model.name for model in both.models] == ["mien-nano-fer2013", "mien-small-fer2013"]
