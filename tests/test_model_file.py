"""The model file's reader: what it returns, and which files it refuses and why."""

import json
import re

import numpy as np
import onnx
import pytest
from onnx import helper

from mien.crop import CropSpec
from mien.errors import ModelFileError
from mien.model_file import METADATA_KEY, ModelFile, ModelInfo, load_model
from mien.releases import shipped_models
from tiny_models import make_model


@pytest.mark.parametrize("labels", [("happy", "sad", "neutral", "surprise"), tuple("abcdefgh")])
@pytest.mark.parametrize("channels", [1, 3])
def test_probabilities(tmp_path, labels, channels):
    crop = CropSpec(margin=0.2, align=True)
    model = ModelFile(make_model(tmp_path / "m.onnx", labels, size=32, channels=channels, crop=crop))
    faces = np.random.default_rng(0).integers(0, 256, (5, 32, 32, channels), np.uint8)
    answer = model.probabilities(faces)
    assert answer.shape == (5, len(labels))
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer.sum(1), 1, atol=1e-5)
    assert model.info.labels == labels
    assert model.info.crop == crop
    assert model.probabilities(faces[:0]).shape == (0, len(labels))


def test_metadata_reads_back_the_same(tmp_path):
    info = ModelInfo("m", ("a", "b"), 48, 1, CropSpec(), "votes", 1.5, 10, "d", "MIT", {"x": 0.5}, "r = 1")
    path = make_model(tmp_path / "m.onnx", ("a", "b"), metadata=info.to_json())
    assert ModelFile(path).info == info


def edited(text, **changes):
    return json.dumps({**json.loads(text), **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": 64}, "does not fit its graph"),
        ({"labels": ["a", "b"]}, "does not fit its graph"),
        ({"channels": 3}, "does not fit its graph"),
        ({"format": 99}, "model format 99"),
        ({"surplus": 1}, "metadata is damaged"),
        ({"crop": {"margin": 9}}, "metadata is damaged"),
        ({"crop": None}, "metadata is damaged"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(tmp_path, changes, said):
    good = ModelFile(make_model(tmp_path / "good.onnx")).info.to_json()
    path = make_model(tmp_path / "bad.onnx", metadata=edited(good, **changes))
    with pytest.raises(ModelFileError, match=said) as error:
        ModelFile(path)
    assert "bad.onnx" in str(error.value)
    assert "\n" not in str(error.value)


def test_other_files_are_refused(tmp_path):
    inside = make_model(tmp_path / "run.onnx")
    with pytest.raises(ModelFileError, match=f"is a folder; give a model file, {re.escape(str(inside))}"):
        ModelFile(tmp_path)
    with pytest.raises(ModelFileError, match=r"no such model file; shipped: "):
        load_model("no-such-model")
    text = tmp_path / "text.onnx"
    text.write_text("not a model")
    with pytest.raises(ModelFileError, match="not a usable ONNX file"):
        ModelFile(text)
    for start, words in ((b"", "is empty"), (b"PK\3\4", "PyTorch"), (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
                         (b"\x89HDF\r\n\x1a\n", "Keras"), (b"version https://git-lfs", "git lfs pull")):  # fmt: skip
        text.write_bytes(start)
        with pytest.raises(ModelFileError, match=rf"{words}.*expected an ONNX file that `mien train` made"):
            ModelFile(text)
    foreign = onnx.load(make_model(tmp_path / "m.onnx"))
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(ModelFileError, match=f"has no '{METADATA_KEY}'"):
        ModelFile(tmp_path / "foreign.onnx")
    helper.set_model_props(foreign, {METADATA_KEY: "{"})
    onnx.save(foreign, tmp_path / "broken.onnx")
    with pytest.raises(ModelFileError, match="metadata is damaged"):
        ModelFile(tmp_path / "broken.onnx")


LIMITS = {"mien-small": (1.5e6, 3.5e6), "mien-nano": (0.1e6, 1e6)}


@pytest.mark.parametrize("name", [f"{size}{kind}" for size in LIMITS for kind in ("", "-fer2013")])
def test_shipped_models_keep_their_limits(name):
    model = load_model(name)
    parameters, size = LIMITS[name.removesuffix("-fer2013")]
    assert model.info.parameters <= parameters
    assert model.path.stat().st_size <= size
    assert model.info.name == name
    assert len(model.info.labels) == (7 if name.endswith("-fer2013") else 8)
    assert name in shipped_models()
