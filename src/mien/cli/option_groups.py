"""Options from dataclasses: a command's parameter that is a dataclass becomes an option for each of its fields.

A field's option is its `typer.Option`, or is made of its `Setting` (see `mien.config`): name, default, range and help
then have one definition for the command line, TOML files and Python. Other fields keep their defaults.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from inspect import Parameter
from typing import Annotated, Any

import typer
from typer.models import ParameterInfo

from mien.cli import completion
from mien.config import Setting


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with the fields of its dataclass parameters as options of their own."""
    signature = inspect.signature(command, eval_str=True)
    parameters: list[Parameter] = []
    groups: dict[str, tuple[type[Any], list[str]]] = {}
    for parameter in signature.parameters.values():
        if isinstance(parameter.annotation, type) and dataclasses.is_dataclass(parameter.annotation):
            options = list(_options(parameter.annotation))
            groups[parameter.name] = parameter.annotation, [option.name for option in options]
            parameters += options
        else:
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))

    defaults = {p.name: p.default for p in parameters if p.default is not Parameter.empty}

    @functools.wraps(command)
    def run(**given: Any) -> None:
        given = defaults | given
        for name, (cls, fields) in groups.items():
            given[name] = _made(cls, {field: given.pop(field) for field in fields})
        command(**given)

    del run.__wrapped__  # its signature and types are not those of `run`
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _made(cls: type[Any], values: dict[str, Any]) -> Any:
    """An instance; lists, as typer gives them, become tuples. Raises MienError for a value out of range."""
    from mien.errors import MienError

    arguments = {}
    for name, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            arguments[name] = _made(typing.cast(type[Any], hint), values)
        elif name in values:
            value = values[name]
            arguments[name] = tuple(value or ()) if typing.get_origin(hint) is tuple else value
    try:
        return cls(**arguments)
    except MienError:
        raise
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _options(cls: type[Any]) -> typing.Iterator[Parameter]:
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _options(typing.cast(type[Any], hint))
        for note in getattr(hint, "__metadata__", ()):
            if isinstance(note, Setting) and note.option:
                hint = Annotated[_plain(typing.get_args(hint)[0]), _option(field.name, note, hint)]
            if isinstance(note, ParameterInfo) or (isinstance(note, Setting) and note.option):
                default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
                default = Parameter.empty if default is dataclasses.MISSING else default
                default = list(default) if isinstance(default, tuple) else default
                yield Parameter(field.name, Parameter.KEYWORD_ONLY, annotation=hint, default=default)


def _option(name: str, setting: Setting, hint: Any) -> Any:
    flags = setting.flags or (f"--{name.replace('_', '-').strip('-')}",)
    whole = int in (typing.get_args(hint)[0], *typing.get_args(typing.get_args(hint)[0]))
    least, most = (end if end is None or not whole else int(end) for end in (setting.least, setting.most))
    complete = getattr(completion, f"complete_{setting.complete}") if setting.complete else None
    return typer.Option(
        *flags, min=least, max=most, help=setting.about, metavar=setting.metavar, autocompletion=complete
    )


def _plain(hint: Any) -> Any:
    """The type as typer takes it: a list in place of a tuple."""
    if typing.get_origin(hint) is tuple:
        return list[typing.get_args(hint)[0]]  # type: ignore[misc]
    return hint
