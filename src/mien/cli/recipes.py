"""`mien recipes`: the recipes that come with mien."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.completion import complete_recipe
from mien.cli.output_options import TableOrJson, out_option, print_table

if TYPE_CHECKING:
    from mien.training.recipe import Recipe


def recipes(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Only these, '*' for any letters; a single name prints its TOML.", autocompletion=complete_recipe
        ),
    ] = None,
    format_: TableOrJson = "table",
    out: Annotated[Path | None, out_option("Draw how they differ, as .svg or .png; or write them as .json.")] = None,
) -> None:
    """List the recipes that come with mien, print one, or draw how they differ.

    To change one, print it to a file and name that file in place of the recipe; or use --set there.

    Examples:

    - `mien recipes`
    - `mien recipes ladder-07 > my.toml`
    - `mien recipes --out recipes.svg`
    - `mien recipes 'ladder-*' --out ladder.png`
    """
    from mien.training.recipe import load_recipe, matching_recipes, recipe_text

    found = matching_recipes(names or [])
    if names == list(found) and len(found) == 1 and format_ != "json" and out is None:
        typer.echo(recipe_text(found[0]), nl=False)
        return
    loaded = [load_recipe(name) for name in found]
    if out is not None and out.suffix.lower() != ".json":
        from mien.training.diagram import write_diagram

        write_diagram(loaded, out)
        typer.echo(str(out))
    elif out is not None or format_ == "json":
        from dataclasses import asdict

        from mien.files import write_text

        text = json.dumps([asdict(recipe) for recipe in loaded], indent=2)
        if out is None:
            typer.echo(text)
        else:
            write_text(out, text + "\n")
            typer.echo(str(out))
    else:
        _print(loaded)


def _print(found: list[Recipe]) -> None:
    from rich.text import Text

    rows = []
    for recipe in found:
        about = f"{recipe.network.kind}, {recipe.input.enlarged} pixels, {recipe.optimizer.epochs} epochs"
        rows.append((recipe.name, Text.assemble(recipe.description, "\n", (about, "dim"))))
    print_table(("recipe", "what it does"), rows, words=True)
