"""Starts a network from a model file of mien: its convolutions are matched by order and shape, its labels by name.

In the file each batch norm is folded into the convolution before it. A norm without statistics would change every map
in training; `unfold_norms` gives it those of some faces, and a weight and a bias that compensate. `grown` starts from a
smaller network: Net2Net (Chen et al. 2015, arXiv:1511.05641) splits channels; here new ones are added without effect,
and new blocks start as their shortcut, so that outputs are the smaller one's and everything new has a gradient.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from mien.config import from_table
from mien.errors import TrainingError
from mien.model_file import ModelFile, load_model
from mien.training.augment import central
from mien.training.networks import ExpressionNetwork, build_network
from mien.training.networks.resnet import ResNet, SqueezeExcite
from mien.training.recipe_sections import InputSettings, NetworkSettings

_Convolution = tuple[NDArray[np.float32], NDArray[np.float32]]


def network_of_model(
    model: str | Path, input: InputSettings, labels: Mapping[str, tuple[str, ...]]
) -> ExpressionNetwork:
    """The network that a model file's recipe describes, with fresh weights and a head for each of `labels`.

    Raises ModelFileError; TrainingError for a file without a recipe, as of an ensemble; RecipeError for one of a
    later version.
    """
    opened = load_model(model)
    settings = from_table(NetworkSettings, _recipe_of(opened)["network"], source=str(opened.path), prefix="network.")
    return build_network(settings, input, {head: len(names) for head, names in labels.items()}, seed=0)


def network_with_heads(
    models: Mapping[str, tuple[ModelFile, tuple[str, ...]]], faces: Tensor
) -> tuple[ExpressionNetwork, int]:
    """One network with the trained heads of model files that share its trunk, and the central pixels that it sees.

    models: head -> the file and the order of the head's labels. faces: uint8 (N, C, S, S), some hundred. Its logits are
    calibrated as the files are. Raises TrainingError for a file without a recipe or with layers before its head.
    """
    labels = {head: names for head, (_, names) in models.items()}
    first = next(iter(models.values()))[0]
    input = from_table(InputSettings, _recipe_of(first)["input"], source=str(first.path), prefix="input.")
    network = network_of_model(first.path, input, labels)
    views = central(faces, input.view).to(torch.float32)
    start_from_model(network.to(views.device), first.path, views)
    for head, (model, names) in models.items():
        if not isinstance(network.heads[head], nn.Linear) or len(network.neck) > 1:
            raise TrainingError(f"{model.path}: has layers before its head, and can't teach each view")
        _fill_heads(network, model, {head: names})
        with torch.no_grad():
            for parameter in network.heads[head].parameters():
                parameter.div_(model.info.temperature)
    return network, input.seen


def _recipe_of(opened: ModelFile) -> dict[str, Any]:
    if not opened.info.recipe:
        raise TrainingError(f"{opened.path}: has no recipe inside, so what network it holds is not known")
    return tomllib.loads(opened.info.recipe)


def start_from_model(
    network: ExpressionNetwork, model: str | Path, faces: Tensor, labels: Mapping[str, tuple[str, ...]] | None = None
) -> None:
    """Fills the trunk of `network` from a model file, a shipped one by name; the neck stays as it is.

    faces: float (N, C, V, V) of range 0-255, some hundred faces of the training data, on its device. labels: of the
    network's heads; rows of the file's labels are copied, and others stay as they are. A head `label`
    beside `votes` takes the rows of `NAME-fer2013.onnx` beside the file, the other head of its training.
    Works where every convolution of the trunk has a batch norm behind it or a bias, as in mien's residual networks.
    Raises ModelFileError; TrainingError where the file has another network.
    """
    opened = load_model(model)
    path = opened.path
    found = _convolutions(path)
    other = TrainingError(f"{path}: has another network than the recipe's; its convolutions don't fit")
    pairs = _pairs(network.trunk)
    # Within a block, PyTorch and the file may order convolutions differently; equal shapes keep their order.
    for convolution, norm in pairs:
        shape = tuple(convolution.weight.shape)
        place = next((i for i, (weight, _) in enumerate(found) if weight.shape == shape), None)
        if place is None:
            raise other
        weight, bias = found.pop(place)
        with torch.no_grad():
            convolution.weight.copy_(torch.from_numpy(weight))
            if norm is None:
                assert convolution.bias is not None
                convolution.bias.copy_(torch.from_numpy(bias))
                continue
            if norm.running_mean is None or norm.running_var is None:
                raise other
            norm.weight.fill_(1.0)
            norm.bias.copy_(torch.from_numpy(bias))
            norm.running_mean.zero_()
            norm.running_var.fill_(1.0 - norm.eps)  # so that the norm divides by 1
    if found or not pairs:
        raise other
    unfold_norms(network, faces)
    labels = labels or {}
    _fill_heads(network, opened, labels)
    other_head = path.with_name(f"{path.stem}-fer2013.onnx")
    if {"label", "votes"} <= labels.keys() and other_head.is_file():
        _fill_heads(network, load_model(other_head), {"label": labels["label"]})


def _fill_heads(network: ExpressionNetwork, opened: ModelFile, labels: Mapping[str, tuple[str, ...]]) -> None:
    """Copies a row of the file's head for each label in both, if no layer is between trunk and head."""
    tensors = {t.name.removesuffix("_half"): t for t in onnx.load(opened.path).graph.initializer}
    (weight, bias) = (
        next(
            (numpy_helper.to_array(t) for name, t in tensors.items() if ".heads." in name and name.endswith(end)), None
        )
        for end in (".weight", ".bias")
    )
    if weight is None or bias is None or opened.info.members:
        return
    for head, names in labels.items():
        linear = network.heads[head]
        if not isinstance(linear, nn.Linear) or linear.in_features != weight.shape[1]:
            continue
        for row, label in enumerate(names):
            if label in opened.info.labels:
                known = opened.info.labels.index(label)
                with torch.no_grad():
                    linear.weight[row] = torch.from_numpy(weight[known].astype(np.float32))
                    linear.bias[row] = float(bias[known])


