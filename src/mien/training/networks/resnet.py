"""Residual networks for small faces: a 3x3 stem at full resolution, then stages of basic blocks, each at half."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from mien.training.networks.trunk import StagedTrunk
from mien.training.recipe_sections import NetworkSettings


class SqueezeExcite(nn.Module):
    """Scales each channel by a function of the pooled maps (Hu et al. 2018)."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        inner = max(4, channels // reduction)
        self.squeeze, self.excite = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        gate = self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        scaled: Tensor = x * gate.sigmoid()
        return scaled


class Block(nn.Module):
    """A basic residual block (He et al. 2016) whose shortcut averages before it projects (ResNet-D)."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, squeeze: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.squeeze = SqueezeExcite(outputs) if squeeze else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        nn.init.zeros_(self.norm2.weight)  # a block begins as its shortcut: steadier at high learning rates

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.squeeze(self.norm2(self.conv2(y)))
        return F.relu(y + self.shortcut(x), inplace=True)


class ResNet(StagedTrunk):
    """`stem` channels, then a stage for each of `widths`, with `depths` blocks each (one by default)."""

    def __init__(self, settings: NetworkSettings, channels: int, _resolution: int) -> None:
        super().__init__(channels=channels, features=settings.widths[-1])
        self.stem = nn.Sequential(
            nn.Conv2d(channels, settings.stem, 3, 1, 1, bias=False), nn.BatchNorm2d(settings.stem), nn.ReLU(True)
        )
        depths = settings.depths or (1,) * len(settings.widths)
        widths = (settings.stem, *settings.widths)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    Block(before, width, 2, squeeze=settings.squeeze),
                    *(Block(width, width, 1, squeeze=settings.squeeze) for _ in range(depth - 1)),
                )
                for (before, width), depth in zip(pairwise(widths), depths, strict=True)
            )
        )
        self.initialise()
