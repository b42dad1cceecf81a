"""Measures model files on this machine: time per batch, parameters, multiplications."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.evaluation.fitting import fit_faces
from mien.model_file import ModelFile, load_model

_WARM_UP, _LEAST, _MOST, _SECONDS = 3, 10, 200, 1.5


@dataclass(frozen=True, slots=True)
class BatchSpeed:
    """Milliseconds from a batch of faces to its probabilities, the median and the 95th percentile of `runs` runs."""

    batch_size: int
    runs: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class ModelCost:
    """A model's size. macs: multiplications and additions for one face; None if the graph does not show it."""

    name: str
    parameters: int | None
    macs: int | None
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Speed:
    """Times of this run on this machine, of all models together and one view per face, and each model's cost."""

    batches: tuple[BatchSpeed, ...]
    models: tuple[ModelCost, ...]


def milliseconds_a_face(name: str) -> float:
    """Median time of a model per face, in batches of 64."""
    model = load_model(name)
    face = np.zeros((1, model.info.size, model.info.size, model.info.channels), np.uint8)
    (batch,) = measure_speed([model], face, batch_sizes=(64,)).batches
    return round(batch.p50_ms / batch.batch_size, 3)


def measure_speed(
    models: Sequence[ModelFile], faces: NDArray[np.uint8], *, batch_sizes: Sequence[int] = (1, 8, 64)
) -> Speed:
    """Times the models on faces uint8 (N, H, W, C), which are repeated to fill a batch. Fitting them is not timed."""
    batches = []
    for batch_size in batch_sizes:
        rows = np.arange(batch_size) % len(faces)
        fitted = [fit_faces(faces[rows], model) for model in models]
        times: list[float] = []
        began = time.perf_counter()
        while len(times) < _WARM_UP + _LEAST or (
            len(times) < _WARM_UP + _MOST and time.perf_counter() - began < _SECONDS
        ):
            start = time.perf_counter()
            for model, own in zip(models, fitted, strict=True):
                model.probabilities(own)
            times.append(1000 * (time.perf_counter() - start))
        measured = times[_WARM_UP:]
        low, high = np.percentile(measured, (50, 95))
        batches.append(BatchSpeed(batch_size, len(measured), float(low), float(high)))
    costs = (
        ModelCost(m.info.name, m.info.parameters or None, graph_macs(m.path), m.path.stat().st_size) for m in models
    )
    return Speed(tuple(batches), tuple(costs))


def graph_macs(path: Path) -> int | None:
    """Multiply-adds of a graph's convolutions and matrix products for one face; None without the package onnx, or
    where a shape is unknown.
    """
    try:
        import onnx
    except ImportError:
        return None
    graph = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True).graph
    shapes: dict[str, tuple[int, ...]] = {i.name: tuple(i.dims) for i in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        shapes[value.name] = _shape(value)
    total = 0
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        weight, out = shapes.get(node.input[1], ()), shapes.get(node.output[0], ())
        if not weight or not out or 0 in weight or 0 in out[1:]:
            return None
        # A weight of a convolution (out, in, h, w) works at each place of the output; of a matrix product at each row.
        places = out[2:] if node.op_type == "Conv" else out[1:-1]
        total += math.prod(weight) * math.prod(places)
    return total or None


def _shape(value: Any) -> tuple[int, ...]:
    """A tensor's shape, 0 for what is not a number (the batch)."""
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
