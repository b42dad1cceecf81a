"""Starts a residual network as a copy of a smaller one: wider, deeper, with squeeze-excitation, and the same outputs.

Net2Net (Chen et al. 2015, arXiv:1511.05641) splits channels. Here, new channels are added without effect: a new channel
has fresh weights, and later old channels have a weight of zero for it. New blocks start as their shortcut. So the
network has the outputs of the smaller one, and everything new has a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from mien.errors import TrainingError
from mien.training.networks import ExpressionNetwork
from mien.training.networks.resnet import ResNet, SqueezeExcite

_GATE = 2.0  # bias of a new gate: it passes sigmoid(2) = 0.88 and can still be trained. The norm before it compensates.


def grown(network: ExpressionNetwork, smaller: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of `network`, freshly initialised as it is, with that of a smaller one inside.

    smaller: the state of a residual network with the same stages, each as wide and deep as `network`'s or less. What it
    lacks stays fresh. Raises TrainingError for any other network, with a tensor's name.
    """
    if not isinstance(network.trunk, ResNet):
        raise TrainingError("network.grow is for the residual networks of mien (kind 'resnet')")
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name, tensor in smaller.items():
        if name not in own or not _fits_into(tensor, own[name]):
            shape = list(own[name].shape) if name in own else "no such tensor"
            raise TrainingError(
                f"network.grow: {name} is {list(tensor.shape)} in network.weights and {shape} in the recipe's network; "
                "expected a residual network that is smaller in each part"
            )
        own[name] = _inside(tensor, own[name])
    for name, module in network.named_modules():
        if isinstance(module, SqueezeExcite) and f"{name}.excite.weight" not in smaller:
            norm = name.removesuffix("squeeze") + "norm2"
            own[f"{name}.excite.weight"].zero_()
            own[f"{name}.excite.bias"].fill_(_GATE)
            for part in ("weight", "bias"):
                own[f"{norm}.{part}"] *= 1 + math.exp(-_GATE)
    return own


def _fits_into(tensor: Tensor, larger: Tensor) -> bool:
    """Whether outputs and inputs are no more than the larger one's, and kernels equal."""
    if tensor.ndim != larger.ndim or tensor.shape[2:] != larger.shape[2:]:
        return False
    return all(a <= b for a, b in zip(tensor.shape, larger.shape, strict=True))


def _inside(tensor: Tensor, larger: Tensor) -> Tensor:
    """`larger` with `tensor` as its first outputs, which take nothing from inputs that `tensor` has not."""
    if tensor.ndim > 1:
        larger[: len(tensor)] = 0
    larger[tuple(slice(size) for size in tensor.shape)] = tensor
    return larger
