"""Settings: frozen dataclasses, whose annotations hold what each field means and its range.

`from_table` fills one from parsed TOML, `with_overrides` applies `key=value` pairs as the command line gives them,
`to_toml` writes it out whole. Unknown keys and wrong types are errors that name the key. The command line reads its
options from the same fields.
"""

from __future__ import annotations

import dataclasses
import inspect
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from mien.errors import RecipeError, import_extra
from mien.suggestions import did_you_mean

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field means, as an annotation: `size: Annotated[int, Setting("Side of a crop.", 8, 2048)] = 48`.

    about: a sentence for help pages. least, most: the range, ends included. open: the lower end is excluded. below: the
    upper end, excluded. `check_ranges` checks numbers and the items of tuples. flags: names of the command line's
    option, if they are not the field's. metavar: what the option's value is called there. complete: what the shell
    completes, `model` or `detector`. option: whether the command line has one.
    """

    about: str
    least: float | None = None
    most: float | None = None
    open: bool = False
    below: float | None = None
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    complete: str = ""
    option: bool = True

    @property
    def expected(self) -> str:
        """The range in words: `8 to 2048`, `1 or more`, `above 0 and at most 1`."""
        lower = f"above {self.least:g}" if self.open else f"{self.least:g}"
        if self.below is not None:
            return f"{lower} to below {self.below:g}"
        if self.most is not None:
            return f"{lower}{' and at most' if self.open else ' to'} {self.most:g}"
        return lower if self.open else f"{lower} or more"

    def allows(self, value: float) -> bool:
        """Whether a number is in the range. NaN is in none."""
        lower = self.least is None or (value > self.least if self.open else value >= self.least)
        return lower and (self.most is None or value <= self.most) and (self.below is None or value < self.below)


def within(least: float, most: float | None = None, *, open: bool = False, below: float | None = None) -> Setting:
    """A range only, for a field that is explained elsewhere and is no option of the command line."""
    return Setting("", least, most, open, below, option=False)


@cache
def settings_of(cls: type[Any]) -> Mapping[str, Setting]:
    """The fields of a dataclass that are annotated with a `Setting`, in order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {
        field.name: note
        for field in dataclasses.fields(cls)
        for note in getattr(hints[field.name], "__metadata__", ())
        if isinstance(note, Setting)
    }


class InRange:
    """A base of dataclasses whose numbers must be in their ranges: ValueError where one is not."""

    __slots__ = ()

    def __post_init__(self) -> None:
        check_ranges(self)


def check_ranges(settings: Any, error: type[Exception] = ValueError) -> None:
    """Raises `error`, which names the field, for a value outside of its range."""
    for name, setting in settings_of(type(settings)).items():  # type: ignore[arg-type]
        value = getattr(settings, name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and not isinstance(number, bool) and not setting.allows(number):
                raise error(f"{name} is {number}; expected {setting.expected}")


def default_of(settings: Callable[..., Any], name: str) -> Any:
    """The default of a field of a settings dataclass, or of a parameter of a function."""
    return inspect.signature(settings).parameters[name].default


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
            raise RecipeError(f"{source}: unknown key '{prefix}{key}'; {suggested(key, known, prefix)}")
        values[key] = _convert(hints[key], value, source=source, key=f"{prefix}{key}")
    try:
        return cls(**values)
    except TypeError as error:  # a required key is missing
        missing = [f.name for f in dataclasses.fields(typing.cast(Any, cls)) if _required(f) and f.name not in values]
        raise RecipeError(f"{source}: missing key(s) {', '.join(prefix + m for m in missing)}") from error
    except ValueError as error:
        raise RecipeError(f"{source}: {prefix}{error}") from error


def suggested(name: str, known: Iterable[str], prefix: str = "") -> str:
    """A hint for an unknown name: the most similar known one, or all of them."""
    known = list(known)
    return did_you_mean(name, known, prefix).rstrip() or f"known here: {', '.join(known)}"


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
    return import_extra("tomli_w", "train", "writing TOML").dumps  # type: ignore[no-any-return]


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _without_none(v) if isinstance(v, Mapping) else v for k, v in table.items() if v is not None}
