"""The [search] table of a recipe: which keys `mien tune` may change, and to what.

[search]
"optimizer.learning_rate" = { low = 1e-3, high = 0.3, log = true }
"network.dropout" = { low = 0.0, high = 0.5, step = 0.1 }
"augment.level" = ["low", "mid", "high"]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mien.config import toml_value, with_overrides
from mien.errors import RecipeError
from mien.training.recipe import load_recipe, recipe_table


@dataclass(frozen=True, slots=True)
class Choice:
    """A key with a choice of values. options: as TOML, so that lists can be values too."""

    key: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A key with a range of numbers, including both ends. log: sampled on a logarithmic scale.

    step: between the numbers; None for any. If both ends are whole numbers, so is the value.
    """

    key: str
    low: float
    high: float
    whole: bool
    log: bool = False
    step: float | None = None


Search = tuple[Choice | Range, ...]


def read_search(recipe: str, overrides: tuple[str, ...] = ()) -> Search:
    """The search space of a recipe, a shipped one or a TOML file.

    Raises RecipeError where it has none, for a key that recipes don't have, and for a value that one can't have.
    """
    table = with_overrides(recipe_table(recipe), overrides)
    search = table.get("search")
    if not isinstance(search, Mapping) or not search:
        raise RecipeError(
            f"{recipe}: nothing to tune: no [search] table; add one to a copy of it, for example  "
            '[search]  "optimizer.learning_rate" = { low = 1e-3, high = 0.1, log = true }'
        )
    space = tuple(_entry(recipe, key, value) for key, value in _leaves(search, ""))
    for entry in space:
        ends = entry.options if isinstance(entry, Choice) else tuple(_number(entry, v) for v in (entry.low, entry.high))
        for value in ends:  # a value that no recipe can have should not wait for its trial
            load_recipe(recipe, [*overrides, f"{entry.key}={value}"])
    return space


def as_override(entry: Choice | Range, value: float | str) -> str:
    """What was taken for a key, as the `key=value` of a recipe; fractions to six digits."""
    return f"{entry.key}={value if isinstance(entry, Choice) else _number(entry, float(value))}"


def _number(entry: Range, value: float) -> str:
    return str(int(value)) if entry.whole else toml_value(float(f"{value:.6g}"))


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Keys with dots, however the TOML nests them."""
    for name, value in table.items():
        if isinstance(value, Mapping) and not {"low", "high", "choices"} & value.keys():
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _entry(recipe: str, key: str, value: Any) -> Choice | Range:
    where = f"{recipe}: search.'{key}'"
    if isinstance(value, Mapping) and "choices" in value:
        if set(value) != {"choices"}:
            raise RecipeError(f"{where}: choices stand alone; without {', '.join(sorted(set(value) - {'choices'}))}")
        value = value["choices"]
    if isinstance(value, list):
        options = tuple(toml_value(v) for v in value)
        if len(options) < 2 or len(set(options)) < len(options):
            raise RecipeError(f"{where}: expected two or more different choices")
        return Choice(key, options)
    if not isinstance(value, Mapping):
        raise RecipeError(f"{where}: expected a list of choices, or a table with low and high")
    return _range(where, key, value)


def _range(where: str, key: str, value: Mapping[str, Any]) -> Range:
    unknown = set(value) - {"low", "high", "log", "step"}
    if unknown:
        raise RecipeError(f"{where}: unknown {', '.join(sorted(unknown))}; known: choices, low, high, log, step")
    low, high, log, step = (value.get(name) for name in ("low", "high", "log", "step"))
    numbers = [v for v in (low, high, step) if v is not None]
    if low is None or high is None or any(isinstance(v, bool) or not isinstance(v, int | float) for v in numbers):
        raise RecipeError(f"{where}: expected numbers for low and high (and step)")
    if log not in (None, True, False):
        raise RecipeError(f"{where}: log is {log!r}; expected true or false")
    if not low < high:
        raise RecipeError(f"{where}: low is {low} and high is {high}; expected low < high")
    if log and (low <= 0 or step is not None):
        raise RecipeError(f"{where}: log = true needs low above 0 and no step")
    if step is not None and not 0 < step <= high - low:
        raise RecipeError(f"{where}: step is {step}; expected above 0 and at most high - low")
    return Range(key, low, high, all(isinstance(v, int) for v in numbers), bool(log), step)
