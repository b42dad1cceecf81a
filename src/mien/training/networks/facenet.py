"""FaceNet's Inception-ResNet-v1, and the three layouts of its published weights, trained on faces.

The network is that of D. Sandberg's `facenet` (after Szegedy et al. 2016, arXiv:1602.07261; Schroff et al. 2015,
arXiv:1503.03832). His names of convolutions give their kernels; all three layouts use them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import RecipeError
from mien.training.networks.trunk import Trunk, require_resolution
from mien.training.recipe_sections import NetworkSettings
from mien.training.weights.layout import Layout, Part, norm_parts

_SMALLEST = 75  # pixels; with fewer nothing is left to convolve in the last stage

_Branches = tuple[tuple[tuple[str, int], ...], ...]

_STEM = (("1a_3x3", 32), ("2a_3x3", 32), ("2b_3x3", 64), ("3b_1x1", 80), ("4a_3x3", 192), ("4b_3x3", 256))
_PADDED, _STRIDED = {"2b_3x3"}, {"1a_3x3", "4b_3x3"}

# Each branch: names and filters of its convolutions, as in `Branch_1/Conv2d_0b_3x3`.
_BLOCK35: _Branches = (
    (("1x1", 32),),
    (("0a_1x1", 32), ("0b_3x3", 32)),
    (("0a_1x1", 32), ("0b_3x3", 32), ("0c_3x3", 32)),
)
_BLOCK17: _Branches = ((("1x1", 128),), (("0a_1x1", 128), ("0b_1x7", 128), ("0c_7x1", 128)))
_BLOCK8: _Branches = ((("1x1", 192),), (("0a_1x1", 192), ("0b_1x3", 192), ("0c_3x1", 192)))
_MIXED_6A: _Branches = ((("1a_3x3", 384),), (("0a_1x1", 192), ("0b_3x3", 192), ("1a_3x3", 256)))
_MIXED_7A: _Branches = (
    (("0a_1x1", 256), ("1a_3x3", 384)),
    (("0a_1x1", 256), ("1a_3x3", 256)),
    (("0a_1x1", 256), ("0b_3x3", 256), ("1a_3x3", 256)),
)


class ConvNorm(nn.Module):
    """A convolution with the kernel in its name, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, name: str, *, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        high, wide = (int(side) for side in name.rpartition("_")[2].split("x"))
        padding = (high // 2, wide // 2) if padded else 0
        self.conv = nn.Conv2d(inputs, outputs, (high, wide), stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, ...)."""
        return F.relu(self.norm(self.conv(x)), inplace=True)


class InceptionBlock(nn.Module):
    """Branches side by side, joined by a 1x1 convolution and added to the input at a scale."""

    def __init__(self, channels: int, branches: _Branches, scale: float, *, last: bool = False) -> None:
        super().__init__()
        self.branches = _branches(channels, branches)
        self.join = nn.Conv2d(sum(branch[-1][1] for branch in branches), channels, 1)
        self.scale, self.last = scale, last

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same."""
        y: Tensor = x + self.scale * self.join(torch.cat([branch(x) for branch in self.branches], 1))
        return y if self.last else F.relu(y)


class Reduction(nn.Module):
    """Branches that end in a stride of two, beside max-pooling."""

    def __init__(self, channels: int, branches: _Branches) -> None:
        super().__init__()
        self.branches = _branches(channels, branches)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, channels + filters, (H - 1) // 2, (W - 1) // 2)."""
        return torch.cat([*(branch(x) for branch in self.branches), F.max_pool2d(x, 3, 2)], 1)


class FaceNet(Trunk):
    """Inception-ResNet-v1 with its embedding of 512 (`facenet`) or 128 numbers (`facenet-128`).

    The embedding is given as it is before it is scaled to length one, as FaceNet's own classifier takes it.
    """

    def __init__(self, settings: NetworkSettings, _channels: int, resolution: int) -> None:
        embedding = 128 if settings.kind == "facenet-128" else 512
        super().__init__(channels=3, features=embedding, mean=(127.5,), std=(128.0,))
        require_resolution(settings.kind, resolution, _SMALLEST)
        self.kind = settings.kind
        stem: list[nn.Module] = []
        before = 3
        for name, filters in _STEM:
            if name == "3b_1x1":
                stem.append(nn.MaxPool2d(3, 2))
            stride = 2 if name in _STRIDED else 1
            stem.append(ConvNorm(before, filters, name, stride=stride, padded=name in _PADDED))
            before = filters
        self.stem = nn.Sequential(*stem)
        self.blocks35 = nn.Sequential(*(InceptionBlock(256, _BLOCK35, 0.17) for _ in range(5)))
        self.blocks17 = nn.Sequential(
            Reduction(256, _MIXED_6A), *(InceptionBlock(896, _BLOCK17, 0.1) for _ in range(10))
        )
        self.blocks8 = nn.Sequential(
            Reduction(896, _MIXED_7A),
            *(InceptionBlock(1792, _BLOCK8, 0.2) for _ in range(5)),
            InceptionBlock(1792, _BLOCK8, 1.0, last=True),
        )
        self.bottleneck = nn.Linear(1792, embedding, bias=False)
        self.norm = nn.BatchNorm1d(embedding, eps=1e-3)
        self.initialise()

    def stages(self) -> tuple[nn.Module, ...]:
        """The stem, and the blocks at each of the three resolutions after it; the embedding counts to the last."""
        return (self.stem, self.blocks35, self.blocks17, self.blocks8)

    def forward(self, x: Tensor) -> Tensor:
        """float (N, 3, R, R) -> (N, features)."""
        maps = self.blocks8(self.blocks17(self.blocks35(self.stem(x))))
        embedding: Tensor = self.norm(self.bottleneck(maps.mean((2, 3))))
        return embedding

    def load_pretrained(self, name: str) -> None:
        """Raises RecipeError: no package carries them; published files are imported."""
        raise RecipeError(
            f"network.weights is '{name}', and no package carries {self.kind}'s; import a published file with  "
            f"mien import-weights FILE --network {self.kind} --out {self.kind}.safetensors  and name that"
        )

    def layouts(self) -> tuple[Layout, ...]:
        """That of facenet-pytorch, of the Keras conversion (`facenet_keras.h5`), and of Sandberg's checkpoints."""
        pytorch, keras, tensorflow = [], [], []
        for theirs, own in _convolutions():
            pytorch += [Part(f"{theirs.pytorch}.conv.weight", f"{own}.conv.weight")]
            pytorch += norm_parts(f"{theirs.pytorch}.bn", f"{own}.norm")
            keras += [Part(f"{theirs.keras}/kernel", f"{own}.conv.weight", _FROM_HWIO)]
            keras += _norm_of_tensorflow(f"{theirs.keras}_BatchNorm", f"{own}.norm")
            tensorflow += [Part(f"{theirs.tensorflow}/weights", f"{own}.conv.weight", _FROM_HWIO)]
            tensorflow += _norm_of_tensorflow(f"{theirs.tensorflow}/BatchNorm", f"{own}.norm")
        for theirs, own in _joins():
            pytorch += [Part(f"{theirs.pytorch}.{name}", f"{own}.{name}") for name in ("weight", "bias")]
            keras += [Part(f"{theirs.keras}/kernel", f"{own}.weight", _FROM_HWIO)]
            keras += [Part(f"{theirs.keras}/bias", f"{own}.bias")]
            tensorflow += [Part(f"{theirs.tensorflow}/weights", f"{own}.weight", _FROM_HWIO)]
            tensorflow += [Part(f"{theirs.tensorflow}/biases", f"{own}.bias")]
        pytorch += [Part("last_linear.weight", "bottleneck.weight"), *norm_parts("last_bn", "norm")]
        keras += [Part("Bottleneck/kernel", "bottleneck.weight", (1, 0))]
        keras += _norm_of_tensorflow("Bottleneck_BatchNorm", "norm")
        tensorflow += [Part(f"{_SCOPE}/Bottleneck/weights", "bottleneck.weight", (1, 0))]
        tensorflow += _norm_of_tensorflow(f"{_SCOPE}/Bottleneck/BatchNorm", "norm")
        return (
            Layout("facenet-pytorch", "pytorch", tuple(pytorch), expendable=(r"logits\.(weight|bias)$",)),
            Layout("keras", "keras", tuple(keras), expendable=(r"Logits/(kernel|bias)$",)),
            Layout("tensorflow", "tensorflow", tuple(tensorflow), expendable=_KEPT_BY_TENSORFLOW),
        )


_SCOPE = "InceptionResnetV1"
_FROM_HWIO = (3, 2, 0, 1)
_KEPT_BY_TENSORFLOW = (
    r"Logits/(weights|biases)(/.+)?$",  # the classifier of people
    r"centers$",  # of the centre loss
    r"(global_step|beta[12]_power|Variable)$",
    # Beside each variable: its average over the steps, which Sandberg's own evaluation does not read either, and what
    # the optimisers keep.
    r".+/(ExponentialMovingAverage|Adam(_1)?|Adagrad|Adadelta(_1)?|RMSProp(_1)?|Momentum)$",
)


@dataclass(frozen=True, slots=True)
class _Names:
    """A module's name in each of the layouts."""

    pytorch: str
    keras: str
    tensorflow: str

    def within(self, pytorch: str, keras: str, tensorflow: str) -> _Names:
        """The names of a module inside it, by what is added to its own."""
        return _Names(self.pytorch + pytorch, self.keras + keras, self.tensorflow + tensorflow)


def _blocks() -> Iterator[tuple[_Names, str, _Branches]]:
    """All blocks: their names, their own name here, and their branches."""
    for i in range(5):
        yield _Names(f"repeat_1.{i}", f"Block35_{i + 1}", f"{_SCOPE}/Repeat/block35_{i + 1}"), f"blocks35.{i}", _BLOCK35
    yield _Names("mixed_6a", "Mixed_6a", f"{_SCOPE}/Mixed_6a"), "blocks17.0", _MIXED_6A
    for i in range(10):
        names = _Names(f"repeat_2.{i}", f"Block17_{i + 1}", f"{_SCOPE}/Repeat_1/block17_{i + 1}")
        yield names, f"blocks17.{i + 1}", _BLOCK17
    yield _Names("mixed_7a", "Mixed_7a", f"{_SCOPE}/Mixed_7a"), "blocks8.0", _MIXED_7A
    for i in range(5):
        yield (
            _Names(f"repeat_3.{i}", f"Block8_{i + 1}", f"{_SCOPE}/Repeat_2/block8_{i + 1}"),
            f"blocks8.{i + 1}",
            _BLOCK8,
        )
    yield _Names("block8", "Block8_6", f"{_SCOPE}/Block8"), "blocks8.6", _BLOCK8


def _convolutions() -> Iterator[tuple[_Names, str]]:
    for i, (name, _) in enumerate(_STEM):
        names = _Names(f"conv2d_{name.partition('_')[0]}", f"Conv2d_{name}", f"{_SCOPE}/Conv2d_{name}")
        yield names, f"stem.{i if i < 3 else i + 1}"  # the pooling is between them
    for block, own, branches in _blocks():
        for b, branch in enumerate(branches):
            for j, (name, _) in enumerate(branch):
                in_branch = f".{j}" if len(branch) > 1 else ""
                names = block.within(
                    f".branch{b}{in_branch}", f"_Branch_{b}_Conv2d_{name}", f"/Branch_{b}/Conv2d_{name}"
                )
                yield names, f"{own}.branches.{b}.{j}"


def _joins() -> Iterator[tuple[_Names, str]]:
    """The 1x1 convolutions that join the branches of the residual blocks, with a bias and no batch norm."""
    for block, own, branches in _blocks():
        if branches not in (_MIXED_6A, _MIXED_7A):
            yield block.within(".conv2d", "_Conv2d_1x1", "/Conv2d_1x1"), f"{own}.join"


def _branches(channels: int, branches: _Branches) -> nn.ModuleList:
    built = nn.ModuleList()
    for branch in branches:
        layers, before = [], channels
        for name, filters in branch:
            strided = name.startswith("1a")
            layers.append(ConvNorm(before, filters, name, stride=2 if strided else 1, padded=not strided))
            before = filters
        built.append(nn.Sequential(*layers))
    return built


def _norm_of_tensorflow(theirs: str, own: str) -> Iterator[Part]:
    """Without a scale: it is off there (`scale=False`), and one here."""
    for there, here in (("beta", "bias"), ("moving_mean", "running_mean"), ("moving_variance", "running_var")):
        yield Part(f"{theirs}/{there}", f"{own}.{here}")
