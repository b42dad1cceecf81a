"""The reference of the documentation site, from the code: public names, commands, keys of recipes and pipelines, HTTP.

mkdocs calls the functions `on_...`. Nothing of the reference is kept in docs/: what a page says is in docstrings, help
texts, settings and routes. The site also has the changelog and the architecture, and addresses of files that lie
outside of docs/ lead to the repository.
"""

from __future__ import annotations

import dataclasses
import inspect
import posixpath
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import mien
from mien.cli import app
from mien.config import settings_of, toml_value
from mien.pipeline import settings as pipeline
from mien.serving.app import create_app
from mien.serving.settings import ServeSettings
from mien.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
SITE = "https://mien-project.github.io/mien/"
INCLUDED = {"CHANGELOG.md": "changelog.md", "ARCHITECTURE.md": "architecture.md", "CONTRIBUTING.md": "contributing.md"}
"""Pages of the repository's root, and their places on the site."""

AREAS = {
    "Recognise": ("recognition", "results", "faces"),
    "Models": ("model_file", "releases", "exporting"),
    "Data": ("data",),
    "Train": ("training",),
    "Evaluate": ("evaluation",),
    "Errors": ("errors",),
}
"""Pages of the Python reference, and the packages whose public names are on them."""

Tree = dict[str, dict[str, str]]
"""Title of a section -> path of a page below docs/ -> its Markdown."""


def reference() -> Tree:
    """Every generated page."""
    keys = {"reference/recipe.md": recipe_page(), "reference/pipeline.md": pipeline_page()}
    return {
        "Python": dict(python_pages()),
        "Command line": dict(command_pages()),
        "Files and HTTP": {**keys, "reference/http.md": http_page()},
    }


def python_pages() -> Iterator[tuple[str, str]]:
    """A page for each area, with an entry for each of its public names: functions, then classes."""
    for area, packages in AREAS.items():
        names = [name for name, home in mien._HOMES.items() if home.partition(":")[0].split(".")[1] in packages]
        names.sort(key=lambda name: (name[0].isupper(), name))  # without importing them
        entries = "\n\n".join(f"::: mien.{name}" for name in names)
        yield f"reference/python/{area.lower()}.md", f"# {area}\n\n{entries}\n"


def command_pages() -> Iterator[tuple[str, str]]:
    """A page for each command or group of commands, from its help."""
    root: Any = typer.main.get_command(app)
    above = typer.Context(root, info_name="mien")
    for name in root.list_commands(above):
        yield f"reference/commands/{name}.md", "\n".join(command_lines(root.get_command(above, name), name, above, 1))


def command_lines(command: Any, name: str, above: typer.Context, level: int) -> Iterator[str]:
    """Help, arguments and options of a command, and of those below it."""
    context = typer.Context(command, info_name=name, parent=above)
    yield f"{'#' * level} `{context.command_path}`\n"
    yield f"```text\n{' '.join(command.get_usage(context).split()).removeprefix('Usage: ')}\n```\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record and parameter.name != "help":
            panel = getattr(parameter, "rich_help_panel", None)
            panels.setdefault(panel or "Arguments and options", []).append(record)
    for panel, records in panels.items():
        yield table((panel, "meaning"), ((f"`{flags}`", text.replace("[", "\\[")) for flags, text in records))
    for below in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from command_lines(command.get_command(context, below), below, context, level + 1)


def recipe_page() -> str:
    """The keys of a training recipe."""
    tables = [(field.name, field.default_factory) for field in dataclasses.fields(Recipe)]
    sections = [(f"[{name}]", kind) for name, kind in tables if dataclasses.is_dataclass(kind)]
    text = "# Keys of recipes\n\nA recipe is a TOML file for `mien train`. `mien recipes NAME` prints a shipped one.\n"
    return text + "\n".join(key_sections([("Keys without a table", Recipe), *sections]))


def pipeline_page() -> str:
    """The keys of mien.toml."""
    text = "# Keys of mien.toml\n\n`mien run mien.toml` runs a pipeline. `mien init` writes a file to start with.\n"
    stages = [(f"[{name}]", kind) for name, kind in pipeline._STAGES.items()]
    return text + "\n".join(key_sections([("Keys without a table", pipeline.General), *stages]))


