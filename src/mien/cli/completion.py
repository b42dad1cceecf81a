"""Names that the shell completes: models, recipes, networks and detectors. Nothing heavy is imported for them."""

from __future__ import annotations

from collections.abc import Iterable


def complete_model(incomplete: str) -> list[str]:
    """Shipped and fetched models; in `A+B` the part after the last plus."""
    from mien.releases import list_models

    before, plus, last = incomplete.rpartition("+")
    return [f"{before}{plus}{name}" for name in _starting(last, list_models())]


def complete_released(incomplete: str) -> list[str]:
    """What `mien models fetch` takes by name."""
    from mien.releases import releases

    return _starting(incomplete, releases())


def complete_recipe(incomplete: str) -> list[str]:
    """Shipped recipes."""
    from mien.training.recipe import recipe_names

    return _starting(incomplete, recipe_names())


def complete_network(incomplete: str) -> list[str]:
    """Rows of `mien networks`."""
    from mien.training.network_table import NETWORKS

    return _starting(incomplete, NETWORKS)


def complete_detector(incomplete: str) -> list[str]:
    """Face detectors."""
    from mien.faces import DETECTORS

    return _starting(incomplete, DETECTORS)


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
