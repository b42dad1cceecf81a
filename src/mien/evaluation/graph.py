"""The graphs of model files, changed: several joined to one, a calibration behind one, halved weights. Needs onnx."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper, version_converter

from mien.errors import ModelFileError
from mien.evaluation.fitting import LEAST
from mien.labels import canonical_all
from mien.model_file import METADATA_KEY, ModelFile, ModelInfo

_INPUT, _OUTPUT = "faces", "probabilities"
_OLDEST_OPSET = 13  # from here on ReduceSum takes its axes as an input
_LUMA, _LUMA_BITS = (9798, 19235, 3735), 15
"""OpenCV's RGB -> grey, bit for bit: the weights of ITU-R BT.601 in whole numbers."""

_HALF_FROM = 1024
"""Tensors of at least this many numbers are stored as float16; smaller ones aren't worth a node."""

MOST_OF_IT = 60_000
"""With only tensors of at least this many, most of a network is half, and whole are the filters of its first layers,
through which each error goes on to everything after them."""


class _Graph:
    """Nodes and constants as they are collected; every name gets the same beginning."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), self.prefix + name))
        return self.prefix + name

    def cast(self, source: str, kind: int, name: str) -> str:
        self.nodes.append(helper.make_node("Cast", [source], [self.prefix + name], to=kind))
        return self.prefix + name

    def add(self, operation: str, inputs: Sequence[str], name: str) -> str:
        self.nodes.append(helper.make_node(operation, list(inputs), [self.prefix + name]))
        return self.prefix + name


def join(models: Sequence[ModelFile], weights: Sequence[float], info: ModelInfo) -> onnx.ModelProto:
    """One graph whose probabilities are the weighted mean of the models', with `info` as its metadata.

    The input has the size and channels of `info`, which are the members' largest. A member with fewer channels gets
    the luma of what the others get, a smaller member their image shrunk by area: what OpenCV makes of it, but for a
    grey level in about a thousandth of the pixels at some ratios. Labels are put in the order of `info.labels`.
    Raises ModelFileError where a member's operators can't be brought to the newest version among the members.
    """
    loaded = [onnx.load(str(model.path)) for model in models]
    newest = max(_OLDEST_OPSET, *(_opset(each) for each in loaded))
    joined = _Graph()
    parts: list[str] = []
    others: dict[str, int] = {}  # operator sets beside ONNX's own
    functions: list[onnx.FunctionProto] = []
    for i, (model, each, weight) in enumerate(zip(models, loaded, weights, strict=True)):
        member = compose.add_prefix(_at_opset(each, newest, model), f"m{i}_")
        _feed(joined, member.graph.input[0].name, f"in{i}_", info, model.info)
        joined.nodes.extend(member.graph.node)
        joined.constants.extend(member.graph.initializer)
        functions.extend(member.functions)
        others |= {o.domain: o.version for o in member.opset_import if o.domain not in ("", "ai.onnx")}
        own = canonical_all(model.info.labels, str(model.path))
        answer = member.graph.output[0].name
        if own != info.labels:
            order = joined.constant(f"order{i}", np.array([own.index(name) for name in info.labels], np.int64))
            joined.nodes.append(helper.make_node("Gather", [answer, order], [f"ordered{i}"], axis=1))
            answer = f"ordered{i}"
        share = joined.constant(f"weight{i}", np.array(weight, np.float32))
        parts.append(joined.add("Mul", [answer, share], f"part{i}"))
    joined.add("Sum", parts, _OUTPUT)
    opsets = [helper.make_opsetid("", newest), *(helper.make_opsetid(d, v) for d, v in others.items())]
    return _model(joined, info, opsets, max(each.ir_version for each in loaded), functions)


def with_calibration(
    model: ModelFile, scale: NDArray[np.float64], bias: NDArray[np.float64], info: ModelInfo
) -> onnx.ModelProto:
    """The model's graph with softmax(scale * ln(probabilities) + bias) behind it; scale and bias are (K,)."""
    member = compose.add_prefix(onnx.load(str(model.path)), "c_")
    graph = _Graph()
    graph.add("Identity", [_INPUT], member.graph.input[0].name)
    graph.nodes.extend(member.graph.node)
    graph.constants.extend(member.graph.initializer)
    least = graph.constant("least", np.array(LEAST, np.float32))
    logs = graph.add("Log", [graph.add("Max", [member.graph.output[0].name, least], "raised")], "logs")
    scaled = graph.add("Mul", [logs, graph.constant("scale", scale.astype(np.float32))], "scaled")
    logits = graph.add("Add", [scaled, graph.constant("bias", bias.astype(np.float32))], "logits")
    graph.nodes.append(helper.make_node("Softmax", [logits], [_OUTPUT], axis=1))
    return _model(graph, info, list(member.opset_import), member.ir_version, list(member.functions))


