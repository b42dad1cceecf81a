"""Trees of image files: class folders, published layouts, loose images, and ZIPs that can't be trusted."""

import os
import zipfile
from collections import Counter

import cv2
import numpy as np
import pytest

from mien.data.readers import open_dataset, open_source
from mien.data.reading import archives
from mien.errors import DataError
from mien.labels import EIGHT, FER2013


def png(value, side=12, channels=1):
    return cv2.imencode(".png", np.full((side, side, channels), value, np.uint8))[1].tobytes()


def put(root, *names, value=100):
    for name in names:
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(value))


def samples(path, **options):
    """source -> (split, label name) of all that can be read, and source -> reason of the others."""
    source = open_source(path, **options)
    names = (*source.label_names, None)
    found, problems = {}, {}
    for chunk in source.chunks():
        columns = (chunk.columns[c].tolist() for c in ("source", "split", "label"))
        found |= {s: (split, names[label]) for s, split, label in zip(*columns, strict=True)}
        problems |= {p.source: p.reason for p in chunk.problems}
    return found, problems


def test_class_folders_with_splits(tmp_path):
    put(tmp_path, "Train/anger/1.png", "Train/Happy/2.PNG", "Train/Happy/deep/3.png", "TESTING/happiness/4.png")
    put(tmp_path, "Train/.ipynb_checkpoints/5.png", "Train/__MACOSX/6.png", ".cache/7.png", "Train/Happy/._2.png")
    put(tmp_path, "Train/Happy/@eaDir/2.PNG/thumb.png", "$RECYCLE.BIN/8.png", "Train/lost+found/9.png")
    (tmp_path / "Train/Happy/notes.txt").write_text("not an image, and not called one")
    source = open_source(tmp_path)
    assert (source.kind, source.label_names, source.total) == ("class folders with splits", ("angry", "happy"), 5)
    assert samples(tmp_path) == (
        {
            "Train/anger/1.png": ("train", "angry"),
            "Train/Happy/2.PNG": ("train", "happy"),
            "Train/Happy/deep/3.png": ("train", "happy"),
            "TESTING/happiness/4.png": ("test", "happy"),
        },
        {"Train/Happy/notes.txt": "is text, not an image, and was not needed as a list"},
    )
    assert list(samples(tmp_path, splits=("test",))[0]) == ["TESTING/happiness/4.png"]
    assert open_source(tmp_path, splits=("test",)).label_names == ("angry", "happy")


@pytest.mark.parametrize("classes", [EIGHT, FER2013, ("angry", "happy", "sad", "neutral")])
def test_class_folders_without_splits(tmp_path, classes):
    put(tmp_path, *(f"faces/all/{name}/1.png" for name in classes))
    source = open_source(tmp_path)
    assert source.kind == "class folders without splits"
    assert source.label_names == classes
    assert set(samples(tmp_path)[0].values()) == {("", name) for name in classes}


def test_unknown_classes_stand_behind_by_alphabet(tmp_path):
    put(tmp_path, *(f"val/{name}/1.png" for name in ("zen", "contempt", "bored", "neutral")))
    assert open_source(tmp_path).label_names == ("neutral", "contempt", "bored", "zen")


def test_what_lies_beside_the_class_folders_is_told(tmp_path):
    put(tmp_path, "train/happy/1.png", "train/2.png", "other/3.png", "4.png")
    found, problems = samples(tmp_path)
    assert list(found) == ["train/happy/1.png"]
    assert problems == {
        "train/2.png": "lies in no folder of a split and a class",
        "4.png": "lies in no folder of a split and a class",
        "other/3.png": "lies in no folder of a split and a class",
    }


