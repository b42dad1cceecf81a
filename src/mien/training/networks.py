"""Networks as PyTorch modules: a trunk that turns faces into features, and one linear head per target."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.training.recipe import NetworkSettings


class Block(nn.Module):
    """A basic residual block (He et al. 2016) whose shortcut averages before it projects (ResNet-D)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.project = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(outputs)
        nn.init.zeros_(self.norm2.weight)  # a block begins as its shortcut: steadier at high learning rates

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        return F.relu(y + self.norm3(self.project(self.pool(x))), inplace=True)


class ExpressionNetwork(nn.Module):
    """Faces -> logits of every head.

    Input: float (N, C, H, W), normalised. Output: dict head name -> float (N, K).
    """

    def __init__(self, settings: NetworkSettings, channels: int, heads: Mapping[str, int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, settings.stem, 3, 1, 1, bias=False), nn.BatchNorm2d(settings.stem), nn.ReLU(True)
        )
        widths = (settings.stem, *settings.widths)
        self.blocks = nn.Sequential(*(Block(i, o, 2) for i, o in pairwise(widths)))
        self.dropout = nn.Dropout(settings.dropout)
        self.heads = nn.ModuleDict({name: nn.Linear(widths[-1], classes) for name, classes in heads.items()})
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """float (N, C, H, W) -> head name -> float (N, K)."""
        features = self.blocks(self.stem(x)).mean((2, 3))
        features = self.dropout(features)
        return {name: head(features) for name, head in self.heads.items()}


def count_parameters(network: nn.Module) -> int:
    """How many numbers of the network are trained."""
    return sum(p.numel() for p in network.parameters())


def normalise(faces: Tensor) -> Tensor:
    """uint8 or float faces of range 0-255 -> what every network takes: about zero mean and unit spread."""
    return (faces.to(torch.float32) - 127.5) / 63.75
