"""Re-inserts batch norms that a published file has folded into the convolutions before them.

A norm from such a file is the identity. In training, where a norm uses the batch's statistics, it would change every
map and ruin the network. With the statistics of some faces, and a weight and a bias that compensate, the outputs stay
the same and training can continue.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def folded_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """The norms without statistics: means of 0 and variances of 1, as in a file, or before any training."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d) and _is_folded(module)]


@torch.no_grad()
def unfold_norms(network: nn.Module, faces: Tensor) -> None:
    """Gives the `folded_norms` of a network the statistics of `faces`, and the weights and biases that undo them.

    faces: the network's input, some hundred faces of the training data, on its device.
    """
    norms = folded_norms(network)
    maps: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        maps[norm] = torch.var_mean(inputs[0], (0, 2, 3), correction=0)

    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    training = network.training
    network.eval()(faces)
    network.train(training)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        variance, mean = maps[norm]
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        norm.bias.add_(scale * mean)


def _is_folded(norm: nn.BatchNorm2d) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return False
    return not bool(mean.any()) and bool(((variance - 1).abs() <= 2 * norm.eps).all())
