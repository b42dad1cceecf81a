"""`mien recipes`: the recipes that come with mien."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mien.training.recipe import Recipe


def recipes(
    names: Annotated[
        list[str] | None, typer.Argument(help="Only these, '*' for any letters; a single name prints its TOML.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    diagram: Annotated[Path | None, typer.Option(help="Draw how they differ, as .svg or .png.")] = None,
) -> None:
    """List the recipes that come with mien, print one, or draw how they differ.

    To change one, print it to a file and give that file wherever a recipe is wanted; or use --set there.

    Examples:

    `mien recipes`

    `mien recipes ladder-07 > my.toml`

    `mien recipes --diagram recipes.svg`

    `mien recipes 'ladder-*' --diagram ladder.png`
    """
    from mien.training.recipe import load_recipe, matching_recipes

    found = matching_recipes(names or [])
    if names and names == list(found) and len(found) == 1 and not as_json and diagram is None:
        typer.echo(found[names[0]], nl=False)
        return
    loaded = [load_recipe(name) for name in found]
    if diagram is not None:
        from mien.training.diagram import write_diagram

        write_diagram(loaded, diagram)
        typer.echo(str(diagram))
    elif as_json:
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(recipe) for recipe in loaded], indent=2))
    else:
        _print(loaded)


def _print(found: list[Recipe]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    table.add_column("what it does", overflow="fold")
    for recipe in found:
        sees, epochs = recipe.input.enlarged, recipe.optimizer.epochs
        about = f"{recipe.network.kind}, {sees} pixels, {epochs} epochs"
        table.add_row(Text(recipe.name), Text.assemble(recipe.description, "\n", (about, "dim")))
    Console(highlight=False).print(table)