def test_images_that_cannot_be_read_are_told(tmp_path):
    put(tmp_path, "test/sad/good.png")
    (tmp_path / "test/sad/bad.jpg").write_text("text")
    (tmp_path / "test/sad/empty.png").touch()
    (tmp_path / "test/sad/cut.png").write_bytes(png(3)[:40])
    found, problems = samples(tmp_path)
    assert list(found) == ["test/sad/good.png"]
    assert problems["test/sad/empty.png"].startswith("is empty")
    assert problems["test/sad/bad.jpg"].startswith("is not an image")
    assert "truncated" in problems["test/sad/cut.png"]
    (tmp_path / "test/sad/good.png").unlink()
    with pytest.raises(DataError, match="not one sample"):
        open_dataset(tmp_path)


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="is empty"):
        open_source(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "train/happy").mkdir()
    with pytest.raises(DataError, match="no images, lists or tables that mien reads"):
        open_source(tmp_path)
    put(tmp_path, "train/happy/1.png", "train/joy/1.png")
    with pytest.raises(DataError, match="'happy' and 'joy' are both 'happy'"):
        open_source(tmp_path)
    put(tmp_path, "val/happy/1.png", "validation/happy/2.png")
    with pytest.raises(DataError, match="both validation; keep one"):
        open_source(tmp_path)
    put(tmp_path / "unsplit", "anger/1.png", "Angry/1.png")
    with pytest.raises(DataError, match="both 'angry'"):
        open_source(tmp_path / "unsplit")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").touch()
    with pytest.raises(DataError, match=r"no images, lists or tables that mien reads in it \(1 .txt\)"):
        open_source(tmp_path / "texts")


@pytest.mark.parametrize(("first", "second"), [("fold_1", "fold_2"), ("aligned", "original")])
def test_folders_of_parts_are_no_people(tmp_path, first, second):
    put(tmp_path / "a", f"{first}/happy/1.png", f"{first}/sad/2.png", f"{second}/happy/3.png")
    source = open_source(tmp_path / "a")
    assert samples(tmp_path / "a")[0][f"{second}/happy/3.png"] == ("", "happy")
    assert "identity" not in next(source.chunks()).columns
    assert any(f"{first}, {second} are read together" in note for note in source.reading.notes)
    put(tmp_path / "b", f"{first}/train/happy/1.png", f"{first}/test/happy/2.png", f"{second}/train/happy/3.png")
    with pytest.raises(DataError, match=f"{first}, {second} have splits of their own, .* give one, such as {first}"):
        open_source(tmp_path / "b")


def test_loose_images(tmp_path):
    put(tmp_path, "a.png", "album/b.png", "album/2020/c.png")
    assert open_source(tmp_path).kind == "loose images"
    assert set(samples(tmp_path)[0].items()) == {(n, ("", None)) for n in ("a.png", "album/b.png", "album/2020/c.png")}
    put(tmp_path / "split", "train/a.png", "test/b.png")
    assert samples(tmp_path / "split")[0] == {"train/a.png": ("train", None), "test/b.png": ("test", None)}


def test_links_to_folders_elsewhere_are_followed_once(tmp_path):
    put(tmp_path / "in", "happy/1.png")
    put(tmp_path / "elsewhere", "2.png")
    (tmp_path / "in/sad").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/happy/again").symlink_to(tmp_path / "in")
    (tmp_path / "in/happy/gone.png").symlink_to(tmp_path / "nothing.png")
    found, problems = samples(tmp_path / "in")
    assert list(found) == ["happy/1.png", "sad/2.png"]
    assert problems == {"happy/gone.png": "no such file; check the path"}
    (tmp_path / "in/sad").unlink()
    (tmp_path / "in/happy/gone.png").unlink()
    (tmp_path / "in/train").symlink_to(tmp_path / "in")  # but a split may lie elsewhere
    assert list(samples(tmp_path / "in")[0]) == ["train/happy/1.png"]


def test_names_that_are_no_text(tmp_path):
    put(tmp_path, "happy/1.png")
    try:
        with open(os.fsencode(tmp_path) + b"/happy/\xff.png", "wb") as file:  # noqa: PTH123
            file.write(png(1))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert set(samples(tmp_path)[0]) == {"happy/1.png", "happy/\\xff.png"}


