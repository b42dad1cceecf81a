"""Converts the weights of the PyPI package `mtcnn` 1.0.0 (MIT) to the three ONNX files that mien ships.

    python -m venv /tmp/convert && /tmp/convert/bin/pip install numpy joblib lz4 onnx
    /tmp/convert/bin/python scripts/convert_mtcnn.py [mtcnn-1.0.0-py3-none-any.whl] [--out FOLDER]

Without a wheel it is downloaded with pip. The wheel is opened only if its sha256 is the known one: its weights are
pickles, which could run code. The graphs take uint8 RGB (N, H, W, 3); normalisation and softmax are inside.
Large weights are stored as float16.
"""

from __future__ import annotations

import io

import joblib  # type: ignore[import-untyped]
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from wheels import checked_model, half, image_input, open_wheel, save

WHEEL = "mtcnn-1.0.0-py3-none-any.whl"
WHEEL_SHA256 = "0a96b4868e56db9ae984449519642be6dba03240e608a67e928ebb47833e9144"
LICENCE = "mtcnn-1.0.0.dist-info/LICENSE"

Weights = list[NDArray[np.float32]]

_SMALL = 1000  # numbers of a constant that stays as it is


class Graph:
    """A chain of ONNX nodes; each method appends a layer and remembers its output as the next one's input."""

    def __init__(self, weights: Weights) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.weights = iter(weights)
        self.last = "image"

    def constant(self, value: NDArray[np.generic]) -> str:
        name = f"c{len(self.constants)}"
        if value.size < _SMALL:
            self.constants.append(numpy_helper.from_array(value, name))
        else:
            stored, cast = half(value.astype(np.float32, copy=False), name)
            self.constants.append(stored)
            self.nodes.append(cast)
        return name

    def node(self, kind: str, *more: str, source: str | None = None, output: str = "", **attributes: object) -> str:
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [source or self.last, *more], [output], **attributes))
        if source is None:
            self.last = output
        return output

    def normalise(self) -> None:
        """uint8 (N, H, W, 3) -> float (N, 3, H, W), (v - 127.5) / 128 as in the paper's own code."""
        self.node("Cast", to=TensorProto.FLOAT)
        self.node("Sub", self.constant(np.float32(127.5)))
        self.node("Mul", self.constant(np.float32(1 / 128)))
        self.node("Transpose", perm=[0, 3, 1, 2])

    def convolve(self) -> None:
        """Convolution and PReLU. Keras keeps kernels as (H, W, in, out) and slopes as (1, 1, C)."""
        kernel, bias, slope = next(self.weights), next(self.weights), next(self.weights)
        self.node("Conv", self.constant(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))), self.constant(bias))
        self.node("PRelu", self.constant(np.ascontiguousarray(slope.transpose(2, 0, 1))))

    def pool(self, size: int, padding: str) -> None:
        self.node("MaxPool", kernel_shape=[size, size], strides=[2, 2], auto_pad=padding)

    def flatten(self) -> None:
        """The weights come from MATLAB's column order: the package flattens as (W, H, C)."""
        self.node("Transpose", perm=[0, 3, 2, 1])
        self.node("Flatten", axis=1)

    def dense(self) -> None:
        kernel, bias, slope = next(self.weights), next(self.weights), next(self.weights)
        self.node("Gemm", self.constant(kernel), self.constant(bias))
        self.node("PRelu", self.constant(slope))

    def head(self, name: str) -> None:
        self.node("Gemm", *map(self.constant, (next(self.weights), next(self.weights))), source=self.last, output=name)

    def head_1x1(self, name: str) -> None:
        """A 1x1 convolution as output, back in (N, H, W, C)."""
        kernel, bias = next(self.weights), next(self.weights)
        kernel = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        planes = self.node("Conv", self.constant(kernel), self.constant(bias), source=self.last)
        self.node("Transpose", source=planes, output=name, perm=[0, 2, 3, 1])

    def face_probability(self, logits: str) -> None:
        """Softmax over (not face, face); only the second is kept."""
        both = self.node("Softmax", source=logits, axis=-1)
        self.node("Gather", self.constant(np.int64(1)), source=both, output="score", axis=-1)

    def model(self, name: str, side: int | None, outputs: dict[str, int]) -> onnx.ModelProto:
        if next(self.weights, None) is not None:
            raise ValueError(f"{name}: weights are left over: the wheel does not hold the expected network")
        height, width = (side, side) if side else ("H", "W")
        free: list[str | int] = ["N"] if side else ["N", "h", "w"]
        graph = helper.make_graph(
            self.nodes,
            name,
            [image_input(height, width)],
            [
                helper.make_tensor_value_info(output, TensorProto.FLOAT, [*free, channels] if channels else free)
                for output, channels in outputs.items()
            ],
            self.constants,
        )
        about = "MTCNN (Zhang et al. 2016, arXiv:1604.02878), weights of PyPI mtcnn 1.0.0; see LICENSE.mtcnn"
        return checked_model(graph, about, opset=17)


def proposal(weights: Weights) -> onnx.ModelProto:
    g = Graph(weights)
    g.normalise()
    g.convolve()
    g.pool(2, "SAME_UPPER")
    g.convolve()
    g.convolve()
    g.head_1x1("offset")
    g.head_1x1("logits")
    g.face_probability("logits")
    return g.model("pnet", None, {"offset": 4, "score": 0})


def refinement(weights: Weights) -> onnx.ModelProto:
    g = Graph(weights)
    g.normalise()
    g.convolve()
    g.pool(3, "SAME_UPPER")
    g.convolve()
    g.pool(3, "VALID")
    g.convolve()
    g.flatten()
    g.dense()
    g.head("offset")
    g.head("logits")
    g.face_probability("logits")
    return g.model("rnet", 24, {"offset": 4, "score": 0})


def output(weights: Weights) -> onnx.ModelProto:
    g = Graph(weights)
    g.normalise()
    g.convolve()
    g.pool(3, "SAME_UPPER")
    g.convolve()
    g.pool(3, "VALID")
    g.convolve()
    g.pool(2, "SAME_UPPER")
    g.convolve()
    g.flatten()
    g.dense()
    g.head("offset")
    g.head("landmarks")
    g.head("logits")
    g.face_probability("logits")
    return g.model("onet", 48, {"offset": 4, "landmarks": 10, "score": 0})


def main() -> None:
    wheel, out = open_wheel(__doc__ or "", "mtcnn==1.0.0", WHEEL, WHEEL_SHA256)
    with wheel:
        for name, build in (("pnet", proposal), ("rnet", refinement), ("onet", output)):
            weights = joblib.load(io.BytesIO(wheel.read(f"mtcnn/assets/weights/{name}.lz4")))
            save(build(weights), out / f"{name}.onnx")
        (out / "LICENSE.mtcnn").write_bytes(wheel.read(LICENCE))


if __name__ == "__main__":
    main()