def save_checked(
    model: onnx.ModelProto,
    place: Path,
    faces: NDArray[np.uint8],
    expected: NDArray[np.float64],
    *,
    within: float,
) -> None:
    """Writes a model file and reads it back: on `faces`, uint8 (N, H, W, C), it must predict `expected`, (N, K).

    Raises ModelFileError where a probability is off by more than `within`.
    """
    onnx.checker.check_model(model)
    onnx.save(model, str(place))
    off = float(np.abs(ModelFile(place).probabilities(faces) - expected).max())
    if not off <= within:
        raise ModelFileError(f"the written model is off by {off:.2g}; expected at most {within:g}; nothing was kept")


def stored_as_half(original: onnx.ModelProto, least: int = _HALF_FROM) -> onnx.ModelProto:
    """A copy with float32 weights of at least `least` numbers as float16, a Cast behind each.

    onnxruntime folds the Casts at load time.
    """
    model = onnx.ModelProto()
    model.CopyFrom(original)
    graph = model.graph
    casts = []
    for i, tensor in enumerate(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.FLOAT and values.size >= least:
            stored = f"{tensor.name}_half"
            casts.append(helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT))
            with np.errstate(over="ignore"):  # infinities are found when the written file is checked
                graph.initializer[i].CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return model


def _feed(joined: _Graph, name: str, prefix: str, info: ModelInfo, member: ModelInfo) -> None:
    """Makes a member's input, called `name`, from the shared one."""
    steps = _Graph(prefix)
    faces = _INPUT
    if member.channels < info.channels:
        whole = steps.cast(faces, TensorProto.INT32, "whole")
        weighed = steps.add("Mul", [whole, steps.constant("luma", np.array(_LUMA, np.int32))], "weighed")
        total = steps.add("ReduceSum", [weighed, steps.constant("axis", np.array([-1], np.int64))], "total")
        half = steps.constant("half", np.array(1 << (_LUMA_BITS - 1), np.int32))
        one = steps.constant("one", np.array(1 << _LUMA_BITS, np.int32))
        grey = steps.add("Div", [steps.add("Add", [total, half], "raised"), one], "grey")
        faces = steps.cast(grey, TensorProto.UINT8, "faces")
    if member.size < info.size:
        shrink = area_matrix(info.size, member.size)
        rows = steps.constant("shrink_rows", shrink)
        columns = steps.constant("shrink_columns", np.ascontiguousarray(shrink.T))
        number = steps.cast(faces, TensorProto.FLOAT, "number")
        first = _transposed(steps, number, (0, 3, 1, 2), "channels_first")
        small = steps.add("MatMul", [rows, steps.add("MatMul", [first, columns], "narrow")], "small")
        if info.size == 2 * member.size:  # rounding in OpenCV: half up here, half to even elsewhere
            up = steps.add("Add", [small, steps.constant("up", np.array(0.5, np.float32))], "up_by_half")
            level = steps.add("Floor", [up], "levels")
        else:
            level = steps.add("Round", [small], "levels")
        faces = steps.cast(_transposed(steps, level, (0, 2, 3, 1), "channels_last"), TensorProto.UINT8, "fitted")
    joined.nodes.extend(steps.nodes)
    joined.constants.extend(steps.constants)
    joined.add("Identity", [faces], name)


def area_matrix(size: int, smaller: int) -> NDArray[np.float32]:
    """Float32 (smaller, size): what share each pixel of a row has in each pixel of the row shrunk by area."""
    step = size / smaller
    left = np.arange(smaller)[:, None] * step
    overlap = np.minimum(left + step, np.arange(size) + 1) - np.maximum(left, np.arange(size))
    shares: NDArray[np.float32] = (np.maximum(overlap, 0) / step).astype(np.float32)
    return shares


def _transposed(steps: _Graph, source: str, order: tuple[int, ...], name: str) -> str:
    steps.nodes.append(helper.make_node("Transpose", [source], [steps.prefix + name], perm=order))
    return steps.prefix + name


def _model(
    parts: _Graph,
    info: ModelInfo,
    opsets: list[onnx.OperatorSetIdProto],
    ir_version: int,
    functions: list[onnx.FunctionProto],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        parts.nodes,
        "mien",
        [helper.make_tensor_value_info(_INPUT, TensorProto.UINT8, ["faces", info.size, info.size, info.channels])],
        [helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, ["faces", len(info.labels)])],
        parts.constants,
    )
    model = helper.make_model(
        graph, producer_name="mien", opset_imports=opsets, ir_version=ir_version, functions=functions
    )
    helper.set_model_props(model, {METADATA_KEY: info.to_json()})
    return model


def _opset(model: onnx.ModelProto) -> int:
    return max(int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx"))


def _at_opset(loaded: onnx.ModelProto, opset: int, model: ModelFile) -> onnx.ModelProto:
    if _opset(loaded) == opset:
        return loaded
    try:
        return version_converter.convert_version(loaded, opset)
    except Exception as error:  # the converter raises several unrelated types
        raise ModelFileError(
            f"{model.path}: its operators are of version {_opset(loaded)} and can't be brought to {opset} "
            f"({str(error).splitlines()[0]}); export the models with the same version of mien"
        ) from error
