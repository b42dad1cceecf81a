"""mini-Xception: separable convolutions with residuals, small enough for anything (Arriaga et al. 2017)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from mien.training.networks.trunk import StagedTrunk
from mien.training.recipe_sections import NetworkSettings


class SeparableBlock(nn.Module):
    """Two separable convolutions and max-pooling to half the size, beside a projection that steps over pixels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.separable = nn.Sequential(
            *_separable(inputs, outputs), nn.ReLU(inplace=True), *_separable(outputs, outputs), nn.MaxPool2d(3, 2, 1)
        )
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / 2), ceil(W / 2))."""
        total: Tensor = self.separable(x) + self.shortcut(x)
        return total


class MiniXception(StagedTrunk):
    """mini-Xception of Arriaga et al. 2017, arXiv:1710.07557, with the widths of the code they published.

    The original ends with a 3x3 convolution to a map for each class, of which it takes the mean. Here that
    convolution's mean is split in two: the trunk takes the mean of the input of each of its nine taps, and the head
    weights those means. Function and parameters are the same, and any number of heads can share the trunk.
    """

    def __init__(self, _settings: NetworkSettings, channels: int, _resolution: int) -> None:
        widths = (8, 16, 32, 64, 128)
        super().__init__(channels=channels, features=widths[-1] * 9)
        self.stem = nn.Sequential()
        for before in (channels, 8):
            self.stem.extend((nn.Conv2d(before, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)))
        self.blocks = nn.Sequential(*(SeparableBlock(before, width) for before, width in pairwise(widths)))
        self.initialise("fan_in")

    def forward(self, x: Tensor) -> Tensor:
        """float (N, C, R, R) -> (N, features)."""
        maps: Tensor = self.blocks(self.stem(x))
        return F.avg_pool2d(F.pad(maps, (1, 1, 1, 1)), maps.shape[2:], 1).flatten(1)


def _separable(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, inputs, 3, 1, 1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    )
