"""Plain convolutional networks: blocks of convolutions with pooling between them, then dense layers.

They differ in their designs alone, which are in one table. Beside them mini-Xception (Arriaga et al. 2017), of
separable convolutions with residuals.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from mien.training.networks.trunk import StagedTrunk, Trunk, require_resolution
from mien.training.recipe_sections import NetworkSettings


@dataclass(frozen=True, slots=True)
class Block:
    """Convolutions of `width` square filters, pooling, dropout. kernel, pool: sides in pixels; pool 1 is none.

    padded: whether convolutions keep the map's size, or go only where the whole filter fits. average: pool by the mean,
    not the maximum.
    """

    width: int
    kernel: int = 3
    convolutions: int = 1
    padded: bool = True
    pool: int = 2
    average: bool = False
    dropout: float = 0.0

    def side(self, side: int) -> int:
        """The side of the output map for an input side; below 1 if nothing is left."""
        return (side if self.padded else side - self.convolutions * (self.kernel - 1)) // self.pool


@dataclass(frozen=True, slots=True)
class Design:
    """Blocks, then dense layers of this many units with `dropout` between them. `norm`: batch norm after each layer.

    What comes after the last dense layer is the recipe's: its dropout, its heads.
    """

    blocks: tuple[Block, ...]
    dense: tuple[int, ...]
    norm: bool = False
    dropout: float = 0.0

    def side(self, side: int) -> int:
        """The side of the last map."""
        for block in self.blocks:
            side = block.side(side)
        return side


DESIGNS = {
    "cnn2": Design((Block(32), Block(64)), (128,)),
    "cnn2-bn": Design((Block(32), Block(64)), (128,), norm=True),
    "cnn2-bn-dropout": Design((Block(32, dropout=0.25), Block(64, dropout=0.25)), (128,), norm=True),
    "cnn3-wide": Design(
        (
            Block(128, kernel=9, padded=False, dropout=0.5),
            Block(256, kernel=6, padded=False, dropout=0.5),
            Block(512, kernel=3, padded=False, dropout=0.5),
        ),
        (128, 64),
    ),
    "cnn3-avg": Design((Block(64, pool=4, average=True), Block(32, average=True), Block(16, pool=1)), (64,)),
    "cnn4": Design(
        (Block(64, dropout=0.25), Block(128, dropout=0.25), Block(256, dropout=0.25), Block(512, dropout=0.25)),
        (256, 512),
        norm=True,
        dropout=0.25,
    ),
    "vgg8": Design(
        (Block(64, convolutions=2), Block(128, convolutions=2), Block(256, convolutions=2)), (256,), norm=True
    ),
}


class PlainNetwork(Trunk):
    """The network whose design has the settings' `kind`; its last map is flattened for the dense layers.

    Raises RecipeError for a resolution of which the last block would leave nothing.
    """

    def __init__(self, settings: NetworkSettings, channels: int, resolution: int) -> None:
        design = DESIGNS[settings.kind]
        super().__init__(channels=channels, features=design.dense[-1])
        least = next(side for side in range(1, 513) if design.side(side) >= 1)
        require_resolution(settings.kind, resolution, least)
        self.blocks = nn.Sequential()
        for block in design.blocks:
            self.blocks.append(_convolutions(block, channels, norm=design.norm))
            channels = block.width
        self.dense = nn.Sequential(nn.Flatten())
        width = channels * design.side(resolution) ** 2
        for i, units in enumerate(design.dense):
            if i:
                self.dense.append(nn.Dropout(design.dropout))
            self.dense.append(nn.Linear(width, units, bias=not design.norm))
            if design.norm:
                self.dense.append(nn.BatchNorm1d(units))
            self.dense.append(nn.ReLU(inplace=True))
            width = units
        # Glorot's initialisation (2010), as where these networks come from. Those without batch norms train faster from
        # it than from He's, which is too strong for faces: their pixels are strongly correlated (cnn3-wide, 240 steps).
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def stages(self) -> tuple[nn.Module, ...]:
        """One per block."""
        return tuple(self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        """float (N, C, R, R) -> (N, features)."""
        features: Tensor = self.dense(self.blocks(x))
        return features


def _convolutions(block: Block, channels: int, *, norm: bool) -> nn.Sequential:
    layers = nn.Sequential()
    for i in range(block.convolutions):
        before = block.width if i else channels
        padding = block.kernel // 2 if block.padded else 0
        layers.append(nn.Conv2d(before, block.width, block.kernel, padding=padding, bias=not norm))
        if norm:
            layers.append(nn.BatchNorm2d(block.width))
        layers.append(nn.ReLU(inplace=True))
    if block.pool > 1:
        layers.append(nn.AvgPool2d(block.pool) if block.average else nn.MaxPool2d(block.pool))
    if block.dropout:
        layers.append(nn.Dropout(block.dropout))
    return layers


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
