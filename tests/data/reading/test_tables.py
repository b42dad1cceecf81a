"""Tables: fer2013.csv and its votes, lists of image files, image Parquet; what is refused, what only left out."""

import json

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.data.arrays import write_arrays
from mien.data.fitted import read_dataset
from mien.data.readers import open_dataset, open_source
from mien.data.reading.ferplus import ferplus_to_eight
from mien.data.reading.label_reading import LabelChoice
from mien.data.reading.pixel_tables import pixels_of
from mien.data.reading.reading import Choices
from mien.data.samples import vote_majority, vote_shares
from mien.errors import DataError
from mien.labels import EIGHT, FER2013
from places import SHARED


def png(value, side=48, channels=1):
    return cv2.imencode(".png", np.full((side, side, channels), value, np.uint8))[1].tobytes()


def everything(path, **options):
    """All samples and all problems of a source."""
    chunks = list(open_source(path, **options).chunks())
    return chunks, {p.source: p.reason for c in chunks for p in c.problems}


# fer2013.csv

HEADER = "emotion,pixels,Usage\n"
FACE = " ".join(["7"] * 2304)


def write_csv(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def row(label, usage, pixels=FACE):
    return f"{label},{pixels},{usage}\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("header", [HEADER, "emotion, Usage, pixels\n", '"PIXELS","Emotion","usage"\n'])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_fer2013(tmp_path, encoding, header, end):
    def line(label, usage):
        values = {"emotion": label, "pixels": FACE, "usage": usage}
        cells = [values[name.strip(' \n"').lower()] for name in header.split(",")]
        return ",".join(f'"{c}"' if '"' in header else c for c in cells) + "\n"

    text = header + line("3", "Training") + "\n" + line("6", "PublicTest") + line("0", "PrivateTest") + "\n"
    data = open_dataset(write_csv(tmp_path / "fer2013.csv", text.replace("\n", end), encoding))
    assert data.labels.tolist() == [3, 6, 0]
    assert data.splits.tolist() == ["train", "validation", "test"]
    assert data.sources.tolist() == ["fer2013.csv:2", "fer2013.csv:4", "fer2013.csv:5"]
    assert (data.shapes == (48, 48, 1)).all()
    assert (data.pixels == 7).all()
    assert data.votes is None


def test_pixels_are_those_that_were_written():
    faces = np.random.default_rng(3).integers(0, 256, (150, 5, 5, 1)).astype(np.uint8)
    faces[0].flat[:6] = 0, 9, 10, 99, 100, 255
    texts = [" ".join(map(str, face.ravel().tolist())).encode() for face in faces]
    texts[1] = b"  " + texts[1].replace(b" ", b"  ") + b" "
    found, wrong = pixels_of(texts, 5)
    np.testing.assert_array_equal(found, faces)
    assert wrong == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"1 2 3", "3 pixels; expected 4 (2 x 2)"),
        (b"1 2 3 4 5", "5 pixels; expected 4"),
        (b"", "0 pixels"),
        (b"1 2 3 256", "a pixel of 256; expected 0 to 255"),
        (b"1 2 3 1000", "more than three digits"),
        (b"1 2 3 -4", "'-' among the pixels"),
        (b"1 2 3 4.0", "'.' among the pixels"),
        (b"1 2\t3 4", "'\\t' among the pixels"),
        (b"1 2 3 \xff", "among the pixels"),
    ],
)
def test_a_bad_text_spoils_no_other(text, says):
    good = [b"1 2 3 4"] * 70
    for place in (0, 64, 70):
        found, wrong = pixels_of([*good[:place], text, *good[place:]], 2)
        assert list(wrong) == [place]
        assert says in wrong[place]
        assert (np.delete(found, place, 0).reshape(-1, 4) == (1, 2, 3, 4)).all()


