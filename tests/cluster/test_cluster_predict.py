"""Predicting in shards, here: what is listed, what is a row, what goes on after a kill, what is refused."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.cli import main
from mien.cluster import remote
from mien.cluster.plan import LISTING, PLAN, SUMMARY, shard_name
from mien.cluster.predict import PredictSettings, predict_shards
from mien.cluster.sources import Lists, expand_all
from mien.errors import DataError, ImageError, MienError, OutputError
from mien.faces import DetectorChoice
from places import ASTRONAUT
from tiny_models import make_model

pq = pytest.importorskip("pyarrow.parquet", reason="shards need the extra [cluster]")
fsspec = pytest.importorskip("fsspec", reason="URLs need the extra [cluster]")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture
def settings(model):
    """Each image is a face."""
    return PredictSettings((str(model),), DetectorChoice("none"))


@pytest.fixture
def photos(tmp_path):
    """Seven faces, one of them broken, and what is no image."""
    return write_photos(tmp_path / "photos", 7)


def write_photos(folder, count):
    folder.mkdir()
    noise = np.random.default_rng(0)
    for i in range(count):
        assert cv2.imwrite(str(folder / f"{i:04d}.png"), noise.integers(0, 255, (48, 48), np.uint8))
    (folder / "0003.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "notes.txt").write_text("no image")
    return folder


def shards(out):
    return sorted(Path(out).glob("shard-*.parquet"))


def rows(out):
    return [row for place in shards(out) for row in pq.ParquetFile(place).read().to_pylist()]


def contents(out):
    return {place.name: place.read_bytes() for place in shards(out)}


def test_every_image_is_in_one_shard_and_a_broken_one_is_a_row(photos, settings, tmp_path):
    told = []
    found = predict_shards(
        [str(photos)], str(tmp_path / "out"), settings=settings, shard_size=3, progress=lambda *n: told.append(n)
    )
    assert (found.shards, found.images, found.faces, found.failed) == (3, 7, 6, 1)
    assert [pq.ParquetFile(p).metadata.num_rows for p in shards(tmp_path / "out")] == [3, 3, 1]
    table = rows(tmp_path / "out")
    assert [(row["image"], Path(row["source"]).name) for row in table] == [(i, f"{i:04d}.png") for i in range(7)]
    (broken,) = (row for row in table if row["error"])
    assert broken["source"].endswith("0003.png")
    assert broken["error"].startswith(broken["source"])
    assert (broken["face"], broken["expression"], broken["width"]) == (None, None, 0)
    summary = json.loads((tmp_path / "out" / SUMMARY).read_text())
    assert (summary["images"], summary["faces"], summary["failed"], summary["shards"]) == (7, 6, 1, 3)
    assert (told[0], told[-1]) == ((0, 7), (7, 7))


def test_rows_are_those_of_the_csv(model, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "p"
    folder.mkdir()
    cv2.imwrite(str(folder / "grey.png"), np.full((200, 300), 90, np.uint8))
    (folder / "astronaut.png").write_bytes(ASTRONAUT.read_bytes())
    for extra in (["--format", "csv", "--out", str(tmp_path / "a.csv")], ["--shards", str(tmp_path / "out")]):
        options = ["-m", str(model), "--abstain-below", "0.9", *extra]
        monkeypatch.setattr(sys, "argv", ["mien", "predict", str(folder), *options])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0
    assert capsys.readouterr().out == f"{tmp_path}/out: 2 images, 1 faces, 0 failed, 1 shards\n"
    expected = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    table = rows(tmp_path / "out")
    assert len(table) == len(expected) == 2
    assert (table[0]["width"], table[1]["height"]) == (512, 200)
    for row, line in zip(table, expected, strict=True):
        assert set(row) == {"image", *line}
        for name, text in line.items():
            if isinstance(row[name], float):
                assert row[name] == pytest.approx(float(text), abs=2e-4), name
            else:
                assert ("" if row[name] is None else str(row[name])) == text, name


def test_a_shard_that_is_there_is_done(photos, settings, tmp_path):
    out = tmp_path / "out"
    whole = predict_shards([str(photos)], str(out), settings=settings, shard_size=2)
    before = contents(out)
    times = {p.name: p.stat().st_mtime_ns for p in shards(out)}
    (out / shard_name(1)).unlink()
    (out / SUMMARY).unlink()
    again = predict_shards([str(photos)], str(out), settings=settings, shard_size=2)
    assert contents(out) == before
    assert again.done_before == 3
    assert (again.images, again.faces, again.failed) == (whole.images, whole.faces, whole.failed)
    changed = {p.name for p in shards(out) if p.stat().st_mtime_ns != times[p.name]}
    assert changed == {shard_name(1)}


def test_rows_do_not_hang_on_the_number_of_threads(photos, settings, tmp_path):
    for workers in (1, 3):
        predict_shards([str(photos)], str(tmp_path / f"{workers}"), settings=settings, workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_the_listing_is_the_truth(photos, settings, tmp_path):
    out = tmp_path / "out"
    predict_shards([str(photos)], str(out), settings=settings, shard_size=3)
    (out / shard_name(0)).unlink()
    (photos / "0000.png").unlink()
    cv2.imwrite(str(photos / "9999.png"), np.zeros((48, 48), np.uint8))
    found = predict_shards([str(photos)], str(out), settings=settings, shard_size=3)
    assert (found.images, found.failed) == (7, 2)
    assert "no such file" in rows(out)[0]["error"]


KILLED = """
import os, signal, sys
from mien.cluster.predict import PredictSettings, predict_shards
from mien.faces import DetectorChoice
def told(done, total):
    if done >= 5:
        os.kill(os.getpid(), signal.SIGKILL)
