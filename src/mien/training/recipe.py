"""The training recipe: one frozen dataclass tree, read from TOML (a shipped name or a path)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Literal

from mien.config import from_table, with_overrides
from mien.crop import CropSpec
from mien.errors import RecipeError


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, slots=True)
class InputSettings:
    """Faces as the model file takes them (`size` square), of which the network sees the central `view` pixels."""

    size: int = 48
    view: int = 44
    channels: Literal[1, 3] = 1

    def __post_init__(self) -> None:
        _check(16 <= self.size <= 512, f"size is {self.size}; expected 16 to 512")
        _check(16 <= self.view <= self.size, f"view is {self.view}; expected 16 to size ({self.size})")


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """A residual network: a 3x3 stem at full resolution, then one block per width, each at half the resolution.

    `weights`: a safetensors file to start from, of a network that is equal but for its heads; empty starts afresh.
    `interpolate`: after training, take the best point between those weights and the new ones, by validation accuracy.
    """

    kind: Literal["resnet"] = "resnet"
    stem: int = 16
    widths: tuple[int, ...] = (48, 96, 128, 256)
    dropout: float = 0.2
    weights: str = ""
    interpolate: bool = False

    def __post_init__(self) -> None:
        _check(self.stem >= 1, f"stem is {self.stem}; expected at least 1")
        _check(1 <= len(self.widths) <= 5, f"widths has {len(self.widths)} entries; expected 1 to 5")
        _check(all(w >= 1 for w in self.widths), "widths: each must be at least 1")
        _check(0 <= self.dropout < 1, f"dropout is {self.dropout}; expected 0 <= dropout < 1")
        _check(bool(self.weights) or not self.interpolate, "interpolate is true, but weights names no file")


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """What is learnt. Each weight above 0 makes a head on the shared trunk, and a model file of its own.

    `label`: the data set's labels, smoothed, and blended with the vote distribution by `label_blend`.
    `votes`: the distribution of FER+ votes over eight expressions.
    """

    label: float = 1.0
    votes: float = 0.0
    label_smoothing: float = 0.1
    label_blend: float = 0.0

    def __post_init__(self) -> None:
        _check(self.label >= 0 and self.votes >= 0, "label and votes: expected weights of 0 or more")
        _check(self.label + self.votes > 0, "label and votes are both 0; at least one must be learnt")
        _check(0 <= self.label_smoothing < 1, f"label_smoothing is {self.label_smoothing}; expected 0 to below 1")
        _check(0 <= self.label_blend <= 1, f"label_blend is {self.label_blend}; expected 0 to 1")


@dataclass(frozen=True, slots=True)
class DistillSettings:
    """Soft outputs of other model files as targets: each teacher teaches the head that has its labels."""

    teachers: tuple[str, ...] = ()
    weight: float = 0.5
    views: int = 8

    def __post_init__(self) -> None:
        _check(0 <= self.weight <= 1, f"weight is {self.weight}; expected 0 to 1")
        _check(self.views >= 1, f"views is {self.views}; expected at least 1")


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """Optimiser and schedule: linear warm-up, then a cosine to zero."""

    kind: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 128
    epochs: int = 40
    warmup_epochs: float = 3.0
    ema: float = 0.998
    sam_rho: float = 0.0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        _check(self.learning_rate > 0, f"learning_rate is {self.learning_rate}; expected above 0")
        _check(0 <= self.momentum < 1, f"momentum is {self.momentum}; expected 0 to below 1")
        _check(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}; expected 0 or more")
        _check(self.batch_size >= 2, f"batch_size is {self.batch_size}; expected at least 2")
        _check(self.epochs >= 1, f"epochs is {self.epochs}; expected at least 1")
        _check(0 <= self.warmup_epochs <= self.epochs, f"warmup_epochs is {self.warmup_epochs}; expected 0 to epochs")
        _check(0 <= self.ema < 1, f"ema is {self.ema}; expected 0 to below 1")
        _check(self.sam_rho >= 0, f"sam_rho is {self.sam_rho}; expected 0 or more")
        _check(self.clip_norm >= 0, f"clip_norm is {self.clip_norm}; expected 0 or more")


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """Random changes of each face, drawn anew in every batch. Shares are of the face's side; 0 turns one off."""

    flip: bool = True
    rotate_deg: float = 12.0
    scale: float = 0.15
    shift: float = 0.12
    brightness: float = 0.2
    contrast: float = 0.3
    erase: float = 0.3
    mixup: float = 0.0
    off_for_last: float = 0.0

    def __post_init__(self) -> None:
        _check(0 <= self.rotate_deg <= 180, f"rotate_deg is {self.rotate_deg}; expected 0 to 180")
        for name in ("scale", "shift", "brightness", "contrast"):
            _check(0 <= getattr(self, name) < 1, f"{name} is {getattr(self, name)}; expected 0 to below 1")
        _check(0 <= self.erase <= 1, f"erase is {self.erase}; expected a probability")
        _check(self.mixup >= 0, f"mixup is {self.mixup}; expected 0 or more")
        _check(0 <= self.off_for_last <= 1, f"off_for_last is {self.off_for_last}; expected a share of the epochs")


LEVELS: dict[str, AugmentSettings] = {
    "low": AugmentSettings(rotate_deg=5.0, scale=0.05, shift=0.05, brightness=0.0, contrast=0.0, erase=0.0),
    "mid": AugmentSettings(erase=0.0),
    "high": AugmentSettings(rotate_deg=20.0, scale=0.25, shift=0.16, brightness=0.3, contrast=0.5, erase=0.5),
}
"""How strong augmentation may be, in three steps, to look at and to begin a recipe with."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a training run computes, apart from the data.

    `crop` changes nothing in training: it says how faces must be cut from photographs to look like the training data,
    and travels in the model file.
    """

    name: str
    description: str = ""
    seed: int = 0
    input: InputSettings = field(default_factory=InputSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    targets: TargetSettings = field(default_factory=TargetSettings)
    distill: DistillSettings = field(default_factory=DistillSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    crop: CropSpec = field(default_factory=CropSpec)

    def __post_init__(self) -> None:
        _check(bool(self.name) and "/" not in self.name, "name: expected a name without '/'")


def shipped_recipes() -> dict[str, str]:
    """The recipes that come with mien: name -> TOML text."""
    folder = resources.files("mien.recipes")
    return {p.name.removesuffix(".toml"): p.read_text("utf-8") for p in folder.iterdir() if p.name.endswith(".toml")}


def load_recipe(name_or_path: str, overrides: Iterable[str] = ()) -> Recipe:
    """A shipped recipe by name, or one from a TOML file, with `key=value` overrides applied.

    Raises RecipeError for a recipe that is not found, is no TOML, or has unknown keys or impossible values.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.is_file():
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: can't read the recipe ({error}); give a TOML file or a shipped name") from error
    else:
        shipped = shipped_recipes()
        if name_or_path not in shipped:
            raise RecipeError(f"no recipe '{name_or_path}'; shipped: {', '.join(sorted(shipped))}; or give a TOML file")
        text = shipped[name_or_path]
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{name_or_path}: not valid TOML: {error}") from error
    table.setdefault("name", path.stem)
    return from_table(Recipe, with_overrides(table, overrides), source=name_or_path)


def same_training(one: Recipe, other: Recipe) -> bool:
    """Whether two recipes take the same steps: all that only describes, or comes after the last step, aside."""

    def steps(recipe: Recipe) -> Recipe:
        return replace(recipe, description="", crop=CropSpec(), network=replace(recipe.network, interpolate=False))

    return steps(one) == steps(other)
