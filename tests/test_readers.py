"""Readers of data sets: what each kind gives, and what is refused and how."""

import json

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.data.readers import ferplus_to_eight, fit_face, read_dataset, require_split
from mien.data.samples import vote_majority, vote_shares
from mien.errors import DataError
from mien.labels import EIGHT, FER2013


def png(value, side=48, channels=1):
    return cv2.imencode(".png", np.full((side, side, channels), value, np.uint8))[1].tobytes()


def read(path, size=48, channels=1, **options):
    return read_dataset(path, size=size, channels=channels, **options)


# Parquet


def write_parquet(path, labels, *, usage=None, votes=None, names=None, images=None):
    rows = images or [png(10 + i) for i in range(len(labels))]
    columns = {
        "image": [{"bytes": data, "path": None} for data in rows],
        "label": labels,
    }
    if usage:
        columns["usage"] = usage
    if votes is not None:
        columns["ferplus_votes"] = votes
    table = pa.table(columns)
    if names:
        about = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    pq.write_table(table, path)


def test_parquet(tmp_path):
    votes = [[0] * 10 for _ in range(3)]
    votes[0][0], votes[1][1], votes[2][9] = 10, 6, 10
    usage = ["Training", "PublicTest", "PrivateTest"]
    write_parquet(tmp_path / "a.parquet", [6, 3, 0], usage=usage, votes=votes)
    found = read(tmp_path / "a.parquet")
    assert list(found) == ["train", "validation", "test"]
    train = found["train"]
    assert train.images.shape == (1, 48, 48, 1)
    assert train.images[0, 0, 0, 0] == 10
    assert (train.labels.tolist(), train.label_names, train.sources) == ([6], FER2013, ("a.parquet:0",))
    assert train.votes[0, EIGHT.index("neutral")] == 10
    assert found["validation"].votes[0, EIGHT.index("happy")] == 6
    assert found["test"].votes.sum() == 0  # not-a-face is no expression
    assert list(read(tmp_path / "a.parquet", splits=("test",))) == ["test"]


def test_parquet_folder_with_splits_in_the_names(tmp_path):
    write_parquet(tmp_path / "train-00000-of-00002.parquet", [0, 1])
    write_parquet(tmp_path / "train-00001-of-00002.parquet", [2])
    write_parquet(tmp_path / "validation-00000-of-00001.parquet", [3])
    found = read(tmp_path)
    assert {name: s.labels.tolist() for name, s in found.items()} == {"train": [0, 1, 2], "validation": [3]}
    assert len(set(found["train"].sources)) == 3


def test_parquet_label_names_from_its_metadata(tmp_path):
    write_parquet(tmp_path / "test.parquet", [0, 1], names=["Happiness", "Sadness"])
    assert read(tmp_path / "test.parquet")["test"].label_names == ("happy", "sad")


def test_parquet_without_names_has_one_set_of_labels_in_all_splits(tmp_path):
    write_parquet(tmp_path / "a.parquet", [7, 0], usage=["train", "validation"])
    found = read(tmp_path / "a.parquet")
    assert found["train"].label_names == found["validation"].label_names == EIGHT


def test_parquet_resizes_and_colours(tmp_path):
    write_parquet(tmp_path / "test.parquet", [0, 1], images=[png(50, 96), png(200, 20, 3)])
    images = read(tmp_path / "test.parquet", size=32, channels=3)["test"].images
    assert images.shape == (2, 32, 32, 3)
    assert (images[0] == 50).all()
    assert (images[1] == 200).all()


VOTES = [[1] * 10]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"labels": [9]}, "label 9"),
        ({"labels": [-1]}, "label -1"),
        ({"labels": [None]}, "'label'"),
        ({"labels": [0, None]}, "1 empty rows"),
        ({"labels": ["happy"]}, "whole numbers"),
        ({"labels": [0.5]}, "whole numbers"),
        ({"labels": [0], "votes": [[1] * 9]}, "10 counts"),
        ({"labels": [0, 1], "votes": [[1] * 10, [1] * 9]}, "10 counts"),
        ({"labels": [0, 1], "votes": [[1] * 10, None]}, "10 counts"),
        ({"labels": [0], "votes": [[-1] * 10]}, "10 counts"),
        ({"labels": [0], "images": [b"no picture"]}, "test.parquet:0"),
        ({"labels": [0], "images": [None]}, "holds no bytes"),
        ({"labels": [0, 1], "names": ["happy", "Happiness"]}, "both"),
        ({"labels": [3], "names": ["happy", "sad"]}, "label 3"),
    ],
)
def test_bad_parquet(tmp_path, arguments, says):
    write_parquet(tmp_path / "test.parquet", **arguments)
    with pytest.raises(DataError, match=says) as caught:
        read(tmp_path / "test.parquet")
    assert "test.parquet" in str(caught.value)


