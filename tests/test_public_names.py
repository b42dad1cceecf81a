"""The package as a user meets it: its names, its types, its examples, and a day with it."""

from __future__ import annotations

import ast
import doctest
import inspect
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import mien
from mien.media.video.recorder import open_recorder
from places import ASTRONAUT, ROOT

WITH_EXAMPLES = (
    "mien.results.faces",
    "mien.results.images",
    "mien.results.videos",
    "mien.recognition.recognizer",
    "mien.recognition.watch",
    "mien.model_file",
    "mien.releases",
    "mien.data.dataset",
    "mien.data.importing",
    "mien.data.readers",
)


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples name the shipped image by its path from here."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def holiday(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg"):
        Image.open(ASTRONAUT).convert("RGB").save(tmp_path / name)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    return tmp_path


# Names


def test_every_public_name_is_there_and_documented() -> None:
    assert sorted(mien.__all__) == sorted({*mien._HOMES, "__version__"}) == dir(mien)
    for name in mien._HOMES:
        assert inspect.getdoc(getattr(mien, name)), name
    with pytest.raises(AttributeError, match="no attribute 'predicct'"):
        mien.predicct  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(mien.__file__).read_text())
    (block,) = (n for n in tree.body if isinstance(n, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {a.asname or a.name: (node.module, a.name) for node in imports for a in node.names}
    homes = {name: tuple((*home.split(":"), name)[:2]) for name, home in mien._HOMES.items()}
    assert seen == homes


def test_importing_mien_imports_nothing_heavy() -> None:
    code = (
        "import sys; import mien; dir(mien);"
        "print(sorted(m for m in sys.modules if m in {'numpy', 'cv2', 'PIL', 'onnxruntime', 'typer', 'rich', 'torch'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Documentation


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_in_docstrings_run(module: str) -> None:
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    found = doctest.testmod(import_module(module), optionflags=options)
    assert found.attempted > 0
    assert found.failed == 0


def public_callables() -> Iterator[tuple[str, object]]:
    for name in ("predict", "watch", "load_model", "list_models", "load_dataset", "audit"):
        yield name, getattr(mien, name)
    for kind in (mien.Recognizer, mien.ImageResult, mien.Results, mien.Face):
        for name, value in vars(kind).items():
            if inspect.isfunction(value) and not name.startswith("_") and value.__module__.startswith("mien.results"):
                yield f"{kind.__name__}.{name}", value
    yield "Recognizer", mien.Recognizer
    for name in ("predict", "stream", "watch"):
        yield f"Recognizer.{name}", getattr(mien.Recognizer, name)


@pytest.mark.parametrize(("name", "value"), list(public_callables()))
def test_docstrings_name_every_argument(name: str, value: object) -> None:
    text = inspect.getdoc(value) or ""
    taken = [p for p in inspect.signature(value).parameters if p != "self"]  # type: ignore[arg-type]
    if "as for `" not in text and taken:
        assert "Args:" in text
    if "Args:" in text:
        assert [p for p in taken if f"    {p}: " not in text] == []


# What goes in


def test_one_image_several_and_a_generator(holiday: Path) -> None:
    image = np.asarray(Image.open(ASTRONAUT).convert("RGB"))
    data = Path(ASTRONAUT).read_bytes()
    with Path(ASTRONAUT).open("rb") as file, Image.open(ASTRONAUT) as opened:
        wide = [opened.convert("L").convert(mode) for mode in ("I", "F")]  # of the values 0 to 255
        files = (ASTRONAUT, Path(ASTRONAUT), data, bytearray(data), BytesIO(data), file)
        for one in (*files, opened, image, image / 255, *wide):
            result = mien.predict(one)
            assert isinstance(result, mien.ImageResult)
            assert [face.expression for face in result] == ["happy"]
    for several in (holiday, str(holiday / "*.jpg"), [holiday / "a.jpg", holiday / "b.jpg", holiday / "broken.jpg"]):
        results = mien.predict(several)
        assert isinstance(results, mien.Results)
        assert [len(result) for result in results] == [1, 1, 0]
        assert "is not an image" in str(results[2].error) or results[2].error
    assert [len(r) for r in mien.predict([holiday, image, str(holiday / "gone*.jpg")])] == [1, 1, 0, 1, 0]
    assert len(mien.predict(np.stack([image, image]))) == 2
    drawn = []

    def frames() -> Iterator[np.ndarray]:
        for number in range(30):
            drawn.append(number)
            yield image

    lazy = mien.predict(frames())
    assert not drawn
    assert [face.expression for face in next(lazy)] == ["happy"]
    assert len(drawn) < 30


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("https://example.org/a.jpg", "is an address"),
        ("s3://bucket/*.jpg", "is an address"),
        (None, "cv2.imread gives None"),
        (7, "of type int"),
        (np.zeros((3, 40, 50), np.uint8), "channels are first"),
        ("nowhere/*.jpg", "matches no file"),
        ("gone.jpg", "no such file"),
        (b"", "is empty"),
        ("", "an empty text is no path"),
        ("gone\n.jpg", r"gone\\n.jpg: no such file"),
        (str(Path(ASTRONAUT).read_bytes()), "is too long for a path"),
        ("[" * 300, "matches no file"),
        (0, r"mien\.watch\(0\)"),
        ({"a": ASTRONAUT}, "of type dict"),
        (np.zeros((1, 40, 50), np.uint8), "channels are first"),
        (np.zeros((40, 50, 2), np.uint8), "has shape"),
        (np.zeros((40, 50), bool), "has dtype bool"),
        (np.array(3), "has shape"),
        (BytesIO(), "nothing is left to read"),
    ],
)
def test_what_is_no_image_is_one_line(source: object, reason: str) -> None:
    with pytest.raises(mien.ImageError, match=reason) as caught:
        mien.predict(source)  # type: ignore[call-overload]
    assert "\n" not in str(caught.value)


def test_a_column_of_paths_is_several_images(holiday: Path) -> None:
    paths = [str(holiday / "a.jpg"), str(holiday / "broken.jpg")]
    columns = [np.array(paths), np.array(paths, object)]
    with suppress(ImportError):
        import pandas as pd

        columns += [pd.Series(paths, index=[5, 9]), pd.Series(paths, dtype="string")]
    for column in columns:
        results = mien.predict(column)
        assert isinstance(results, mien.Results)
        assert [(result.source, len(result)) for result in results] == [(paths[0], 1), (paths[1], 0)]


def test_a_memoryview_is_the_bytes_of_a_file_or_an_array() -> None:
    image = np.ascontiguousarray(Image.open(ASTRONAUT).convert("RGB"))
    for view in (memoryview(image), memoryview(Path(ASTRONAUT).read_bytes())):
        assert [face.expression for face in mien.predict(view)] == ["happy"]


def test_a_video_and_a_text_file_say_what_to_do(tmp_path: Path) -> None:
    video = tmp_path / "talk.mp4"
    with open_recorder(video, rate=10) as recorder:
        recorder.write(np.zeros((64, 96, 3), np.uint8), 0.0)
    with pytest.raises(mien.ImageError, match=r"is a video; use  mien\.watch"):
        mien.predict(video)
    with Path(ASTRONAUT).open(errors="ignore") as text, pytest.raises(mien.ImageError, match="mode 'rb'"):
        mien.predict(text)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="expected 'rgb' or 'bgr'"):
        mien.predict(ASTRONAUT, color="grb")  # type: ignore[call-overload]


