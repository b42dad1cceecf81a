"""Class-activation maps from a training run's weights (Grad-CAM: Selvaraju et al. 2017, arXiv:1610.02391)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import TrainingError
from mien.model_file import ModelFile
from mien.training.augment import central
from mien.training.checkpoint import load_weights
from mien.training.loop import BEST, network_on
from mien.training.networks import ExpressionNetwork
from mien.training.recipe import Recipe, load_recipe
from mien.training.run import INTERPOLATED

SMALLEST_MAP = 5
"""The map uses the deepest block whose features have at least this many rows; smaller maps are too coarse."""


class RunMaps:
    """A finished run as a maker of maps: `maps` fits `mien.evaluation.explain.explain_faces`.

    Of a run with two heads, the votes head is explained. `model_file` is its file.
    """

    def __init__(self, run: Path) -> None:
        """Raises TrainingError where the folder holds no finished run."""
        run = Path(run)
        weights = next((run / name for name in (INTERPOLATED, BEST) if (run / name).exists()), None)
        infos = {path: ModelFile(path).info for path in sorted(run.glob("*.onnx"))}
        if weights is None or not infos or not (run / "recipe.toml").exists():
            raise TrainingError(f"{run}: no finished run; expected recipe.toml, {BEST} and a model file")
        self.model_file = max(infos, key=lambda path: infos[path].target == "votes")
        self.head = infos[self.model_file].target
        self.recipe = load_recipe(str(run / "recipe.toml"))
        heads = {info.target: len(info.labels) for info in infos.values()}
        network = network_on(self.recipe, heads, torch.device("cpu"))
        load_weights(network, weights)
        self.network = network.eval()

    def maps(self, faces: NDArray[np.uint8], targets: NDArray[np.int64]) -> NDArray[np.float32]:
        """Grad-CAM of the head, as `grad_cam`."""
        return grad_cam(self.recipe, self.network, self.head, faces, targets)


def grad_cam(
    recipe: Recipe, network: ExpressionNetwork, head: str, faces: NDArray[np.uint8], targets: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Where the target class finds its evidence: float32 (N, H, W), 0 and above.

    faces: uint8 (N, S, S, C) as the model file takes them. targets: int64 (N,), an index into the head's labels.
    The border that the network does not see is 0.
    """
    views = central(torch.from_numpy(np.ascontiguousarray(faces.transpose(0, 3, 1, 2))), recipe.input.seen)
    logits, features = _with_features(network, head, views.to(torch.float32))
    chosen = logits[torch.arange(len(faces)), torch.from_numpy(targets)].sum()
    (gradient,) = torch.autograd.grad(chosen, features)
    weights = gradient.mean((2, 3), keepdim=True)
    maps = F.relu((weights * features).sum(1, keepdim=True)).detach()
    view, size = recipe.input.seen, recipe.input.size
    maps = F.interpolate(maps, size=(view, view), mode="bilinear", align_corners=False)
    before = (size - view) // 2
    maps = F.pad(maps, (before, size - view - before) * 2)
    return np.asarray(maps[:, 0].numpy(), np.float32)


def _with_features(network: ExpressionNetwork, head: str, views: Tensor) -> tuple[Tensor, Tensor]:
    """A head's logits, and the output of the deepest stage that is still fine enough."""
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        outputs.append(output.clone())  # what follows may change the original in place
        return outputs[-1]

    hooks = [stage.register_forward_hook(keep) for stage in network.trunk.stages()]
    try:
        logits = network(views)[head]
    finally:
        for hook in hooks:
            hook.remove()
    if any(output.ndim != 4 or output.shape[2] != output.shape[3] for output in outputs):
        raise TrainingError("this network's stages give tokens, not maps (N, C, H, W); class-activation needs maps")
    fine = [output for output in outputs if output.shape[2] >= SMALLEST_MAP]
    return logits, (fine or outputs)[-1 if fine else 0]
