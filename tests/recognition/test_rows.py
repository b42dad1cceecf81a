"""One flat schema: CSV, Parquet shard, timeline, API, page and pandas say the same of the same image."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from mien.cluster.shard import Shard, work_on_shard
from mien.media.sinks import open_sink
from mien.media.timeline import open_timeline
from mien.recognition.recognizer import Recognizer
from mien.results import FrameResult, ImageResult, TrackedFace
from mien.results.rows import columns, frame_columns
from mien.serving.app import create_app
from mien.serving.settings import ServeSettings
from places import ASTRONAUT, ROOT
from tiny_models import make_model

SAVE_JS = ROOT / "src" / "mien" / "serving" / "static" / "save.js"
DESIGN = ROOT / "src" / "mien" / "pages" / "design"
WORDS = {"source", "expression", "error", "smoothed_expression"}

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny.onnx", ("happy", "track", "sad", "face"))


@pytest.fixture(scope="module")
def recognizer(model: Path) -> Recognizer:
    return Recognizer(model, detector="auto", threads=1)


@pytest.fixture(scope="module", params=["faces", "none", "unreadable"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "an, image.png"
    if request.param == "faces":
        path.write_bytes(ASTRONAUT.read_bytes())
    elif request.param == "none":
        import cv2
        import numpy as np

        cv2.imwrite(str(path), np.full((40, 50, 3), 90, np.uint8))
    else:
        path.write_bytes(b"no image")
    return path


@pytest.fixture(scope="module")
def result(recognizer: Recognizer, source: Path) -> ImageResult:
    (found,) = recognizer.stream([source])
    return found


def from_csv(text: str) -> Rows:
    """Rows in the types of Parquet, empty cells as None."""
    rows = csv.DictReader(io.StringIO(text))
    return [{k: (v if k in WORDS else float(v)) if v else None for k, v in row.items()} for row in rows]


@pytest.fixture(scope="module")
def expected(result: ImageResult, recognizer: Recognizer) -> Rows:
    return [dict(zip(columns(recognizer.labels), row, strict=True)) for row in result.rows(recognizer.labels)]


def assert_same(found: Rows, expected: Rows) -> None:
    assert [list(row) for row in found] == [list(row) for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert one == {k: pytest.approx(v, rel=1e-6) if isinstance(v, float) else v for k, v in other.items()}


def test_an_image_has_rows_whatever_became_of_it(expected: Rows, source: Path, result: ImageResult) -> None:
    (row,) = expected
    assert list(row)[-5:] == ["happy", "label_track", "sad", "label_face", "error"]
    assert row["source"] == str(source)
    assert (row["face"] is None) == (not result.faces)
    assert (row["error"] is None) == (row["width"] > 0)


def test_csv(result: ImageResult, recognizer: Recognizer, expected: Rows, tmp_path: Path) -> None:
    with open_sink("csv", recognizer.summary(), tmp_path / "a.csv") as sink:
        sink.write(result)
    assert_same(from_csv((tmp_path / "a.csv").read_text()), expected)


def test_pandas(result: ImageResult, recognizer: Recognizer, expected: Rows) -> None:
    pytest.importorskip("pandas")
    table = result.to_pandas().astype(object)
    assert_same(table.where(table.notna(), None).to_dict("records"), expected)


def test_a_parquet_shard(recognizer: Recognizer, source: Path, expected: Rows) -> None:
    done = work_on_shard(recognizer, Shard(0, 7, (str(source),), "x"))
    assert_same(pq.read_table(io.BytesIO(done.data)).to_pylist(), [{"image": 7, **row} for row in expected])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_timeline(
    result: ImageResult, recognizer: Recognizer, expected: Rows, source: Path, tmp_path: Path, suffix: str
) -> None:
    if result.error is not None:
        pytest.skip("a frame that can't be read is none")
    faces = tuple(TrackedFace(1, face, True, face.probabilities, face.expression) for face in result.faces)
    path = tmp_path / f"a{suffix}"
    with open_timeline(path, recognizer.summary(), source=str(source)) as timeline:
        timeline.write(FrameResult(3, 0.12, result.width, result.height, faces))
    if suffix == ".parquet":
        found = pq.read_table(path).to_pylist()
    else:
        found = from_csv(path.read_text()) if suffix == ".csv" else [json.loads(path.read_text())]
    (row,) = expected
    of_the_frame = {"frame": 3, "time_s": 0.12, "track": 1 if faces else None}
    assert_same(
        found, [{**of_the_frame, **row, "smoothed_expression": faces[0].smoothed_expression if faces else None}]
    )
    assert tuple(found[0]) == frame_columns(recognizer.labels)


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[TestClient]:
    settings = ServeSettings(models=(str(model),), videos=False)
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8000") as client:
        while client.get("/readyz").status_code != 200:
            pass
        yield client


def ask(client: TestClient, source: Path, form: str) -> Any:
    files = {"files": (source.name, source.read_bytes())}
    answer = client.post(f"/v1/predict?format={form}", files=files)
    assert answer.status_code == 200, answer.text
    return answer


def test_the_api(client: TestClient, source: Path, expected: Rows) -> None:
    answer = ask(client, source, "csv")
    assert answer.headers["content-type"].startswith("text/csv")
    named = [{k: replace_name(v, source) for k, v in row.items()} for row in expected]
    assert_same(from_csv(answer.text), named)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_page(client: TestClient, source: Path, expected: Rows, tmp_path: Path) -> None:
    document = ask(client, source, "json").json()
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "save.js").write_text(SAVE_JS.read_text())
    shutil.copytree(DESIGN, tmp_path / "design")
    script = (
        'import { toCsv } from "./save.js";'
        "const { model, images } = JSON.parse(process.argv[1]);"
        "process.stdout.write(toCsv(model.labels, images, 0));"
    )
    command = ["node", "--input-type=module", "-e", script, json.dumps(document)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    named = [{k: replace_name(v, source) for k, v in row.items()} for row in expected]
    assert_same(from_csv(done.stdout), named)
    assert done.stdout == ask(client, source, "csv").text


def replace_name(value: Any, source: Path) -> Any:
    """A client's file has no folder."""
    return value.replace(str(source), source.name) if isinstance(value, str) else value


def test_an_abstained_answer_has_no_expression_and_keeps_its_probabilities(
    result: ImageResult, recognizer: Recognizer
) -> None:
    if not result.faces:
        pytest.skip("no face")
    unsure = replace(result, faces=(replace(result.faces[0], abstained=True),))
    ((*_, error),) = unsure.rows(recognizer.labels)
    (row,) = [dict(zip(columns(recognizer.labels), r, strict=True)) for r in unsure.rows(recognizer.labels)]
    assert (row["expression"], error) == (None, None)
    assert row["happy"] is not None
