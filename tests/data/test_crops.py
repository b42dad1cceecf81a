"""Photographs into faces: the same faces, in the same order, as recognition sees them; boxes, resuming, problems."""

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.crop import CropSpec, fit_face
from mien.data.arrays import open_arrays
from mien.data.crops import CroppedSource, CropSettings, crop_dataset, find_faces, select_faces
from mien.data.dataset import collect
from mien.data.readers import open_source
from mien.errors import DetectorError, OutputError
from mien.faces import DetectorChoice
from mien.recognition.recognizer import Recognizer
from mien.results import Detections
from places import ASTRONAUT, SHARED


class BrightSquares:
    """A detector of tests: bright areas are faces, best is the largest; its landmarks lie in their centres."""

    name = "squares"

    def __init__(self, *, landmarks=True):
        self.landmarks = landmarks

    def detect(self, image):
        bright = (image[..., 0] > 200).astype(np.uint8)
        rows = cv2.connectedComponentsWithStats(bright, connectivity=4)[2][1:]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")].astype(np.float32)
        boxes = np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:4]])
        middle = np.repeat((boxes[:, None, :2] + boxes[:, None, 2:]) / 2, 5, axis=1)
        scores = np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)
        return Detections(boxes, scores, middle if self.landmarks else None)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def photo(*squares, height=200, width=300):
    """A dark image with bright squares: (left, top, side) each."""
    image = np.full((height, width, 3), 40, np.uint8)
    for left, top, side in squares:
        image[top : top + side, left : left + side] = 230
    return image


@pytest.fixture
def photos(tmp_path):
    """Three photographs in class folders: of two faces, of one, of none."""
    root = tmp_path / "photos"
    write(root / "train/happy/a.png", photo((200, 20, 60), (30, 50, 40)))
    write(root / "train/sad/b.png", photo((100, 100, 50)))
    write(root / "test/sad/c.png", photo())
    return root


def cropped(root, settings=None, make=BrightSquares, workers=1):
    problems = []
    source = CroppedSource(open_source(root), make, settings or CropSettings(), workers)
    return collect(source, problem=problems.append, name="faces"), problems


def by_source(dataset):
    return {name: row for row, name in enumerate(dataset.sources.tolist())}


def test_faces_of_a_image_come_from_left_to_right_with_their_boxes(photos):
    faces, problems = cropped(photos)
    rows = by_source(faces)
    assert set(rows) == {"train/happy/a.png#0", "train/happy/a.png#1", "train/sad/b.png"}
    first, second = rows["train/happy/a.png#0"], rows["train/happy/a.png#1"]
    assert faces.columns["box"][[first, second]].tolist() == [[30, 50, 70, 90], [200, 20, 260, 80]]
    assert faces.columns["face"][[first, second]].tolist() == [0, 1]
    assert faces.columns["photograph"][[first, second]].tolist() == ["train/happy/a.png"] * 2
    assert faces.columns["detection_score"][[first, second]].tolist() == pytest.approx([0.5, 0.9])
    assert faces.columns["landmarks"][first].tolist() == [50, 70] * 5
    assert [faces.label_names[label] for label in faces.labels[[first, second, rows["train/sad/b.png"]]]] == [
        "happy", "happy", "sad",
    ]  # fmt: skip
    assert [(p.source, p.reason) for p in problems] == [("test/sad/c.png", "no face found by squares")]
    assert faces.image(first).shape == (48, 48, 1)
    assert np.abs(faces.image(first).astype(int) - 230).max() <= 3


def test_the_largest_face_alone_keeps_the_image_name(photos):
    faces, _ = cropped(photos, CropSettings(faces="largest"))
    row = by_source(faces)["train/happy/a.png"]
    assert faces.columns["box"][row].tolist() == [200, 20, 260, 80]


def test_small_faces_are_left_out_and_named_where_no_other_is_there(photos):
    faces, problems = cropped(photos, CropSettings(min_face=55))
    assert faces.sources.tolist() == ["train/happy/a.png"]
    reasons = {p.source: p.reason for p in problems}
    assert reasons["train/sad/b.png"] == "no face of 55 pixels or more found by squares"


def test_without_landmarks_the_columns_are_the_same(photos):
    faces, _ = cropped(photos, make=lambda: BrightSquares(landmarks=False))
    assert faces.columns["landmarks"].shape == (3, 10)
    assert faces.columns["landmarks"].dtype == np.float32
    assert np.isnan(faces.columns["landmarks"]).all()


