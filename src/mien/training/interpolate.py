"""Interpolates between the starting and the trained weights of a run (WiSE-FT: Wortsman et al. 2022, arXiv:2109.01903).

A fine-tuned network and its starting point are in one valley of the loss; a point between them often generalises
better than either. Which one is chosen on validation.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from mien.training.batches import Faces
from mien.training.finetune import load_start
from mien.training.loop import validate
from mien.training.networks import ExpressionNetwork
from mien.training.recipe import Recipe

SHARES = tuple(round(0.1 * i, 1) for i in range(10, -1, -1))
"""The shares of the new weights that are tried; of equal scores the larger share wins."""


def interpolate_with_start(recipe: Recipe, network: ExpressionNetwork, validation: Faces) -> float:
    """Moves `network` to the best of eleven points between it and `recipe.network.weights`; the share it keeps.

    Best is the highest mean validation accuracy of the heads, of those with no more than `interpolate_most` of the new
    weights. Batch statistics are averaged like weights.
    """
    first = copy.deepcopy(network)
    load_start(first, recipe, validation)
    before, after = first.state_dict(), copy.deepcopy(network.state_dict())
    shares, scores = [share for share in SHARES if share <= recipe.network.interpolate_most], {}
    for share in shares:
        _mix(network, before, after, share)
        row = validate(recipe, network, validation)
        scores[share] = float(np.mean([row[f"{head}_accuracy"] for head in validation.targets]))
    best = max(shares, key=lambda share: scores[share])
    _mix(network, before, after, best)
    return best


def _mix(network: nn.Module, before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], share: float) -> None:
    mixed = {k: torch.lerp(before[k], after[k], share) if after[k].dtype.is_floating_point else after[k] for k in after}
    network.load_state_dict(mixed)