def test_parquet_without_its_columns(tmp_path):
    pq.write_table(pa.table({"image": [b""], "emotion": [1]}), tmp_path / "test.parquet")
    with pytest.raises(DataError, match="no column 'label'; it has image, emotion"):
        read(tmp_path / "test.parquet")


def test_parquet_of_no_known_split(tmp_path):
    write_parquet(tmp_path / "faces.parquet", [0])
    with pytest.raises(DataError, match="can't tell its split"):
        read(tmp_path / "faces.parquet")


def test_empty_parquet(tmp_path):
    write_parquet(tmp_path / "test.parquet", [0])
    table = pq.read_table(tmp_path / "test.parquet").slice(0, 0)
    pq.write_table(table, tmp_path / "test.parquet")
    assert read(tmp_path / "test.parquet") == {}


def test_not_parquet(tmp_path):
    (tmp_path / "test.parquet").write_bytes(b"nothing of the sort")
    with pytest.raises(DataError, match="can't read it as Parquet"):
        read(tmp_path / "test.parquet")


# fer2013.csv

HEADER = "emotion,pixels,Usage\n"
FACE = " ".join(["7"] * 2304)


def write_csv(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("header", [HEADER, "emotion, Usage, pixels\n"])
def test_csv(tmp_path, encoding, header):
    def row(label, usage):
        values = {"emotion": label, "pixels": FACE, "Usage": usage}
        return ",".join(values[name.strip()] for name in header.split(",")) + "\n"

    text = header + row("3", "Training") + row("6", "PublicTest") + row("0", "PrivateTest") + "\n"
    found = read(write_csv(tmp_path / "fer2013.csv", text, encoding), size=24)
    assert {name: s.labels.tolist() for name, s in found.items()} == {"train": [3], "validation": [6], "test": [0]}
    assert found["train"].images.shape == (1, 24, 24, 1)
    assert (found["train"].images == 7).all()
    assert found["train"].sources == (f"{tmp_path / 'fer2013.csv'}:2",)
    assert found["train"].votes is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column 'emotion'"),
        ("emotion,pixels\n", "no column 'usage'"),
        (HEADER + "3,1 2 3,Training\n", "3 pixels, which is no square"),
        (HEADER + "3,,Training\n", "0 pixels"),
        (HEADER + "3,1 2 3 x,Training\n", "expected a label number and pixels"),
        (HEADER + "3,1 2 3 256,Training\n", "expected a label number and pixels"),
        (HEADER + "3,1 2 3 -1,Training\n", "expected a label number and pixels"),
        (HEADER + "happy,1 2 3 4,Training\n", "expected a label number"),
        (HEADER + "7,1 2 3 4,Training\n", "label 7 in row 0; expected 0 to 6"),
        (HEADER + "3,1 2 3 4\n", "2 columns; expected 3"),
        (HEADER + "3," + "1 " * 100_000 + ",Training\n", "field larger than field limit"),
    ],
)
def test_bad_csv(tmp_path, text, says):
    with pytest.raises(DataError, match=says) as caught:
        read(write_csv(tmp_path / "fer2013.csv", text))
    assert "fer2013.csv" in str(caught.value)


def test_csv_that_is_no_text(tmp_path):
    with pytest.raises(DataError, match="not UTF-8"):
        read(write_csv(tmp_path / "fer2013.csv", HEADER + "\u00e9", "latin-1"))


# Class folders


def put(root, *names, value=100):
    for name in names:
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(value))


