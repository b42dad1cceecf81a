"""`mien predict --shards`: predictions for very many images, as Parquet files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from mien.cli.exit_codes import INTERRUPTED, NOT_ALL_READ

if TYPE_CHECKING:
    from mien.cluster.predict import PredictSettings
    from mien.cluster.ray_workers import RaySettings

_NOT_WITH_SHARDS = {
    "--out": "which are Parquet files in OUT",
    "--annotate": "which are Parquet files in OUT",
    "--grid": "which are Parquet files in OUT",
    "--emoji": "which are Parquet files in OUT",
    "--batch-size": "whose rows depend on the shard alone; leave it out",
    "--device": "whose rows are the same on every machine, made on the processor; leave it out",
    "--workers": "on Ray, where each process has one core; --actors says how many there are",
}


def check_shards(shards: str | None, format_: str | None, foreign: Mapping[str, object], video: str | None) -> None:
    """Raises MienError for what does not go with shards. foreign: options that don't, with the values given."""
    from mien.errors import OutputError, VideoError

    if shards is None:
        raise OutputError("--engine, --address, --actors: are for shards; say where they go, with  --shards OUT")
    if (option := next((name for name, given in foreign.items() if given is not None), None)) is not None:
        raise OutputError(f"{option}: not with --shards, {_NOT_WITH_SHARDS[option]}")
    if format_ in ("csv", "jsonl"):
        raise OutputError(f"--format {format_}: shards are Parquet; --format json prints the summary as JSON")
    if video is not None:
        raise VideoError(f"{video}: is a video; --shards is for images; leave it out")


def predict_into_shards(
    sources: list[str],
    out: str,
    settings: PredictSettings,
    ray: RaySettings | None,
    shard_size: int,
    workers: int | None,
    format_: str | None,
    *,
    quiet: bool,
) -> None:
    """Writes shards and prints how many images and faces they have."""
    import json

    from mien.cli.predict import tell_skipped
    from mien.cli.progress import progress_bar
    from mien.cluster.predict import predict_shards
    from mien.cluster.sources import Lists

    lists = Lists()
    try:
        with progress_bar("predict", unit="images", quiet=quiet) as progress:
            summary = predict_shards(
                sources,
                out,
                settings=settings,
                ray=ray,
                shard_size=shard_size,
                workers=workers,
                lists=lists,
                progress=progress,
            )
    except KeyboardInterrupt:
        typer.echo(f"mien: stopped; finished shards are in {out}, the same command resumes", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if format_ == "json":
        typer.echo(json.dumps(summary.to_dict(), indent=2))
    else:
        typer.echo(
            f"{out}: {summary.images:,} images, {summary.faces:,} faces, {summary.failed:,} failed, "
            f"{summary.shards:,} shards"
        )
    tell_skipped(lists.skipped)
    if summary.failed:
        raise typer.Exit(NOT_ALL_READ)
