"""dlib's residual network for faces (D. King 2017), after He et al. 2016, arXiv:1512.03385.

It was trained to identify people, on three million faces (FaceScrub, VGG and others; weights in the public domain).
The package `@vladmandic/face-api` (MIT) carries the weights in eight bits.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mien.training.networks.trunk import StagedTrunk, require_resolution
from mien.training.recipe_sections import NetworkSettings
from mien.training.weights.layout import Layout, Part

_SMALLEST = 104  # pixels; with fewer nothing is left to convolve in the last block

_STAGES = (
    (32, ("conv32_1", "conv32_2", "conv32_3")),
    (64, ("conv64_down", "conv64_1", "conv64_2", "conv64_3")),
    (128, ("conv128_down", "conv128_1", "conv128_2")),
    (256, ("conv256_down", "conv256_1", "conv256_2")),
)
"""Width of each, and its blocks by their published names; `_down` ones halve the maps. One more comes at the end."""


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut without weights: means of four pixels and zeros for new channels."""

    def __init__(self, inputs: int, outputs: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 2 if down else 1, 0 if down else 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W), or (N, outputs, H // 2, W // 2) where it halves them."""
        y: Tensor = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.down:
            x = F.avg_pool2d(x, 2)
            # The convolution is not padded: of even sides it makes one row and column less than the mean does.
            y = F.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.relu(x + y)


class DlibResNet(StagedTrunk):
    """A stem to a quarter of the resolution, four stages of residual blocks, and one more that halves: 256 features."""

    def __init__(self, settings: NetworkSettings, _channels: int, resolution: int) -> None:
        super().__init__(channels=3, features=256, mean=(122.782, 117.001, 104.298), std=(256.0,))
        require_resolution(settings.kind, resolution, _SMALLEST)
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 7, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)
        )
        before, stages = 32, []
        for width, names in _STAGES:
            stage = []
            for name in names:
                stage.append(Block(before, width, down=name.endswith("_down")))
                before = width
            stages.append(nn.Sequential(*stage))
        stages.append(nn.Sequential(Block(before, before, down=True)))
        self.blocks = nn.Sequential(*stages)
        self.initialise("fan_out")

    def layouts(self) -> tuple[Layout, ...]:
        """That of face-api, where a scale and a bias are what is left of each batch norm."""
        parts = _conv_scale("conv32_down", "stem.0", "stem.1")
        names = [*(names for _, names in _STAGES), ("conv256_down_out",)]
        for s, stage in enumerate(names):
            for b, name in enumerate(stage):
                for n in (1, 2):
                    parts += _conv_scale(f"{name}/conv{n}", f"blocks.{s}.{b}.conv{n}", f"blocks.{s}.{b}.norm{n}")
        # Biases before the scale are zero to a thousandth; `fc` turns features into a description of the person.
        return (Layout("face-api", "tensorflowjs", tuple(parts), expendable=(r"conv\w+(/conv\d)?/conv/bias$", r"fc$")),)


def _conv_scale(theirs: str, own_conv: str, own_norm: str) -> list[Part]:
    return [
        Part(f"{theirs}/conv/filters", f"{own_conv}.weight", (3, 2, 0, 1)),
        Part(f"{theirs}/scale/weights", f"{own_norm}.weight"),
        Part(f"{theirs}/scale/biases", f"{own_norm}.bias"),
    ]
