"""`mien predict`: recognises expressions in pictures and writes the answers where they are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.cluster_options import Actors, Address, Engine, ray_settings
from mien.cli.detector_options import Cascade, Detector, Device, MinFace, YunetWeights
from mien.cli.exit_codes import INTERRUPTED, NOT_ALL_READ
from mien.cli.training_options import RecipeChanges, TrainIfMissing, TrainingRecipe, train_missing_model

if TYPE_CHECKING:
    from mien.cluster.predict import PredictSettings
    from mien.cluster.ray_workers import RaySettings
    from mien.media.addresses import NamedImage
    from mien.media.skipped import SkippedFiles
    from mien.recognition.recognizer import Recognizer
    from mien.results import ImageResult


class Format(str, Enum):  # noqa: UP042 (typer's oldest supported version knows no StrEnum)
    """How answers are written."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def predict(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Files, folders, quoted patterns, data: URLs, or - for a list (or an image) on standard input.",
        ),
    ],
    model: Annotated[
        list[str],
        typer.Option("--model", "-m", help="A shipped model's name or a file; several answer with their mean."),
    ] = ["mien-small"],  # noqa: B006 (typer copies it)
    detector: Detector = "mtcnn",
    cascade: Cascade = None,
    yunet_weights: YunetWeights = None,
    device: Device = "auto",
    min_face: MinFace = 20,
    abstain_below: Annotated[
        float, typer.Option(metavar="P", min=0.0, max=1.0, help="Call answers with less confidence unsure.")
    ] = 0.0,
    tta: Annotated[bool, typer.Option("--tta", help="Look at each face ten times, mirrored and shifted.")] = False,
    format_: Annotated[Format, typer.Option("--format", "-f", help="How the answers are written.")] = Format.table,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the answers to this file.")
    ] = None,
    annotate: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the pictures with boxes and labels into this folder.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Faces classified together. [default: 64]")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Threads that read pictures and find faces; default: one a core, up to 4 without --shards."
        ),
    ] = None,
    shards: Annotated[
        str | None,
        typer.Option(
            metavar="OUT",
            help="For very many pictures, also behind URLs or in lists (@FILE): a folder or URL for Parquet files.",
        ),
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, metavar="N", help="With --shards: pictures in each.")] = 1000,
    engine: Engine = "local",
    address: Address = "",
    actors: Actors = None,
    train_if_missing: TrainIfMissing = None,
    recipe: TrainingRecipe = "",
    set_: RecipeChanges = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")] = False,
) -> None:
    """Recognise facial expressions in pictures.

    In folders, images are known by their content; other files are counted in a closing line.

    Shards are for very many pictures: stopped or killed, the same command goes on with those that are missing.

    Exit code: 0 all pictures were read, 3 some were not (each is named with its reason), 2 wrong usage.

    Examples:

    - `mien predict photo.jpg`

    - `mien predict holiday/ --annotate drawn/ --format csv --output faces.csv`

    - `mien predict talk.mp4 --format csv --output frames.csv`

    - `find . -name '*.png' | mien predict - --format jsonl`

    - `mien predict photo.jpg --model own.onnx --train-if-missing faces/`

    - `mien predict s3://bucket/photos/ --shards answers --engine ray`
    """
    from mien.errors import VideoError
    from mien.faces import make_detector
    from mien.media.sinks import AnnotatedFolder, open_sink
    from mien.media.skipped import SkippedFiles
    from mien.media.sources import expand_sources
    from mien.recognition.recognizer import Recognizer

    video = _video_among(sources)
    if shards is not None or (engine, address, actors) != ("local", "", None):
        from mien.cluster.predict import PredictSettings
        from mien.data.crops import DetectorChoice

        foreign: dict[str, object] = {"--output": output, "--annotate": annotate, "--batch-size": batch_size}
        foreign["--device"] = None if device == "auto" else device
        if engine == "ray":
            foreign["--workers"] = workers
        _check_shards(shards, format_, foreign, video)
        ray = ray_settings(engine, address, actors)
        train_missing_model(model, train_if_missing, recipe, set_, quiet=quiet)
        choice = DetectorChoice(detector, cascade, yunet_weights)
        settings = PredictSettings(tuple(model), choice, min_face, abstain_below, tta)
        _predict_shards(sources, str(shards), settings, ray, shard_size, workers, format_, quiet=quiet)
        return
    skipped = SkippedFiles()
    outputs = [path for path in (annotate, output) if path is not None]
    images: Iterable[Path | NamedImage | str] = (
        expand_sources(sources, exclude=outputs, skipped=skipped) if video is None else ()
    )
    train_missing_model(model, train_if_missing, recipe, set_, quiet=quiet)
    recognizer = Recognizer(
        model,
        detector=make_detector(
            detector, min_face=min_face, cascade=cascade, yunet_weights=yunet_weights, device=device
        ),
        device=device,
        min_face=min_face,
        abstain_below=abstain_below,
        tta=tta,
        batch_size=batch_size or 64,
        workers=workers,
    )
    if video is not None:
        if annotate is not None:
            raise VideoError(
                f"{video}: is a video; --annotate is for pictures; use  mien watch {video} --record OUT.mp4"
            )
        _predict_video(recognizer, video, format_, output, quiet=quiet)
        return
    all_read = True
    with ExitStack() as stack:
        sink = stack.enter_context(open_sink(format_.value, recognizer.summary(), output, skipped=skipped.counts))
        folder = AnnotatedFolder(annotate) if annotate is not None else None
        total = None
        show = not quiet and _bar_has_room(output, format_)
        if show and "-" not in sources:
            images = list(images)
            total = len(images)
            show = total > 1
        results = recognizer.stream(images, keep_images=folder is not None)
        for result in _with_progress(results, total) if show else results:
            all_read = all_read and result.error is None
            sink.write(result)
            if folder is not None:
                folder.write(result)
    _tell_skipped(skipped)
    if not all_read:
        raise typer.Exit(NOT_ALL_READ)