def test_grey_images_stay_grey(tmp_path):
    put(tmp_path, "happy/grey.png")
    (tmp_path / "happy/red.png").write_bytes(png((0, 0, 200), channels=3))
    half = np.full((12, 12, 3), 9, np.uint8)
    half[-1, -1] = 10, 20, 30
    (tmp_path / "happy/spot.png").write_bytes(cv2.imencode(".png", half)[1].tobytes())
    data = open_dataset(tmp_path)
    assert data.shapes[:, 2].tolist() == [1, 3, 3]
    assert data.image(1)[0, 0].tolist() == [200, 0, 0]


def test_large_images_come_in_small_chunks(tmp_path, monkeypatch):
    from mien.data.reading import sources

    put(tmp_path, *(f"happy/{i:03}.png" for i in range(100)))
    whole = list(open_source(tmp_path).chunks())
    assert len(whole) == 1
    monkeypatch.setattr(sources, "CHUNK_BYTES", 1000)
    chunks = list(open_source(tmp_path).chunks())
    assert len(chunks) > 5
    assert sum(c.consumed for c in chunks) == 100
    assert [s for c in chunks for s in c.columns["source"]] == whole[0].columns["source"].tolist()


def test_the_fingerprint_changes_with_the_files(tmp_path):
    put(tmp_path, "happy/1.png", "sad/1.png")
    before = open_source(tmp_path).fingerprint
    assert open_source(tmp_path).fingerprint == before
    put(tmp_path, "sad/2.png")
    after = open_source(tmp_path).fingerprint
    assert after != before
    (tmp_path / "sad/2.png").write_bytes(png(1, 40))
    assert open_source(tmp_path).fingerprint not in (before, after)


# Published data sets


def test_raf_db(tmp_path):
    root = tmp_path / "basic"
    put(root, "Image/aligned/train_00001_aligned.jpg", "Image/original/train_00001.jpg", "Image/original/test_0002.jpg")
    (root / "EmoLabel").mkdir()
    lines = ["train_00001.jpg 5", "test_0002.jpg 1", "train_3.jpg 7", "train_4.jpg 8", "other_4.jpg 1", ""]
    (root / "EmoLabel/list_patition_label.txt").write_text("\n".join(lines))
    listed = "EmoLabel/list_patition_label.txt"
    for path, start in ((tmp_path, "basic/"), (root, "")):
        found, problems = samples(path)
        assert found == {
            f"{start}Image/aligned/train_00001_aligned.jpg": ("train", "sad"),
            f"{start}Image/original/test_0002.jpg": ("test", "surprise"),
        }
        assert list(problems) == [
            *(f"{start}{listed}:{n}" for n in (3, 4, 5)),
            f"{start}Image/original/train_00001.jpg",
        ]
        assert open_source(path).kind == "RAF-DB"


def test_raf_db_in_class_folders(tmp_path):
    put(tmp_path, *(f"DATASET/{s}/{n}/{s}_0000{n}_aligned.jpg" for s in ("train", "test") for n in range(1, 8)))
    (tmp_path / "train_labels.csv").write_text("image,label\ntrain_00001_aligned.jpg,1\n")
    source = open_source(tmp_path)
    assert (source.kind, source.label_names) == ("RAF-DB in class folders", FER2013)
    found, _ = samples(tmp_path)
    assert found["DATASET/test/6/test_00006_aligned.jpg"] == ("test", "angry")
    assert found["DATASET/train/1/train_00001_aligned.jpg"] == ("train", "surprise")


def annotate(folder, name, **values):
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for kind, value in values.items():
        np.save(folder / f"annotations/{name}_{kind}.npy", np.array(value))


