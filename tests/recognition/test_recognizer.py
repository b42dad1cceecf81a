"""Recognising with small models: order, batches, ensembles, bad input, bounded memory."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hostile_images import PEAK_MB, UNREADABLE, make_hostile_folder, scene
from mien.crop import CropSpec, ten_views
from mien.errors import ImageError, ModelFileError
from mien.labels import FER2013
from mien.model_file import ModelFile
from mien.recognition.classifier import Classifier
from mien.recognition.recognizer import Recognizer
from mien.results import Detections, ImageResult
from places import ASTRONAUT
from tiny_models import make_model


class Fixed:
    """Finds the same two faces everywhere, the right one first, and a small one."""

    name = "fixed"

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        boxes = np.float32([[60, 10, 100, 50], [5, 20, 45, 60], [0, 0, 8, 15]])
        return Detections(boxes, np.float32([0.9, 0.8, 0.7]), np.zeros((3, 5, 2), np.float32))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


def noise(seed: int, height: int = 48, width: int = 48) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def values(result: ImageResult) -> NDArray[np.float64]:
    return np.array([list(face.probabilities.values()) for face in result.faces])


def test_one_image_of_every_kind(tiny: Path, tmp_path: Path) -> None:
    recognizer = Recognizer(tiny, detector="none")
    image = noise(0)
    Image.fromarray(image).save(tmp_path / "a.png")
    expected = recognizer.predict(image)
    assert (expected.source, expected.width, expected.height, len(expected.faces)) == ("image 0", 48, 48, 1)
    assert tuple(expected.faces[0].probabilities) == FER2013
    assert sum(expected.faces[0].probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert expected.faces[0].confidence == max(expected.faces[0].probabilities.values())
    with Image.open(tmp_path / "a.png") as opened:
        for same in (tmp_path / "a.png", str(tmp_path / "a.png"), opened, Image.fromarray(image)):
            assert np.allclose(values(recognizer.predict(same)), values(expected))
    assert recognizer.predict(tmp_path / "a.png").source == str(tmp_path / "a.png")
    assert len(recognizer.predict(image[..., 0]).faces) == 1
    assert recognizer.predict(image)._repr_png_() is not None


def test_one_that_cannot_be_read_raises_and_among_several_is_a_result(tiny: Path) -> None:
    recognizer = Recognizer(tiny, detector="none")
    with pytest.raises(ImageError, match="no such file"):
        recognizer.predict("gone.jpg")
    with pytest.raises(ImageError, match="NaN"):
        recognizer.predict(np.full((4, 4), np.nan))
    results = recognizer.predict([noise(0), "gone.jpg", np.full((4, 4), np.nan), noise(1)])
    assert [len(r.faces) for r in results] == [1, 0, 0, 1]
    assert [r.source for r in results] == ["image 0", "gone.jpg", "image 2", "image 3"]
    assert results[1].error == "gone.jpg: no such file; check the path"
    assert "NaN" in str(results[2].error)
    assert recognizer.predict([]) == []


def test_faces_stand_from_left_to_right_and_small_ones_are_left_out(tiny: Path) -> None:
    result = Recognizer(tiny, detector=Fixed()).predict(noise(0, 90, 120))
    assert [(f.box.x1, round(f.detection_score, 3)) for f in result.faces] == [(5, 0.8), (60, 0.9)]
    assert len(Recognizer(tiny, detector=Fixed(), min_face=10).predict(noise(0, 90, 120)).faces) == 3
    assert len(Recognizer(tiny, detector=Fixed(), min_face=99).predict(noise(0, 90, 120)).faces) == 0


def test_batches_across_images_change_nothing(tiny: Path) -> None:
    images = [noise(i, 90, 120) for i in range(23)]
    images[5:7] = [np.zeros((9, 9, 3), np.uint8)] * 2
    one_by_one = [Recognizer(tiny, detector=Fixed()).predict(p) for p in images]
    for batch_size, workers in ((1, 1), (4, 3), (64, 2)):
        results = Recognizer(tiny, detector=Fixed(), batch_size=batch_size, workers=workers).predict(images)
        for result, expected in zip(results, one_by_one, strict=True):
            assert np.allclose(values(result), values(expected), atol=1e-6)
            assert [f.box for f in result.faces] == [f.box for f in expected.faces]
            assert result.image is not None  # it is in memory already


def test_stream_reads_only_a_little_ahead_and_answers_early(tiny: Path) -> None:
    drawn = 0

    def endless() -> Iterator[NDArray[np.uint8]]:
        nonlocal drawn
        while True:
            drawn += 1
            yield noise(drawn % 7)

    results = Recognizer(tiny, detector="none", batch_size=8, workers=2).stream(endless())
    for number in range(40):
        assert next(results).source == f"image {number}"
        assert drawn <= number + 8 + 2 * 2 + 1
    results.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("mien")]


def test_images_kept_for_drawing_stay_few(tiny: Path) -> None:
    big = np.zeros((3000, 4000, 3), np.uint8)
    recognizer = Recognizer(tiny, detector=Fixed(), workers=1, min_face=99)
    drawn = 0

    def many() -> Iterator[NDArray[np.uint8]]:
        nonlocal drawn
        for drawn in range(1, 30):  # noqa: B007
            yield big

    for number, result in enumerate(recognizer.stream(many(), keep_images=True)):
        assert result.image is not None
        assert drawn - number <= 3 + 2 + 1  # three wait, two are read ahead


def test_abstaining(tiny: Path) -> None:
    sure = Recognizer(tiny, detector="none", abstain_below=0.0).predict(noise(0)).faces[0]
    unsure = Recognizer(tiny, detector="none", abstain_below=1.0).predict(noise(0)).faces[0]
    assert (sure.abstained, unsure.abstained) == (False, True)
    assert unsure.expression == sure.expression


def test_several_models_answer_with_their_mean_by_name(tmp_path: Path) -> None:
    other_order = ("happiness", *(n for n in reversed(FER2013) if n != "happy"))
    paths = [
        make_model(tmp_path / "a.onnx"),
        make_model(tmp_path / "b.onnx", other_order, size=32, channels=3, crop=CropSpec(margin=0.2), seed=1),
    ]
    image = noise(3, 90, 120)
    first, second = (Recognizer(p, detector=Fixed()).predict(image) for p in paths)
    both = Recognizer(paths, detector=Fixed())
    result = both.predict(image)
    for one, two, mean in zip(first.faces, second.faces, result.faces, strict=True):
        for name in FER2013:
            other = "happiness" if name == "happy" else name
            expected = (one.probabilities[name] + two.probabilities[other]) / 2
            assert mean.probabilities[name] == pytest.approx(expected, abs=1e-6)
    assert both.labels == FER2013
    assert both.summary().name == "a + b"
    assert len(both.summary().sha256) == 2


def test_models_with_other_labels_are_refused_together(tiny: Path, tmp_path: Path) -> None:
    other = make_model(tmp_path / "four.onnx", FER2013[:4])
    with pytest.raises(ModelFileError, match="same labels"):
        Recognizer([tiny, other], detector="none")
    assert len(Recognizer(other, detector="none").predict(noise(0)).faces[0].probabilities) == 4


def test_ten_views(tiny: Path) -> None:
    faces = np.stack([noise(i)[..., :1] for i in range(3)])
    views = ten_views(faces).reshape(3, 10, 48, 48, 1)
    assert (views[:, 0] == faces).all()
    assert (views[:, 5:] == views[:, :5, :, ::-1]).all()
    corner = cv2.resize(faces[1, 4:, 4:], (48, 48))
    assert (views[1, 4, ..., 0] == corner).all()
    model = ModelFile(tiny)
    mean = Classifier([model], tta=True).probabilities((faces,))
    assert np.allclose(mean, model.probabilities(views.reshape(30, 48, 48, 1)).reshape(3, 10, -1).mean(1), atol=1e-6)
    mirrored = Classifier([model], tta=True).probabilities((np.ascontiguousarray(faces[:, :, ::-1]),))
    assert np.abs(mirrored - mean).max() < 0.02


@pytest.mark.parametrize("wrong", [{"min_face": 0}, {"batch_size": 0}, {"workers": 0}, {"abstain_below": 1.5}])
def test_numbers_out_of_range(tiny: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|expected 0 to 1"):
        Recognizer(tiny, detector="none", **wrong)  # type: ignore[arg-type]


def test_the_astronaut_is_found(tmp_path: Path) -> None:
    model = make_model(tmp_path / "cheerful.onnx", favourite="happy")
    result = Recognizer(model).predict(ASTRONAUT)
    assert (result.width, result.height, len(result.faces)) == (512, 512, 1)
    assert result.faces[0].expression == "happy"
    assert 160 < result.faces[0].box.x1 < 210


def test_hostile_folder_in_bounded_memory(tiny: Path, tmp_path: Path) -> None:
    folder = make_hostile_folder(tmp_path / "images")
    script = (
        "import sys\n"
        "from mien.media.sources import expand_sources\n"
        "from mien.recognition.recognizer import Recognizer\n"
        "for r in Recognizer(sys.argv[1]).stream(expand_sources([sys.argv[2]])):\n"
        "    print(r.source.rsplit('/', 1)[-1], r.error or '', sep='\\t')\n"
        f"print('peak', {PEAK_MB}, sep='\\t')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tiny, folder], capture_output=True, text=True, check=True)
    rows = dict(line.split("\t") for line in done.stdout.splitlines())
    assert int(rows.pop("peak")) < 1000
    assert tuple(sorted(name for name, error in rows.items() if error)) == UNREADABLE
    assert len(rows) == len(list(folder.iterdir()))
    assert done.stderr == ""


def test_scene_is_not_changed(tiny: Path) -> None:
    image = scene()
    Recognizer(tiny, detector=Fixed()).predict(image)
    assert (image == scene()).all()
