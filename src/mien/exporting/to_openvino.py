"""OpenVINO IR: model.xml with model.bin, and the runtime that checks them on the processor. Needs openvino."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import ExportError
from mien.exporting.parity import Runner
from mien.model_file import ModelFile

XML = "model.xml"
_TELEMETRY = "openvino_telemetry"


def write_openvino(model: ModelFile, folder: Path) -> None:
    """Writes model.xml and model.bin: the model file's own input and output, weights as float32.

    Raises ExportError where OpenVINO can't read the graph.
    """
    openvino = load_openvino()
    try:
        graph = openvino.Core().read_model(str(model.path))
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0]
        raise ExportError(f"{model.path}: OpenVINO can't read it ({first}); take another format") from error
    about = {"labels": " ".join(model.info.labels), "source": model.info.name, "source_sha256": model.sha256}
    for key, text in about.items():
        graph.set_rt_info(text, ["model_info", key])  # where OpenVINO's own tools look for labels
    openvino.save_model(graph, str(folder / XML), compress_to_fp16=False)


def open_openvino(folder: Path) -> Runner:
    """The written files in OpenVINO on the processor, in float32 arithmetic."""
    openvino = load_openvino()
    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(folder / XML), "CPU", hints)

    def run(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        # A copy: OpenVINO's answer is a view of memory that the next call writes to.
        return np.array(compiled(faces)[0], np.float32)

    return run


def load_openvino() -> Any:
    """The package, without its telemetry: importing it would write an identifier to the user's home and report its use.

    OpenVINO goes without where the package openvino_telemetry can't be imported.
    """
    hidden = _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]
    return openvino
