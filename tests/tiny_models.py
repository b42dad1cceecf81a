"""Small model files for tests: a real graph with real metadata, made in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mien.crop import CropSpec
from mien.labels import FER2013
from mien.model_file import METADATA_KEY, ModelInfo


def make_model(
    path: Path,
    labels: Sequence[str] = FER2013,
    *,
    size: int = 48,
    channels: int = 1,
    crop: CropSpec | None = None,
    favourite: str | None = None,
    seed: int = 0,
    metadata: str | None = None,
    prior: Sequence[float] = (),
    balance: float = 0.0,
) -> Path:
    """uint8 (N, size, size, channels) -> linear -> softmax.

    favourite: a label that gets nearly all of the probability. metadata: other text than what fits the graph.
    prior, balance: as in `ModelInfo`.
    """
    rng = np.random.default_rng(seed)
    inputs, count = size * size * channels, len(labels)
    weight = rng.normal(0, 0.3 / inputs**0.5, (inputs, count)).astype(np.float32)
    bias = np.zeros(count, np.float32)
    if favourite is not None:
        bias[list(labels).index(favourite)] = 20
    nodes = [
        helper.make_node("Cast", ["faces"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    arrays = {"scale": np.float32(1 / 16), "weight": weight, "bias": bias}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["n", size, size, channels])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", count])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    info = ModelInfo(
        name=path.stem, labels=tuple(labels), size=size, channels=channels, crop=crop or CropSpec(), target="label",
        prior=tuple(prior), balance=balance,
    )  # fmt: skip
    helper.set_model_props(model, {METADATA_KEY: metadata if metadata is not None else info.to_json()})
    onnx.save(model, path)
    return path