settings = PredictSettings((sys.argv[1],), DetectorChoice("none"))
predict_shards([sys.argv[2]], sys.argv[3], settings=settings, shard_size=2, progress=told)
"""


def test_a_killed_run_goes_on_and_ends_with_the_bytes_of_an_undisturbed_one(photos, settings, model, tmp_path):
    undisturbed, out = tmp_path / "a", tmp_path / "b"
    predict_shards([str(photos)], str(undisturbed), settings=settings, shard_size=2)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(model), str(photos), str(out)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert 0 < len(shards(out)) < 4
    assert not (out / SUMMARY).exists()
    predict_shards([str(photos)], str(out), settings=settings, shard_size=2)
    assert contents(out) == contents(undisturbed)
    assert (out / SUMMARY).read_bytes() == (undisturbed / SUMMARY).read_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"shard_size": 4}, "shard_size was 3 and is 4"),
        ({"sources": ["elsewhere"]}, "sources was"),
        ({"min_face": 30}, "min_face was 20 and is 30"),
        ({"model": True}, "model was"),
    ],
)
def test_other_work_in_the_same_folder_is_refused(change, reason, photos, settings, model, tmp_path):
    out = str(tmp_path / "out")
    predict_shards([str(photos)], out, settings=settings, shard_size=3)
    before = contents(out)
    other = make_model(tmp_path / "other.onnx", seed=1) if "model" in change else model
    settings = PredictSettings((str(other),), DetectorChoice("none"), change.get("min_face", 20))
    sources = change.get("sources", [str(photos)])
    with pytest.raises(OutputError, match=f"holds other work: {reason}") as caught:
        predict_shards(sources, out, settings=settings, shard_size=change.get("shard_size", 3))
    assert "\n" not in str(caught.value)
    assert contents(out) == before


def test_damage_and_foreign_files_are_refused(photos, settings, tmp_path):
    def predict(out):
        return predict_shards([str(photos)], str(out), settings=settings, shard_size=3)

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"other files \(thesis\.txt\)"):
        predict(tmp_path / "full")
    predict(tmp_path / "out")
    (tmp_path / "out" / shard_name(2)).write_bytes(b"PAR1")
    with pytest.raises(OutputError, match=r"shard-000002\.parquet: is damaged; delete it"):
        predict(tmp_path / "out")
    (tmp_path / "out" / shard_name(2)).write_bytes((tmp_path / "out" / shard_name(0)).read_bytes())
    with pytest.raises(OutputError, match="belongs to another list"):
        predict(tmp_path / "out")
    (tmp_path / "out" / PLAN).write_text("{}")
    with pytest.raises(OutputError, match=r"plan\.json is damaged"):
        predict(tmp_path / "out")


def test_lists_in_files_and_on_standard_input(photos, settings, tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_bytes(
        os.fsencode(f"{photos}/0001.png\n\n{photos}/0000.png\r\n{photos}/0001.png\n{photos}/\udcff.png\n")
    )
    found = predict_shards([f"@{listing}"], str(tmp_path / "a"), settings=settings)
    assert (found.images, found.failed) == (3, 1)
    assert [Path(row["source"]).name for row in rows(tmp_path / "a")] == ["0001.png", "0000.png", "\\udcff.png"]
    text = listing.read_bytes()
    predict_shards(["-"], str(tmp_path / "b"), settings=settings, lists=Lists(io.BytesIO(text)))
    assert [r["source"] for r in rows(tmp_path / "b")] == [r["source"] for r in rows(tmp_path / "a")]
    again = predict_shards(["-"], str(tmp_path / "b"), settings=settings, lists=Lists(io.BytesIO(text)))
    assert again.done_before == 1
    with pytest.raises(OutputError, match="work on another list"):
        predict_shards(["-"], str(tmp_path / "b"), settings=settings, lists=Lists(io.BytesIO(b"one.png\n")))
    with pytest.raises(DataError, match="expected a list"):
        predict_shards(["@gone.txt"], str(tmp_path / "c"), settings=settings)
    with pytest.raises(OutputError, match="the list is empty"):
        predict_shards(["-"], str(tmp_path / "c"), settings=settings, lists=Lists(io.BytesIO(b"\n")))
    assert not (tmp_path / "c").exists()


@pytest.fixture
def bucket(photos):
    """The photos behind memory:// URLs, with some in a folder, and hidden ones."""
    system = fsspec.filesystem("memory")
    for place in sorted(photos.glob("*")):
        folder = "bucket/sub" if place.name >= "0005" else "bucket"
        system.pipe_file(f"/{folder}/{place.name}", place.read_bytes())
    system.pipe_file("/bucket/.hidden.png", b"x")
    yield "memory://bucket"
    system.rm("/bucket", recursive=True)


