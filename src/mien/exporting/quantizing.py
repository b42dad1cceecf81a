"""A model file with whole numbers of 8 bits inside: post-training quantisation by onnxruntime, fitted to real faces.

Activations are uint8, weights int8 with a scale for each channel (Jacob et al. 2018, arXiv:1712.05877), as
pairs of QuantizeLinear and DequantizeLinear. Only what lies between convolutions is quantised: the way from pixels to
the first convolution, and that from the last one to the probabilities, stay in float32. Needs onnx.
"""

from __future__ import annotations

import contextlib
import io
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


@dataclass(frozen=True, slots=True)
class _Way:
    """How ranges of activations are found, and whether weights use 7 of their 8 bits.

    With 7 bits, pairs of products fit into the 16 bits in which processors without VNNI add them.
    """

    name: str
    method: CalibrationMethod
    options: dict[str, Any]
    seven_bits: bool


_ALL: dict[str, Any] = {}
_MOST = {"CalibPercentile": 99.99, "CalibTensorRangeSymmetric": False}
_WAYS = (
    _Way("all values, 7-bit weights", CalibrationMethod.MinMax, _ALL, True),
    _Way("99.99 % of values, 7-bit weights", CalibrationMethod.Percentile, _MOST, True),
    _Way("all values, 8-bit weights", CalibrationMethod.MinMax, _ALL, False),
    _Way("99.99 % of values, 8-bit weights", CalibrationMethod.Percentile, _MOST, False),
)
"""A third method, entropy, was never the best on shipped models and took longest."""


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """A graph with 8-bit layers.

    way: which was taken. layers: how many convolutions (or matrix products) are quantised, of how many. right: how many
    answers are. difference: of probabilities, the mean over the faces that the ways were compared on.
    """

    graph: onnx.ModelProto
    way: str
    layers: int
    of_layers: int
    right: int
    difference: float


def quantise(
    model: ModelFile,
    fitted_to: NDArray[np.uint8],
    judged_on: NDArray[np.uint8],
    truth: NDArray[np.int64],
    open_: Callable[[Path], Runner],
) -> Quantised:
    """The graph quantised in several ways, of which the one stays that is right most often; then, that moves least.

    fitted_to, judged_on: uint8 (N, H, W, C), as the model takes them. truth: int64 (N,), the class that counts as right
    for each that is judged, -1 where none does. open_: opens a written graph. Raises ExportError
    where there is nothing to quantise, or the quantiser can't.
    """
    plain = load_plain(model.path)
    if any(node.op_type == "DequantizeLinear" for node in plain.graph.node):
        raise ExportError(f"{model.path}: has 8-bit numbers already; export the model that it was made from")
    inside = _name_inner_nodes(plain)
    if not inside:
        raise ExportError(f"{model.path}: has no layer that could be quantised; take onnx-fp16")
    layers = [node.name for node in plain.graph.node if node.op_type in _LAYERS]
    expected = in_batches(model.probabilities, judged_on)
    best: Quantised | None = None
    with tempfile.TemporaryDirectory(prefix="mien-int8-") as folder:
        for number, way in enumerate(_WAYS):
            place = Path(folder, f"{number}.onnx")
            prepared = onnx.ModelProto()
            prepared.CopyFrom(plain)
            prepared.metadata_props.add(key=_PREPARED[0], value=_PREPARED[1])
            try:
                with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
                    quantize_static(
                        prepared,
                        str(place),
                        _Faces(plain.graph.input[0].name, fitted_to),
                        quant_format=QuantFormat.QDQ,
                        op_types_to_quantize=list(_QUANTISED),
                        per_channel=True,
                        reduce_range=way.seven_bits,
                        activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8,
                        nodes_to_quantize=sorted(inside),
                        calibrate_method=way.method,
                        # In parts, for the sake of memory: otherwise the values of all layers are kept for all faces.
                        extra_options={**way.options, "CalibStridedMinMax": 1},
                    )
            except Exception as error:  # the quantiser raises several unrelated types
                first = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise ExportError(f"{model.path}: can't be quantised ({first}); take onnx-fp16") from error
            found = in_batches(open_(place), judged_on)
            difference = float(np.abs(found - expected).mean())
            right = int((found.argmax(1) == truth).sum())
            if best is None or (right, -difference) > (best.right, -best.difference):
                written = onnx.load(str(place))
                best = Quantised(written, way.name, len(inside & set(layers)), len(layers), right, difference)
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
        self._rest = iter(self._batches[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._rest, None)
