"""Exports trained weights to a model file: one graph from uint8 crops to calibrated probabilities."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, nn

from mien.errors import TrainingError
from mien.evaluation.graph import MOST_OF_IT, stored_as_half
from mien.files import atomic_path
from mien.model_file import METADATA_KEY, ModelFile, ModelInfo
from mien.training.augment import central
from mien.training.networks import ExpressionNetwork

PARITY = 1e-3
"""The largest difference of a probability between PyTorch and the written file that is accepted."""

ROUNDED = 2e-3
"""The same where large tensors alone are stored as float16: on 1,024 faces, 0.0013 at most changed no prediction."""

_CHECKED_AT_ONCE = 32  # faces: large networks on enlarged faces take much memory for each


class Deployed(nn.Module):
    """One head of a network with everything around it: uint8 (N, H, W, C) in, probabilities (N, K) out."""

    def __init__(self, network: ExpressionNetwork, head: str, *, view: int, temperature: float) -> None:
        super().__init__()
        self.network, self.head, self.view, self.temperature = network, head, view, temperature

    def forward(self, faces: Tensor) -> Tensor:
        """uint8 (N, H, W, C) -> float32 (N, K)."""
        views = central(faces.permute(0, 3, 1, 2), self.view).to(torch.float32)
        logits: Tensor = self.network(views)[self.head]
        return torch.softmax(logits / self.temperature, 1)


def write_model_file(
    network: ExpressionNetwork, head: str, info: ModelInfo, path: Path, *, view: int, check: NDArray[np.uint8]
) -> None:
    """Writes a model file and checks it against PyTorch.

    check: uint8 (N, H, W, C), real faces on which both must agree within `PARITY`, else TrainingError is raised and
    nothing is written; OutputError where the file can't be. Weights are stored as float16 and widened when the file is
    loaded: half the size, and the arithmetic stays float32. If that rounding is too coarse (a low temperature or
    many layers magnify it), small tensors stay float32; if it still moves a probability by more than `ROUNDED`, all do.
    """
    deployed = Deployed(network, head, view=view, temperature=info.temperature).cpu().eval()
    parts = [check[i : i + _CHECKED_AT_ONCE] for i in range(0, len(check), _CHECKED_AT_ONCE)]
    with torch.no_grad():
        # A copy: the faces may be a view of a file.
        expected = np.concatenate([deployed(torch.from_numpy(np.array(part))).numpy() for part in parts])
    model = _to_onnx(deployed, info)
    del model.metadata_props[:]
    helper.set_model_props(model, {METADATA_KEY: info.to_json()})
    with atomic_path(path) as place:
        stored = ((stored_as_half(model), PARITY), (stored_as_half(model, MOST_OF_IT), ROUNDED), (model, PARITY))
        for candidate, within in stored:
            onnx.checker.check_model(candidate)
            onnx.save(candidate, place)
            written = ModelFile(place)
            found = np.concatenate([written.probabilities(part) for part in parts])
            difference = float(np.abs(found - expected).max())
            if difference <= within:
                return
        raise TrainingError(f"{path.name}: PyTorch and ONNX differ by {difference:.2g}; expected at most {PARITY}")


def _to_onnx(deployed: Deployed, info: ModelInfo) -> onnx.ModelProto:
    example = torch.zeros(2, info.size, info.size, info.channels, dtype=torch.uint8)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's deprecation notes are not the user's business
            program = torch.onnx.export(
                deployed,
                (example,),
                input_names=["faces"],
                output_names=["probabilities"],
                dynamic_shapes={"faces": {0: torch.export.Dim("faces", min=1)}},
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # a caller's own network may hold anything
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise TrainingError(
            f"{info.name}: PyTorch can't export the network ({first[:200]}); the weights are in best.safetensors"
        ) from error
    finally:
        logger.setLevel(level)
    if program is None:
        raise TrainingError("PyTorch exported nothing; update torch and onnxscript")
    return program.model_proto
