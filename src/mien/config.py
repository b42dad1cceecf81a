"""Frozen dataclasses from TOML: unknown keys and wrong types are errors that name the key.

A configuration is a tree of frozen dataclasses. `from_table` fills it from parsed TOML, `with_overrides` applies
`key=value` pairs as the command line gives them, `to_toml` writes it out whole.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from mien.errors import MissingExtraError, RecipeError

T = TypeVar("T")


def from_table(cls: type[T], table: Mapping[str, Any], *, source: str, prefix: str = "") -> T:
    """An instance of the frozen dataclass `cls` from a parsed TOML table.

    Raises RecipeError naming `source` and the dotted key for unknown keys, wrong types and values that the
    dataclass's `__post_init__` refuses with ValueError.
    """
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(typing.cast(Any, cls))]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{prefix}{near[0]}'?" if near else f"known here: {', '.join(known)}"
            raise RecipeError(f"{source}: unknown key '{prefix}{key}'; {hint}")
        values[key] = _convert(hints[key], value, source=source, key=f"{prefix}{key}")
    try:
        return cls(**values)
    except TypeError as error:  # a required key is missing
        missing = [f.name for f in dataclasses.fields(typing.cast(Any, cls)) if _required(f) and f.name not in values]
        raise RecipeError(f"{source}: missing key(s) {', '.join(prefix + m for m in missing)}") from error
    except ValueError as error:
        raise RecipeError(f"{source}: {prefix}{error}") from error


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, *, source: str, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{source}: '{key}' must be a table ([{key}])")
        return from_table(typing.cast(Any, hint), value, source=source, prefix=f"{key}.")
    origin = typing.get_origin(hint)
    if origin is types.UnionType or origin is typing.Union:
        options = [o for o in typing.get_args(hint) if o is not type(None)]
        return _convert(options[0], value, source=source, key=key)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{source}: '{key}' must be a list")
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, v, source=source, key=f"{key}[{i}]") for i, v in enumerate(value))
    if origin is typing.Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            raise RecipeError(f"{source}: '{key}' is {value!r}; allowed: {', '.join(map(repr, allowed))}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise RecipeError(f"{source}: '{key}' is {value!r}; expected {hint.__name__}")
    return value


def with_overrides(table: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of `table` with `a.b=value` pairs set; values are read as TOML, and as plain text where that fails."""
    result = {k: dict(v) if isinstance(v, Mapping) else v for k, v in table.items()}
    for pair in overrides:
        path, equals, text = pair.partition("=")
        if not equals or not path.strip():
            raise RecipeError(f"--set {pair}: expected key=value, for example  --set optimizer.epochs=20")
        try:
            value = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        *tables, key = path.strip().split(".")
        place: dict[str, Any] = result
        for name in tables:
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                raise RecipeError(f"--set {pair}: '{name}' is not a table")
            place = inner
        place[key] = value
    return result


def to_toml(config: Any) -> str:
    """A dataclass or a parsed table as TOML, every key written out. None is left out: TOML has no null.

    Raises MissingExtraError without tomli-w, which the extra [train] installs.
    """
    table = config if isinstance(config, Mapping) else dataclasses.asdict(config)
    return _writer()(_without_none(table))


def toml_value(value: Any) -> str:
    """A value as TOML on one line. Raises MissingExtraError without tomli-w, which the extra [train] installs."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return _writer()({"v": value}).removeprefix("v = ").rstrip("\n")


def flat_items(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of nested tables with their values, `optimizer.epochs` and so on."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flat_items(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _writer() -> Callable[[Mapping[str, Any]], str]:
    try:
        from tomli_w import dumps
    except ImportError as error:
        raise MissingExtraError("train", "writing TOML") from error
    return dumps


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _without_none(v) if isinstance(v, Mapping) else v for k, v in table.items() if v is not None}