def test_bad_rows_are_named_and_the_others_kept(tmp_path, said):
    lines = [
        row(3, "Training"), row(9, "Training"), row("wow", "Training"), row("", "Training"), row(3, "Later"),
        row(3, "Training", FACE[:-2]), "3\n", row(-1, "Training"), row(0, "PrivateTest"),
    ]  # fmt: skip
    chunks, problems = everything(write_csv(tmp_path / "fer2013.csv", HEADER + "".join(lines)))
    assert problems == {
        "fer2013.csv:3": "label '9'; expected 0 to 6",
        "fer2013.csv:4": "label 'wow'; expected 0 to 6",
        "fer2013.csv:5": "has no label",
        "fer2013.csv:6": "Usage 'Later'; expected train, validation or test (--split-map names others)",
        "fer2013.csv:7": "2303 pixels; expected 2304 (48 x 48)",
        "fer2013.csv:8": "1 columns; expected 3",
        "fer2013.csv:9": "has no label",
    }
    assert chunks[0].columns["label"].tolist() == [3, 0]
    assert sum(c.consumed for c in chunks) == len(lines)
    assert len(open_dataset(tmp_path / "fer2013.csv")) == 2
    assert said[0] == "left out: fer2013.csv:3: label '9'; expected 0 to 6"


