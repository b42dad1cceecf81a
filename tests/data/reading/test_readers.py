"""Opening data sets of any layout, reading them for training, and importing them."""

import sys

import cv2
import numpy as np
import pytest

import mien
from mien.cli import main
from mien.crop import fit_face
from mien.data.arrays import open_arrays, read_problems, write_arrays
from mien.data.fitted import read_dataset, require_split
from mien.data.importing import import_dataset
from mien.data.readers import open_dataset, open_source
from mien.data.toy import write_toy_folders
from mien.errors import DataError, OutputError


@pytest.fixture
def toy(tmp_path):
    """Toy faces in class folders, one of them damaged."""
    write_toy_folders(tmp_path / "toy", train=28, validation=14, test=0)
    (tmp_path / "toy/train/happy/bad.png").write_bytes(b"no image")
    return tmp_path / "toy"


def test_read_dataset(toy, said):
    found = read_dataset(toy, size=24, channels=3)
    assert list(found) == ["train", "validation"]
    assert found["train"].images.shape == (28, 24, 24, 3)
    assert len(said) == 1
    assert said[0].startswith("left out: train/happy/bad.png: is not an image")
    assert found["train"].sources[0] == "train/angry/" + sorted(p.name for p in (toy / "train/angry").iterdir())[0]
    assert list(read_dataset(toy, size=24, channels=1, splits=("validation",))) == ["validation"]
    assert read_dataset(toy, size=24, channels=1, splits=("test",)) == {}


def test_arrays_are_read_in_place(toy, tmp_path):
    before = read_dataset(toy, size=48, channels=1)
    data = write_arrays(open_source(toy), tmp_path / "arrays", command="import", settings={})
    after = read_dataset(tmp_path / "arrays", size=48, channels=1)
    for split in ("train", "validation"):
        np.testing.assert_array_equal(after[split].images, before[split].images)
        np.testing.assert_array_equal(after[split].labels, before[split].labels)
    assert np.shares_memory(data.faces(size=48, channels=1), data.pixels)
    assert open_source(tmp_path / "arrays").kind == "arrays of mien"
    assert len(open_dataset(tmp_path / "arrays", splits=("validation",))) == 14


