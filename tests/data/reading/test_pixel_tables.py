"""Tables of pixels in the ways they come: read right or refused."""

import pytest

from made_layouts import read
from mien.data.importing import plan_import
from mien.errors import DataError
from mien.labels import FER2013

SEVEN = list(FER2013)


def pixel_rows(header, rows):
    return header + "\n" + "".join(",".join(row) + "\n" for row in rows)


PIXELS = {
    "the challenge's train.csv": pixel_rows("emotion,pixels", [["3", "1 2 3 4"], ["4", "5 6 7 8"]]),
    "names": pixel_rows("emotion,pixels", [["happy", "1 2 3 4"], ["sad", "5 6 7 8"]]),
    "quoted": pixel_rows("label,pixels", [["3", '"1,2,3,4"'], ["4", '"5,6,7,8"']]),
    "brackets": pixel_rows("label,pixels", [["3", '"[1, 2, 3, 4]"'], ["4", '"[5, 6, 7, 8]"']]),
    "NumPy's lines": pixel_rows("label,pixels", [["3", '"[[1 2]\n [3 4]]"'], ["4", '"[[5 6]\r\n [7 8]]"']]),
    "semicolons": pixel_rows("label,pixels", [["3", "1 2 3 4"], ["4", "5 6 7 8"]]).replace(",", ";"),
    "tabs": pixel_rows("label,pixels", [["3", "1 2 3 4"], ["4", "5 6 7 8"]]).replace(",", "\t"),
    "Excel": "sep=;\r\nlabel;pixels\r\n3;1 2 3 4\r\n4;5 6 7 8\r\n",
    "names that contradict numbers": pixel_rows(
        "emotion,emotion_name,pixels", [["0", "happy", "1 2 3 4"], ["1", "sad", "5 6 7 8"]]
    ),
    "floats": pixel_rows("label,pixels", [["3.0", "1.0 2.0 3.0 4.0"], ["4.0", "5.0 6.0 7.0 8.0"]]),
}


@pytest.mark.parametrize("case", PIXELS)
def test_tables_of_pixels(tmp_path, case):
    (tmp_path / "train.csv").write_text(PIXELS[case])
    found, problems, source = read(tmp_path / "train.csv")
    assert list(found.values()) == [("", "happy"), ("", "sad")]
    assert not problems
    images = [image.ravel().tolist() for chunk in source.chunks() for image in chunk.images]
    assert images == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_a_column_for_each_pixel(tmp_path):
    header = "label," + ",".join(f"pixel{i}" for i in range(64))
    (tmp_path / "t.csv").write_text(pixel_rows(header, [["happy", *map(str, range(64))], ["sad", *["9"] * 64]]))
    found, _, source = read(tmp_path / "t.csv")
    assert [label for _, label in found.values()] == ["happy", "sad"]
    assert next(source.chunks()).images[0].ravel().tolist() == list(range(64))


def test_columns_of_pixels_keep_the_order_of_their_names(tmp_path):
    rows = [["happy", *map(str, range(64))], ["sad", *["9"] * 64]]
    (tmp_path / "t.csv").write_text(pixel_rows("label," + ",".join(f"p{i}" for i in range(63, -1, -1)), rows))
    with pytest.raises(DataError, match=r"its 64 columns of pixels \(p63, ...\) are not in their order; sort them"):
        read(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text(
        pixel_rows("label," + ",".join(f"{y}x{x}" for y in range(1, 9) for x in range(1, 9)), rows)
    )
    assert next(read(tmp_path / "t.csv")[2].chunks()).images[0].ravel().tolist() == list(range(64))


@pytest.mark.parametrize("title", ["image", "Bild"])
def test_grey_values_in_a_column_of_any_name(tmp_path, title):
    grey = " ".join(map(str, range(64)))
    (tmp_path / "t.csv").write_text(pixel_rows(f"label,{title}", [["happy", grey], ["sad", grey]]))
    assert [label for _, label in read(tmp_path)[0].values()] == ["happy", "sad"]
    (tmp_path / "t.csv").write_text(f"happy,{grey}\nsad,{grey}\n")
    assert [label for _, label in read(tmp_path / "t.csv")[0].values()] == ["happy", "sad"]


def test_values_of_0_to_1(tmp_path):
    (tmp_path / "t.csv").write_text(pixel_rows("label,pixels", [["happy", "0 0.5 1.0 1"], ["sad", "0 0 0.25 nan"]]))
    _, problems, source = read(tmp_path / "t.csv")
    assert next(source.chunks()).images[0].ravel().tolist() == [0, 128, 255, 255]
    assert "outside 0 to 1" in problems["t.csv:3"]
    assert any("multiplied by 255" in note for note in source.reading.notes)
    rows = [["happy", "0 0.5 1.0 1"], ["sad", "0 0.5 300 1"], ["sad", "0 0 0.5 1"]]  # one row is of another scale
    (tmp_path / "t.csv").write_text(pixel_rows("label,pixels", rows))
    assert list(read(tmp_path / "t.csv")[1]) == ["t.csv:3"]


@pytest.mark.parametrize(
    ("pixels", "says"),
    [("-1 0.5 1 0", "pixels are from -1 to 1; expected"), ("[1 2 ... 4 5]", "no sample can be read of 1.*cut short")],
)
def test_pixels_that_can_not_be_read_are_told(tmp_path, pixels, says):
    (tmp_path / "t.csv").write_text(pixel_rows("label,pixels", [["happy", pixels]]))
    with pytest.raises(DataError, match=says):
        plan_import(tmp_path / "t.csv")


def test_seven_is_contempt_in_tables_of_pixels_that_count_from_0(tmp_path):
    (tmp_path / "t.csv").write_text(
        pixel_rows("emotion,pixels,Usage", [[str(i), "1 2 3 4", "Training"] for i in range(8)])
    )
    assert [label for _, label in read(tmp_path / "t.csv")[0].values()] == [*SEVEN, "contempt"]
    (tmp_path / "u.csv").write_text(pixel_rows("emotion,pixels", [[str(i), "1 2 3 4"] for i in range(1, 8)]))
    with pytest.raises(DataError, match="labels are 1 to 7, and nothing says"):
        read(tmp_path / "u.csv")


def test_a_table_of_pixels_without_labels_says_so(tmp_path):
    (tmp_path / "t.csv").write_text("happy,sad,angry,pixels\n9,1,0,1 2 3 4\n")
    found, _, source = read(tmp_path)
    assert list(found.values()) == [("", None)]
    assert any("hold votes or scores, not one class" in note for note in source.reading.notes)
    (tmp_path / "t.csv").rename(tmp_path / "t.jsonl")
    (tmp_path / "t.jsonl").write_text('{"label": "happy", "pixels": "1 2 3 4"}\n')
    with pytest.raises(DataError, match="holds pixels in JSON"):
        read(tmp_path / "t.jsonl")


def test_the_tests_images_of_the_challenge_are_told(tmp_path):
    (tmp_path / "train.csv").write_text(pixel_rows("emotion,pixels", [["3", "1 2 3 4"]]))
    (tmp_path / "test.csv").write_text("pixels\n1 2 3 4\n")
    found, problems, _ = read(tmp_path)
    assert len(found) == 1
    assert list(problems) == ["test.csv"]