def test_images_and_shards_behind_urls(bucket, photos, settings, tmp_path):
    listed = [name.removeprefix("memory:///").removeprefix("memory://") for name in expand_all([bucket], Lists())]
    assert listed == [f"bucket/{i:04d}.png" for i in range(5)] + ["bucket/sub/0005.png", "bucket/sub/0006.png"]
    predict_shards([str(photos)], str(tmp_path / "out"), settings=settings, shard_size=3)
    found = predict_shards([bucket], "memory://bucket-out/x", settings=settings, shard_size=3)
    assert (found.images, found.faces, found.failed) == (7, 6, 1)
    system = fsspec.filesystem("memory")
    names = {name.rpartition("/")[2] for name in system.ls("/bucket-out/x", detail=False)}
    assert names == {PLAN, LISTING, SUMMARY, *(shard_name(i) for i in range(3))}
    there = pq.read_table(io.BytesIO(system.cat_file(f"/bucket-out/x/{shard_name(0)}"))).drop_columns(["source"])
    assert there.equals(pq.read_table(tmp_path / "out" / shard_name(0)).drop_columns(["source"]))
    system.rm(f"/bucket-out/x/{shard_name(1)}")
    assert predict_shards([bucket], "memory://bucket-out/x", settings=settings, shard_size=3).done_before == 2
    system.rm("/bucket-out", recursive=True)


def test_a_url_names_a_image_a_pattern_or_a_folder(bucket, photos):
    assert list(expand_all([f"{bucket}/gone.png"], Lists())) == [f"{bucket}/gone.png"]
    assert list(expand_all(["https://host/p?id=1"], Lists())) == ["https://host/p?id=1"]
    assert len(list(expand_all([f"{bucket}/*.png"], Lists()))) >= 5
    assert len(list(expand_all([f"file://{photos}"], Lists()))) == 7
    assert len(list(expand_all([str(photos), str(photos), f"{photos}/0001.png"], Lists()))) == 7
    with pytest.raises(ImageError, match="no images at this URL"):
        list(expand_all(["memory://nothing/"], Lists()))
    with pytest.raises(DataError, match="no such kind of URL"):
        list(expand_all(["nonsense://a/b.png"], Lists()))