def test_class_folders(tmp_path):
    put(tmp_path, "train/anger/1.png", "train/Happy/2.PNG", "train/Happy/deep/3.png", "test/happiness/4.png")
    put(tmp_path, "train/.ipynb_checkpoints/5.png", "train/__MACOSX/6.png", ".cache/7.png")
    (tmp_path / "train/Happy/notes.txt").write_text("not a picture, and not called one")
    found = read(tmp_path, size=16)
    assert list(found) == ["train", "test"]
    train = found["train"]
    assert train.label_names == found["test"].label_names == ("angry", "happy")
    assert (train.labels.tolist(), found["test"].labels.tolist()) == ([1, 1, 0], [1])
    assert train.sources[-1] == str(tmp_path / "train/anger/1.png")
    assert train.images.shape == (3, 16, 16, 1)
    with pytest.raises(DataError, match="no split 'validation'; it has train, test"):
        require_split(found, "validation", tmp_path)


def test_unknown_classes_stand_behind_by_alphabet(tmp_path):
    put(tmp_path, *(f"val/{name}/1.png" for name in ("zen", "contempt", "bored", "neutral")))
    assert read(tmp_path)["validation"].label_names == ("neutral", "contempt", "bored", "zen")


def test_pictures_that_cannot_be_read_are_left_out_by_name(tmp_path):
    put(tmp_path, "test/sad/good.png")
    (tmp_path / "test/sad/bad.jpg").write_text("text")
    (tmp_path / "test/sad/empty.png").touch()
    told = []
    assert len(read(tmp_path, warn=told.append)["test"]) == 1
    assert len(told) == 2
    assert all(line.startswith("left out: ") for line in told)
    assert "bad.jpg" in told[0]
    (tmp_path / "test/sad/good.png").unlink()
    with pytest.raises(DataError, match="none of its images can be read"):
        read(tmp_path, warn=told.append)


def test_bad_folders(tmp_path):
    with pytest.raises(DataError, match="no folders train, validation or test"):
        read(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="no class folders"):
        read(tmp_path)
    (tmp_path / "train/happy").mkdir()
    with pytest.raises(DataError, match="happy: no images in it"):
        read(tmp_path)
    put(tmp_path, "train/happy/1.png", "train/joy/1.png")
    with pytest.raises(DataError, match="'happy' and 'joy' are both 'happy'"):
        read(tmp_path)


def test_two_folders_for_one_split(tmp_path):
    put(tmp_path, "val/happy/1.png", "validation/happy/2.png")
    with pytest.raises(DataError, match="both validation; keep one"):
        read(tmp_path)


# What is no data set, and what all share


def test_no_data_set(tmp_path):
    with pytest.raises(DataError, match="no such data set"):
        read(tmp_path / "missing")
    (tmp_path / "faces.zip").touch()
    with pytest.raises(DataError, match="not a data set"):
        read(tmp_path / "faces.zip")
    with pytest.raises(DataError, match="it has none of train, validation, test"):
        require_split({}, "train", tmp_path)


def test_fit_face():
    ramp = np.tile(np.arange(0, 96, dtype=np.uint8), (96, 1))[..., None]
    small = fit_face(ramp, 48, 1)
    np.testing.assert_allclose(small[0, :, 0], np.arange(0.5, 96, 2), atol=0.51)  # area: means of two
    red = np.zeros((10, 10, 3), np.uint8)
    red[..., 0] = 255
    assert fit_face(red, 10, 1)[0, 0, 0] == 76  # luma of red
    assert fit_face(ramp, 96, 1) is ramp
    assert fit_face(ramp[:20], 48, 3).shape == (48, 48, 3)


def test_votes():
    raw = np.arange(10, dtype=np.float32)[None]
    eight = ferplus_to_eight(raw)
    assert dict(zip(EIGHT, eight[0].tolist(), strict=True)) == {
        "neutral": 0, "happy": 1, "surprise": 2, "sad": 3, "angry": 4, "disgust": 5, "fear": 6, "contempt": 7
    }  # fmt: skip
    votes = np.array([[5, 5, 0], [6, 5, 0], [0, 0, 0], [0, 0, 1]], np.float32)
    assert vote_majority(votes).tolist() == [-1, 0, -1, 2]
    np.testing.assert_allclose(vote_shares(votes).sum(1), [1, 1, 0, 1], atol=1e-6)
