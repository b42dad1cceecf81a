"""How a published file names the tensors of a trunk, and the check that each of them is accounted for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from mien.errors import TrainingError

FileFormat = Literal["pytorch", "keras", "tensorflow", "tensorflowjs"]
"""Who wrote a file: PyTorch (.pt, .pth, or safetensors), Keras (.h5), TensorFlow 1 (a checkpoint's parts), or
TensorFlow.js (.json)."""

_LISTED = 20  # names of one kind in an error; a file of another network has hundreds


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file: its shape, and how to read it. Nothing is read before the shape is known to be right."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor: its name in the file, its name in the trunk, and the order that the file's axes must be put in.

    axes: as for `Tensor.permute`; empty where the order is the trunk's. optional: whether files may lack it.
    """

    theirs: str
    own: str
    axes: tuple[int, ...] = ()
    optional: bool = False


def norm_parts(theirs: str, own: str) -> Iterator[Part]:
    """The parts of a batch norm, both of PyTorch; the counter of batches is younger than some files."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        yield Part(f"{theirs}.{name}", f"{own}.{name}")
    yield Part(f"{theirs}.num_batches_tracked", f"{own}.num_batches_tracked", optional=True)


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout of published weights of a trunk.

    expendable: regular expressions, matched from the start of a name, of tensors to leave out: classifiers, and the
    state of optimisers and averages.
    """

    name: str
    format: FileFormat
    parts: tuple[Part, ...]
    expendable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Matched:
    """What of a file went into a trunk, and what was left out: names as in the file, in their order there."""

    used: tuple[str, ...]
    left_out: tuple[str, ...]


def fill(trunk: nn.Module, stored: Mapping[str, Stored], layout: Layout, path: Path) -> Matched:
    """Fills a fresh trunk with a file's tensors, each accounted for by name and shape.

    What files may lack stays as it is, and what no part of the layout speaks of: norms begin as ones that do nothing.

    Raises TrainingError that lists what is missing, surplus, of another shape, or not a number; the trunk is unchanged.
    """
    own = trunk.state_dict()
    parts = {part.theirs: part for part in layout.parts}
    expendable = re.compile("|".join(f"(?:{pattern})" for pattern in layout.expendable) or r"(?!)")
    left_out = tuple(name for name in stored if name not in parts and expendable.match(name))
    missing = [name for name, part in parts.items() if name not in stored and not part.optional]
    surplus = [name for name in stored if name not in parts and not expendable.match(name)]
    misshapen = [
        f"{name} ({_by(stored[name].shape)}, expected {_by(shape)})"
        for name, part in parts.items()
        if name in stored and (shape := _shape_there(own[part.own], part)) != stored[name].shape
    ]
    if missing or surplus or misshapen:
        found = (("missing", missing), ("surplus", surplus), ("of another shape", misshapen))
        what = "; ".join(f"{len(names)} {word}: {_listing(names)}" for word, names in found if names)
        raise TrainingError(f"{path}: not these weights in the layout '{layout.name}': {what}")

    filled = {}
    for name, part in parts.items():
        if name in stored:
            tensor = stored[name].read()
            filled[part.own] = (tensor.permute(part.axes) if part.axes else tensor).to(own[part.own].dtype).contiguous()
    broken = [part.theirs for part in layout.parts if not torch.isfinite(filled.get(part.own, torch.zeros(1))).all()]
    if broken:
        raise TrainingError(f"{path}: {len(broken)} hold values that are no numbers: {_listing(broken)}")
    for name in own.keys() - filled.keys():
        filled[name] = own[name]
    trunk.load_state_dict(filled)
    return Matched(tuple(name for name in stored if name in parts), left_out)


def _shape_there(own: Tensor, part: Part) -> tuple[int, ...]:
    """The shape that the file must have: the trunk's, with its axes put back in the file's order."""
    if not part.axes:
        return tuple(own.shape)
    shape = [0] * own.ndim
    for here, there in enumerate(part.axes):
        shape[there] = own.shape[here]
    return tuple(shape)


def _listing(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape) or "one number"