def test_what_is_wrong_with_a_remote_image_is_its_row(bucket, settings, tmp_path, monkeypatch):
    system = fsspec.filesystem("memory")
    system.pipe_file("/bucket/large.png", bytes(2000))
    monkeypatch.setattr(remote, "MAX_BYTES", 1000)
    monkeypatch.setattr(remote, "_PAUSE_S", 0)
    tried = []

    def failing(self, path, **_):
        tried.append(path)
        raise ConnectionResetError("reset by peer")

    listing = tmp_path / "list.txt"
    listing.write_text(f"{bucket}/large.png\n{bucket}/gone.png\n")
    predict_shards([f"@{listing}"], str(tmp_path / "a"), settings=settings)
    large, gone = (row["error"] for row in rows(tmp_path / "a"))
    assert "more than 0 MB" in large
    assert gone == f"{bucket}/gone.png: no such file; check the URL"
    monkeypatch.setattr(type(system), "cat_file", failing)
    listing.write_text(f"{bucket}/sub/0005.png\n")
    monkeypatch.setattr(remote, "MAX_BYTES", 10**6)
    predict_shards([f"@{listing}"], str(tmp_path / "b"), settings=settings)
    assert rows(tmp_path / "b")[0]["error"].endswith("(reset by peer); tried 3 times")
    assert len(tried) == 3


def test_images_behind_http(photos, settings, tmp_path):
    pytest.importorskip("aiohttp", reason="http:// needs the extra [cluster]")
    handler = partial(SimpleHTTPRequestHandler, directory=str(photos))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        found = predict_shards([url, f"{url}gone.png"], str(tmp_path / "out"), settings=settings)
        server.shutdown()
    assert (found.images, found.faces, found.failed) == (8, 6, 2)
    table = rows(tmp_path / "out")
    assert [row["source"] for row in table] == [f"{url}{i:04d}.png" for i in range(7)] + [f"{url}gone.png"]
    assert table[-1]["error"] == f"{url}gone.png: no such file; check the URL"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--engine", "ray"], "give their folder with  --shards OUT"),
        (["--actors", "2"], "give their folder with  --shards OUT"),
        (["--actors", "2", "--shards", "out"], "--actors: needs  --engine ray"),
        (["--shards", "out", "--format", "csv"], "shards are Parquet"),
        (["--shards", "out", "--out", "a.csv"], "--out: not with --shards"),
        (["--shards", "out", "--batch-size", "8"], "--batch-size: not with --shards"),
        (["--shards", "out", "--engine", "ray", "--workers", "2"], "--workers: not with --shards, on Ray"),
        (["--shards", "out", "--model", "gone.onnx"], "no such model file"),
    ],
)
def test_wrong_usage_is_one_line_and_leaves_nothing(arguments, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mien", "predict", str(ASTRONAUT), "-d", "none", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr()
    assert (stop.value.code, printed.out) == (2, "")
    assert reason in printed.err
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_summary_as_json_and_the_exit_code(photos, model, tmp_path, monkeypatch, capsys):
    out = str(tmp_path / "out")
    monkeypatch.setattr(
        sys, "argv", ["mien", "predict", str(photos), "-d", "none", "-m", str(model), "--shards", out, "-f", "json"]
    )
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 3
    assert json.loads(capsys.readouterr().out) == {
        "out": out, "shards": 1, "done_before": 0, "images": 7, "faces": 6, "failed": 1,
    }  # fmt: skip


def test_every_error_of_expanding_is_one_of_ours(tmp_path):
    (tmp_path / "empty").mkdir()
    for source in (str(tmp_path / "empty"), str(tmp_path / "*.gif"), "memory://none/*.png"):
        with pytest.raises(MienError):
            list(expand_all([source], Lists()))