def test_affectnet(tmp_path):
    put(tmp_path, *(f"train_set/images/{n}.jpg" for n in range(5)), "val_set/images/9.jpg")
    annotate(tmp_path / "train_set", "0", exp="6", val="-0.5", aro="0.25")
    annotate(tmp_path / "train_set", "1", exp=7, val=0.1)
    annotate(tmp_path / "train_set", "2", exp="8")
    annotate(tmp_path / "val_set", "9", exp="0")
    np.save(tmp_path / "train_set/annotations/4_exp.npy", np.array([object()]), allow_pickle=True)
    found, problems = samples(tmp_path)
    assert found == {
        "train_set/images/0.jpg": ("train", "angry"),
        "train_set/images/1.jpg": ("train", "contempt"),
        "val_set/images/9.jpg": ("validation", "neutral"),
    }
    assert problems["train_set/images/2.jpg"] == "no expression: its label is 8 (none)"
    assert "no readable annotation" in problems["train_set/images/3.jpg"]
    assert "no readable annotation" in problems["train_set/images/4.jpg"]  # pickles are never read
    data = open_dataset(tmp_path)
    np.testing.assert_array_equal(data.columns["valence"], np.float32([-0.5, 0.1, np.nan]))
    np.testing.assert_array_equal(data.columns["arousal"], np.float32([0.25, np.nan, np.nan]))


def test_affectnet_as_csv(tmp_path):
    put(tmp_path, "Manually_Annotated_Images/1/a.png", "Manually_Annotated_Images/1/b.png")
    header = "subDirectory_filePath,face_x,facial_landmarks,expression,valence,arousal\n"
    (tmp_path / "training.csv").write_text(header + "1/a.png,10,1;2,4,-0.5,0.5\n1/b.png,10,1;2,10,-2,-2\n")
    (tmp_path / "validation.csv").write_text(header + "1/b.png,10,1;2,1,-2,-2\n")
    found, problems = samples(tmp_path)
    assert found == {
        "Manually_Annotated_Images/1/a.png": ("train", "fear"),
        "Manually_Annotated_Images/1/b.png": ("validation", "happy"),
    }
    assert problems == {"Manually_Annotated_Images/1/b.png": "no expression: its label is 10 (no face)"}
    data = open_dataset(tmp_path)
    np.testing.assert_array_equal(data.columns["valence"], np.float32([-0.5, np.nan]))
    assert "facial_landmarks" not in data.columns


def test_ck(tmp_path):
    put(tmp_path, "CK+48/anger/S010_004_00000017.png", "CK+48/contempt/S138_008_00000007.png")
    data = open_dataset(tmp_path)
    assert open_source(tmp_path).kind == "CK+48"
    assert data.columns["identity"].tolist() == ["S010", "S138"]
    assert data.label_names == ("angry", "contempt")


# ZIP


