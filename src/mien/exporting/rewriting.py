"""The graph of a model file, rewritten for other runtimes, with its balance in it; each gives what `mien predict` does.

It is a model file again where nothing else is said. By onnx.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mien.balance import Balance
from mien.data.toy import toy_faces
from mien.errors import require_extra
from mien.evaluation.card import write_with_texts
from mien.evaluation.graph import stored_as_half
from mien.model_file import CARD_KEY, METADATA_KEY, ModelFile

EXPORT_KEY = "mien_export"
"""In the metadata of an exported model file: JSON with its form, and the name and checksum of its source."""


def load_plain(path: Path) -> onnx.ModelProto:
    """A model file's graph with all weights in float32 and no Cast behind them."""
    model = onnx.load(str(path))
    graph = model.graph
    stored = {tensor.name: i for i, tensor in enumerate(graph.initializer)}
    kept = []
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in stored and node.attribute[0].i == TensorProto.FLOAT:
            values = numpy_helper.to_array(graph.initializer[stored[node.input[0]]]).astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input} | {output.name for output in graph.output}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    return model


def write_plain(model: ModelFile, place: Path) -> None:
    """Weights as float32: twice the size, for tools that want no Cast behind a weight."""
    save_model(load_plain(model.path), model, "onnx", place)


def write_half(model: ModelFile, place: Path) -> None:
    """Weights as float16 with a Cast behind each, as `mien train` writes them: unchanged where they are so already."""
    stored = onnx.load(str(model.path))
    is_half = any(tensor.data_type == TensorProto.FLOAT16 for tensor in stored.graph.initializer)
    save_model(stored if is_half else stored_as_half(load_plain(model.path)), model, "onnx-fp16", place)


def one_face_by_planes(model: ModelFile) -> onnx.ModelProto:
    """The graph for runtimes without uint8 and batches: `planes` float32 (1, C, H, W), 0 to 255 -> float32 (1, K)."""
    info = model.info
    loaded = load_plain(model.path)
    graph = loaded.graph
    name = graph.input[0].name
    back = helper.make_node("Transpose", ["planes"], [name], perm=[0, 2, 3, 1])
    for node in graph.node:
        if node.op_type == "AveragePool":
            _exclude_padding(node)
    nodes = [back, *graph.node]
    del graph.node[:], graph.value_info[:], graph.input[:]
    graph.node.extend(nodes)
    planes = [1, info.channels, info.size, info.size]
    graph.input.append(helper.make_tensor_value_info("planes", TensorProto.FLOAT, planes))
    answer = helper.make_tensor_value_info(graph.output[0].name, TensorProto.FLOAT, [1, len(info.labels)])
    graph.output[0].CopyFrom(answer)
    return loaded


def _exclude_padding(node: onnx.NodeProto) -> None:
    """Leaves out that padding is counted, where there is none.

    A window may still stick out at the end (ceil_mode); what is outside never counts in ONNX, but would in ncnn.
    """
    padded = any(any(a.ints) for a in node.attribute if a.name == "pads")
    kept = [a for a in node.attribute if a.name != "count_include_pad" or padded]
    del node.attribute[:]
    node.attribute.extend(kept)


def save_model(
    graph: onnx.ModelProto,
    source: ModelFile,
    form: str,
    place: Path,
    *,
    name: str = "",
    note: str = "",
    scores: dict[str, float] | None = None,
) -> None:
    """Writes a graph as a model file with the source's metadata and card.

    form: which export it is. name, note, scores: where given, the model's name, a sentence on top of its card and in
    its data, and its figures on validation, in place of the source's.
    """
    info = source.info
    if name:
        info = replace(info, name=name)
    if note:
        info = replace(info, data=f"{info.data}; {note}" if info.data else note)
    if scores is not None:
        info = replace(info, scores=scores)
    card = source.card
    if card and note:
        card = f"> {note}. What stands below was measured on its source, {source.info.name}.\n\n{card}"
    made_from = {"as": form, "source": source.info.name, "source_sha256": source.sha256}
    texts = {METADATA_KEY: info.to_json(), EXPORT_KEY: json.dumps(made_from, sort_keys=True)}
    del graph.metadata_props[:]
    helper.set_model_props(graph, texts | ({CARD_KEY: card} if card else {}))
    onnx.checker.check_model(graph)
    onnx.save(graph, str(place))


_WITHIN = 1e-5
_CHECKED = 64


class BalancedModel(ModelFile):
    """A model file in a temporary place whose graph holds the balance. Its checksum is that of its source."""

    def __init__(self, place: Path, source: ModelFile) -> None:
        self._source = source
        super().__init__(place, spin=False)

    @cached_property
    def sha256(self) -> str:
        """The checksum of the file that it was made from."""
        return self._source.sha256


@contextmanager
def with_balance(source: ModelFile, balance: Balance) -> Iterator[ModelFile]:
    """The model with a balance in its graph, or the model itself where it states balance 0 and gets no other.

    The mix that balanced probabilities assume becomes the new prior, and the new balance is 0: the file can be balanced
    further, and says the same where nothing else is requested. Raises MissingExtraError without onnx, ModelFileError
    where the new graph differs from `Balance.apply`.
    """
    if not balance.balance and not source.info.balance:
        yield source
        return
    require_extra("export", "putting a balance into a graph", "onnx")
    with tempfile.TemporaryDirectory(prefix="mien-export-") as folder:
        place = Path(folder, source.path.name)
        if balance.balance:
            _write_balanced(source, balance, place)
        else:
            write_with_texts(source, {METADATA_KEY: replace(source.info, balance=0.0).to_json()}, place)
        yield BalancedModel(place, source)


def _write_balanced(source: ModelFile, balance: Balance, place: Path) -> None:
    import onnx

    from mien.evaluation.graph import save_checked, with_calibration

    weights = balance.weights
    assert weights is not None
    towards = "an even mix" if balance.target is None else "a mix of the user"
    note = f"balance {balance.balance:g} towards {towards} is in the graph"
    data = f"{source.info.data}; {note}" if source.info.data else note
    # The weights belong to no temperature: 1 stands for "no single number".
    info = replace(source.info, prior=balance.mix, balance=0.0, temperature=1.0, data=data)
    graph = with_calibration(source, np.ones(len(weights)), np.log(weights), info)
    if source.card:
        card = f"> In this file, {note}. What is below was measured on {source.info.name}.\n\n{source.card}"
        graph.metadata_props.append(onnx.StringStringEntryProto(key=CARD_KEY, value=card))
    faces = toy_faces(_CHECKED, size=info.size, channels=info.channels).images
    expected = balance.apply(source.probabilities(faces))
    save_checked(graph, place, faces, expected.astype(np.float64), within=_WITHIN)
