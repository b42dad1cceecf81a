"""Forms for other runtimes, and these runtimes, which check them: ncnn, for phones and small boards, and OpenVINO.

ncnn needs pnnx, the converter of its makers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import ExportError
from mien.exporting.parity import Runner
from mien.inference import OpenVinoNetwork, load_openvino
from mien.model_file import OPENVINO_FILE, ModelFile

PARAM, BIN = "model.ncnn.param", "model.ncnn.bin"
INPUT, OUTPUT = "in0", "out0"
"""What pnnx calls the input and the output."""

_TIMEOUT_S = 600


def write_ncnn(model: ModelFile, folder: Path) -> None:
    """Writes the two files: planes float32 (C, H, W) of 0 to 255 in, probabilities (K) out, one face at a time.

    Weights are float32: pnnx's float16 also covers the small tensors, which moves probabilities by more than 1e-3.
    Raises ExportError where pnnx can't convert the graph.
    """
    import onnx

    from mien.exporting.rewriting import one_face_by_planes

    with tempfile.TemporaryDirectory(prefix="mien-ncnn-") as work:
        onnx.save(one_face_by_planes(model), str(Path(work, "model.onnx")))
        try:
            done = subprocess.run(
                [_pnnx(), "model.onnx", "fp16=0"], cwd=work, capture_output=True, text=True, timeout=_TIMEOUT_S,
                check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExportError(f"{model.path}: pnnx did not work ({error}); install it anew") from error
        if done.returncode or not all(Path(work, name).is_file() for name in (PARAM, BIN)):
            said = (done.stderr or done.stdout).strip().splitlines()
            raise ExportError(f"{model.path}: pnnx can't convert it ({said[-1] if said else done.returncode})")
        for name in (PARAM, BIN):
            shutil.copyfile(Path(work, name), folder / name)


def open_ncnn(folder: Path) -> Runner:
    """The written files in ncnn on the processor, in float32 arithmetic."""
    import ncnn

    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_arithmetic = net.opt.use_fp16_storage = net.opt.use_fp16_packed = False
    net.opt.num_threads = 1  # a face is little work: several faces side by side keep the cores busier
    if net.load_param(str(folder / PARAM)) or net.load_model(str(folder / BIN)):
        raise ExportError(f"{folder}: ncnn can't load what pnnx wrote; this network does not fit ncnn")
    pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="ncnn")

    def one(planes: NDArray[np.float32]) -> NDArray[np.float32]:
        extractor = net.create_extractor()
        extractor.input(INPUT, ncnn.Mat(planes))
        failed, answer = extractor.extract(OUTPUT)
        if failed:
            raise ExportError(f"{folder}: ncnn can't run it; this network does not fit ncnn")
        return np.array(answer, np.float32).ravel()

    def run(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        planes = np.ascontiguousarray(faces.transpose(0, 3, 1, 2), np.float32)
        return np.stack(list(pool.map(one, planes)))

    return run


def _pnnx() -> str:
    """The program inside the package, which itself would import PyTorch."""
    found = find_spec("pnnx")
    assert found is not None and found.origin is not None
    program = Path(found.origin).with_name("pnnx")
    return str(program if program.is_file() else program.with_suffix(".exe"))


# OpenVINO IR: model.xml with model.bin


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
