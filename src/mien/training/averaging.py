"""The moving average of a network: what is validated and kept."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, decay: float, step: int) -> None:
    """One step of the exponential average of weights and batch statistics.

    Its memory is shorter at the start, where there is little to remember. decay 0 copies the network.
    """
    keep = min(decay, (1 + step) / (10 + step)) if decay > 0 else 0.0
    for mean, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(now, 1 - keep)
        else:
            mean.copy_(now)


@torch.no_grad()
def measure_norms(network: nn.Module, norms: list[_BatchNorm], views: Iterable[Tensor]) -> None:
    """Re-measures the statistics of `norms` as their mean over batches of views (Izmailov et al. 2018).

    All else of the network works as in evaluation.
    """
    network.eval()
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's word for: the plain mean of all batches
        norm.train()
    for batch in views:
        network(batch)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    network.eval()
