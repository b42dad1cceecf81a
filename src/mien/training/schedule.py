"""Learning rates and early stopping, as pure functions of the settings and the history: nothing here has a state,
so a resumed run continues exactly. And the moving average of a network, which is validated and kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.training.recipe_sections import OptimizerSettings

_RISE = 0.3  # one-cycle: the share of the steps that lead up to the highest rate
_START, _END = 1 / 25, 1e-4 / 25  # one-cycle: the first and the last rate, as shares of the highest


def learning_rate(
    settings: OptimizerSettings, step: int, steps_per_epoch: int, validation_losses: Sequence[float] = ()
) -> float:
    """The rate of step number `step`, from 0 on.

    validation_losses: of the epochs that are done; only `plateau` uses them. Cosines reach zero with the last step.
    Sources: cosine and warm restarts Loshchilov & Hutter 2017, one-cycle Smith 2018.
    """
    total = settings.epochs * steps_per_epoch
    if settings.schedule == "one-cycle":
        return settings.learning_rate * _one_cycle(step / max(1, total))
    warm = settings.warmup_epochs * steps_per_epoch
    if step < warm:
        return settings.learning_rate * (step + 1) / (warm + 1)
    share = min(1.0, (step - warm) / max(1.0, total - warm))
    if settings.schedule == "constant":
        return settings.learning_rate
    if settings.schedule == "plateau":
        return settings.learning_rate * math.pow(settings.plateau_factor, plateaus(settings, validation_losses))
    if settings.schedule == "warm-restarts":
        share = _within_restart(share, settings.restarts)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def plateaus(settings: OptimizerSettings, validation_losses: Sequence[float]) -> int:
    """How often the best loss became `plateau_patience` epochs old; each time the count restarts."""
    best, age, found = math.inf, 0, 0
    for loss in validation_losses:
        if loss < best:
            best, age = loss, 0
        else:
            age += 1
        if age == settings.plateau_patience:
            age, found = 0, found + 1
    return found


def should_stop(settings: OptimizerSettings, scores: Sequence[float]) -> bool:
    """Whether the best of the epochs' scores is `stop_after` epochs old."""
    if not settings.stop_after or not scores:
        return False
    return len(scores) - 1 - scores.index(max(scores)) >= settings.stop_after


def _one_cycle(share: float) -> float:
    """From `_START` up to 1 and down to `_END`, both as half a cosine."""
    if share < _RISE:
        return _between(_START, 1.0, share / _RISE)
    return _between(1.0, _END, min(1.0, (share - _RISE) / (1 - _RISE)))


def _between(first: float, last: float, share: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))


def _within_restart(share: float, restarts: int) -> float:
    """The progress of the current cosine; each of `restarts` is twice as long as the one before."""
    place = share * ((1 << restarts) - 1)
    number = min(restarts - 1, int(math.log2(place + 1)))
    return (place + 1) / (1 << number) - 1


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
