"""What commands that can work on Ray share: `--engine`, `--address`, `--actors`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from mien.cluster.ray_workers import RaySettings


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Where the work is done."""

    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Run in this process, or in processes of Ray on any machines.")
    ] = "local"
    address: Annotated[
        str,
        typer.Option(
            metavar="CLUSTER", help="Ray's cluster: auto, HOST:PORT, ray://HOST:PORT. [default: this machine]"
        ),
    ] = ""
    actors: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Concurrent processes of Ray. [default: one a core]")
    ] = None

    @property
    def given(self) -> bool:
        """Whether any of the options differs from its default."""
        return self != RayOptions()

    def settings(self) -> RaySettings | None:
        """As the library takes them; None for the local engine. Raises ClusterError if they do not fit together."""
        from mien.errors import ClusterError

        if self.engine == "ray":
            from mien.cluster.ray_workers import RaySettings

            return RaySettings(self.address, self.actors)
        if self.given:
            raise ClusterError(f"{'--address' if self.address else '--actors'}: needs  --engine ray")
        return None
