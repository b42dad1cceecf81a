"""What commands that can work on Ray share: `--engine`, `--address`, `--actors`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from mien.cluster.ray_workers import RaySettings

Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(help="Where the work is done: in this process, or by processes of Ray, on any number of machines."),
]
Address = Annotated[
    str,
    typer.Option(metavar="CLUSTER", help="Ray's cluster: auto, HOST:PORT, ray://HOST:PORT. [default: this machine]"),
]
Actors = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Processes of Ray at once; default: one for each core.")
]


def ray_settings(engine: str, address: str, actors: int | None) -> RaySettings | None:
    """The options as the library takes them; None for the local engine. Raises MienError where they don't fit."""
    from mien.errors import ClusterError

    if engine == "ray":
        from mien.cluster.ray_workers import RaySettings

        return RaySettings(address, actors)
    if address or actors is not None:
        raise ClusterError(f"{'--address' if address else '--actors'}: goes with  --engine ray")
    return None
