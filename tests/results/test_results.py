"""Result objects: sequences of faces, filtered, printed, drawn, and as tables."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageShow

from made_frames import frame, seen
from mien.errors import ImageError, MissingExtraError, OutputError
from mien.results import Box, Face, ImageResult, Results

LABELS = ("happy", "sad")
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)


def face(x1: float, happy: float = 0.9, *, size: float = 20, abstained: bool = False) -> Face:
    name = "happy" if happy >= 0.5 else "sad"
    shares = {"happy": happy, "sad": 1 - happy}
    return Face(Box(x1, 10, x1 + size, 10 + size), 0.99, name, max(shares.values()), shares, abstained, image=IMAGE)


FACES = (face(5), face(30, 0.2), face(60, 0.55, size=30, abstained=True))
RESULT = ImageResult("a.png", 100, 60, FACES, image=IMAGE, labels=LABELS)
BROKEN = ImageResult("b.png", 0, 0, error="b.png: is empty (0 bytes)", labels=LABELS)
RESULTS = Results([RESULT, ImageResult("none.png", 9, 8, labels=LABELS), BROKEN])


def test_a_result_is_a_sequence_of_faces() -> None:
    assert (len(RESULT), RESULT[0], RESULT[-1], list(RESULT)) == (3, FACES[0], FACES[2], list(FACES))
    assert RESULT[1:].faces == FACES[1:]
    assert RESULT[1:].source == "a.png"
    assert RESULTS[1]  # an image without faces is a result, and true
    with pytest.raises(IndexError):
        RESULT[3]


def test_a_box_unpacks_and_measures() -> None:
    box = Box(10, 20, 40, 60)
    x1, y1, x2, y2 = box
    assert (x1, y1, x2, y2) == box.xyxy == (10, 20, 40, 60)
    assert (box.xywh, box.width, box.height, box.area, box.center) == ((10, 20, 30, 40), 30, 40, 1200, (25, 40))


def test_the_top_labels_come_first() -> None:
    assert FACES[1].top(1) == (("sad", 0.8),)
    assert [name for name, _ in FACES[1].top(9)] == ["sad", "happy"]
    with pytest.raises(ValueError, match="k is 0"):
        FACES[1].top(0)


def test_a_crop_is_the_pixels_of_the_box_inside_the_image() -> None:
    assert (FACES[0].crop() == IMAGE[10:30, 5:25]).all()
    at_the_edge = Face(Box(-5.5, -3, 10.2, 8), 1, "happy", 1, {"happy": 1.0})
    assert at_the_edge.crop(IMAGE).shape == (8, 11, 3)
    assert at_the_edge.crop(IMAGE[..., 0]).shape == (8, 11)
    with pytest.raises(ImageError, match="not kept"):
        at_the_edge.crop()
    with pytest.raises(ValueError, match="outside"):
        at_the_edge.crop(IMAGE[:0])
    crop = FACES[0].crop()
    crop[:] = 0
    assert FACES[0].crop().any()


def test_filters_give_a_new_object() -> None:
    assert RESULT.filter(expression="happy").faces == FACES[:1]  # the abstained one says nothing
    assert RESULT.filter(expression={"happy", "sad"}, min_confidence=0.85).faces == FACES[:1]
    assert RESULT.filter(min_size=25).faces == FACES[2:]
    assert RESULT.filter(lambda f: f.box.x1 > 20, min_size=25).faces == FACES[2:]
    assert len(RESULT) == 3
    filtered = RESULTS.filter(expression="sad")
    assert isinstance(filtered, Results)
    assert [len(result) for result in filtered] == [1, 0, 0]
    with pytest.raises(ValueError, match="'hapy' is none of the labels happy, sad"):
        RESULT.filter(expression="hapy")
    with pytest.raises(ValueError, match="0 to 1"):
        RESULT.filter(min_confidence=50)


def test_everything_prints_on_one_short_line() -> None:
    many = ImageResult("p/" * 500, 100, 60, FACES * 10, labels=LABELS)
    for thing in (RESULT, RESULT[0], BROKEN, many, RESULTS, Results(), frame(1, 0.04, seen(1)), Results([many] * 100)):
        assert len(repr(thing)) < 250
        assert "\n" not in repr(thing)
        assert str(thing) == repr(thing)
    assert repr(RESULT) == "ImageResult('a.png', 100x60, 3 faces: 1 happy, 1 sad, 1 unsure)"
    assert repr(BROKEN) == "ImageResult('b.png', error='b.png: is empty (0 bytes)')"
    assert repr(RESULTS) == "Results(3 images, 3 faces: 1 happy, 1 sad, 1 unsure, 1 not read)"


def test_json_is_that_of_the_command_line() -> None:
    assert json.loads(RESULT.to_json()) == RESULT.to_dict()
    assert json.loads(RESULTS.to_json()) == {"images": [result.to_dict() for result in RESULTS]}
    assert list(RESULT.to_dict()) == ["source", "width", "height", "faces", "error"]


def test_landmarks_are_rounded_in_json_and_null_where_there_are_none() -> None:
    marked = Face(Box(0, 0, 9, 9), 1, "happy", 1, {"happy": 1.0}, landmarks=((1.26, 2.0),) * 5)
    assert marked.to_dict()["landmarks"] == [[1.3, 2.0]] * 5
    assert FACES[0].to_dict()["landmarks"] is None


def test_a_drawn_image_comes_in_either_order_and_leaves_the_image_alone() -> None:
    before = IMAGE.copy()
    rgb = RESULT.plot()
    assert (RESULT.plot(color="bgr")[..., ::-1] == rgb).all()
    assert (rgb != IMAGE).any()
    assert (before == IMAGE).all()
    with pytest.raises(ValueError, match="'rgb' or 'bgr'"):
        RESULT.plot(color="hsv")  # type: ignore[arg-type]


def test_drawn_images_are_saved(tmp_path: Path) -> None:
    for name in ("a.png", "a.JPG", "a.jpeg"):
        assert RESULT.save(tmp_path / name) == tmp_path / name
        assert cv2.imread(str(tmp_path / name)).shape == IMAGE.shape
    with pytest.raises(OutputError, match=r"'.gif'; use .jpg, .jpeg or .png"):
        RESULT.save(tmp_path / "a.gif")
    with pytest.raises(OutputError):
        RESULT.save(tmp_path / "missing" / "a.png")
    written = Results([RESULT, RESULT, BROKEN]).save(tmp_path / "drawn")
    assert [path.name for path in written] == ["a-annotated.png", "a-annotated-2.png"]


def test_an_image_that_was_not_kept_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(IMAGE).save(path)
    result = ImageResult(str(path), 100, 60, FACES)
    assert (result.plot() == RESULT.plot()).all()
    Image.fromarray(IMAGE[:40]).save(path)
    with pytest.raises(ImageError, match="has changed"):
        result.plot()
    with pytest.raises(ImageError, match="keep_images=True"):
        ImageResult("image 0", 100, 60, FACES).plot()
    with pytest.raises(ImageError, match="is empty"):
        BROKEN.plot()
    assert BROKEN._repr_png_() is None


def test_show_needs_a_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Image.Image] = []
    monkeypatch.setattr(ImageShow, "show", lambda image: bool(shown.append(image)) or True)
    RESULT.show()
    assert shown[0].size == (100, 60)
    monkeypatch.setattr(ImageShow, "show", lambda image: False)
    with pytest.raises(OutputError, match="no image viewer"):
        RESULT.show()


def test_results_are_a_list() -> None:
    assert isinstance(RESULTS[:2], Results)
    assert RESULTS[0] is RESULT
    assert (RESULTS.faces, RESULTS.errors) == (FACES, ("b.png: is empty (0 bytes)",))
    assert pickle.loads(pickle.dumps(RESULTS)) == RESULTS


def test_a_table_has_a_row_for_each_face_and_for_what_has_none() -> None:
    pytest.importorskip("pandas")
    table = RESULTS.to_pandas()
    head = ["source", "width", "height", "face", "x1", "y1", "x2", "y2", "detection_score", "expression", "confidence"]
    assert list(table.columns) == [*head, *LABELS, "error"]
    assert table["source"].tolist() == ["a.png"] * 3 + ["none.png", "b.png"]
    assert table.groupby("expression").size().to_dict() == {"happy": 1, "sad": 1}
    assert table["face"].isna().tolist() == [False] * 3 + [True] * 2
    assert table["happy"].dtype == float
    assert table["error"].dropna().tolist() == ["b.png: is empty (0 bytes)"]
    assert list(BROKEN.to_pandas().columns) == list(table.columns)
    assert len(Results().to_pandas()) == 0


def test_supervision_gets_boxes_classes_and_names() -> None:
    sv = pytest.importorskip("supervision")
    found = RESULT.to_supervision()
    assert found.xyxy.tolist() == [list(f.box) for f in FACES]
    assert found.class_id.tolist() == [0, 1, 0]
    assert found["class_name"].tolist() == ["happy", "sad", "happy"]
    assert len(RESULTS[1].to_supervision()) == len(BROKEN.to_supervision()) == 0
    drawn = sv.LabelAnnotator().annotate(sv.BoxAnnotator().annotate(IMAGE.copy(), found), found)
    assert (drawn != IMAGE).any()


@pytest.mark.parametrize(("module", "method"), [("pandas", "to_pandas"), ("supervision", "to_supervision")])
def test_what_is_not_installed_names_its_extra(module: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'mien\[{module}\]'"):
        getattr(RESULT, method)()


def test_tables_are_imported_only_when_asked_for() -> None:
    code = (
        "import sys, numpy as np, mien; mien.predict(np.zeros((64, 64, 3), np.uint8)).to_json();"
        "print(sorted({'pandas', 'supervision', 'pyarrow', 'torch', 'av', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