@pytest.mark.parametrize(
    ("text", "encoding", "says"),
    [
        ("", "utf-8", "no column 'emotion'"),
        (HEADER + "\u00e9", "latin-1", "fer2013.csv:2: not UTF-8"),
        (HEADER, "utf-16", "not UTF-8"),
        (HEADER + "3,1 2 3,Training\n", "utf-8", "3 pixels"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, text, encoding, says):
    with pytest.raises(DataError, match=says) as caught:
        write_arrays(
            open_source(write_csv(tmp_path / "fer2013.csv", text, encoding)), tmp_path / "o", command="", settings={}
        )
    assert "fer2013.csv" in str(caught.value) or "nothing to write" in str(caught.value)


def test_images_of_another_size(tmp_path):
    text = HEADER + "".join(row(i % 7, "Training", " ".join([str(i)] * 64)) for i in range(9))
    assert (open_dataset(write_csv(tmp_path / "small.csv", text)).shapes == (8, 8, 1)).all()


def test_going_on_in_the_middle_gives_the_same(tmp_path):
    rng = np.random.default_rng(0)
    usages = rng.choice(["Training", "PublicTest", "PrivateTest"], 1300)
    lines = [row(rng.integers(8), u, f"{i % 256} {i // 256} 0 0") for i, u in enumerate(usages)]
    path = write_csv(tmp_path / "fer2013.csv", HEADER + "\n".join(lines))
    for splits in (None, ("train", "test")):
        source = open_source(path, splits=splits)
        whole = np.concatenate([c.columns["source"] for c in source.chunks()])
        first = next(iter(source.chunks()))
        rest = [c.columns["source"] for c in source.chunks(first.consumed)]
        assert np.concatenate([first.columns["source"], *rest]).tolist() == whole.tolist()
        assert sum(c.consumed for c in source.chunks()) == source.total
        assert len(list(source.chunks(1299))) <= 1
    assert set(open_dataset(path, splits=("test",)).splits.tolist()) == {"test"}


# FER+

FERPLUS_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
TEN = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt", "unknown", "NF")


def write_both(folder, labels, votes_for=None, usages=None, usages_there=None):
    usages = usages or ["Training"] * len(labels)
    votes_for = votes_for or [FER2013[label] for label in labels]
    write_csv(
        folder / "fer2013.csv", HEADER + "".join(row(n, u, "1 2 3 4") for n, u in zip(labels, usages, strict=True))
    )
    rows = [
        f"{u},fer{i:07}.png,{','.join('10' if name == v else '0' for name in TEN)}\n"
        for i, (u, v) in enumerate(zip(usages_there or usages, votes_for, strict=True))
    ]
    write_csv(folder / "fer2013new.csv", FERPLUS_HEADER + "".join(rows))


def test_ferplus_is_joined_by_row(tmp_path):
    write_both(tmp_path, [3, 0, 9, 6], ["happy", "contempt", "fear", "NF"])
    for data in (
        open_dataset(tmp_path),  # found beside it
        write_arrays(
            open_source(tmp_path / "fer2013.csv", ferplus=tmp_path / "fer2013new.csv"),
            tmp_path / "out",
            command="import",
            settings={},
        ),
    ):
        assert data.labels.tolist() == [3, 0, 6]
        assert data.votes[0, EIGHT.index("happy")] == 10
        assert data.votes[1, EIGHT.index("contempt")] == 10
        assert data.votes[2].sum() == 0
        assert data.columns["ferplus_other"].tolist() == [[0, 0], [0, 0], [0, 10]]


def test_ferplus_that_does_not_belong(tmp_path):
    labels = np.random.default_rng(0).integers(0, 7, 300).tolist()
    shifted = [FER2013[n] for n in [*labels[1:], 0]]
    write_both(tmp_path, labels, shifted)
    with pytest.raises(DataError, match="do not belong together"):
        open_source(tmp_path)
    write_both(tmp_path, [3, 3, 3], usages_there=["Training", "PublicTest", "Training"])
    with pytest.raises(DataError, match="row 2 is validation there and train here: rows are shifted"):
        open_source(tmp_path)
    write_both(tmp_path, [3, 3])
    with (tmp_path / "fer2013.csv").open("a") as file:
        file.write(row(3, "Training", "1 2 3 4"))
    with pytest.raises(DataError, match=r"2 rows; .* has 3"):
        open_source(tmp_path)
    write_csv(tmp_path / "fer2013new.csv", FERPLUS_HEADER + "Training,a.png" + ",x" * 10)
    with pytest.raises(DataError, match=r"fer2013new.csv:2: no row of FER\+"):
        open_source(tmp_path)
    write_csv(tmp_path / "fer2013new.csv", "Usage\n")
    with pytest.raises(DataError, match="no column 'neutral'"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        open_source(tmp_path, ferplus=tmp_path / "none.csv")


def test_votes():
    raw = np.arange(10, dtype=np.float32)[None]
    eight = ferplus_to_eight(raw)
    assert dict(zip(EIGHT, eight[0].tolist(), strict=True)) == {
        "neutral": 0, "happy": 1, "surprise": 2, "sad": 3, "angry": 4, "disgust": 5, "fear": 6, "contempt": 7
    }  # fmt: skip
    votes = np.array([[5, 5, 0], [6, 5, 0], [0, 0, 0], [0, 0, 1]], np.float32)
    assert vote_majority(votes).tolist() == [-1, 0, -1, 2]
    np.testing.assert_allclose(vote_shares(votes).sum(1), [1, 1, 0, 1], atol=1e-6)


# Lists of image files


def test_list_of_images(tmp_path):
    (tmp_path / "images").mkdir()
    for name in "abc":
        (tmp_path / "images" / f"{name}.png").write_bytes(png(9, 10))
    (tmp_path.parent / "outside.png").write_bytes(png(9, 10))
    text = (
        "user.id,image,emotion\nu1,a.png,HAPPINESS\nu2,b.png,sadness\nu2,c.png,Happy\nu3,gone.png,bored\n"
        "u3,../outside.png,sad\nu3,/etc/passwd,sad\nu3,C:\\a.png,sad\nu4,,sad\n"
    )
    chunks, problems = everything(write_csv(tmp_path / "legend.csv", text))
    assert open_source(tmp_path / "legend.csv").label_names == ("happy", "sad", "bored")
    assert chunks[0].columns["source"].tolist() == ["images/a.png", "images/b.png", "images/c.png"]
    assert chunks[0].columns["label"].tolist() == [0, 1, 0]
    assert chunks[0].columns["identity"].tolist() == ["u1", "u2", "u2"]
    assert list(problems) == [f"legend.csv:{n}" for n in (5, 6, 7, 8, 9)]
    assert "no such file" in problems["legend.csv:5"]
    assert all("leaves the folder" in problems[f"legend.csv:{n}"] for n in (6, 7, 8))


def test_list_with_splits_and_numbers(tmp_path):
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(png(9, 10))
    text = "Path, Label, Split, note\na.png,0,TRAIN,x\nb.png,7.0,val,y\nc.png,,,z\nd.png,1,later,z\n"
    with pytest.raises(DataError, match=r"labels are 0, 1, 7, and nothing says what they mean; .*--labels affectnet"):
        open_source(write_csv(tmp_path / "list.csv", text))
    eight = Choices(labels=LabelChoice.parse(",".join(EIGHT)))
    chunks, problems = everything(tmp_path / "list.csv", choices=eight)
    columns = chunks[0].columns
    assert columns["split"].tolist() == ["train", "validation", ""]
    assert columns["label"].tolist() == [0, 7, -1]
    assert columns["note"].tolist() == ["x", "y", "z"]
    assert open_source(tmp_path / "list.csv", choices=eight).label_names == EIGHT
    assert "'later' is no split" in problems["list.csv:5"]
    source = open_source(tmp_path / "list.csv", splits=("validation",), choices=eight)
    assert sum(len(c.images) for c in source.chunks()) == 1
    with pytest.raises(DataError, match="its columns are x, y; expected"):
        open_source(write_csv(tmp_path / "other.csv", "x,y\n"))


# Parquet


def write_parquet(path, labels, *, usage=None, votes=None, names=None, images=None, groups=None, **more):
    columns = {
        "image": [{"bytes": data, "path": None} for data in images or [png(10 + i) for i in range(len(labels))]],
        "label": labels,
        **more,
    }
    if usage:
        columns["usage"] = usage
    if votes is not None:
        columns["ferplus_votes"] = votes
    table = pa.table(columns)
    if names:
        about = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    pq.write_table(table, path, row_group_size=groups)


def read(path, size=48, channels=1, **options):
    return read_dataset(path, size=size, channels=channels, **options)


def test_parquet(tmp_path):
    votes = [[0] * 10 for _ in range(3)]
    votes[0][0], votes[1][1], votes[2][9] = 10, 6, 10
    usage = ["Training", "PublicTest", "PrivateTest"]
    write_parquet(tmp_path / "a.parquet", [6, 3, 0], usage=usage, votes=votes, row=[5, 6, 7], source=["x", None, "z"])
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
    data = open_dataset(tmp_path / "a.parquet")
    assert data.columns["row"].tolist() == [5, 6, 7]
    assert data.columns["given_source"].tolist() == ["x", "", "z"]
    assert data.columns["ferplus_other"].tolist() == [[0, 0], [0, 0], [0, 10]]


def test_parquet_folder_with_splits_in_the_names(tmp_path):
    write_parquet(tmp_path / "train-00000-of-00002.parquet", [0, 1], score=[1, 2], names=FER2013)
    write_parquet(tmp_path / "train-00001-of-00002.parquet", [2], score=[None], names=FER2013)
    write_parquet(tmp_path / "validation-00000-of-00001.parquet", [3], names=FER2013)
    found = read(tmp_path)
    assert {name: s.labels.tolist() for name, s in found.items()} == {"train": [0, 1, 2], "validation": [3]}
    assert len(set(found["train"].sources)) == 3
    score = open_dataset(tmp_path).columns["score"]
    assert score[:2].tolist() == [1, 2]
    assert np.isnan(score[2:]).all()
    write_parquet(tmp_path / "test.parquet", [0], names=["a"])
    with pytest.raises(DataError, match="name different labels"):
        open_source(tmp_path)


def test_parquet_in_the_middle_of_row_groups(tmp_path):
    usage = [("train", "test")[i % 2] for i in range(400)]
    write_parquet(tmp_path / "a.parquet", list(range(7)) * 57 + [0], usage=usage, groups=90, images=[png(1, 4)] * 400)
    source = open_source(tmp_path / "a.parquet", splits=("test",))
    rows = [s for c in source.chunks() for s in c.columns["source"].tolist()]
    assert rows == [f"a.parquet:{i}" for i in range(1, 400, 2)]
    assert [s for c in source.chunks(137) for s in c.columns["source"].tolist()] == rows[137:]


def test_parquet_labels(tmp_path):
    write_parquet(tmp_path / "test.parquet", [0, 1], names=["Happiness", "Sadness"])
    assert open_source(tmp_path / "test.parquet").label_names == ("happy", "sad")
    write_parquet(tmp_path / "test.parquet", [7, 0], usage=["train", "validation"], names=EIGHT)
    assert open_source(tmp_path / "test.parquet", splits=("validation",)).label_names == EIGHT
    write_parquet(tmp_path / "test.parquet", ["Joy", "zen", None])
    data = open_dataset(tmp_path / "test.parquet")
    assert (data.label_names, data.labels.tolist()) == (("happy", "zen"), [0, 1, -1])
    write_parquet(tmp_path / "faces.parquet", [0, None, -1], names=FER2013)
    data = open_dataset(tmp_path / "faces.parquet")
    assert (data.splits.tolist(), data.labels.tolist()) == (["", "", ""], [0, -1, -1])


def test_parquet_resizes_and_colours(tmp_path):
    write_parquet(tmp_path / "test.parquet", [0, 1], images=[png(50, 96), png((9, 9, 200), 20, 3)], names=FER2013)
    images = read(tmp_path / "test.parquet", size=32, channels=3)["test"].images
    assert images.shape == (2, 32, 32, 3)
    assert (images[0] == 50).all()
    assert (images[1] == (200, 9, 9)).all()
    assert open_dataset(tmp_path / "test.parquet").shapes.tolist() == [[96, 96, 1], [20, 20, 3]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"labels": [0, 9]}, "label '9'; expected 0 to 6"),
        ({"labels": [0, 3], "names": ["happy", "sad"]}, "label '3'; expected 0 to 1"),
        ({"labels": [0, 0], "images": [png(1), b"no image"]}, "is not an image"),
        ({"labels": [0, 0], "images": [png(1), None]}, "holds no bytes"),
        ({"labels": [0, 0], "usage": ["test", "what"]}, "usage 'what'; expected"),
    ],
)
def test_bad_rows_of_parquet(tmp_path, arguments, says):
    write_parquet(tmp_path / "test.parquet", **{"names": FER2013} | arguments)
    for splits in (None, ("test",)):
        chunks, problems = everything(tmp_path / "test.parquet", splits=splits)
        assert list(problems) == ["test.parquet:1"]
        assert says in problems["test.parquet:1"]
        assert chunks[0].columns["source"].tolist() == ["test.parquet:0"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"labels": [0.5]}, "whole numbers"),
        ({"labels": [0], "votes": [[1] * 9]}, "10 counts"),
        ({"labels": [0, 1], "votes": [[1] * 10, [1] * 9]}, "10 counts"),
        ({"labels": [0, 1], "votes": [[1] * 10, None]}, "10 counts"),
        ({"labels": [0], "votes": [[-1] * 10]}, "10 counts"),
        ({"labels": [0, 1], "names": ["happy", "Happiness"]}, "both"),
    ],
)
def test_bad_parquet(tmp_path, arguments, says):
    write_parquet(tmp_path / "test.parquet", **arguments)
    with pytest.raises(DataError, match=says) as caught:
        open_source(tmp_path / "test.parquet")
    assert "test.parquet" in str(caught.value)