def test_data_without_splits_or_labels(tmp_path):
    for name in ("happy/1.png", "sad/1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes())
    found = read_dataset(tmp_path, size=48, channels=1)
    with pytest.raises(DataError, match=r"no split 'train'; it has none of .*; make splits with  mien data split"):
        require_split(found, "train", tmp_path)
    with pytest.raises(DataError, match="it has test"):
        require_split({"test": None}, "train", tmp_path)
    (tmp_path / "loose/train").mkdir(parents=True)
    (tmp_path / "happy/1.png").rename(tmp_path / "loose/train/1.png")
    with pytest.raises(DataError, match="1 faces of train have no label"):
        read_dataset(tmp_path / "loose", size=48, channels=1)


def test_no_data_set(tmp_path):
    with pytest.raises(DataError, match="no such data set"):
        open_source(tmp_path / "missing")
    with pytest.raises(DataError, match="is at an address; download it first"):
        open_source("https://example.org/faces.zip")
    (tmp_path / "faces.zip").touch()
    with pytest.raises(DataError, match="not a data set"):
        open_source(tmp_path / "faces.zip")
    (tmp_path / "votes.csv").touch()
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy/1.png").touch()
    with pytest.raises(DataError, match="--ferplus goes with"):
        open_source(tmp_path, ferplus=tmp_path / "votes.csv")


def test_fit_face():
    ramp = np.tile(np.arange(0, 96, dtype=np.uint8), (96, 1))[..., None]
    small = fit_face(ramp, 48, 1)
    np.testing.assert_allclose(small[0, :, 0], np.arange(0.5, 96, 2), atol=0.51)  # area: means of two
    red = np.zeros((10, 10, 3), np.uint8)
    red[..., 0] = 255
    assert fit_face(red, 10, 1)[0, 0, 0] == 76  # luma of red
    assert fit_face(ramp, 96, 1) is ramp
    assert fit_face(ramp[:20], 48, 3).shape == (48, 48, 3)


# Importing


def test_import_as_arrays(toy, tmp_path):
    data = import_dataset(toy, tmp_path / "out")
    assert len(data) == 42
    step = data.steps[-1]
    assert (step.command, step.settings["source"], step.problems) == ("import", "toy", 1)
    assert [p.source for p in read_problems(tmp_path / "out")] == ["train/happy/bad.png"]
    with pytest.raises(OutputError, match="exists already"):
        import_dataset(toy, tmp_path / "out")
    assert len(import_dataset(toy, tmp_path / "out", resume=True)) == 42
    with pytest.raises(OutputError, match="lies inside the input"):
        import_dataset(toy, toy / "out")


@pytest.mark.parametrize("as_", ["folders", "parquet"])
def test_import_as_another_layout(toy, tmp_path, as_):
    arrays = import_dataset(toy, tmp_path / "arrays")
    data = import_dataset(toy, tmp_path / "out", as_=as_)
    assert len(data) == 42
    assert sorted(p.name for p in tmp_path.iterdir()) == ["arrays", "out", "toy"]
    again = open_dataset(tmp_path / "out")
    assert again.counts() == arrays.counts()
    ours, theirs = (sorted(d.image(i).tobytes() for i in range(42)) for d in (again, arrays))
    assert ours == theirs
    assert [p.source for p in read_problems(tmp_path / "out")] == ["train/happy/bad.png"]
    with pytest.raises(OutputError, match="exists already"):
        import_dataset(toy, tmp_path / "out", as_=as_)
    assert import_dataset(toy, tmp_path / "out", as_=as_, resume=True).steps[-1].problems == 1


def test_an_import_as_folders_that_was_killed_goes_on(toy, tmp_path, monkeypatch):
    import mien.data.export

    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(mien.data.export, "export_dataset", killed)
        with pytest.raises(Killed):
            import_dataset(toy, tmp_path / "out", as_="folders")
    with pytest.raises(OutputError, match=r"unfinished work .* add --resume"):
        import_dataset(toy, tmp_path / "out", as_="folders")
    assert len(import_dataset(toy, tmp_path / "out", as_="folders", resume=True)) == 42
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "toy"]


def test_the_command(toy, tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mien", "data", "import", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code, *capsys.readouterr()

    code, out, err = run(toy, "--plan", "--quiet")
    assert code == 3
    assert "layout   class folders with splits\nlabels   angry, disgust" in out
    assert "42 images; nothing was written" in out
    assert "not read: train/happy/bad.png: is not an image" in err
    assert not (tmp_path / "out").exists()
    code, out, err = run(toy, "--out", tmp_path / "out", "--quiet")
    assert code == 3
    assert "1 files or records could not be used" in err
    assert "problems.csv" in err
    assert "42" in out
    assert len(open_arrays(tmp_path / "out")) == 42
    code, out, err = run(toy, "--out", tmp_path / "out")
    assert code == 2
    assert err.startswith("mien: ")
    assert len(err.strip().splitlines()) == 1


# Loading in Python


def test_load_dataset_takes_choices_and_gives_splits(toy):
    data = mien.load_dataset(str(toy), labels="happy=own_class", split_map="validation=test")
    assert list(data) == ["train", "test"] and len(data["test"]) == 14
    assert "own_class" in data.label_names
    with pytest.raises(DataError, match="no split 'validation'; it has "):
        data["validation"]


def test_a_data_set_as_a_table(toy):
    pandas = pytest.importorskip("pandas")
    data = mien.load_dataset(toy)
    votes = np.arange(8 * len(data), dtype=np.float32).reshape(-1, 8)
    table = data.with_columns(votes=votes)["train"].to_pandas()
    assert isinstance(table, pandas.DataFrame) and len(table) == len(data["train"])
    assert list(table.columns[:6]) == ["source", "split", "label", "height", "width", "channels"]
    assert set(table["label"]) <= set(data.label_names) and set(table["split"]) == {"train"}
    assert table["votes_angry"].tolist() == votes[data.splits == "train", 0].tolist()
