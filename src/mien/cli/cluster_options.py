"""What commands that can work on Ray share: `--engine`, `--address`, `--actors`; and `mien predict --shards`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.output_options import NOT_ALL_READ, progress_bar, warn
from mien.cli.training_options import interruptible

if TYPE_CHECKING:
    from mien.cluster.predict import PredictSettings
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


_NOT_WITH_SHARDS = {
    "--batch-size": "whose rows depend on the shard alone; leave it out",
    "--device": "whose rows are the same on every machine, made on the processor; leave it out",
    "--workers": "on Ray, where each process has one core; --actors says how many there are",
}
"""Why an option does not go with shards; others, because they are Parquet."""


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """`--shards`, `--shard-size`."""

    shards: Annotated[
        str | None,
        typer.Option(
            metavar="OUT",
            help="For very many images, also behind URLs or in lists (@FILE): a folder or URL for Parquet files.",
        ),
    ] = None
    shard_size: Annotated[int, typer.Option(min=1, metavar="N", help="With --shards: images in each.")] = 1000

    def check(
        self, format_: str | None, foreign: Mapping[str, object], workers: int | None, device: str, ray: RayOptions
    ) -> None:
        """Raises OutputError for options that do not go with shards. foreign: more of them, with the values given."""
        from mien.errors import OutputError

        if self.shards is None:
            raise OutputError("--engine, --address, --actors: are for shards; give their folder with  --shards OUT")
        given = {**foreign, "--device": device != "auto", "--workers": workers and ray.engine == "ray"}
        if option := next((name for name, value in given.items() if value), None):
            why = _NOT_WITH_SHARDS.get(option, "which are Parquet files in OUT")
            raise OutputError(f"{option}: not with --shards, {why}")
        if format_ in ("csv", "jsonl"):
            raise OutputError(f"--format {format_}: shards are Parquet; --format json prints the summary as JSON")

    def predict(
        self,
        sources: list[str],
        settings: PredictSettings,
        ray: RaySettings | None,
        workers: int | None,
        format_: str | None,
        *,
        quiet: bool,
    ) -> None:
        """Writes shards and prints how many images and faces they have."""
        import json

        from mien.cluster.predict import predict_shards
        from mien.cluster.sources import Lists

        out, lists = str(self.shards), Lists()
        stopped = f"mien: stopped; finished shards are in {out}, the same command resumes"
        with interruptible(lambda: warn(stopped)), progress_bar("predict", unit="images", quiet=quiet) as progress:
            summary = predict_shards(
                sources, out, settings=settings, ray=ray, shard_size=self.shard_size, workers=workers, lists=lists,
                progress=progress,
            )  # fmt: skip
        if format_ == "json":
            typer.echo(json.dumps(summary.to_dict(), indent=2))
        else:
            typer.echo(
                f"{out}: {summary.images:,} images, {summary.faces:,} faces, {summary.failed:,} failed, "
                f"{summary.shards:,} shards"
            )
        if line := lists.skipped.line():
            warn(f"mien: {line}")
        if summary.failed:
            raise typer.Exit(NOT_ALL_READ)
