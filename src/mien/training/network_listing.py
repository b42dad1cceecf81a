"""The table of networks with what each costs, for people and programs that choose one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from mien.errors import MissingExtraError, TrainingError, require_extra
from mien.training.network_table import NETWORKS, row_of
from mien.training.recipe import network_settings
from mien.training.recipe_sections import InputSettings

LABELS = 7
"""The costs are those of a network with one head of this many labels."""


@dataclass(frozen=True, slots=True)
class ListedNetwork:
    """A row of the table, measured at its own input. size: side of the faces in pixels. settings: keys of [network].

    parameters, macs (multiply-adds for one face) and stages are None where a package is missing or broken.
    """

    name: str
    parameters: int | None
    macs: int | None
    stages: int | None
    size: int
    channels: int
    description: str
    source: str
    settings: tuple[tuple[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self) | {"settings": dict(self.settings)}

    def toml(self) -> str:
        """The lines of a recipe that ask for this network at its own input."""
        network = {"kind": self.name} | dict(self.settings)
        lines = [
            "[input]",
            f"size = {self.size}",
            f"view = {self.size}",
            f"channels = {self.channels}",
            "",
            "[network]",
        ]
        # Of texts, numbers, truth values and lists of them, JSON is TOML.
        return "\n".join([*lines, *(f"{key} = {json.dumps(value)}" for key, value in network.items())]) + "\n"


def list_networks(name: str = "") -> tuple[ListedNetwork, ...]:
    """All networks of the table, or the one of that name, which may also be `timm:NAME`.

    Raises RecipeError for a name that is not known, and for `timm:NAME` MissingExtraError without timm, or
    TrainingError if timm can't be imported.
    """
    return tuple(_listed(each) for each in ((name,) if name else NETWORKS))


def _listed(name: str) -> ListedNetwork:
    settings = network_settings(name)
    row = row_of(name)
    parameters = macs = stages = None
    try:
        require_extra("train", "measuring a network", "torch")
        from mien.training.networks import network_cost

        cost = network_cost(settings, InputSettings(row.size, row.size, row.channels), {"label": LABELS})  # type: ignore[arg-type]
        parameters, macs, stages = cost.parameters, cost.macs, cost.stages
    except (MissingExtraError, TrainingError):  # the latter where packages do not fit together
        if name not in NETWORKS:
            raise
    return ListedNetwork(
        name, parameters, macs, stages, row.size, row.channels, row.description, row.source, row.settings
    )
