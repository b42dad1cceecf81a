"""The pages under docs/: their tables state the defaults of the code, their Python runs."""

import dataclasses
import re
from pathlib import Path

import pytest

from mien.config import toml_value
from mien.data.reading.layouts import READ
from mien.training.recipe import Recipe

DOCS = Path(__file__).parents[1] / "docs"


def defaults_of_recipes():
    """"table.key" -> the default, as TOML has it."""
    for table in dataclasses.fields(Recipe):
        settings = table.default_factory
        if settings is not dataclasses.MISSING and dataclasses.is_dataclass(settings):
            for key, value in vars_of(settings()).items():
                yield f"{table.name}.{key}", toml_value(value)


def vars_of(settings):
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}


def documented_defaults():
    """The same from the tables of docs/training.md: rows of keys, their defaults, and a meaning."""
    table = ""
    for line in (DOCS / "training.md").read_text("utf-8").splitlines():
        if line.startswith("#"):
            table = "".join(re.findall(r"^### `\[(\w+)\]`", line))
        elif table and line.startswith("| `"):
            keys, values = (re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|")[:2])
            yield from ((f"{table}.{key}", value) for key, value in zip(keys, values, strict=bool(values)))


def test_the_tables_of_training_state_the_defaults_of_recipes():
    assert dict(documented_defaults()) == dict(defaults_of_recipes())


@pytest.mark.parametrize("title", READ)
def test_the_table_of_layouts_has_each_that_is_read(title):
    layouts = (DOCS / "data.md").read_text("utf-8").partition("\n## Layouts\n")[2].partition("\n## ")[0]
    assert f"\n| {title} |" in layouts
