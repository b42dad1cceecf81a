"""Screening: which samples stay, what is said of the others, votes of several detectors, resuming."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.crop import CropSpec, crop_faces
from mien.data.arrays import open_arrays
from mien.data.crops import crop_dataset
from mien.data.info import describe
from mien.data.readers import open_dataset
from mien.data.screen import ScreenSettings, face_scores, screen_dataset
from mien.data.settings import CropSettings
from mien.errors import DataError
from mien.faces import DetectorChoice, make_detector
from mien.images import read_image
from mien.results import Detections
from places import ASTRONAUT


class Brighter:
    """A detector of tests: what is brighter than its limit is a face, with its brightness as the score."""

    def __init__(self, name, limit):
        self.name, self.limit = name, limit

    def detect(self, image):
        height, width = image.shape[:2]
        count = int(image.mean() > self.limit)
        boxes = np.array([[0, 0, width, height]] * count, np.float32).reshape(count, 4)
        return Detections(boxes, np.full(count, image.mean() / 255, np.float32))


@pytest.fixture
def easy_and_strict(monkeypatch):
    """mtcnn finds faces in what is brighter than 50, yunet in what is brighter than 150."""
    limits = {"mtcnn": 50, "yunet": 150}
    monkeypatch.setattr("mien.faces.make_detector", lambda name, **_: Brighter(name, limits[name]))


@pytest.fixture
def faces(tmp_path):
    """Flat images whose brightness is their name, in two splits."""
    root = tmp_path / "faces"
    for split, label, values in (
        ("train", "happy", (20, 100, 200)),
        ("train", "sad", (30, 220)),
        ("test", "sad", (10, 240)),
    ):
        (root / split / label).mkdir(parents=True)
        for value in values:
            assert cv2.imwrite(str(root / split / label / f"{value}.png"), np.full((48, 48), value, np.uint8))
    return root


def screen(source, out, names=("mtcnn",), **rest):
    settings = ScreenSettings(**{k: rest.pop(k) for k in ("votes", "keep_test", "pad") if k in rest})
    return screen_dataset(
        source, out, detectors=[DetectorChoice(name) for name in names], settings=settings, workers=2, **rest
    )


def stems(sources):
    return sorted(int(Path(source).stem) for source in sources)


def test_samples_without_a_face_are_listed_and_the_others_kept(faces, tmp_path, easy_and_strict):
    result = screen(faces, tmp_path / "out")
    assert stems(result.dataset.sources) == [100, 200, 220, 240]
    assert result.dataset.columns["screen_score"].max() == pytest.approx(240 / 255)
    assert result.rejected_by_split() == [("train", 2), ("test", 1)]
    with (tmp_path / "out-rejected.csv").open(newline="") as file:
        rows = {row["source"]: row for row in csv.DictReader(file)}
    assert stems(rows) == [10, 20, 30]
    assert rows["train/sad/30.png"] == {
        "source": "train/sad/30.png", "split": "train", "label": "sad", "reason": "no face found by mtcnn",
    }  # fmt: skip
    page = (tmp_path / "out-rejected.html").read_text("utf-8")
    assert page.count("<img ") == 3 and "3 of 7 samples were rejected: 3 without any face" in page
    assert result.unreadable == ()


def test_as_many_detectors_as_wanted_must_find_a_face(faces, tmp_path, easy_and_strict):
    one = screen(faces, tmp_path / "one", ("mtcnn", "yunet"), votes=1)
    assert stems(one.dataset.sources) == [100, 200, 220, 240]
    both = screen(faces, tmp_path / "both", ("mtcnn", "yunet"), votes=2)
    assert stems(both.dataset.sources) == [200, 220, 240]
    last = both.rejected[-1]  # the clearest cases come first
    assert (last.source, last.reason) == (
        "train/happy/100.png",
        "a face found only by mtcnn (0.39); 2 of 2 detectors must",
    )


def test_the_test_split_can_be_kept_whole(faces, tmp_path, easy_and_strict):
    result = screen(faces, tmp_path / "out", keep_test=True)
    assert stems(result.dataset.sources[result.dataset.splits == "test"]) == [10, 240]
    assert result.rejected_by_split() == [("train", 2)]
    assert result.dataset.columns["screen_score"].min() == 0


def test_an_open_data_set_is_screened_cropped_and_described_too(faces, tmp_path, easy_and_strict):
    data = open_dataset(faces)
    by_path, by_data = (screen(source, tmp_path / name) for source, name in ((faces, "a"), (data, "b")))
    assert by_data.dataset.sources.tolist() == by_path.dataset.sources.tolist()
    cropped = crop_dataset(
        data, tmp_path / "c", detector=DetectorChoice("mtcnn"), settings=CropSettings(no_face="keep")
    )
    assert len(cropped.faces) == describe(data).samples == len(data)


def test_nothing_rejected_leaves_no_lists(faces, tmp_path, easy_and_strict):
    for place in faces.rglob("*.png"):
        if int(place.stem) < 50:
            place.unlink()
    result = screen(faces, tmp_path / "out")
    assert (result.rejected, result.listing, result.page) == ((), None, None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["faces", "out"]


def test_a_damaged_file_is_unreadable_and_not_rejected(faces, tmp_path, easy_and_strict):
    (faces / "train/sad/bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = screen(faces, tmp_path / "out")
    assert [p.source for p in result.unreadable] == ["train/sad/bad.png"]
    assert stems(one.source for one in result.rejected) == [10, 20, 30]


def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(faces, tmp_path, easy_and_strict, monkeypatch):
    monkeypatch.setattr("mien.data.reading.sources.CHUNK", 2)
    screen(faces, tmp_path / "whole")

    def kill(done, _):
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        screen(faces, tmp_path / "killed", progress=kill)
    screen(faces, tmp_path / "killed", resume=True)
    for name in ("/pixels.u8", "/manifest.parquet", "/problems.csv", "-rejected.csv", "-rejected.html"):
        whole, killed = (Path(f"{tmp_path}/{out}{name}").read_bytes() for out in ("whole", "killed"))
        assert whole == killed, name


@pytest.mark.parametrize(
    ("names", "votes", "says"),
    [(("none",), 1, "none"), (("mtcnn", "mtcnn"), 1, "once"), (("mtcnn",), 2, "--votes is 2; expected 1 to 1")],
)
def test_impossible_wishes_are_refused_before_anything_is_written(faces, tmp_path, names, votes, says):
    with pytest.raises(DataError, match=says):
        screen(faces, tmp_path / "out", names, votes=votes)
    assert [p.name for p in tmp_path.iterdir()] == ["faces"]


def test_a_real_detector_finds_the_face_in_a_small_crop_and_none_in_noise():
    image = read_image(ASTRONAUT)
    detector = make_detector("mtcnn")
    small = crop_faces(image, detector.detect(image), CropSpec(), size=48, channels=1)[0]
    noise = np.random.default_rng(0).integers(0, 255, (48, 48, 1), np.uint8)
    assert face_scores([detector], small)[0] > 0.9
    assert face_scores([detector], noise) == [0.0]


def test_command_tells_how_many_went_from_each_split(faces, tmp_path, easy_and_strict):
    run = CliRunner().invoke
    wanted = [
        "data",
        "screen",
        str(faces),
        "--out",
        str(tmp_path / "out"),
        "-d",
        "mtcnn",
        "-d",
        "yunet",
        "--votes",
        "2",
    ]
    plan = run(app, [*wanted, "--dry-run"])
    assert plan.exit_code == 0, plan.output
    assert "mtcnn, yunet" in plan.output and not (tmp_path / "out").exists()
    result = run(app, wanted)
    assert result.exit_code == 0, result.output
    assert "3 samples, 4 rejected: 3 of train, 1 of test" in result.output.replace("\n", "")
    assert open_arrays(tmp_path / "out").steps[-1].command == "screen"


def test_a_cascade_is_for_haar_alone_and_refused_without_it(tmp_path):
    from mien.cli.model_options import DetectorFiles
    from mien.errors import DetectorError

    files = DetectorFiles(tmp_path / "faces.xml")
    assert [choice.cascade for choice in files.choices(["mtcnn", "haar"])] == [None, tmp_path / "faces.xml"]
    with pytest.raises(DetectorError, match="cascade is given with the detector yunet, which reads none"):
        files.choices(["yunet"])[0].make(min_face=20, threads=1)
