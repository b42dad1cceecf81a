"""Exports: read again by other programs where these are installed, and by mien."""

import csv
import json
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from made_data import make, tree
from mien.data.arrays import staging
from mien.data.export import FORMATS, export_dataset
from mien.data.readers import open_dataset
from mien.data.source import text_column
from mien.data.toy import toy_faces, write_toy_folders
from mien.data.writing import files
from mien.data.writing.files import encode, file_names, folder_names
from mien.errors import DataError, DetectorError, OutputError
from mien.images import read_image
from mien.labels import EIGHT, FER2013
from places import ASTRONAUT

pytest.importorskip("pyarrow", reason="pyarrow is not installed")


def toy(count=24, *, channels=1, splits=("train", "validation", "test"), **columns):
    faces = toy_faces(count, size=16, channels=channels)
    return make(list(faces.images), faces.labels, [splits[i % len(splits)] for i in range(count)], **columns)


def votes_of(count):
    rng = np.random.default_rng(1)
    return rng.integers(0, 6, (count, 8)).astype(np.float32)


def rows_of(dataset, split):
    return np.flatnonzero(dataset.splits == split)


def assert_same(found, dataset, split, *, ordered=True):
    """The same images with the same labels."""

    def key(of, row):
        label = of.label_names[of.labels[row]] if of.labels[row] >= 0 else ""
        return label, of.image(row).tobytes()

    here = [key(found, row) for row in rows_of(found, split)]
    there = [key(dataset, row) for row in rows_of(dataset, split)]
    assert (here if ordered else sorted(here)) == (there if ordered else sorted(there))


@pytest.fixture
def load_dataset(monkeypatch, tmp_path):
    """Hugging Face's, kept from the net, and from its caches of before."""
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    # The variables are read when the package is first imported, which another test may have done.
    return partial(datasets.load_dataset, cache_dir=str(tmp_path / "cache"))


# Folders


def test_folders_read_back_the_same(tmp_path):
    dataset = toy(votes=votes_of(24))
    export_dataset(dataset, tmp_path / "out", as_="folders")
    found = open_dataset(tmp_path / "out")
    for split in ("train", "validation", "test"):
        assert_same(found, dataset, split, ordered=False)
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["source"] for r in rows] == dataset.sources.tolist()
    assert float(rows[3][f"votes_{EIGHT[7]}"]) == dataset.votes[3, 7]
    for row, about in enumerate(rows):
        image = read_image(tmp_path / "out" / about["file"], grey=True)
        assert (image == dataset.image(row)).all()
        assert about["file"].split("/")[:2] == [about["split"], about["label"]]


@pytest.mark.filterwarnings("ignore")
def test_folders_in_hugging_face_datasets(tmp_path, load_dataset):
    dataset = toy(channels=3)
    export_dataset(dataset, tmp_path / "out", as_="folders")
    found = load_dataset("imagefolder", data_dir=str(tmp_path / "out"))
    assert sorted(found) == ["test", "train", "validation"]
    assert found["train"].features["label"].names == sorted(FER2013)
    names = found["train"].features["label"].names
    here = sorted((names[row["label"]], np.array(row["image"]).tobytes()) for row in found["train"])
    rows = rows_of(dataset, "train")
    assert here == sorted((FER2013[dataset.labels[row]], dataset.image(row).tobytes()) for row in rows)


def test_folders_without_splits_and_without_labels(tmp_path):
    dataset = toy(6, splits=("",))
    export_dataset(dataset, tmp_path / "classes", as_="folders")
    assert (tmp_path / "classes" / FER2013[dataset.labels[0]] / "0-faces-csv-2.png").is_file()
    unlabelled = dataset.with_columns(label=np.full(6, -1, np.int64))
    export_dataset(unlabelled, tmp_path / "loose", as_="folders")
    assert len(list((tmp_path / "loose").glob("*.png"))) == 6
    some = dataset.with_columns(label=np.where(np.arange(6) == 2, -1, dataset.labels))
    export_dataset(some, tmp_path / "some", as_="folders")
    assert [f.name for f in (tmp_path / "some" / "unlabelled").iterdir()] == ["2-faces-csv-4.png"]


def test_jpeg_folders(tmp_path):
    dataset = toy(3, channels=3)
    export_dataset(dataset, tmp_path / "out", as_="folders", jpeg=95)
    files = sorted((tmp_path / "out").rglob("*.jpg"), key=lambda f: f.name)
    assert len(files) == 3
    assert np.abs(read_image(files[0]).astype(int) - dataset.image(0)).mean() < 16


