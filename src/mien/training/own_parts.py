"""A caller's own parts of a training, each in place of the recipe's: network, augmentation, loss, sampler."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import RecipeError, TrainingError
from mien.training.augment import central
from mien.training.network_table import OWN
from mien.training.networks import ExpressionNetwork, build_network
from mien.training.networks.trunk import OwnTrunk
from mien.training.recipe import Recipe

PartsByName = dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class OwnParts:
    """What `mien.train` was given in place of a part of the recipe; None leaves the recipe's.

    network: a module, or a class or function that makes one, which then begins with weights by the recipe's seed.
    augment: uint8 (N, C, S, S) -> faces of range 0-255, (N, C, S, S) or (N, C, V, V). loss: logits (N, K), target
    shares (N, K) -> a mean, or a loss for each face (N,). sampler: the order of an epoch as indices, or a function that
    makes it from the labels int64 (N,) of the training faces.
    """

    network: nn.Module | Callable[[], nn.Module] | None = None
    augment: Callable[[Tensor], Tensor] | None = None
    loss: Callable[[Tensor, Tensor], Tensor] | None = None
    sampler: Iterable[int] | Callable[[Tensor], Iterable[int]] | None = None

    def names(self) -> PartsByName:
        """Part -> what it is called, of those that are given."""
        parts = {"network": self.network, "augment": self.augment, "loss": self.loss, "sampler": self.sampler}
        return {part: _name(own) for part, own in parts.items() if own is not None}

    def in_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe that names the own network, and starts from no weights of others."""
        if self.network is None:
            return recipe
        kind = OWN + _name(self.network)
        network = replace(recipe.network, kind=kind, weights="", grow=False, interpolate=False)
        return replace(recipe, network=network)

    def build(self, recipe: Recipe, heads: dict[str, int]) -> ExpressionNetwork:
        """The network with fresh, seeded weights on the CPU, the own one as its trunk."""
        if self.network is None:
            return build_network(recipe.network, recipe.input, heads, seed=recipe.seed)
        torch.manual_seed(recipe.seed)
        is_module = isinstance(self.network, nn.Module)
        module = copy.deepcopy(self.network) if is_module else self.network()
        if not isinstance(module, nn.Module):
            raise RecipeError(f"network: expected a torch.nn.Module, or what makes one; got {_name(module)}")
        trunk = OwnTrunk(module, _name(module), recipe.input.channels, recipe.input.enlarged)
        return ExpressionNetwork(trunk, recipe.network, recipe.input, heads)

    def views(self, faces: Tensor, view: int) -> Tensor:
        """Faces uint8 (N, C, S, S) as the own augmentation leaves them: float32 (N, C, view, view), 0-255."""
        assert self.augment is not None
        try:
            changed = self.augment(faces)
        except Exception as error:
            about = f"it is given uint8 of shape {tuple(faces.shape)}, 0-255"
            raise TrainingError(f"augment: {type(error).__name__}: {error}; {about}") from error
        sides = (faces.shape[-1], view)
        if not isinstance(changed, Tensor) or changed.shape[:2] != faces.shape[:2] or _side(changed) not in sides:
            got = f"shape {tuple(changed.shape)}" if isinstance(changed, Tensor) else type(changed).__name__
            expected = f"{tuple(faces.shape)}, or {view} pixels wide"
            raise TrainingError(f"augment: returned {got}; expected a tensor of shape {expected}")
        if changed.is_floating_point() and float(changed.max()) <= 1 < float(faces.max()):
            raise TrainingError("augment: returned values up to 1; expected the range 0-255, as it was given")
        return central(changed, view).to(torch.float32)

    def order(self, labels: Tensor, least: int) -> Tensor:
        """The own sampler's order of an epoch, int64 (least or more,)."""
        assert self.sampler is not None
        drawn: Any = self.sampler(labels) if callable(self.sampler) else self.sampler
        order = torch.as_tensor(list(drawn), dtype=torch.int64)
        if order.ndim != 1 or len(order) < least:
            raise TrainingError(f"sampler: gave {len(order)} faces for an epoch; expected {least} or more")
        if int(order.min()) < 0 or int(order.max()) >= len(labels):
            raise TrainingError(f"sampler: gave the index {int(order.max())}; there are {len(labels)} training faces")
        return order

    def seed(self, seed: int) -> None:
        """Seeds what own parts draw from, so that a resumed run draws what an undisturbed one does."""
        if self.augment is not None or self.sampler is not None:
            random.seed(seed)
            np.random.seed(seed)
        torch.manual_seed(seed)


NO_OWN = OwnParts()


@dataclass(frozen=True, slots=True, eq=False)
class OwnLoss:
    """An own loss with the interface of `losses.HeadLoss`: a sum over faces, and their number."""

    share: float
    function: Callable[[Tensor, Tensor], Tensor]

    def total(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss, summed over the faces that have a target."""
        known = target.sum(1) > 0
        n = int(known.sum())
        if n == 0:
            return logits.sum() * 0
        value = self.function(logits.float()[known], target[known])
        if not isinstance(value, Tensor) or value.shape not in ((), (n,)):
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise TrainingError(f"loss: returned {got}; expected a mean, or one value for each of {n} faces")
        return value.sum() if value.ndim else value * n

    def divisor(self, target: Tensor) -> Tensor:
        """How many faces have a target."""
        return (target.sum(1) > 0).sum().to(torch.float32)


def _side(faces: Tensor) -> int | None:
    return int(faces.shape[-1]) if faces.ndim == 4 and faces.shape[-1] == faces.shape[-2] else None


def _name(part: object) -> str:
    return str(getattr(part, "__name__", type(part).__name__)).replace("/", "-")
