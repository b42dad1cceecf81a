"""Which parts of a network are trained, and at which rate: starting weights, frozen stages, layer-wise decay.

Parts are numbered by the trunk's stages, 0, 1, ...; the head (all that comes after the trunk) has the next number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.releases import find_model
from mien.training.augment import central
from mien.training.batches import Faces
from mien.training.checkpoint import start_from
from mien.training.networks import ExpressionNetwork
from mien.training.recipe import Recipe
from mien.training.recipe_sections import PRETRAINED, FinetuneSettings, OptimizerSettings
from mien.training.start_from_model import folded_norms, grown, network_of_model, start_from_model, unfold_norms

_SOME_FACES = 512  # on this many, at most, a model file's network is measured before it goes on learning


def load_start(network: ExpressionNetwork, recipe: Recipe, faces: Faces) -> None:
    """Fills a network with the weights that the recipe's `network.weights` names.

    faces: some that it will see, and what its heads' classes are called, for weights out of a model file.
    Raises RecipeError, TrainingError, ModelFileError, MissingExtraError.
    """
    weights = recipe.network.weights
    if weights in PRETRAINED:
        network.trunk.load_pretrained(weights)
    elif weights.endswith(".onnx") or find_model(weights):
        views = _some_views(recipe, faces)
        smaller = network_of_model(weights, recipe.input, faces.labels) if recipe.network.grow else network
        start_from_model(smaller.to(views.device), weights, views, faces.labels)
        if smaller is not network:
            network.load_state_dict(grown(network, smaller.state_dict()))
    elif weights:
        start_from(network, *map(Path, weights.split(",")), grow=recipe.network.grow)
        if folded_norms(network):
            views = _some_views(recipe, faces)
            unfold_norms(network.to(views.device), views)


def _some_views(recipe: Recipe, faces: Faces) -> Tensor:
    some = torch.linspace(0, len(faces.images) - 1, min(len(faces.images), _SOME_FACES)).long()
    return central(faces.images[some], recipe.input.view).to(torch.float32)


def part_numbers(network: ExpressionNetwork) -> dict[nn.Module, int]:
    """The part that each module belongs to. Modules of the trunk outside its stages count to the stage before them, in
    the order in which the trunk names them; those before the first, to the first.
    """
    stages = network.trunk.stages()
    inside = {module: number for number, stage in enumerate(stages) for module in stage.modules()}
    numbers: dict[nn.Module, int] = {}
    current = 0
    for module in network.trunk.modules():
        current = inside.get(module, current)
        numbers[module] = current
    return {module: numbers.get(module, len(stages)) for module in network.modules()}


def first_learning(settings: FinetuneSettings, stages: int, epoch: int) -> int:
    """The first part that is trained in an epoch, counted from 0; `stages` itself if only the head is."""
    if epoch < settings.head_epochs:
        return stages
    return 0 if settings.stages < 0 else max(0, stages - settings.stages)


def set_learning(network: ExpressionNetwork, settings: FinetuneSettings, epoch: int) -> list[_BatchNorm]:
    """Sets a network to training, its frozen parts apart; returns the batch norms whose statistics move.

    Frozen parameters get no gradient, and so neither steps nor decay; frozen batch norms keep their statistics.
    """
    first = first_learning(settings, len(network.trunk.stages()), epoch)
    network.train()
    moving = []
    for module, number in part_numbers(network).items():
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(number >= first)
            if number < first:
                parameter.grad = None  # of the step before, had there been one
        if isinstance(module, _BatchNorm):
            module.train(number >= first)
            if number >= first:
                moving.append(module)
    return moving


def parameter_groups(
    network: ExpressionNetwork, optimizer: OptimizerSettings, finetune: FinetuneSettings
) -> list[dict[str, Any]]:
    """Groups for PyTorch's optimisers. Norms and biases are not decayed; `factor` is the group's share of the rate."""
    head = len(network.trunk.stages())
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for module, number in part_numbers(network).items():
        factor = finetune.layer_decay ** (head - number)
        for parameter in module.parameters(recurse=False):
            decay = optimizer.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "factor": factor}
        for (factor, decay), parameters in groups.items()
    ]
