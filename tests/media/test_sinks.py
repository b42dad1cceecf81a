"""Outputs: exact forms, whole or not at all; and the expansion of sources."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from mien.errors import ImageError, OutputError
from mien.media.sinks import open_sink
from mien.media.sources import expand_sources
from mien.results import Box, Face, ImageResult, ModelSummary
from mien.results.draw import AnnotatedFolder

MODEL = ModelSummary("tiny", ("happy", "sad"), "votes", ("ab",))
SURE = Face(Box(1.04, 2, 30, 40.06), 0.98765, "happy", 0.91234, {"happy": 0.91234, "sad": 0.08766})
UNSURE = Face(Box(50, 2, 80, 40), 0.9, "sad", 0.52, {"happy": 0.48, "sad": 0.52}, abstained=True)
RESULTS = [
    ImageResult("a, b.jpg", 100, 50, (SURE, UNSURE)),
    ImageResult("none.jpg", 10, 20),
    ImageResult("bad.jpg", 0, 0, error="bad.jpg: is empty (0 bytes)"),
    ImageResult("odd\udce9\n.jpg", 10, 20),
]


def written(tmp_path: Path, format_name: str) -> str:
    with open_sink(format_name, MODEL, tmp_path / "out") as sink:
        for result in RESULTS:
            sink.write(result)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    return (tmp_path / "out").read_text(encoding="utf-8")


def test_json(tmp_path: Path) -> None:
    document = json.loads(written(tmp_path, "json"))
    assert document["model"] == {
        "name": "tiny", "labels": ["happy", "sad"], "target": "votes", "sha256": ["ab"], "balance": 0.0, "prior": None,
    }  # fmt: skip
    assert document["images"] == [result.to_dict() for result in RESULTS]
    assert document["images"][0]["faces"][0] == {
        "box": [1.0, 2, 30, 40.1], "detection_score": 0.9877, "expression": "happy", "confidence": 0.9123,
        "probabilities": {"happy": 0.9123, "sad": 0.0877}, "abstained": False, "landmarks": None,
    }  # fmt: skip


def test_json_of_nothing(tmp_path: Path) -> None:
    with open_sink("json", MODEL, tmp_path / "out"):
        pass
    assert json.loads((tmp_path / "out").read_text())["images"] == []


def test_json_lines(tmp_path: Path) -> None:
    assert [json.loads(line) for line in written(tmp_path, "jsonl").splitlines()] == [r.to_dict() for r in RESULTS]


def test_csv(tmp_path: Path) -> None:
    rows = list(csv.reader(io.StringIO(written(tmp_path, "csv"))))
    head = "source,width,height,face,x1,y1,x2,y2,detection_score,expression,confidence,happy,sad,error"
    assert ",".join(rows[0]) == head
    assert "|".join(rows[1]) == "a, b.jpg|100|50|1|1.0|2|30|40.1|0.9877|happy|0.9123|0.9123|0.0877|"
    assert rows[2][9] == ""
    assert rows[3] == ["none.jpg", "10", "20"] + [""] * 11
    assert rows[4] == ["bad.jpg", "0", "0"] + [""] * 10 + ["bad.jpg: is empty (0 bytes)"]
    assert all(len(row) == 14 for row in rows)
    assert len(rows) == 6


def test_csv_holds_no_formula(tmp_path: Path) -> None:
    model = ModelSummary("tiny", ("=1+1", "sad"), "votes", ("ab",))
    face = Face(Box(-3, 2, 30, 40), 0.9, "=1+1", 0.9, {"=1+1": 0.9, "sad": 0.1})
    with open_sink("csv", model, tmp_path / "out") as sink:
        sink.write(ImageResult("=cmd|'/c calc'!A0", 100, 50, (face,)))
        sink.write(ImageResult("-", 100, 50))
    head, row, other = csv.reader(io.StringIO((tmp_path / "out").read_text()))
    assert head[-3] == "'=1+1"
    assert (row[0], row[4], row[9]) == ("'=cmd|'/c calc'!A0", "-3", "'=1+1")
    assert other[0] == "-"


def test_table(tmp_path: Path) -> None:
    text = written(tmp_path, "table")
    lines = text.splitlines()
    assert "a, b.jpg" in lines[1]
    assert "happy" in lines[1]
    assert "0.91" in lines[1]
    assert "unsure (sad)" in lines[2]
    assert "no face found" in lines[3]
    assert "not read: is empty (0 bytes)" in lines[4]
    assert r"odd\udce9\n.jpg" in lines[5]
    assert lines[-1] == "3 images read, 2 faces, 1 image not read"


def test_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with open_sink("jsonl", MODEL) as sink:
        sink.write(RESULTS[0])
    assert json.loads(capsys.readouterr().out) == RESULTS[0].to_dict()


def test_a_failed_run_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    with pytest.raises(KeyboardInterrupt), open_sink("csv", MODEL, tmp_path / "out") as sink:
        sink.write(RESULTS[0])
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "old"


def test_devices_are_not_replaced() -> None:
    with open_sink("csv", MODEL, Path("/dev/null")) as sink:
        sink.write(RESULTS[0])
    assert Path("/dev/null").is_char_device()


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "missing" / "out", tmp_path / "file" / "out", tmp_path):
        with pytest.raises(OutputError, match=str(place)), open_sink("csv", MODEL, place):
            pytest.fail("it must not start")
    with pytest.raises(OutputError, match="can't be written"):
        AnnotatedFolder(tmp_path / "file")
    with pytest.raises(OutputError, match="unknown; choose one of table, json"), open_sink("xml", MODEL):
        pass


def test_annotated_names_are_unique(tmp_path: Path) -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    folder = AnnotatedFolder(tmp_path / "deep" / "drawn")
    sources = ("x/a.jpg", "y/a.jpg", "y/A.JPG", "a.gif", "a.png")
    for source in sources:
        folder.write(source, image)
    assert sorted(p.name for p in (tmp_path / "deep" / "drawn").iterdir()) == [
        "A-annotated-3.jpg", "a-annotated-2.jpg", "a-annotated-2.png", "a-annotated.jpg", "a-annotated.png",
    ]  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", ".hidden.png", "in/c.webp", ".git/d.png", "out/e.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "photos"


def names(paths: object, root: Path) -> list[str]:
    return [str(p.relative_to(root)) for p in paths]  # type: ignore[attr-defined]


def test_folders_patterns_and_files(photos: Path) -> None:
    assert names(expand_sources([photos]), photos) == ["a.PNG", "b.jpg", "in/c.webp", "out/e.png"]
    assert names(expand_sources([photos], exclude=photos / "out"), photos) == ["a.PNG", "b.jpg", "in/c.webp"]
    assert names(expand_sources([f"{photos}/**/*.[jw]*"]), photos) == ["b.jpg", "in/c.webp"]
    assert names(expand_sources([photos / "notes.txt", photos / "gone.png"]), photos) == ["notes.txt", "gone.png"]


def test_no_file_twice(photos: Path) -> None:
    (photos / "link.jpg").symlink_to(photos / "b.jpg")
    twice = [photos / "b.jpg", photos, f"{photos}/*.jpg", photos / "in" / ".." / "b.jpg"]
    assert names(expand_sources(twice), photos) == ["b.jpg", "a.PNG", "in/c.webp", "out/e.png"]


def test_a_file_with_a_patterns_signs(photos: Path) -> None:
    (photos / "[1].png").write_bytes(b"")
    assert names(expand_sources([f"{photos}/[1].png"]), photos) == ["[1].png"]


def test_a_list_on_standard_input() -> None:
    listing = io.BytesIO(b"a.png\n\nb c.png\r\na.png\n")
    assert [str(p) for p in expand_sources(["-"], listing=listing)] == ["a.png", "b c.png"]


def test_nothing_to_read_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ImageError, match="no images in this folder"):
        expand_sources([tmp_path])
    with pytest.raises(ImageError, match="matches no file"):
        expand_sources([f"{tmp_path}/*.jpg"])