def test_hostile_names_stay_inside(tmp_path):
    sources = ["../../etc/passwd", "C:\\x\\a.png", "ä/ö.JPG#1", "\n\0.png", "a/b/" + "x" * 300, "train/happy/a.b.png"]
    names = ["../up", "CON", ".hidden", "Happy", "happy", "a/b"]
    images = list(toy_faces(6, size=16).images)
    dataset = make(images, range(6), ["train", "..", "/", "train", "train", "train"], names=names, sources=sources)
    assert file_names(dataset)[:4] == ["0-passwd", "1-a", "2-1", "3"]
    assert file_names(dataset)[5] == "5-a-b"
    assert folder_names(names) == ["x..-up", "xCON", "x.hidden", "Happy", "happy-2", "a-b"]
    for as_ in set(FORMATS) - {"csv"}:
        export_dataset(dataset, tmp_path / "home" / as_, as_=as_)
    assert [f.name for f in tmp_path.iterdir()] == ["home"]
    assert sorted(f.name for f in (tmp_path / "home").iterdir()) == sorted(set(FORMATS) - {"csv"})
    assert len(list((tmp_path / "home" / "folders").rglob("*.png"))) == 6


# NumPy


def test_npy(tmp_path):
    dataset = toy(channels=3, votes=votes_of(24))
    export_dataset(dataset, tmp_path / "out", as_="npy")
    images = np.load(tmp_path / "out" / "test_images.npy", mmap_mode="r")
    rows = rows_of(dataset, "test")
    assert (images == np.stack([dataset.image(row) for row in rows])).all()
    assert (np.load(tmp_path / "out" / "test_labels.npy") == dataset.labels[rows]).all()
    assert (np.load(tmp_path / "out" / "test_votes.npy") == dataset.votes[rows]).all()
    assert json.loads((tmp_path / "out" / "label_names.json").read_text()) == list(FER2013)


def test_npy_of_several_sizes_names_the_way_out(tmp_path):
    images = [np.zeros((16, 16, 1), np.uint8), np.zeros((18, 16, 1), np.uint8)]
    with pytest.raises(DataError, match=r"16 x 16 grey, 18 x 16 grey.*mien data crop"):
        export_dataset(make(images, [0, 1], ["train"] * 2), tmp_path / "out", as_="npy")
    assert not list(tmp_path.iterdir())


# CSV


def test_csv_reads_back_the_same(tmp_path):
    dataset = toy(votes=votes_of(24), ferplus_other=np.full((24, 2), 3, np.float32))
    export_dataset(dataset, tmp_path / "fer2013.csv", as_="csv")
    with (tmp_path / "fer2013.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["emotion", "pixels", "Usage"]
    for row, found in enumerate(rows):
        assert [int(n) for n in found["pixels"].split(" ")] == dataset.image(row).reshape(-1).tolist()
        assert int(found["emotion"]) == dataset.labels[row]
    assert [r["Usage"] for r in rows[:3]] == ["Training", "PublicTest", "PrivateTest"]
    with (tmp_path / "fer2013new.csv").open(newline="") as file:
        voted = list(csv.DictReader(file))
    assert float(voted[5]["happiness"]) == dataset.votes[5, EIGHT.index("happy")]
    assert (voted[5]["NF"], voted[5]["Usage"]) == ("3", rows[5]["Usage"])
    assert sorted(f.name for f in tmp_path.iterdir()) == ["fer2013.csv", "fer2013new.csv"]
    found = open_dataset(tmp_path / "fer2013.csv")
    assert found.splits.tolist() == dataset.splits.tolist()
    for split in ("train", "validation", "test"):
        assert_same(found, dataset, split)


def test_csv_counts_labels_as_fer2013_does_whatever_their_order_here(tmp_path):
    images = list(toy_faces(2, size=16).images)
    export_dataset(make(images, [0, 1], ["train"] * 2, names=("sad", "angry")), tmp_path / "out", as_="csv")
    lines = (tmp_path / "out" / "fer2013.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["emotion", "4", "0"]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (toy(channels=3), "16 x 16 RGB"),
        (toy(splits=("train", "")), "mien data split"),
        (make([np.zeros((4, 4, 1), np.uint8)], [0], ["train"], names=("contempt",)), "'contempt'"),
        (make([np.zeros((4, 4, 1), np.uint8)], [-1], ["train"]), "no label"),
        (make([np.zeros((4, 5, 1), np.uint8)], [0], ["train"]), "4 x 5 grey"),
    ],
)
def test_csv_refuses_what_it_cannot_hold(tmp_path, dataset, message):
    with pytest.raises(DataError, match=message):
        export_dataset(dataset, tmp_path / "a.csv", as_="csv")
    assert not list(tmp_path.iterdir())


