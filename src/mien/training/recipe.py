"""The training recipe: one tree of frozen dataclasses, read from TOML (a shipped name or a path)."""

from __future__ import annotations

import fnmatch
import os
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from mien.config import flat_items, from_table, to_toml, toml_value, with_overrides
from mien.crop_spec import CropSpec
from mien.errors import RecipeError
from mien.reporting import log_warning
from mien.suggestions import did_you_mean
from mien.training.ladder_steps import ladder_recipes
from mien.training.network_table import NETWORKS
from mien.training.recipe_sections import (
    LEVELS,
    AugmentSettings,
    DataSettings,
    DistillSettings,
    FinetuneSettings,
    InputSettings,
    LossSettings,
    NetworkSettings,
    OptimizerSettings,
    TargetSettings,
    check,
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a training run computes, apart from the data.

    Attributes:
        seed: All randomness of a run follows from it; 0 or more.
        crop: How faces are cropped from photographs to look like the training data. It does not affect training; it
            is stored in the model file.
        licence: The terms of the weights, then, after a semicolon, the terms of what they were trained from. It is
            stored in the model file.
    """

    name: str
    description: str = ""
    licence: str = "MIT; trained on data for research use"
    seed: int = 0
    input: InputSettings = field(default_factory=InputSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    data: DataSettings = field(default_factory=DataSettings)
    targets: TargetSettings = field(default_factory=TargetSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    distill: DistillSettings = field(default_factory=DistillSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    crop: CropSpec = field(default_factory=CropSpec)

    def __repr__(self) -> str:
        return f"Recipe({self.name!r}, network={self.network.kind!r}, epochs={self.optimizer.epochs})"

    def __post_init__(self) -> None:
        check(bool(self.name) and "/" not in self.name, "name: expected a name without '/'")
        check(self.seed >= 0, f"seed is {self.seed}; expected 0 or more")
        check(
            not self.data.labels or self.targets.votes == 0,
            "data.labels is set, and targets.votes makes a head of all expressions; set one of them to nothing",
        )


def recipe_names() -> tuple[str, ...]:
    """The names of the recipes that come with mien, the ladder's steps among them, sorted."""
    files = (p.name for p in resources.files("mien.recipes").iterdir())
    return tuple(sorted([*(n.removesuffix(".toml") for n in files if n.endswith(".toml")), *ladder_recipes()]))


def list_recipes() -> tuple[Recipe, ...]:
    """The recipes that come with mien, by name.

    Examples:
        >>> import mien
        >>> next(recipe.network.kind for recipe in mien.list_recipes() if recipe.name == "mien-small")
        'resnet'
    """
    return tuple(load_recipe(name) for name in recipe_names())


def matching_recipes(patterns: Iterable[str]) -> tuple[str, ...]:
    """The shipped recipes whose names match one of the patterns (`ladder-*`); all without patterns.

    Raises:
        RecipeError: A pattern matches no name.
    """
    names, wanted = recipe_names(), list(patterns)
    for pattern in wanted:
        if not fnmatch.filter(names, pattern):
            raise RecipeError(f"no recipe '{pattern}'; {did_you_mean(pattern, names)}shipped: {', '.join(names)}")
    return tuple(n for n in names if not wanted or any(fnmatch.fnmatchcase(n, w) for w in wanted))


def recipe_text(name: str) -> str:
    """A shipped recipe as TOML, to print or to copy; raises RecipeError for an unknown name.

    It is whole, also where the shipped one extends another: a copy shows what it may change, and stays as it is when
    mien's recipes change.
    """
    text = "" if name in ladder_recipes() else _shipped_text(name)
    if text and "extends" not in tomllib.loads(text):
        return text
    comments = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    return comments + to_toml({key: value for key, value in recipe_table(name).items() if key != "name"})


def _shipped_text(name: str) -> str:
    names = recipe_names()
    if name not in names:
        hint = did_you_mean(name, names)
        raise RecipeError(f"no recipe '{name}'; {hint}shipped: {', '.join(names)}; or give a TOML file")
    return (resources.files("mien.recipes") / f"{name}.toml").read_text("utf-8")


def load_recipe(
    name_or_path: str,
    overrides: Iterable[str] = (),
    *,
    defaults: Iterable[str] = (),
    warn: Callable[[str], None] = lambda _line: None,
) -> Recipe:
    """Loads a shipped recipe by name, or a TOML file, with those that it extends, and applies `key=value` overrides.

    Lowering `optimizer.epochs` also shortens settings that last a number of epochs, unless an override sets them.
    The recipe's [search] is left out; `mien tune` reads it.

    Args:
        name_or_path: A shipped recipe's name, or the path of a TOML file.
        overrides: `key=value` pairs, such as `optimizer.epochs=20`.
        defaults: More such pairs, which count as the recipe's own.
        warn: Called with a line for each setting that was shortened.

    Raises:
        RecipeError: The recipe is not found or not TOML, or has unknown keys or impossible values.
    """
    overrides = tuple(overrides)
    own = with_overrides(recipe_table(name_or_path), _with_fit_off(defaults))
    table = _fit_to_epochs(with_overrides(own, _with_fit_off(overrides)), own, given_keys(overrides), warn)
    try:
        return _checked(table, name_or_path)
    except RecipeError as error:
        raise _at_its_file(error, name_or_path) from error


def given_keys(overrides: Iterable[str]) -> frozenset[str]:
    """The keys that `key=value` pairs set."""
    return frozenset(pair.partition("=")[0].strip() for pair in overrides)


def recipe_with(
    recipe: str | Path | Recipe, settings: Mapping[str, Any], given: Collection[str]
) -> tuple[Recipe, list[str]]:
    """A recipe by its name or file with changed settings, and the keys that the user set; a `Recipe` as it is.

    Raises RecipeError as `load_recipe`, and for settings of a `Recipe`.
    """
    if not isinstance(recipe, Recipe):
        changes = [f"{key}={toml_value(value)}" for key, value in flat_items(settings)]
        return load_recipe(str(recipe), changes, warn=log_warning), [*given, *given_keys(changes)]
    if settings:
        raise RecipeError(f"{next(iter(settings))}: settings need a recipe's name or file; use dataclasses.replace")
    return recipe, list(given)


def _fit_to_epochs(
    table: dict[str, Any], own: Mapping[str, Any], given: Collection[str], warn: Callable[[str], None]
) -> dict[str, Any]:
    """A copy of a recipe's table in which durations in epochs are shortened with `optimizer.epochs`.

    own: the recipe before the user's changes, whose proportions are kept. given: the keys that the user set. Values
    that the user set stay, and those that a recipe sets together with its epochs. warn: receives each change.
    """
    now, before = _table(table, "optimizer"), _table(own, "optimizer")
    defaults = OptimizerSettings()
    wanted, usual = (optimizer.get("epochs", defaults.epochs) for optimizer in (now, before))
    if not all(isinstance(n, int) and n >= 1 for n in (wanted, usual)):
        return table  # refused where the values are checked
    fitted = {key: dict(value) if isinstance(value, Mapping) else value for key, value in table.items()}
    of = f"{wanted} epoch{'s' if wanted > 1 else ''} in all"

    def shorten(section: str, key: str, value: float | int, fit: float | int) -> None:
        fitted.setdefault(section, {})[key] = fit
        warn(f"{section}.{key} {value:g} -> {fit:g}: {of}")

    warm, left_out = now.get("warmup_epochs", defaults.warmup_epochs), "warmup_epochs" not in before
    if (
        "optimizer.warmup_epochs" not in given
        and ("optimizer.epochs" in given or left_out)
        and _is_number(warm)
        and warm >= wanted
    ):
        shorten("optimizer", "warmup_epochs", warm, round(wanted * min(0.5, warm / usual), 3))
    alone, stages = _table(table, "finetune").get("head_epochs", 0), _table(table, "finetune").get("stages", -1)
    if (
        "optimizer.epochs" in given
        and "finetune.head_epochs" not in given
        and _is_number(alone)
        and alone >= wanted
        and alone > 0
        and stages != 0
    ):
        shorten("finetune", "head_epochs", alone, min(wanted - 1, int(wanted * alone / usual)))
    return fitted


def _table(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = table.get(name, {})
    return found if isinstance(found, Mapping) else {}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _with_fit_off(overrides: Iterable[str]) -> tuple[str, ...]:
    """The overrides; one that sets the size of the faces also keeps it from being fitted to the data."""
    given = tuple(overrides)
    keys = given_keys(given)
    return (*given, "input.fit=false") if "input.size" in keys and "input.fit" not in keys else given


def recipe_table(name_or_path: str) -> dict[str, Any]:
    """A recipe as a parsed TOML table with its name, on top of those that it extends; values are not checked.

    Raises RecipeError if one of them is not found or not TOML, or if they extend each other in a circle.
    """
    table: dict[str, Any] = {}
    for _, own in reversed(_chain(name_or_path)):
        sizes = own.get("input")
        if isinstance(sizes, dict) and "size" in sizes:  # what names a size means it
            table = _merged(table, {"input": {"fit": False}})
        table = _merged(table, own)
    table.setdefault("name", Path(name_or_path).stem)
    return table


def _chain(name_or_path: str) -> list[tuple[str, dict[str, Any]]]:
    """The recipe's own table, that of the recipe which it `extends`, and so on; each with its name or path."""
    found: list[tuple[str, dict[str, Any]]] = []
    place = name_or_path
    while place:
        before = [name for name, _ in found]
        if Path(place).resolve() in (Path(name).resolve() for name in before):
            raise RecipeError(f"{before[-1]}: 'extends' makes a circle: {' -> '.join([*before, place])}; remove one")
        try:
            table = _own_table(place)
        except RecipeError as error:
            if not before:
                raise
            raise RecipeError(f"{before[-1]}: 'extends': {error}") from error
        found.append((place, table))
        parent = table.pop("extends", "")
        if not isinstance(parent, str):
            raise RecipeError(f"{place}: 'extends' is {parent!r}; expected one recipe's name or TOML file")
        here = parent.endswith(".toml")
        place = os.path.normpath(Path(place).parent / Path(parent).expanduser()) if here else parent
    return found


def _merged(table: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the table with another's keys on top, section by section."""
    sections = {k: {**table[k], **v} for k, v in own.items() if isinstance(v, dict) and isinstance(table.get(k), dict)}
    return {**table, **own, **sections}


def _own_table(name_or_path: str) -> dict[str, Any]:
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.is_file():
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: can't read the recipe ({error}); give a TOML file or a shipped name") from error
    elif name_or_path in (steps := ladder_recipes()):
        return dict(steps[name_or_path])
    else:
        text = _shipped_text(name_or_path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{name_or_path}: not valid TOML: {error}") from error


def _checked(table: Mapping[str, Any], source: str) -> Recipe:
    settings = {key: value for key, value in table.items() if key != "search"}
    return from_table(Recipe, _with_level(_with_presets(settings), source), source=source)


def _at_its_file(error: RecipeError, name_or_path: str) -> RecipeError:
    """The error with the file that holds the key: the first, from the farthest, with which it occurs."""
    table: dict[str, Any] = {"name": name_or_path}
    for source, own in reversed(_chain(name_or_path)):
        table = _merged(table, own)
        try:
            _checked(table, source)
        except RecipeError as found:
            if str(found).removeprefix(source) == str(error).removeprefix(name_or_path):
                return found
    return error


def network_settings(kind: str) -> NetworkSettings:
    """The default settings of a network in the table. Raises RecipeError for an unknown name."""
    network = _with_presets({"network": {"kind": kind}})["network"]
    return from_table(NetworkSettings, network, source="mien networks", prefix="network.")


def _with_presets(table: dict[str, Any]) -> dict[str, Any]:
    """A copy of the table whose [network] is completed from the network's row."""
    network = table.get("network")
    kind = network.get("kind") if isinstance(network, dict) else None
    if not isinstance(network, dict) or not isinstance(kind, str) or kind not in NETWORKS:
        return table
    return table | {"network": dict(NETWORKS[kind].settings) | network}


def _with_level(table: dict[str, Any], source: str) -> dict[str, Any]:
    """A copy of the table in which `augment.level` is replaced by its keys."""
    augment = table.get("augment")
    if not isinstance(augment, dict) or "level" not in augment:
        return table
    level = augment["level"]
    if level not in LEVELS:
        raise RecipeError(f"{source}: 'augment.level' is {level!r}; allowed: {', '.join(LEVELS)}")
    return table | {"augment": asdict(LEVELS[level]) | {k: v for k, v in augment.items() if k != "level"}}


def same_training(one: Recipe, other: Recipe) -> bool:
    """Whether two recipes take the same steps. Descriptions, and what happens after the last step, are ignored."""

    def steps(recipe: Recipe) -> Recipe:
        network = replace(recipe.network, interpolate=False, interpolate_most=1.0)
        return replace(recipe, description="", crop=CropSpec(), network=network)

    return steps(one) == steps(other)
