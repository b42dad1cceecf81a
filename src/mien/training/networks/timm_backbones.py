"""Backbones of the package timm (Apache-2.0; weights have their own licences) as trunks, by any of its names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from mien.errors import MissingExtraError, RecipeError, TrainingError
from mien.training.before_torch import hub_answers, no_published_weights
from mien.training.network_table import TIMM, timm_name
from mien.training.networks.trunk import Trunk
from mien.training.recipe_sections import NetworkSettings
from mien.training.weights.layout import Layout, Part


class TimmTrunk(Trunk):
    """A network of timm up to its classifier, which pools as it was trained to.

    Colour in: grey faces are repeated. Normalised as its published weights ask. Transformers and others that give
    tokens instead of maps train like the rest, but have no class-activation maps.
    """

    def __init__(self, settings: NetworkSettings, _channels: int, resolution: int) -> None:
        self.kind, self.name = settings.kind, timm_name(settings.kind)
        net = _grouped(_created(_timm(), self.name, pretrained=False))
        about = net.pretrained_cfg
        features = _features(net, self.name, resolution, about["input_size"][-1])
        mean, std = (tuple(255.0 * value for value in about[key]) for key in ("mean", "std"))
        super().__init__(channels=3, features=features, mean=mean, std=std)
        self.net = net

    def stages(self) -> tuple[nn.Module, ...]:
        """The network's blocks, as it names them; single layers before, between and after count to their neighbours."""
        return tuple(_blocks(self.net))

    def forward(self, x: Tensor) -> Tensor:
        """float (N, 3, R, R) -> (N, features)."""
        features: Tensor = self.net(x)
        return features

    def load_pretrained(self, name: str) -> None:
        """`imagenet`: the weights that timm names first for the network, which it downloads once and checks.

        Raises RecipeError for another name, TrainingError if they are not available.
        """
        if name != "imagenet":
            raise RecipeError(f"network.weights is '{name}'; {self.kind} has 'imagenet' to offer, or give a file")
        try:
            with _no_retries():
                loaded = _grouped(_created(_timm(), self.name, pretrained=True))
        except Exception as error:  # each of the libraries between here and the hub fails in its own way
            raise no_published_weights(self.kind, _first_line(error)) from error
        self.net.load_state_dict(loaded.state_dict())

    def layouts(self) -> tuple[Layout, ...]:
        """That of timm's own state dicts."""
        net = _created(_timm(), self.name, pretrained=False)
        # Grouping changes the names of layers, not their order.
        parts = tuple(
            Part(theirs, f"net.{own}", optional=own.endswith("num_batches_tracked"))
            for theirs, own in zip(net.state_dict(), self.net.state_dict(), strict=True)
        )
        classifier = net.pretrained_cfg.get("classifier") or ()
        classifiers = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        expendable = tuple(rf"{re.escape(name)}\." for name in (*classifiers, "pre_logits", "AuxLogits"))
        return (Layout("timm", "pytorch", parts, expendable),)


def _timm() -> ModuleType:
    try:
        return _import_timm()
    except ImportError as error:
        raise MissingExtraError("backbones", "a network of timm") from error
    except Exception as error:  # of timm's own imports, each fails in its own way
        raise TrainingError(
            f"timm can't be imported ({_first_line(error)}); install timm, torch and torchvision of versions that "
            "belong together"
        ) from error


def _import_timm() -> ModuleType:
    """timm, also where torchvision's compiled operators are for another build of PyTorch.

    Then torchvision can't be imported, as it describes two operators that are not defined. timm calls neither.
    """
    try:
        return import_module("timm")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    return import_module("timm")


@contextmanager
def _no_retries() -> Iterator[None]:
    """Where the hub can't be reached, its cache alone is asked: six retries of each file would take a minute."""
    constants: Any = import_module("huggingface_hub.constants")
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = not hub_answers()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _created(timm: ModuleType, name: str, *, pretrained: bool) -> Any:  # timm's networks share no type
    """A network without classifier; VGGs also without the dense layers before it, 120 of their 138 million numbers."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise RecipeError(f"network.kind is '{TIMM}{name}', which timm {timm.__version__} does not know{hint}")
    if not name.startswith("vgg"):
        return timm.create_model(name, pretrained=pretrained, num_classes=0)
    width = 1.0 if pretrained else 1 / 4096  # of discarded weights, whose initialisation would take seconds
    net = timm.create_model(name, pretrained=pretrained, num_classes=0, mlp_ratio=width)
    net.pre_logits = nn.Identity()
    return net


def _grouped(net: Any) -> Any:
    """The network; where its layers are one long row (VGG), with a group for each resolution, to have stages."""
    layers = getattr(net, "features", None)
    if isinstance(layers, nn.Sequential) and isinstance(layers[0], nn.Conv2d) and isinstance(layers[-1], nn.MaxPool2d):
        net.features = nn.Sequential(*(nn.Sequential(*group) for group in _up_to_pooling(layers)))
    return net


def _up_to_pooling(layers: nn.Sequential) -> Iterator[list[nn.Module]]:
    group: list[nn.Module] = []
    for layer in layers:
        group.append(layer)
        if isinstance(layer, nn.MaxPool2d):
            yield group
            group = []


def _features(net: Any, name: str, resolution: int, made_for: int) -> int:
    """The number of features for faces of `resolution`. Raises RecipeError if the network can't take them."""
    try:
        with torch.no_grad():
            features = net.eval()(torch.zeros(1, 3, resolution, resolution))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise RecipeError(
            f"timm's {name} can't take {resolution} pixels ({_first_line(error)}); set input.resolution={made_for}, "
            f"which it was made for, or near it"
        ) from error
    net.train()
    if features.ndim != 2:
        raise RecipeError(f"timm's {name} gives {tuple(features.shape)} for a face; expected one row of features")
    return int(features.shape[1])


def _blocks(net: Any) -> Iterator[nn.Module]:
    """What timm takes feature maps from (`feature_info`), with its neighbours of the same kind: modules of several
    layers, in the container that holds them.
    """
    containers = {info["module"].rpartition(".")[0] for info in getattr(net, "feature_info", [])} or {""}
    found = False
    for name, child in net.named_children():
        for block in child.children() if name in containers else (child,) if "" in containers else ():
            if any(True for inner in block.children() for _ in inner.parameters()):
                found = True
                yield block
    if not found:
        yield net
