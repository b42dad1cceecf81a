"""Devices: chosen by name, replaced by the processor where they do not work, and said."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from mien import inference
from mien.errors import DeviceError, ModelFileError
from mien.model_file import load_model
from mien.recognition.recognizer import Recognizer
from tiny_models import make_model


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return make_model(tmp_path / "tiny.onnx")


@pytest.fixture(autouse=True)
def warned_anew() -> Iterator[None]:
    inference._warn.cache_clear()
    yield
    inference._warn.cache_clear()


class Opened:
    """A session that records what it was opened with; devices whose drivers are `missing` fail as onnxruntime does."""

    missing = ""
    calls: list[object]

    def __init__(self, graph: object, options: object, providers: list[object]) -> None:
        Opened.calls.append(providers)
        self.names = [p if isinstance(p, str) else p[0] for p in providers]  # type: ignore[index]
        if Opened.missing == "quietly":
            self.names = self.names[-1:]
        elif Opened.missing and len(providers) > 1:
            raise RuntimeError(f"{Opened.missing}\nand a long story")

    def get_providers(self) -> list[str]:
        return self.names


@pytest.fixture
def with_cuda(monkeypatch: pytest.MonkeyPatch) -> type[Opened]:
    Opened.missing, Opened.calls = "", []
    names = ["CUDAExecutionProvider", "CoreMLExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Opened)
    return Opened


@pytest.mark.parametrize(
    ("device", "runs"), [("cpu", "cpu"), ("auto", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda"), ("coreml", "coreml")]
)
def test_a_device_that_is_there_is_used(with_cuda: type[Opened], device: str, runs: str) -> None:
    assert inference.device_of(inference.open_network(b"", device=device)) == runs


def test_the_number_of_a_card_reaches_onnxruntime(with_cuda: type[Opened]) -> None:
    inference.open_network(b"", device="cuda:1")
    assert with_cuda.calls == [[("CUDAExecutionProvider", {"device_id": "1"}), "CPUExecutionProvider"]]


@pytest.mark.parametrize("missing", ["quietly", "libcudnn.so.9 not found"])
def test_a_device_that_fails_is_replaced_and_said_once(
    with_cuda: type[Opened], missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    with_cuda.missing = missing
    for _ in range(3):
        assert inference.device_of(inference.open_network(b"", device="cuda")) == "cpu"
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("mien", logging.WARNING)
    assert "device 'cuda' is not available" in record.message
    assert "\n" not in record.message


def test_a_device_that_this_onnxruntime_lacks_is_replaced(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    if "directml" in inference.available_devices():
        pytest.skip("this onnxruntime has DirectML")
    recognizer = Recognizer(tiny, device="directml")
    assert recognizer.summary().device == "cpu"
    assert len(recognizer.predict(np.zeros((64, 64, 3), np.uint8))) == 0
    assert len(caplog.records) == 1  # for the model and the detector's three networks


@pytest.mark.parametrize("device", ["tpu", "gpu", "", "cpu:1", "cuda:x", "auto:0"])
def test_an_unknown_device_names_those_that_are_there(tiny: Path, device: str) -> None:
    with pytest.raises(DeviceError, match="available here: auto, cpu"):
        Recognizer(tiny, detector="none", device=device)


def test_the_processor_is_not_asked_about(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: pytest.fail("not needed"))
    assert Recognizer(tiny, detector="none", device="cpu").summary().device == "cpu"


def test_an_openvino_export_is_a_model_like_its_source(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    from mien.exporting.export import export

    out = export("mien-nano", "openvino", tmp_path / "nano", balance=0).path
    source, opened = load_model("mien-nano"), load_model(out)
    faces = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 1), np.uint8)
    assert np.abs(opened.probabilities(faces) - source.probabilities(faces)).max() < 1e-3
    assert (opened.info.labels, opened.info.crop) == (source.info.labels, source.info.crop)
    assert Recognizer(out).summary().device == "openvino"
    (out / "model.bin").write_bytes(bytes(4096))
    with pytest.raises(ModelFileError, match=r"is not the file that|not a usable OpenVINO"):
        load_model(out / "model.xml")
    (out / "labels.json").unlink()
    with pytest.raises(ModelFileError, match=r"expected the folder that|not a usable OpenVINO"):
        load_model(out)
