"""A day with mien: from a CSV of faces to an exported model, in the calls that a user writes."""

import numpy as np
import pytest

import mien
from mien.data.toy import toy_faces
from mien.pages import png

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
