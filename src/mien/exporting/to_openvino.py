"""OpenVINO IR: model.xml with model.bin, and the runtime that checks them on the processor. Needs openvino."""

from __future__ import annotations

from pathlib import Path

from mien.errors import ExportError
from mien.exporting.parity import Runner
from mien.inference import OpenVinoNetwork, load_openvino
from mien.model_file import OPENVINO_FILE, ModelFile


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
    openvino.save_model(graph, str(folder / OPENVINO_FILE), compress_to_fp16=False)


def open_openvino(folder: Path) -> Runner:
    """The written files in OpenVINO on the processor, in float32 arithmetic."""
    network = OpenVinoNetwork(folder / OPENVINO_FILE)
    return lambda faces: network.run(None, {"faces": faces})[0]
