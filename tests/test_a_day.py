"""A day with mien: from a CSV of faces to an exported model, in the calls that a user writes."""

import doctest
import shutil
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

import mien
from made_video import astronaut_clip
from mien.data.toy import toy_faces
from mien.pages import png
from places import ASTRONAUT

pytest.importorskip("torch", reason="needs the extra [train]")


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "fer2013.csv"
    faces = toy_faces(140, seed=5)
    usage = ("Training", "Training", "PublicTest", "PrivateTest")
    rows = [
        f"{label},{' '.join(map(str, face.ravel()))},{usage[row // 7 % 4]}"
        for row, (face, label) in enumerate(zip(faces.images, faces.labels, strict=True))
    ]
    path.write_text("emotion,pixels,Usage\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def data(csv):
    return mien.load_dataset(csv)


class MyCallback(mien.Callback):
    rows: list = []  # noqa: RUF012

    def on_epoch(self, row):
        self.rows.append(row)


def my_augment(batch):
    return batch.flip(-1)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "a"
    return mien.train(
        "scratch-cnn4", data, out=out, optimizer={"epochs": 1}, augment=my_augment, callbacks=[MyCallback()]
    )


def test_splits_go_to_other_libraries(data):
    pytest.importorskip("pandas")
    pytest.importorskip("datasets")
    table = data["train"].to_pandas()
    assert len(table) == len(data["train"]) and {"source", "split", "label"} <= {*table.columns}
    image, label = data["train"].to_torch()[0]
    assert tuple(image.shape) == (1, 48, 48) and 0 <= int(label) < 7
    assert {*data.to_huggingface()} == {"train", "validation", "test"}


def test_a_run_has_its_history_its_model_and_its_network(run):
    assert [row["epoch"] for row in run.history] == [1] and MyCallback.rows == run.history
    assert run.model.is_file() and sum(p.numel() for p in run.to_torch().parameters()) > 0


def test_a_report_is_measured_and_written(run, data, tmp_path):
    report = mien.evaluate(run.model, data, split="test", out=tmp_path / "report")
    low, high = report.interval
    assert low <= report.accuracy <= high
    assert len(report.per_class.to_pandas()) == 7
    assert (tmp_path / "report/report.html").is_file()


def test_runs_are_compared_faces_explained_and_models_exported(run, tmp_path):
    assert mien.compare([run.folder, run.folder]).verdict
    (tmp_path / "face.png").write_bytes(png(np.repeat(toy_faces(7, seed=1).images[0], 3, axis=2)))
    assert mien.explain(run.model, [tmp_path / "face.png"], detector="none").maps.shape[0] == 1
    pytest.importorskip("openvino")
    exported = mien.export("mien-small", "openvino", out=tmp_path / "x")
    assert mien.load_model(exported.path).info.labels == mien.load_model("mien-small").info.labels


@pytest.fixture(scope="module")
def desk(csv, run, tmp_path_factory):
    """A folder with the files that examples name."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "fer2013.csv").symlink_to(csv)
    for name in ("a", "b"):
        shutil.copytree(run.folder, folder / "runs" / name)
    Image.open(ASTRONAUT).convert("RGB").save(folder / "photo.jpg")
    faces = toy_faces(70, seed=7)
    for row, (face, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        place = folder / "faces" / mien.load_model("mien-nano-fer2013").info.labels[label] / f"{row}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(face))
    astronaut_clip(folder / "talk.mp4", frames=10)
    (folder / "src/mien").mkdir(parents=True)
    (folder / "src/mien/examples").symlink_to(ASTRONAUT.parent)
    return folder


@pytest.mark.parametrize(
    "module",
    [
        "evaluation.compare", "evaluation.ensemble", "evaluation.explain", "evaluation.evaluate",
        "evaluation.recalibrate", "training.callbacks", "training.train", "training.cross_validation",
        "exporting.export", "recognition.shortcuts", "recognition.tracking",
    ],
)  # fmt: skip
def test_examples_in_docstrings_run(module, desk, monkeypatch):
    monkeypatch.chdir(desk)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    found = doctest.testmod(import_module(f"mien.{module}"), optionflags=options)
    assert found.attempted > 0 and found.failed == 0