def test_a_image_without_a_face_can_be_kept_as_a_crop_or_framed_whole(tmp_path):
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 200, (100, 180, 1), np.uint8).repeat(3, 2)
    write(tmp_path / "in/wide.png", wide)
    kept, problems = cropped(tmp_path / "in", CropSettings(no_face="keep"))
    assert not problems
    assert np.array_equal(kept.image(0)[..., 0], cv2.resize(wide[..., 0], (48, 48), interpolation=cv2.INTER_AREA))
    assert kept.columns["detection_score"].tolist() == [0]
    whole, _ = cropped(tmp_path / "in", CropSettings(no_face="whole", spec=CropSpec(margin=0)))
    assert whole.columns["box"].tolist() == kept.columns["box"].tolist() == [[0, 0, 180, 100]]
    top = whole.image(0)[0, :, 0].astype(int)
    assert np.abs(top - whole.image(0)[8, :, 0]).max() <= 1  # proportions stay: the border is repeated above


def test_more_threads_change_nothing(photos):
    for number in range(12):
        write(photos / f"train/happy/{number:02}.png", photo((10 * number, 20, 40 + number)))
    one, _ = cropped(photos)
    four, _ = cropped(photos, workers=4)
    assert one.sources.tolist() == four.sources.tolist()
    assert np.array_equal(one.pixels, four.pixels)


def test_a_image_that_breaks_the_detector_is_a_problem_of_its_own(photos):
    class Breaks(BrightSquares):
        def detect(self, image):
            if (image > 200).sum() == 3 * 50 * 50:
                cv2.resize(image, (0, 0))
            return super().detect(image)

    faces, problems = cropped(photos, make=Breaks)
    assert len(faces) == 2
    assert "OpenCV" in {p.source: p.reason for p in problems}["train/sad/b.png"]


def test_boxes_of_a_loose_crop_are_in_its_own_pixels():
    class OfSize(BrightSquares):
        def detect(self, image):
            self.seen = image.shape
            return super().detect(image)

    image = photo((12, 8, 24), height=48, width=40)
    for pad in (0.0, 0.5):
        detector = OfSize()
        found = find_faces(detector, image, pad=pad)
        assert detector.seen == (96 + 2 * round(96 * pad), 80 + 2 * round(96 * pad), 3)
        assert np.abs(found.boxes - [[12, 8, 36, 32]]).max() < 1
        assert np.abs(found.landmarks - [24, 20]).max() < 1


def test_a_photograph_is_searched_as_it_is(photos):
    seen = []

    class Sees(BrightSquares):
        def detect(self, image):
            seen.append(image.shape)
            return super().detect(image)

    cropped(photos, make=Sees)
    assert set(seen) == {(200, 300, 3)}


def test_detector_none_only_resizes_small_ones_too(tmp_path):
    face = np.random.default_rng(0).integers(0, 255, (48, 48), np.uint8)
    write(tmp_path / "in/a.png", face)
    crop_dataset(
        tmp_path / "in", tmp_path / "out", detector=DetectorChoice("none"), settings=CropSettings(pad=0.5)
    )  # fmt: skip
    assert np.array_equal(open_arrays(tmp_path / "out").image(0)[..., 0], face)


def test_choosing_leaves_crops_alone():
    tiny = Detections(np.array([[0, 0, 8, 8]], np.float32), np.ones(1, np.float32), cropped=True)
    assert select_faces(tiny, min_face=20, which="largest") is tiny