def test_csv_never_overwrites_another_file(tmp_path):
    (tmp_path / "anew.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"anew\.csv: exists already"):
        export_dataset(toy(votes=votes_of(24)), tmp_path / "a.csv", as_="csv")
    assert [f.name for f in tmp_path.iterdir()] == ["anew.csv"]


# Parquet


def test_parquet_reads_back_the_same(tmp_path):
    dataset = toy(votes=votes_of(24), identity=text_column([f"S{i}" for i in range(24)]), age=np.arange(24))
    export_dataset(dataset, tmp_path / "out", as_="parquet")
    assert (tmp_path / "out" / "train-00000-of-00001.parquet").is_file()
    found = open_dataset(tmp_path / "out")
    for split in ("train", "validation", "test"):
        assert_same(found, dataset, split)
        assert (found.votes[rows_of(found, split)] == dataset.votes[rows_of(dataset, split)]).all()


@pytest.mark.filterwarnings("ignore")
def test_parquet_in_hugging_face_datasets(tmp_path, load_dataset):
    boxes = np.arange(96, dtype=np.float32).reshape(24, 4)
    identity = text_column([f"S{i}" for i in range(24)])
    dataset = toy(channels=3, votes=votes_of(24), identity=identity, box=boxes)
    export_dataset(dataset, tmp_path / "out", as_="parquet")
    found = load_dataset(str(tmp_path / "out"))
    assert sorted(found) == ["test", "train", "validation"]
    assert found["train"].features["label"].names == list(FER2013)
    rows = rows_of(dataset, "validation")
    for row, sample in zip(rows, found["validation"], strict=True):
        assert (np.array(sample["image"]) == dataset.image(row)).all()
        assert (sample["label"], sample["identity"]) == (dataset.labels[row], identity[row])
        assert list(sample["box"]) == boxes[row].tolist()
        assert sum(sample["ferplus_votes"]) == dataset.votes[row].sum()


def test_parquet_in_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.data.writing.shards._SHARD_BYTES", 1000)
    monkeypatch.setattr(files, "_BATCH_BYTES", 600)
    dataset = toy(20, splits=("train",))
    export_dataset(dataset, tmp_path / "out", as_="parquet")
    assert len(list((tmp_path / "out").glob("train-*-of-00006.parquet"))) == 6
    assert_same(open_dataset(tmp_path / "out"), dataset, "train")


# WebDataset


@pytest.mark.filterwarnings("ignore")
def test_webdataset_in_hugging_face_datasets(tmp_path, load_dataset):
    dataset = toy(channels=3, votes=votes_of(24))
    export_dataset(dataset, tmp_path / "out", as_="webdataset")
    files = {split: str(tmp_path / "out" / f"{split}-*.tar") for split in ("train", "test")}
    found = load_dataset("webdataset", data_files=files)
    rows = rows_of(dataset, "test")
    assert found["test"].num_rows == len(rows)
    for row, sample in zip(rows, found["test"], strict=True):
        assert (np.array(sample["png"]) == dataset.image(row)).all()
        assert sample["cls"] == dataset.labels[row]
        assert sample["json"]["label"] == FER2013[dataset.labels[row]]
        assert list(sample["json"]["votes"]) == dataset.votes[row].tolist()


def test_webdataset_shards_have_no_time_in_them(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.data.writing.shards._TAR_SAMPLES", 3)
    dataset = toy(8, splits=("",), box=np.full((8, 4), np.nan, np.float32))
    for name in ("a", "b"):
        export_dataset(dataset, tmp_path / name, as_="webdataset")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert sorted(f.name for f in (tmp_path / "a").glob("*.tar")) == [f"data-00000{i}.tar" for i in range(3)]
    with tarfile.open(tmp_path / "a" / "data-000000.tar") as tar:
        about = json.load(tar.extractfile("0-faces-csv-2.json"))
    assert about["box"] == [None] * 4  # JSON knows no NaN


# YOLO and COCO


def cropped(tmp_path):
    """Two faces of one photograph and one of another, and the folder of the photographs."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos" / "in").mkdir(parents=True)
    for name, shape in (("in/a.jpg", (60, 80, 3)), ("b.png", (50, 40, 3))):
        jpeg = 95 if name.endswith("jpg") else None
        (tmp_path / "photos" / name).write_bytes(encode(rng.integers(0, 255, shape).astype(np.uint8), jpeg))
    dataset = make(
        list(toy_faces(3, size=16).images),
        [3, 4, 0],
        ["train", "train", "validation"],
        sources=["in/a.jpg#0", "in/a.jpg#1", "b.png"],
        photograph=text_column(["in/a.jpg", "in/a.jpg", "b.png"]),
        box=np.array([[8, 6, 24, 30], [-5, 0, 20, 20], [4, 5, 20, 25]], np.float32),
    )
    return dataset, tmp_path / "photos"


def test_a_cascade_is_a_file_for_haar(tmp_path):
    folder = tmp_path / "toy"
    write_toy_folders(folder, train=7, validation=0, test=0)
    with pytest.raises(DataError, match="--cascade is a file for --detector haar"):
        export_dataset(folder, tmp_path / "out", as_="yolo", detector="yunet", cascade=tmp_path / "a.xml")
    with pytest.raises(DetectorError, match=r"a\.xml"):
        export_dataset(folder, tmp_path / "out", as_="yolo", detector="haar", cascade=tmp_path / "a.xml")


@pytest.mark.filterwarnings("ignore")
def test_yolo_in_supervision(tmp_path):
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    dataset, photographs = cropped(tmp_path)
    export_dataset(dataset, tmp_path / "out", as_="yolo", photographs=photographs)
    found = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "out/images/train"), str(tmp_path / "out/labels/train"), str(tmp_path / "out/data.yaml")
    )
    assert found.classes == list(FER2013)
    ((place, _, boxes),) = list(found)
    assert Path(place).name == "0-a.png"
    assert boxes.class_id.tolist() == [3, 4]
    np.testing.assert_allclose(boxes.xyxy, [[8, 6, 24, 30], [0, 0, 20, 20]], atol=0.01)
    assert 'val: "images/validation"' in (tmp_path / "out/data.yaml").read_text()


@pytest.mark.filterwarnings("ignore")
def test_coco_in_supervision_and_pycocotools(tmp_path):
    dataset, photographs = cropped(tmp_path)
    export_dataset(dataset, tmp_path / "out", as_="coco", photographs=photographs, jpeg=90)
    annotations = tmp_path / "out/annotations/train.json"
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed").COCO(str(annotations))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(FER2013)
    assert [a["bbox"] for a in coco.loadAnns(coco.getAnnIds())] == [[8, 6, 16, 24], [0, 0, 20, 20]]
    assert [(i["width"], i["height"]) for i in coco.loadImgs(coco.getImgIds())] == [(80, 60)]
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    found = supervision.DetectionDataset.from_coco(str(tmp_path / "out/images/train"), str(annotations))
    ((_, image, boxes),) = list(found)
    assert image.shape == (60, 80, 3)
    assert [found.classes[i] for i in boxes.class_id] == ["happy", "sad"]


def test_yolo_box_of_a_crop_is_the_whole_image(tmp_path):
    export_dataset(toy(3), tmp_path / "out", as_="yolo")
    lines = [f.read_text() for f in sorted((tmp_path / "out/labels").rglob("*.txt"), key=lambda f: f.name)]
    labels = toy(3).labels
    assert lines == [f"{label} 0.500000 0.500000 1.000000 1.000000\n" for label in labels]


def test_a_image_without_a_face_has_no_line(tmp_path):
    images = [read_image(ASTRONAUT)]
    images.append(np.full((200, 200, 3), 127, np.uint8))
    export_dataset(make(images, [3, 0], ["train"] * 2), tmp_path / "out", as_="yolo", detector="haar")
    face, nothing = (f.read_text() for f in sorted((tmp_path / "out/labels/train").iterdir()))
    assert nothing == ""
    label, *box = face.split()
    assert label == "3"
    assert all(0 < float(n) < 0.9 for n in box)


def test_a_broken_photograph_is_told_and_the_others_are_written(tmp_path):
    dataset, photographs = cropped(tmp_path)
    (photographs / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (problem,) = export_dataset(dataset, tmp_path / "out", as_="coco", photographs=photographs)
    assert problem.source.endswith("b.png")
    assert "PNG" in (tmp_path / "out/problems.csv").read_text()
    assert len(list((tmp_path / "out/images").rglob("*.png"))) == 1
    assert export_dataset(dataset, tmp_path / "out", as_="coco", photographs=photographs, resume=True) == (problem,)


def test_boxes_that_cannot_be_had(tmp_path):
    dataset, photographs = cropped(tmp_path)

    def refused(data, **options):
        with pytest.raises(DataError) as error:
            export_dataset(data, tmp_path / "out", as_="yolo", **options)
        return str(error.value)

    assert "--photographs" in refused(dataset)
    assert "give one of them" in refused(dataset, photographs=photographs, detector="haar")
    assert "no boxes" in refused(toy(3), photographs=photographs)
    assert "no label" in refused(toy(3).with_columns(label=np.array([0, -1, 1])))
    two = dataset.with_columns(split=text_column(["train", "test", "train"]))
    assert "--group-by photograph" in refused(two, photographs=photographs)
    outside = dataset.with_columns(photograph=text_column(["../a.jpg", "b.png", "b.png"]))
    assert "lies outside" in refused(outside, photographs=photographs)
    with pytest.raises(OutputError, match="inside the input"):
        export_dataset(dataset, photographs / "out", as_="yolo", photographs=photographs)
    (photographs / "b.png").unlink()
    assert "1 of 2 photographs are not there, first b.png" in refused(dataset, photographs=photographs)
    assert not (tmp_path / "out").exists()


# Whole or not at all


class Killed(Exception):
    """As a kill would, it ends an export wherever it is."""


@pytest.mark.parametrize("as_", FORMATS)
def test_a_killed_export_goes_on_and_ends_the_same(tmp_path, monkeypatch, as_):
    monkeypatch.setattr(files, "CHUNK", 10)
    monkeypatch.setattr("mien.data.writing.plain.CHUNK", 10)
    monkeypatch.setattr("mien.data.writing.detection.CHUNK", 10)
    dataset = toy(40, votes=votes_of(40), splits=("train",))

    def kill(done, _):
        if done >= 20:
            raise Killed

    out = tmp_path / "out"
    with pytest.raises(Killed):
        export_dataset(dataset, out, as_=as_, progress=kill)
    assert not out.exists()
    assert staging(out).exists()
    with pytest.raises(OutputError, match="--resume"):
        export_dataset(dataset, out, as_=as_)
    with pytest.raises(OutputError, match="another job"):
        export_dataset(dataset.take(np.arange(30)), out, as_=as_, resume=True)
    export_dataset(dataset, out, as_=as_, resume=True)
    export_dataset(dataset, tmp_path / "undisturbed", as_=as_)
    assert tree(out) == tree(tmp_path / "undisturbed")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["out", "undisturbed"]
    before = tree(out)
    export_dataset(dataset, out, as_=as_, resume=True)  # finished: nothing to do
    assert tree(out) == before
    with pytest.raises(OutputError, match="exists already"):
        export_dataset(dataset, out, as_=as_)


def test_wrong_settings(tmp_path):
    for options, message in (
        ({"as_": "lmdb"}, "known: folders"),
        ({"as_": "folders", "jpeg": 0}, "1 to 100"),
        ({"as_": "npy", "jpeg": 90}, "plain pixels"),
        ({"as_": "folders", "detector": "haar"}, "for yolo and coco"),
    ):
        with pytest.raises(DataError, match=message):
            export_dataset(toy(3), tmp_path / "out", **options)
    with pytest.raises(DataError, match="no samples"):
        export_dataset(toy(3).take(np.arange(0)), tmp_path / "out", as_="folders")


@pytest.mark.parametrize("as_", ["yolo", "coco"])
def test_images_without_a_face_are_named(tmp_path, as_):
    images = [np.zeros((48, 48, 1), np.uint8), *toy_faces(2).images]
    found = export_dataset(make(images, [0, 1, 2], ["train"] * 3), tmp_path / "out", as_=as_, detector="haar")
    assert "no face found by haar; " in found[0].reason and found[0].reason.endswith(".png has no box")
    with (tmp_path / "out" / "problems.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(found)
