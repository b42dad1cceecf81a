"""A model file with whole numbers of 8 bits inside: post-training quantisation by onnxruntime, fitted to real faces.

Activations are uint8, weights int8 with a scale for each channel (Jacob et al. 2018, arXiv:1712.05877), written as
QuantizeLinear and DequantizeLinear pairs. Only what lies between convolutions is quantised: the way from pixels to the
first convolution, and that from the last one to the probabilities, stay in float32. Needs onnx.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization.quantize import quantize_static

from mien.errors import ExportError
from mien.exporting.parity import Runner, in_batches
from mien.exporting.rewriting import load_plain
from mien.model_file import ModelFile

FITTED_TO = 512
"""How many faces the ranges of the activations are taken from."""

_AT_ONCE = 32
_QUANTISED = ("Conv", "Gemm", "Add", "Relu", "AveragePool", "MaxPool", "GlobalAveragePool", "Clip")
_LAYERS = ("Conv", "Gemm")
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")  # what the quantiser looks for, or else it warns

_METHODS: dict[str, tuple[CalibrationMethod, dict[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "percentile": (CalibrationMethod.Percentile, {"CalibPercentile": 99.99, "CalibTensorRangeSymmetric": False}),
    "entropy": (CalibrationMethod.Entropy, {}),
}
"""How the range of an activation is found: all that was seen, all but the rarest, or what keeps most information."""


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """A graph with 8-bit layers.

    method: how the ranges were found. layers: how many convolutions (or matrix products) are quantised, of how many.
    difference: of probabilities, the mean over the faces that the methods were compared on.
    """

    graph: onnx.ModelProto
    method: str
    layers: int
    of_layers: int
    difference: float


def quantise(
    model: ModelFile, fitted_to: NDArray[np.uint8], judged_on: NDArray[np.uint8], open_: Callable[[Path], Runner]
) -> Quantised:
    """The graph quantised by each method, of which the one stays whose probabilities move least.

    fitted_to, judged_on: uint8 (N, H, W, C), as the model takes them. open_: opens a written graph. Raises ExportError
    where there is nothing to quantise.
    """
    plain = load_plain(model.path)
    inside = _name_inner_nodes(plain)
    if not inside:
        raise ExportError(f"{model.path}: has no layer that could be quantised; take onnx-fp16")
    layers = [node.name for node in plain.graph.node if node.op_type in _LAYERS]
    expected = in_batches(model.probabilities, judged_on)
    best: Quantised | None = None
    with tempfile.TemporaryDirectory(prefix="mien-int8-") as folder:
        for name, (method, options) in _METHODS.items():
            place = Path(folder, f"{name}.onnx")
            prepared = onnx.ModelProto()
            prepared.CopyFrom(plain)
            del prepared.metadata_props[:]
            onnx.helper.set_model_props(prepared, dict([_PREPARED]))
            quantize_static(
                prepared,
                str(place),
                _Faces(plain.graph.input[0].name, fitted_to),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_QUANTISED),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=sorted(inside),
                calibrate_method=method,
                # In parts: the histograms are of all values of all layers, which otherwise are kept for all faces.
                extra_options={**options, "CalibStridedMinMax": 1},
            )
            found = in_batches(open_(place), judged_on)
            difference = float(np.abs(found - expected).mean())
            if best is None or difference < best.difference:
                written = onnx.load(str(place))
                best = Quantised(written, name, len(inside & set(layers)), len(layers), difference)
    assert best is not None
    return best


def _name_inner_nodes(model: onnx.ModelProto) -> set[str]:
    """Names every node, and gives the names of those to quantise: at or behind a layer, and at or before one."""
    nodes = list(model.graph.node)
    kind = "Conv" if any(node.op_type == "Conv" for node in nodes) else "Gemm"
    behind: set[str] = set()  # tensors
    for i, node in enumerate(nodes):
        node.name = f"n{i}"
        if node.op_type == kind or behind & set(node.input):
            behind |= set(node.output)
    before: set[str] = set()
    inner = set()
    for node in reversed(nodes):
        if node.op_type == kind or before & set(node.output):
            before |= set(node.input)
            if behind & set(node.output) and node.op_type in _QUANTISED:
                inner.add(node.name)
    return inner


class _Faces(CalibrationDataReader):  # type: ignore[misc]
    """Faces in small batches, a part of the batches at a time, as the calibration asks for them."""

    def __init__(self, name: str, faces: NDArray[np.uint8]) -> None:
        self._batches = [{name: faces[i : i + _AT_ONCE]} for i in range(0, len(faces), _AT_ONCE)]
        self._rest = iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Only these batches from now on."""
        self._rest = iter(self._batches[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch; None behind the last."""
        return next(self._rest, None)