def test_a_result_keeps_what_it_saw(tmp_path: Path) -> None:
    frame = np.asarray(Image.open(ASTRONAUT).convert("RGB")).copy()
    result = mien.predict(frame)
    before = result.plot()
    frame[:] = 0  # the camera's next frame
    assert (result.plot() == before).all()
    assert result[0].crop().any()
    assert mien.predict([ASTRONAUT])[0].image is None
    assert mien.predict([ASTRONAUT], keep_images=True)[0].image is not None
    assert mien.predict(ASTRONAUT, keep_images=False).image is None


def test_a_new_file_of_a_model_is_read_anew(tmp_path: Path) -> None:
    model = tmp_path / "own.onnx"
    seen = []
    for name in ("mien-nano", "mien-small"):
        model.write_bytes(mien.load_model(name).path.read_bytes())
        seen.append(mien.predict(ASTRONAUT, model=model)[0].probabilities)
    assert seen[0] != seen[1]
    assert mien.ModelFile("mien-nano").path == mien.load_model("mien-nano").path


# A day with mien


def test_one_photograph(tmp_path: Path) -> None:
    result = mien.predict(ASTRONAUT)
    assert len(result) == 1
    assert result[0].expression == result[0].top(3)[0][0] == "happy"
    for face in result:
        x1, y1, x2, y2 = face.box.xyxy
        assert face.landmarks is not None
        assert all(x1 < x < x2 and y1 < y < y2 for x, y in face.landmarks)
        assert 0.9 < face.confidence <= 1
    assert result.save(tmp_path / "drawn.jpg").is_file()


def test_a_folder_of_photographs(holiday: Path) -> None:
    pytest.importorskip("pandas")
    results = mien.predict(str(holiday / "*.jpg"))
    assert isinstance(results, mien.Results)
    assert results.to_pandas().groupby("expression").size().to_dict() == {"happy": 2}
    drawn = results.save(holiday / "drawn")
    assert [path.name for path in drawn] == ["a-annotated.jpg", "b-annotated.jpg"]


@pytest.mark.parametrize("detector", ["mtcnn", "yunet"])
def test_frames_of_opencv(detector: str) -> None:
    recognizer = mien.Recognizer("mien-base", detector=detector, device="auto", abstain_below=0.4)
    frame = cv2.imread(ASTRONAUT)
    assert frame is not None
    result = recognizer.predict(frame, color="bgr")
    same = recognizer.predict(ASTRONAUT)
    assert [face.to_dict() for face in result] == [face.to_dict() for face in same]
    assert (result.plot(color="bgr") == cv2.cvtColor(same.plot(), cv2.COLOR_RGB2BGR)).all()


def test_annotators_of_supervision() -> None:
    sv = pytest.importorskip("supervision")
    detections = mien.predict(ASTRONAUT).to_supervision()
    scene = cv2.imread(ASTRONAUT)
    assert (sv.LabelAnnotator().annotate(scene.copy(), detections) != scene).any()


def test_a_video(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip = tmp_path / "talk.mp4"
    image = np.asarray(Image.open(ASTRONAUT).convert("RGB"))
    with open_recorder(clip, rate=10) as recorder:
        for number in range(8):
            recorder.write(np.roll(image, 2 * number, axis=1), number / 10)
    frames = list(mien.Recognizer().watch(str(clip)))
    assert [[face.smoothed_expression for face in frame] for frame in frames] == [["happy"]] * 8
    done = mien.watch(clip, out=tmp_path / "talk")
    assert (done.frames, done.error) == (8, None)
    assert sorted(p.name for p in (tmp_path / "talk").iterdir()) == ["drawn.mp4", "plot.png", "timeline.csv"]
    assert str(clip) in (tmp_path / "talk" / "timeline.csv").read_text()
    assert capfd.readouterr() == ("", "")  # a library does not print