def key_sections(sections: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """A heading, the docstring and a table of the keys for each settings class."""
    for title, kind in sections:
        yield f"\n## {title}\n"
        about = inspect.cleandoc(kind.__doc__).replace("Attributes:\n", "")
        yield re.sub(r"(?m)^    (\w+): ", r"- `\1`: ", about) + "\n"
        yield table(("key", "type", "default", "range"), key_rows(kind))


def key_rows(kind: Any) -> Iterator[tuple[str, ...]]:
    """A row for each key of a settings class: its name, type, default and range."""
    hints, ranges = typing.get_type_hints(kind), settings_of(kind)
    for field in dataclasses.fields(kind):
        if field.default_factory is not dataclasses.MISSING and dataclasses.is_dataclass(field.default_factory):
            continue  # a table of its own
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        given = default is not dataclasses.MISSING and default is not None and not dataclasses.is_dataclass(default)
        setting = ranges.get(field.name)
        yield (
            f"`{field.name}`",
            f"`{type_name(hints[field.name])}`",
            f"`{toml_value(default)}`" if given else "",
            setting.expected if setting and setting.least is not None else "",
        )


def type_name(hint: Any) -> str:
    """A type as a reader of TOML needs it: `int`, `list of str`, `"a" or "b"`."""
    arguments = [each for each in typing.get_args(hint) if each not in (type(None), ...)]
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(toml_value(each) for each in arguments)
    if typing.get_origin(hint) in (tuple, list):
        return f"list of {type_name(arguments[0])}"
    if typing.get_origin(hint) in (dict, Mapping):
        return "table"
    if arguments:
        return " or ".join(type_name(each) for each in arguments)
    return "table" if dataclasses.is_dataclass(hint) else str(getattr(hint, "__name__", hint))


def http_page() -> str:
    """The HTTP API, from the OpenAPI document of the application."""
    document = create_app(ServeSettings()).openapi()
    lines = ["# HTTP API\n", f"{document['info']['description']}\n"]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            lines += [
                f"## `{method.upper()} {path}`\n",
                f"{route.get('summary', '')}. {route.get('description', '')}\n",
            ]
            asked = route.get("parameters", [])
            if asked:
                rows = ((f"`{each['name']}`", each["in"], each.get("description", "")) for each in asked)
                lines.append(table(("parameter", "in", "meaning"), rows))
            answers = route["responses"].items()
            rows = ((code, answer["description"], ", ".join(answer.get("content", {}))) for code, answer in answers)
            lines.append(table(("status", "meaning", "content"), rows))
    lines.append("## Shapes\n")
    for name, shape in document["components"]["schemas"].items():
        lines += [f"### `{name}`\n", f"{shape.get('description', '')}\n"]
        fields = shape.get("properties", {}).items()
        rows = ((f"`{key}`", json_type(field), field.get("description", "")) for key, field in fields)
        lines.append(table(("field", "type", "meaning"), rows))
    return "\n".join(lines)


def json_type(field: Mapping[str, Any]) -> str:
    """The type of a field of an OpenAPI schema, in words."""
    if "$ref" in field:
        return f"`{field['$ref'].rpartition('/')[2]}`"
    if "anyOf" in field:
        return " or ".join(json_type(each) for each in field["anyOf"])
    items = f" of {json_type(field['items'])}" if field.get("items") else ""
    return f"{field.get('type', 'any')}{items}"


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table; line ends and bars in its cells are made harmless."""
    lines = [heads, ("---",) * len(heads), *rows]
    cells = ((" ".join(cell.split()).replace("|", "\\|") for cell in row) for row in lines)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the generated pages to the navigation, below "Reference"."""
    (section,) = (entry["Reference"] for entry in config.nav or [] if "Reference" in entry)
    section.extend({title: list(pages)} for title, pages in reference().items())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages, and those of the repository's root."""
    pages = {path: text for section in reference().values() for path, text in section.items()}
    pages |= {place: (ROOT / name).read_text("utf-8") for name, place in INCLUDED.items()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to other files of the repository lead there, and links to the site stay on it."""
    place = page.file.src_uri
    origin = next((name for name, on_site in INCLUDED.items() if on_site == place), f"docs/{place}")

    def moved(match: re.Match[str]) -> str:
        return f"]({site_link(match[1], origin, place, str(config.repo_url))})"

    return re.sub(r"\]\(([^)\s]+)\)", moved, markdown)


def site_link(link: str, origin: str, place: str, repository: str) -> str:
    """A link of the file `origin` in the repository, as the page `place` of the site needs it."""
    folder = posixpath.dirname(place) or "."
    if link.startswith(SITE):
        path, mark, anchor = link.removeprefix(SITE).partition("#")
        return posixpath.relpath(path.removesuffix("/").removesuffix(".html") + ".md", folder) + mark + anchor
    path, mark, anchor = link.partition("#")
    if "://" in link or link.startswith("mailto:") or not path:
        return link
    target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
    if target in INCLUDED or target.startswith("docs/"):
        return posixpath.relpath(INCLUDED.get(target, target.removeprefix("docs/")), folder) + mark + anchor
    kind = "tree" if (ROOT / target).is_dir() else "blob"
    return f"{repository}/{kind}/main/{target}{mark}{anchor}"