def write_zip(path, members, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def test_zip_of_class_folders(tmp_path):
    members = {f"archive/train/{n}/{i}.png": png(i) for n in ("happy", "sad") for i in range(3)}
    path = write_zip(tmp_path / "a.zip", members | {"__MACOSX/archive/train/happy/._0.png": b"x"})
    source = open_source(path)
    assert (source.kind, source.label_names, source.total) == ("class folders with splits", ("happy", "sad"), 6)
    found, problems = samples(path)
    assert Counter(found.values()) == {("train", "happy"): 3, ("train", "sad"): 3}
    assert next(iter(found)) == "archive/train/happy/0.png"
    assert not problems
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize(("folder", "encoding"), [("fröhlich", "utf-8"), ("喜び", "cp932"), ("高兴", "gbk")])
def test_zip_with_names_in_an_encoding_that_it_does_not_state(tmp_path, folder, encoding):
    written = folder.encode(encoding)
    stand_in = "x" * len(written)
    data = write_zip(tmp_path / "a.zip", {f"{stand_in}/1.png": png(1), "sad/2.png": png(2)}).read_bytes()
    (tmp_path / "a.zip").write_bytes(data.replace(stand_in.encode(), written))
    assert samples(tmp_path / "a.zip")[0] == {
        f"{folder}/1.png": ("", "happy"),
        "sad/2.png": ("", "sad"),
    }


def test_zip_of_a_csv(tmp_path):
    text = "emotion,pixels,Usage\n3,1 2 3 4,Training\n"
    data = open_dataset(write_zip(tmp_path / "a.zip", {"fer2013/fer2013.csv": text, "fer2013/README": "no"}))
    assert (data.labels.tolist(), data.sources.tolist()) == ([3], ["fer2013.csv:2"])
    assert data.image(0).ravel().tolist() == [1, 2, 3, 4]
    listed = {"list.csv": "image,label\na.png,joy\n../b.png,joy\n", "images/a.png": png(1)}
    found, problems = samples(write_zip(tmp_path / "b.zip", listed))
    assert found == {"images/a.png": ("", "happy")}
    assert "leaves the folder" in problems["list.csv:3"]


@pytest.mark.parametrize(
    "name", ["../happy/1.png", "/happy/1.png", "C:/happy/1.png", "happy/../../1.png", "..\\happy\\1.png"]
)
def test_zip_with_names_that_lead_out(tmp_path, name):
    with pytest.raises(DataError, match="leads out of the archive"):
        open_source(write_zip(tmp_path / "a.zip", {"happy/1.png": png(1), name: png(1)}))


def test_zip_with_a_link(tmp_path):
    link = zipfile.ZipInfo("happy/1.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="symbolic link"):
        open_source(tmp_path / "a.zip")


def patched(path, at, value):
    """Changes a field in the local header and in the directory of a ZIP's first member; `at`: offset in either."""
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", at), (b"PK\x01\x02", at + 2)):
        start = data.index(signature) + offset
        data[start : start + len(value)] = value
    path.write_bytes(data)
    return path


def test_zip_that_is_encrypted_or_packed_oddly(tmp_path):
    with pytest.raises(DataError, match="encrypted"):
        open_source(patched(write_zip(tmp_path / "a.zip", {"happy/1.png": png(1)}), 6, b"\x01"))
    with pytest.raises(DataError, match="unusual way"):
        open_source(patched(write_zip(tmp_path / "b.zip", {"happy/1.png": png(1)}), 8, b"\x0e"))


def test_zip_that_is_damaged(tmp_path):
    members = {"happy/1.png": png(1), "happy/2.png": np.random.default_rng(0).bytes(5000), "happy/3.png": png(3)}
    path = write_zip(tmp_path / "a.zip", members)
    data = bytearray(path.read_bytes())
    middle = data.index(b"happy/2.png") + 500
    data[middle : middle + 8] = b"spoilt!!"
    path.write_bytes(data)
    found, problems = samples(path)
    assert list(found) == ["happy/1.png", "happy/3.png"]
    assert "can't be read" in problems["happy/2.png"]
    path.write_bytes(data[:-30])
    with pytest.raises(DataError):
        open_source(path)


def test_zip_bombs(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.zip", {"happy/1.png": png(1), "happy/2.png": bytes(3_000_000)})
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 1_000_000)
    found, problems = samples(path)
    assert list(found) == ["happy/1.png"]
    assert "has 3 MB, the limit is 1" in problems["happy/2.png"]
    monkeypatch.setattr(archives, "RATIO_FROM", 1_000_000)
    with pytest.raises(DataError, match="ZIP bomb"):
        open_source(path)
    monkeypatch.setattr(archives, "MAX_MEMBERS", 1)
    with pytest.raises(DataError, match="holds 2 files"):
        open_source(path)


def test_a_member_that_declares_less_than_it_holds(tmp_path):
    big = png(1) + bytes(1_000_000)
    path = patched(write_zip(tmp_path / "a.zip", {"happy/1.png": big, "happy/2.png": png(2)}), 22, b"\x64\0\0\0")
    found, problems = samples(path)
    assert list(found) == ["happy/2.png"]
    assert list(problems) == ["happy/1.png"]


def test_two_members_of_one_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("happy/1.png", png(1))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("happy/1.png", png(2))
    with pytest.raises(DataError, match="two files in it are called"):
        open_source(tmp_path / "a.zip")


def test_other_archives(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(DataError, match="is a gzip file; unpack it"):
        open_source(tmp_path / "a.tar.gz")
    (tmp_path / "a.rar").write_bytes(b"Rar!\x1a\x07\x00")
    with pytest.raises(DataError, match="is a RAR archive; unpack it"):
        open_source(tmp_path / "a.rar")
