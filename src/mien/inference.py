"""The only place that opens networks: ONNX graphs with onnxruntime on any device, and mien's own OpenVINO exports.

Since 1.29, onnxruntime reports by default, on every system, which models it opens and how they run, with an identifier
of the machine. It decides this during its import, so `import mien` turns it off before (ORT_DISABLE_TELEMETRY).
"""

from __future__ import annotations

import logging
import sys
import threading
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import DeviceError, MissingExtraError

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
}
DEVICES = ("auto", *_PROVIDERS)
"""Devices by name; all but `auto` and `cpu` need a build of onnxruntime that has them."""

# These come only with builds that someone installed on purpose. Others are in ordinary builds, too, where they make
# small networks slower: CoreML on every Mac.
_AUTOMATIC = ("cuda", "migraphx", "rocm", "directml")

_TELEMETRY = "openvino_telemetry"

_log = logging.getLogger("mien")


def open_network(
    graph: str | bytes, *, threads: int = 0, spin: bool = True, any_shape: bool = False, device: str = "cpu"
) -> Any:
    """An onnxruntime session for a file's path or a graph's bytes; raises whatever onnxruntime does.

    threads: for the network; 0 lets onnxruntime choose. spin: threads wait busily for work, which is faster if the
    network runs alone, and slows down other work. any_shape: inputs change their shape from call to call; memory is
    then not kept for the largest of each. device: as in `check_device`; if it does not work here, the processor is
    used, with one warning.
    """
    import onnxruntime as ort

    ort.disable_telemetry_events()  # Windows knows no variable; elsewhere this alone would come too late
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = options.enable_mem_pattern = not any_shape
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    cpu = _PROVIDERS["cpu"]
    if (name := _chosen(device)) == "cpu":
        return ort.InferenceSession(graph, options, providers=[cpu])
    if name == "directml":
        options.enable_mem_pattern = False  # it refuses to run with it
    provider = (_PROVIDERS[name], _options(name, device, any_shape=any_shape))
    try:
        session = ort.InferenceSession(graph, options, providers=[provider, cpu])
    except Exception as error:  # a driver or library of the device is missing, or is another version
        _warn(device, str(error).splitlines()[0])
        return ort.InferenceSession(graph, options, providers=[cpu])
    if device_of(session) != name:
        _warn(device, "its libraries can't be loaded")
    return session


def check_device(device: str) -> str:
    """The device as given: `auto`, a name in `DEVICES`, or one with a number, such as `cuda:1`.

    auto: a graphics card where this onnxruntime has one, else the processor. Raises DeviceError for other names.
    """
    name, colon, number = device.partition(":")
    if name not in DEVICES or (colon and not (number.isdecimal() and name in _AUTOMATIC)):
        raise DeviceError(
            f"device '{device}' is unknown; available here: auto, {', '.join(available_devices())}; "
            f"with other builds of onnxruntime: {', '.join(d for d in _PROVIDERS if d not in available_devices())}"
        )
    return device


def available_devices() -> tuple[str, ...]:
    """The devices that the installed onnxruntime can use."""
    import onnxruntime as ort

    there = set(ort.get_available_providers())
    return tuple(name for name, provider in _PROVIDERS.items() if provider in there)


def device_of(session: Any) -> str:
    """Where a session runs: a name in `DEVICES`."""
    first = session.get_providers()[0]
    return next((name for name, provider in _PROVIDERS.items() if provider == first), "cpu")


def _chosen(device: str) -> str:
    """The name of an available device, without number; warns if the requested one is not available."""
    name = check_device(device).partition(":")[0]
    if name == "cpu":
        return name
    there = available_devices()
    if name == "auto":
        return next((each for each in _AUTOMATIC if each in there), "cpu")
    if name not in there:
        _warn(device, f"this onnxruntime has {', '.join(there)}")
        return "cpu"
    return name


def _options(name: str, device: str, *, any_shape: bool) -> dict[str, str]:
    options = {}
    if number := device.partition(":")[2]:
        options["device_id"] = number
    if name == "cuda" and any_shape:
        options["cudnn_conv_algo_search"] = "HEURISTIC"  # the default tries every algorithm, anew for each shape
    return options


@cache
def _warn(device: str, why: str) -> None:
    """Once for each device and reason."""
    _log.warning("device '%s' is not available (%s); the processor does the work", device, why)


class OpenVinoNetwork:
    """A network in OpenVINO's format, on the processor in float32, with an onnxruntime session's methods."""

    def __init__(self, xml: Path, *, threads: int = 0) -> None:
        """xml: beside its .bin. Raises MissingExtraError, and RuntimeError for a file that OpenVINO can't read."""
        hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            hints["INFERENCE_NUM_THREADS"] = str(threads)
        self._compiled = load_openvino().Core().compile_model(str(xml), "CPU", hints)
        self._lock = threading.Lock()  # the compiled model has one request

    def run(self, _: None, feeds: dict[str, NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """The output of the network for its only input."""
        (faces,) = feeds.values()
        with self._lock:  # the answer is a view of memory that the next call writes to: a copy
            return [np.array(self._compiled(faces)[0], np.float32)]

    def get_inputs(self) -> list[SimpleNamespace]:
        """Name, type and shape of each input."""
        return [_described(port) for port in self._compiled.inputs]

    def get_outputs(self) -> list[SimpleNamespace]:
        """Name, type and shape of each output."""
        return [_described(port) for port in self._compiled.outputs]

    def get_providers(self) -> list[str]:
        """What runs it."""
        return [_PROVIDERS["openvino"]]


def load_openvino() -> Any:
    """The package, without its telemetry: importing it would write an identifier to the user's home and report its use.

    OpenVINO works without it if openvino_telemetry can't be imported. Raises MissingExtraError.
    """
    hidden = _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "an OpenVINO model") from error
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]
    return openvino


def _described(port: Any) -> SimpleNamespace:
    shape = [-1 if side.is_dynamic else side.get_length() for side in port.partial_shape]
    kind = "tensor(uint8)" if port.element_type.get_type_name() == "u8" else port.element_type.get_type_name()
    return SimpleNamespace(name=port.any_name, type=kind, shape=shape)
