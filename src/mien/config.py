"""Frozen dataclasses from TOML: unknown keys and wrong types are errors that name the key.

A configuration is a tree of frozen dataclasses. `from_table` fills it from parsed TOML, `with_overrides` applies
`key=value` pairs as the command line gives them, `to_toml` writes it out whole.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from mien.errors import RecipeError

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
    """A configuration as TOML, every key written out; None is left out (TOML has no null)."""
    lines: list[str] = []
    _write(config, "", lines)
    return "\n".join(lines).strip() + "\n"


def table_toml(table: Mapping[str, Any]) -> str:
    """A parsed TOML table as TOML again: its plain keys, then its tables. Dotted keys are quoted where they stand."""
    lines = [f"{_key(k)} = {toml_value(v)}" for k, v in table.items() if not isinstance(v, Mapping)]
    for name, inner in table.items():
        if isinstance(inner, Mapping):
            lines += [f"\n[{_key(name)}]", *(f"{_key(k)} = {toml_value(v)}" for k, v in inner.items())]
    return "\n".join(lines).strip() + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_value(name)


def _write(config: Any, prefix: str, lines: list[str]) -> None:
    tables = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            tables.append((field.name, value))
        elif value is not None:
            lines.append(f"{field.name} = {toml_value(value)}")
    for name, value in tables:
        lines.append(f"\n[{prefix}{name}]")
        _write(value, f"{prefix}{name}.", lines)


def toml_value(value: Any) -> str:
    """A value as TOML; a mapping as an inline table."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {toml_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return repr(value)
