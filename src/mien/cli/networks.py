"""`mien networks`: the networks that a recipe can name, and what each costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.completion import complete_network
from mien.cli.output_options import TableOrJson, print_table

if TYPE_CHECKING:
    from mien.training.network_listing import ListedNetwork


def networks(
    name: Annotated[
        str,
        typer.Argument(help="Only this one, with the lines of a recipe that name it.", autocompletion=complete_network),
    ] = "",
    format_: TableOrJson = "table",
) -> None:
    """List the networks that a recipe can name: parameters, multiply-adds (MACs), input, where they come from.

    Costs are measured at each network's own input with one head of seven labels; a dash where a package is missing.

    Examples:

    - `mien networks`
    - `mien networks mini-xception`
    - `mien networks timm:resnet50`
    - `mien networks --format json`
    """
    from mien.training.network_listing import list_networks

    found = list_networks(name)
    if format_ == "json":
        typer.echo(json.dumps([network.to_dict() for network in found], indent=2))
    elif name:
        _print_one(found[0])
    else:
        _print_all(found)


def _print_all(found: tuple[ListedNetwork, ...]) -> None:
    from rich.text import Text

    rows = [
        (
            n.name, _millions(n.parameters), _millions(n.macs), f"{n.size} {_colour(n)}",
            Text.assemble(n.description, "\n", (n.source, "dim")),
        )
        for n in found
    ]  # fmt: skip
    print_table(("network", "parameters", "MACs", "input", "what it is, and where it comes from"), rows, words=True)


def _print_one(network: ListedNetwork) -> None:
    typer.echo(f"{network.name}: {network.description}")
    typer.echo(f"source: {network.source}")
    typer.echo(f"input: {network.size} pixels, {_colour(network)}")
    typer.echo(f"parameters: {_millions(network.parameters)}, MACs: {_millions(network.macs)}")
    typer.echo(f"stages: {'-' if network.stages is None else network.stages}")
    typer.echo(f"\n{network.toml()}", nl=False)


def _colour(network: ListedNetwork) -> str:
    return "grey" if network.channels == 1 else "colour"


def _millions(number: int | None) -> str:
    if number is None:
        return "-"
    millions = number / 1e6
    digits = 0 if millions >= 100 else 1 if millions >= 10 else 2 if millions >= 1 else 3
    return f"{millions:,.{digits}f} M"