_NOT_WITH_SHARDS = {
    "--output": "which are Parquet files in OUT",
    "--annotate": "which are Parquet files in OUT",
    "--batch-size": "whose rows hang on the shard alone; leave it out",
    "--device": "whose rows are the same on every machine, made on the processor; leave it out",
    "--workers": "on Ray, where each process has one core; --actors says how many there are",
}


def _check_shards(shards: str | None, format_: Format, foreign: Mapping[str, object], video: str | None) -> None:
    """Raises MienError for what does not go with shards. foreign: options that don't, with what was given for them."""
    from mien.errors import OutputError, VideoError

    if shards is None:
        raise OutputError("--engine, --address, --actors: are for shards; say where they go, with  --shards OUT")
    if (option := next((name for name, given in foreign.items() if given is not None), None)) is not None:
        raise OutputError(f"{option}: not with --shards, {_NOT_WITH_SHARDS[option]}")
    if format_ in (Format.csv, Format.jsonl):
        raise OutputError(f"--format {format_.value}: shards are Parquet; --format json prints the summary as JSON")
    if video is not None:
        raise VideoError(f"{video}: is a video; --shards is for pictures; leave it out")


def _predict_shards(
    sources: list[str],
    out: str,
    settings: PredictSettings,
    ray: RaySettings | None,
    shard_size: int,
    workers: int | None,
    format_: Format,
    *,
    quiet: bool,
) -> None:
    """Writes shards and prints what is in them."""
    import json

    from mien.cli.progress import progress_bar
    from mien.cluster.predict import predict_shards
    from mien.cluster.sources import Lists

    lists = Lists()
    try:
        with progress_bar("predict", unit="pictures", quiet=quiet) as progress:
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
        typer.echo(f"mien: stopped; what is done is in {out}, the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if format_ is Format.json:
        typer.echo(json.dumps(summary.to_dict(), indent=2))
    else:
        typer.echo(
            f"{out}: {summary.pictures:,} pictures, {summary.faces:,} faces, {summary.failed:,} failed, "
            f"{summary.shards:,} shards"
        )
    _tell_skipped(lists.skipped)
    if summary.failed:
        raise typer.Exit(NOT_ALL_READ)


def _tell_skipped(skipped: SkippedFiles) -> None:
    if line := skipped.line():
        typer.echo(f"mien: {line}", err=True)


def _video_among(sources: list[str]) -> str | None:
    """The video that is the only source. Raises VideoError where it is one of several."""
    from pathlib import PurePath

    from mien.errors import VideoError

    if not any(PurePath(source).suffix for source in sources):
        return None
    from mien.media.addresses import resolve, scheme_of
    from mien.media.sources import is_video_file

    video = next((source for source in sources if scheme_of(source) != "data" and is_video_file(source)), None)
    if video is not None and len(sources) > 1:
        raise VideoError(f"{video}: is a video, which goes alone; give pictures, or one video")
    return str(resolve(video)) if video is not None and scheme_of(video) == "file" else video


def _predict_video(recognizer: Recognizer, video: str, format_: Format, output: Path | None, *, quiet: bool) -> None:
    """The table of a video's tracks, or the rows of its frames."""
    from mien.cli.watch import follow_video

    lost = follow_video(recognizer, video, format_.value, output, quiet=quiet)
    if lost is not None:
        typer.echo(f"mien: {lost}", err=True)
        raise typer.Exit(NOT_ALL_READ)


def _bar_has_room(output: Path | None, format_: Format) -> bool:
    """Whether a progress bar can be seen and does not run into answers on the same terminal."""
    import sys

    return sys.stderr.isatty() and (output is not None or format_ is Format.table or not sys.stdout.isatty())


def _with_progress(results: Iterator[ImageResult], total: int | None) -> Iterator[ImageResult]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total, rate="")
        for result in results:
            yield result
            speed = progress.tasks[0].speed
            progress.update(task, advance=1, rate=f"{speed:.1f} pictures/s" if speed else "")
