"""`Dataset` in Python: rows and slices, and the objects of other libraries."""

import cv2
import numpy as np
import pytest

import mien
from mien.data.toy import write_toy_folders
from mien.errors import DataError


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "toy"
    write_toy_folders(folder, train=14, validation=7, test=7)
    return mien.load_dataset(folder)


def same(one, other):
    assert one.label_names == other.label_names
    assert [*map(str, one.splits)] == [*map(str, other.splits)]
    assert one.labels.tolist() == other.labels.tolist()
    assert all(np.array_equal(one.image(row), other.image(row)) for row in range(len(one)))


def test_rows_slices_and_masks(toy):
    last = toy[-1]
    assert last["image"].shape == (48, 48, 1) and last["label"] == toy.label_name(27) and last["split"] == "test"
    assert toy[np.int64(3)]["source"] == toy.sources[3]
    assert len(toy["train"][:5]) == 5 and toy[::-1].sources[0] == toy.sources[27]
    assert toy[[3, 1]].sources.tolist() == [toy.sources[3], toy.sources[1]]
    assert toy[toy.labels == 2].counts() == {"train": {**dict.fromkeys(toy.label_names, 0), "fear": 2}, **{
        split: {**dict.fromkeys(toy.label_names, 0), "fear": 1} for split in ("validation", "test")
    }}  # fmt: skip
    assert toy.take(np.array([0])).with_columns(label=np.array([-1]))[0]["label"] is None
    with pytest.raises(IndexError):
        toy[28]


@pytest.mark.parametrize("kind", ["uint8", "float 0-1", "float 0-255", "channels first", "grey"])
@pytest.mark.parametrize("shape", ["(N,)", "(N, 1)", "one-hot"])
def test_arrays(kind, shape):
    images = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), np.uint8)
    numbers = np.arange(70) % 7
    labels = {"(N,)": numbers, "(N, 1)": numbers[:, None], "one-hot": np.eye(7)[numbers]}[shape]
    given = {
        "uint8": images, "float 0-1": images / np.float32(255), "float 0-255": images.astype(float),
        "channels first": images.transpose(0, 3, 1, 2), "grey": images[..., 0],
    }[kind]  # fmt: skip
    data = mien.Dataset.from_arrays(given, labels, split=["train"] * 60 + ["test"] * 10)
    assert data.label_names[0] == "angry" and data.labels.tolist() == numbers.tolist()
    assert (len(data["train"]), len(data["test"])) == (60, 10)
    expected = images[..., :1] if kind == "grey" else images
    assert all(np.array_equal(data.image(row), expected[row]) for row in range(70))


def test_arrays_of_own_names_and_faults():
    images = np.zeros((6, 16, 16), np.uint8)
    data = mien.Dataset.from_arrays(images, [0, 1, 2] * 2, label_names=["calm", "alert", "bored"])
    assert data[1]["label"] == "alert" and list(data) == [""]
    assert mien.Dataset.from_arrays(images, ["joy", "Wut"] * 3).label_names == ("angry", "happy")
    assert mien.Dataset.from_arrays(images).labels.tolist() == [-1] * 6
    with pytest.raises(DataError, match="a label for each image"):
        mien.Dataset.from_arrays(images, [0, 1])
    with pytest.raises(DataError, match="the arrays: the labels are 1 to 3, and nothing says what they mean"):
        mien.Dataset.from_arrays(images, [1, 2, 3] * 2)


def test_pandas(toy, tmp_path):
    frame = toy.to_pandas()
    frame["age"] = range(28)
    back = mien.Dataset.from_pandas(frame, images=[toy.image(row) for row in range(28)])
    same(back, toy)
    assert back.columns["age"].tolist() == list(range(28)) and back.sources.tolist() == toy.sources.tolist()
    for row in range(3):
        cv2.imwrite(str(tmp_path / f"{row}.png"), toy.image(row))
    files = frame[:3].assign(path=[f"{row}.png" for row in range(3)])
    read = mien.Dataset.from_pandas(files, image="path", root=tmp_path)
    assert [read.label_name(row) for row in range(3)] == files["label"].tolist() and len(read["train"]) == 3
    with pytest.raises(DataError, match="no column 'mood'; it has"):
        mien.Dataset.from_pandas(frame, label="mood")


def test_hugging_face(toy, capfd):
    pytest.importorskip("datasets")
    votes = np.random.default_rng(0).integers(0, 9, (28, 8)).astype(np.float32)
    data = toy.with_columns(votes=votes)
    back = mien.Dataset.from_huggingface(data.to_huggingface())
    same(back, data)
    assert np.array_equal(back.votes, votes) and back.sources.tolist() == data.sources.tolist()
    one = mien.Dataset.from_huggingface(data.to_huggingface()["validation"])
    assert len(one) == 7
    assert capfd.readouterr() == ("", "")


def test_torch(toy):
    torch = pytest.importorskip("torch")
    made = toy["train"].to_torch(size=32, channels=3)
    assert isinstance(made, torch.utils.data.Dataset) and made[0][0].shape == (3, 32, 32)
