"""Networks as PyTorch modules: any trunk of the table, with a head on it for each target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mien.errors import RecipeError
from mien.training.network_table import OWN, row_of
from mien.training.networks.trunk import Trunk
from mien.training.recipe_sections import InputSettings, NetworkSettings


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """What a network costs. macs: multiply-adds for one face. stages: how many its trunk has, for `finetune.stages`."""

    parameters: int
    macs: int
    stages: int


class ExpressionNetwork(nn.Module):
    """Faces -> logits of every head.

    Input: float (N, C, V, V) of range 0-255: enlarging, repeating grey and normalising are the network's own.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: Trunk, settings: NetworkSettings, input: InputSettings, heads: Mapping[str, int]) -> None:
        super().__init__()
        self.trunk, self.scale, self.least_contrast = trunk, input.enlarged / input.view, input.least_contrast
        self.register_buffer("mean", torch.tensor(trunk.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(trunk.std).view(1, -1, 1, 1), persistent=False)
        layers: list[nn.Module] = []
        width = trunk.features
        if settings.dense:
            layers.append(nn.Linear(width, settings.dense))
            width = settings.dense
        if settings.head_norm:
            layers.append(nn.BatchNorm1d(width))
        if settings.dense:
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Dropout(settings.dropout))
        self.neck = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({name: nn.Linear(width, classes) for name, classes in heads.items()})

    def forward(self, faces: Tensor) -> dict[str, Tensor]:
        """float (N, C, V, V) of range 0-255 -> head name -> logits, float (N, K)."""
        features = self.neck(self.trunk(self.prepare(faces)))
        return {name: head(features) for name, head in self.heads.items()}

    def prepare(self, faces: Tensor) -> Tensor:
        """The trunk's input: stretched and enlarged by the recipe, grey repeated for colour networks, normalised."""
        if self.least_contrast:
            faces = _stretched(faces, self.least_contrast)
        side = round(faces.shape[-1] * self.scale)
        if side != faces.shape[-1]:
            faces = F.interpolate(faces, size=(side, side), mode="bilinear", align_corners=False)
        if self.trunk.channels != faces.shape[1]:
            faces = torch.cat([faces] * (self.trunk.channels // faces.shape[1]), 1)  # ncnn has no repeat
        return (faces - self.mean) / self.std


def _stretched(faces: Tensor, least: float) -> Tensor:
    """Faces with a standard deviation of at least this; the gain moves their mean towards the middle grey likewise."""
    mean = faces.mean((1, 2, 3), keepdim=True)
    centred = faces - mean
    spread = torch.sqrt((centred * centred).mean((1, 2, 3), keepdim=True))
    share = (spread.clamp(min=1) / least).clamp(max=1)
    return centred / share + 127.5 + (mean - 127.5) * share


def build_network(
    settings: NetworkSettings, input: InputSettings, heads: Mapping[str, int], *, seed: int
) -> ExpressionNetwork:
    """The network of the settings with fresh, seeded weights, on the CPU.

    Raises RecipeError where it can't take the faces, in training or outside.
    """
    torch.manual_seed(seed)
    trunk = build_trunk(settings, channels=input.channels, resolution=input.enlarged)
    network = ExpressionNetwork(trunk, settings, input, heads)
    if input.seen != input.view:
        _require_any_side(network, settings.kind, input)
    return network


def _require_any_side(network: ExpressionNetwork, kind: str, input: InputSettings) -> None:
    """Raises RecipeError for a network with layers for one size of map alone."""
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, input.channels, input.seen, input.seen))
    except RuntimeError as error:
        raise RecipeError(f"network.kind '{kind}' takes faces of one size alone; leave input.test_view out") from error
    network.train()


def build_trunk(settings: NetworkSettings, *, channels: int, resolution: int) -> Trunk:
    """A trunk of the table. channels, resolution: of the faces that it will see. Raises RecipeError."""
    if settings.kind.startswith(OWN):
        raise RecipeError(f"network.kind is '{settings.kind}': give that module to  mien.train(network=...)")
    module, _, name = row_of(settings.kind).builder.partition(":")
    trunk: Trunk = getattr(import_module(f"{__name__}.{module}"), name)(settings, channels, resolution)
    return trunk


def count_parameters(network: nn.Module) -> int:
    """How many numbers of the network are trained."""
    return sum(p.numel() for p in network.parameters())


def count_macs(network: ExpressionNetwork, input: InputSettings) -> int:
    """Multiply-adds of convolutions and matrix products for one face, counted while the network runs."""
    device, training = next(network.parameters()).device, network.training
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, input.channels, input.seen, input.seen, device=device))
    network.train(training)
    return int(counter.get_total_flops()) // 2


def network_cost(settings: NetworkSettings, input: InputSettings, heads: Mapping[str, int]) -> NetworkCost:
    """What the network of the settings costs, found without making or moving a single weight."""
    with torch.device("meta"):
        network = build_network(settings, input, heads, seed=0)
        return NetworkCost(count_parameters(network), count_macs(network, input), len(network.trunk.stages()))