def _pairs(trunk: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | None]]:
    """Convolutions in order, each with the batch norm behind it, or None where it has a bias instead."""
    convolutions = [m for m in trunk.modules() if isinstance(m, nn.Conv2d)]
    norms = iter([m for m in trunk.modules() if isinstance(m, nn.BatchNorm2d)])
    pairs = [(c, next(norms, None) if c.bias is None else None) for c in convolutions]
    fitting = all(c.bias is not None if n is None else n.num_features == c.out_channels for c, n in pairs)
    return pairs if fitting and next(norms, None) is None else []


def _convolutions(path: Path) -> list[_Convolution]:
    """Weights (out, in, h, w) and biases (out,) of all convolutions in a file, in order, float32.

    A file leaves biases out that are zero.
    """
    graph = onnx.load(path).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    casts = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}

    def values(name: str) -> NDArray[np.float32]:
        array = numpy_helper.to_array(tensors[casts.get(name, name)])
        return np.array(array, np.float32)

    try:
        weights = [(values(n.input[1]), n.input[2:]) for n in graph.node if n.op_type == "Conv"]
        return [(w, values(bias[0]) if bias else np.zeros(len(w), np.float32)) for w, bias in weights]
    except (KeyError, IndexError) as error:
        raise TrainingError(f"{path}: its convolutions can't be read ({error})") from error


_GATE = 2.0  # bias of a new gate: it passes sigmoid(2) = 0.88 and can still be trained. The norm before it compensates.


def grown(network: ExpressionNetwork, smaller: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of `network`, freshly initialised as it is, with that of a smaller one inside.

    smaller: the state of a residual network with the same stages, each as wide and deep as `network`'s or less. What it
    lacks stays fresh. Raises TrainingError for any other network, with a tensor's name.
    """
    if not isinstance(network.trunk, ResNet):
        raise TrainingError("network.grow is for the residual networks of mien (kind 'resnet')")
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name, tensor in smaller.items():
        if name not in own or not _fits_into(tensor, own[name]):
            shape = list(own[name].shape) if name in own else "no such tensor"
            raise TrainingError(
                f"network.grow: {name} is {list(tensor.shape)} in network.weights and {shape} in the recipe's network; "
                "expected a residual network that is smaller in each part"
            )
        own[name] = _inside(tensor, own[name])
    for name, module in network.named_modules():
        if isinstance(module, SqueezeExcite) and f"{name}.excite.weight" not in smaller:
            norm = name.removesuffix("squeeze") + "norm2"
            own[f"{name}.excite.weight"].zero_()
            own[f"{name}.excite.bias"].fill_(_GATE)
            for part in ("weight", "bias"):
                own[f"{norm}.{part}"] *= 1 + math.exp(-_GATE)
    return own


def _fits_into(tensor: Tensor, larger: Tensor) -> bool:
    """Whether outputs and inputs are no more than the larger one's, and kernels equal."""
    if tensor.ndim != larger.ndim or tensor.shape[2:] != larger.shape[2:]:
        return False
    return all(a <= b for a, b in zip(tensor.shape, larger.shape, strict=True))


def _inside(tensor: Tensor, larger: Tensor) -> Tensor:
    """`larger` with `tensor` as its first outputs, which take nothing from inputs that `tensor` has not."""
    if tensor.ndim > 1:
        larger[: len(tensor)] = 0
    larger[tuple(slice(size) for size in tensor.shape)] = tensor
    return larger


def folded_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """The norms without statistics: means of 0 and variances of 1, as in a file, or before any training."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d) and _is_folded(module)]


@torch.no_grad()
def unfold_norms(network: nn.Module, faces: Tensor) -> None:
    """Gives the `folded_norms` of a network the statistics of `faces`, and the weights and biases that undo them.

    faces: the network's input, some hundred faces of the training data, on its device.
    """
    norms = folded_norms(network)
    maps: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        maps[norm] = torch.var_mean(inputs[0], (0, 2, 3), correction=0)

    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    training = network.training
    network.eval()(faces)
    network.train(training)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        variance, mean = maps[norm]
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        norm.bias.add_(scale * mean)


def _is_folded(norm: nn.BatchNorm2d) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return False
    return not bool(mean.any()) and bool(((variance - 1).abs() <= 2 * norm.eps).all())