def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.data.reading.sources.CHUNK_BYTES", 400_000)  # two photographs a chunk
    monkeypatch.setattr("mien.faces.make_detector", lambda *_, **__: BrightSquares())
    for number in range(9):
        write(tmp_path / f"in/{number}.png", photo((10 + number, 20, 40), *[(100, 50, 60)][: number % 2]))
    write(tmp_path / "in/4.png", photo())

    def run(out, **rest):
        return crop_dataset(
            tmp_path / "in", out, detector=DetectorChoice(), settings=CropSettings(), workers=2, **rest
        )  # fmt: skip

    run(tmp_path / "whole")

    def kill(done, _):
        if done > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", progress=kill)
    assert not (tmp_path / "killed").exists()
    with pytest.raises(OutputError, match="--resume"):
        run(tmp_path / "killed")
    run(tmp_path / "killed", resume=True)
    whole, killed = open_arrays(tmp_path / "whole"), open_arrays(tmp_path / "killed")
    assert whole.sources.tolist() == killed.sources.tolist()
    for name in ("pixels.u8", "problems.csv", "manifest.parquet"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name


def test_folders_appear_with_their_problems(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("mien.faces.make_detector", lambda *_, **__: BrightSquares())
    out = tmp_path / "faces"
    rest = {"detector": DetectorChoice(), "settings": CropSettings(), "as_": "folders"}
    result = crop_dataset(photos, out, **rest)
    assert len(list(out.glob("train/*/*.png"))) == len(result.faces) == 3
    assert "c.png" in result.listing.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["faces", "photos"]
    with pytest.raises(OutputError, match="exists already"):
        crop_dataset(photos, out, **rest)


def test_settings_of_another_run_are_not_mixed(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("mien.faces.make_detector", lambda *_, **__: BrightSquares())
    rest = {"detector": DetectorChoice(), "workers": 1}
    crop_dataset(photos, tmp_path / "out", settings=CropSettings(), **rest)
    with pytest.raises(OutputError):
        crop_dataset(photos, tmp_path / "out", settings=CropSettings(min_face=30), resume=True, **rest)


def test_a_cascade_file_belongs_to_what_decides_the_outcome(tmp_path):
    (tmp_path / "a.xml").write_bytes(b"one")
    (tmp_path / "b.xml").write_bytes(b"two")
    names = {DetectorChoice("haar", cascade=tmp_path / f).identity() for f in ("a.xml", "b.xml")}
    assert len(names) == 2
    assert DetectorChoice("mtcnn", cascade=tmp_path / "a.xml").identity() == "mtcnn"
    with pytest.raises(DetectorError, match=r"missing\.xml"):
        DetectorChoice("haar", cascade=tmp_path / "missing.xml").identity()


def test_command_says_what_it_cut_and_what_it_could_not(tmp_path):
    write(tmp_path / "in/blank.png", photo())
    (tmp_path / "in/astronaut.png").write_bytes(ASTRONAUT.read_bytes())
    run = CliRunner().invoke
    plan = run(app, ["data", "crop", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--dry-run"])
    assert plan.exit_code == 0 and not (tmp_path / "out").exists()
    result = run(app, ["data", "crop", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--channels", "3"])
    assert result.exit_code == 3, result.output
    assert "1 faces of 2 images" in result.output
    assert "blank.png,no face found by auto" in (tmp_path / "out/problems.csv").read_text()
    assert open_arrays(tmp_path / "out").image(0).shape == (48, 48, 3)
    inside = run(app, ["data", "crop", str(tmp_path / "in"), "--out", str(tmp_path / "in/out")])
    assert inside.exit_code == 2 or isinstance(inside.exception, OutputError)


@pytest.mark.parametrize("model", ["mien-nano", "mien-small"])
@pytest.mark.parametrize("image", [ASTRONAUT, SHARED / "media/several-faces.jpg"], ids=lambda p: p.stem)
def test_crops_are_recognised_as_the_faces_in_the_photograph(tmp_path, image, model):
    if not image.exists():
        pytest.skip("needs the photographs in ../shared")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / image.name).write_bytes(image.read_bytes())
    crop_dataset(
        tmp_path / "in",
        tmp_path / "faces",
        detector=DetectorChoice(),
        settings=CropSettings(),
        as_="folders",
        workers=2,
    )
    wanted = Recognizer(model).predict(image).faces
    crops = sorted((tmp_path / "faces").rglob("*.png"))
    answers = Recognizer(model, detector="none").predict([str(path) for path in crops])
    assert len(wanted) == len(answers) >= 1
    for face, answer in zip(wanted, answers, strict=True):
        assert answer.faces[0].probabilities == pytest.approx(face.probabilities, abs=1e-6)


@pytest.mark.parametrize("size", [(48, 48), (60, 40), (120, 128)])
def test_a_tight_crop_never_becomes_smaller_nor_gets_smeared_edges(tmp_path, monkeypatch, size):
    class Fills:
        name = "fills"

        def detect(self, image):  # a box that reaches over every edge, as detectors find in tight crops
            height, width = image.shape[:2]
            box = np.array([[-0.1 * width, -0.05 * height, 1.05 * width, 1.1 * height]], np.float32)
            return Detections(box, np.ones(1, np.float32))

    monkeypatch.setattr("mien.faces.make_detector", lambda *_, **__: Fills())
    face = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    write(tmp_path / "in/a.png", face)
    crop_dataset(
        tmp_path / "in", tmp_path / "out", detector=DetectorChoice(), settings=CropSettings(size=48, channels=3, pad=0)
    )  # fmt: skip
    made = open_arrays(tmp_path / "out").image(0)
    edge = min(size)
    assert any(
        np.array_equal(made, fit_face(face[top : top + edge, left : left + edge, ::-1], 48, 3))
        for top in range(size[0] - edge + 1)
        for left in range(size[1] - edge + 1)
    )
