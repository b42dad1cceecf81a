"""`mien predict`: recognises expressions in images and writes the predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mien.cli.cluster_options import RayOptions, ShardOptions
from mien.cli.model_options import RecognizerOptions
from mien.cli.option_groups import grouped
from mien.cli.output_options import NOT_ALL_READ, Emoji, Quiet, chosen_format, out_option, progress_bar, warn
from mien.cli.training_options import TrainIfMissing

SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".txt": "table"}
"""Suffix of `--out` -> format."""

_Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE",
        help="Files, folders, quoted patterns, data: URLs, or - for a list (or an image) on standard input.",
    ),
]
_Tta = Annotated[bool, typer.Option("--tta", help="Average ten views of each face, mirrored and shifted.")]
_Format = Annotated[
    Literal["table", "json", "jsonl", "csv"] | None,
    typer.Option("--format", "-f", help="How predictions are written. [default: by --out's suffix, or table]"),
]
_Out = Annotated[Path | None, out_option("The file to write: .csv, .json, .jsonl or .txt; - prints.", "FILE")]
_Annotate = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write the images with boxes and labels into this folder.")
]
_Grid = Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw all faces with their labels as one sheet.")]
_BatchSize = Annotated[int | None, typer.Option(min=1, help="Faces classified together. [default: 64]")]
_Workers = Annotated[
    int | None,
    typer.Option(
        min=1, help="Threads that read images and detect faces. [default: one a core, up to 4 without --shards]"
    ),
]


@grouped
def predict(
    sources: _Sources,
    *,
    recognition: RecognizerOptions,
    tta: _Tta = False,
    format_: _Format = None,
    out: _Out = None,
    annotate: _Annotate = None,
    grid: _Grid = None,
    emoji: Emoji = False,
    batch_size: _BatchSize = None,
    workers: _Workers = None,
    shards: ShardOptions,
    ray: RayOptions,
    missing: TrainIfMissing,
    quiet: Quiet = False,
) -> None:
    """Recognise facial expressions in images.

    In folders, images are found by their content; a last line counts the other files. Videos and cameras are for
    `mien watch`. Shards are for very many images: after a kill, the same command resumes with the missing shards.

    Exit code: 0 all images were read, 3 some were not (each is named with its reason), 2 wrong usage.

    Examples:

    - `mien predict photo.jpg`
    - `mien predict holiday/ --annotate drawn/ --emoji --grid faces.png --out faces.csv`
    - `find . -name '*.png' | mien predict - --format jsonl`
    - `mien predict photo.jpg --model mien-small+mien-base`
    - `mien predict photo.jpg --details --draw mesh --draw gaze --annotate drawn/ --out faces.csv`
    - `mien predict photo.jpg --model own.onnx --train-if-missing faces/`
    - `mien predict s3://bucket/photos/ --shards answers --engine ray`
    """
    from mien.recognition.predict_files import check_sources, predict_files, refuse_videos

    refuse_videos(sources)
    out = None if out == Path("-") else out
    if shards.shards is not None or ray.given:
        foreign: dict[str, object] = {"--out": out, "--annotate": annotate, "--grid": grid, "--emoji": emoji}
        foreign |= {"--batch-size": batch_size, "--draw": recognition.draw}
        shards.check(format_, foreign, workers, recognition.device, ray)
        missing.train(recognition.models, quiet=quiet)
        shards.predict(sources, recognition.for_shards(tta=tta), ray.settings(), workers, format_, quiet=quiet)
        return
    chosen = chosen_format(format_, out, SUFFIXES, default="table")
    check_sources(sources)  # before a model is trained
    missing.train(recognition.models, quiet=quiet)
    recognizer = recognition.recognizer(tta=tta, batch_size=batch_size or 64, workers=workers)
    with progress_bar("predict", unit="images", quiet=quiet or not _bar_has_room(out, chosen)) as progress:
        done = predict_files(
            recognizer, sources, out, format=chosen, annotate=annotate, grid=grid, emoji=emoji,
            draw=recognition.draw or (), progress=progress,
        )  # fmt: skip
    if done.skipped:
        warn(f"mien: {done.skipped}")
    if done.failed:
        raise typer.Exit(NOT_ALL_READ)


def _bar_has_room(out: Path | None, format_: str) -> bool:
    """Whether a progress bar is visible and does not run into predictions on the same terminal."""
    import sys

    return out is not None or format_ == "table" or not sys.stdout.isatty()