def test_what_is_no_image_parquet(tmp_path):
    pq.write_table(pa.table({"image": [b""], "mood": [1]}), tmp_path / "test.parquet")
    with pytest.raises(DataError, match="no column of labels; it has image, mood"):
        open_source(tmp_path / "test.parquet")
    pq.write_table(pa.table({"image": [3], "label": [1]}), tmp_path / "test.parquet")
    with pytest.raises(DataError, match="'image' is int64"):
        open_source(tmp_path / "test.parquet")
    (tmp_path / "test.parquet").write_bytes(b"nothing of the sort")
    with pytest.raises(DataError, match="can't read it as Parquet"):
        open_source(tmp_path / "test.parquet")


def test_empty_parquet(tmp_path):
    write_parquet(tmp_path / "test.parquet", [0])
    pq.write_table(pq.read_table(tmp_path / "test.parquet").slice(0, 0), tmp_path / "test.parquet")
    assert read(tmp_path / "test.parquet") == {}


def test_the_real_fer2013():
    path = SHARED / "data" / "fer2013-public.parquet"
    if not path.exists():
        pytest.skip("needs FER2013's PublicTest in the folder shared beside the repository")
    source = open_source(path)
    assert source.total == 3589
    last = next(iter(source.chunks(3500)))
    assert len(last.images) == 89
    assert last.images[0].shape == (48, 48, 1)
    assert (last.columns["votes"].sum(1) + last.columns["ferplus_other"].sum(1) == 10).all()
