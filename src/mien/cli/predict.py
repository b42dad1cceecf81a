"""`mien predict`: recognises expressions in images and writes the predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.cluster_options import Actors, Address, Engine, ray_settings
from mien.cli.detector_options import AbstainBelow, Cascade, Detector, Device, MinFace, YunetWeights
from mien.cli.exit_codes import NOT_ALL_READ
from mien.cli.model_options import Model, one_model
from mien.cli.output_options import Emoji, chosen_format
from mien.cli.training_options import RecipeChanges, TrainIfMissing, TrainingRecipe, train_missing_model

if TYPE_CHECKING:
    from mien.media.addresses import NamedImage
    from mien.media.grid import FaceGrid
    from mien.media.skipped import SkippedFiles
    from mien.recognition.recognizer import Recognizer
    from mien.results import ImageResult
    from mien.results.draw import AnnotatedFolder

Format = Literal["table", "json", "jsonl", "csv"]

SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".txt": "table"}
"""Suffix of `--out` -> format."""


def predict(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Files, folders, quoted patterns, data: URLs, or - for a list (or an image) on standard input.",
        ),
    ],
    model: Model = ["mien-small"],  # noqa: B006 (typer copies it)
    detector: Detector = "mtcnn",
    cascade: Cascade = None,
    yunet_weights: YunetWeights = None,
    device: Device = "auto",
    min_face: MinFace = 20,
    abstain_below: AbstainBelow = 0.0,
    tta: Annotated[bool, typer.Option("--tta", help="Average ten views of each face, mirrored and shifted.")] = False,
    format_: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="How predictions are written. [default: by --out's suffix, or table]"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="The file to write: .csv, .json, .jsonl or .txt."),
    ] = None,
    annotate: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the images with boxes and labels into this folder.")
    ] = None,
    grid: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw all faces with their labels as one sheet.")
    ] = None,
    emoji: Emoji = False,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Faces classified together. [default: 64]")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Threads that read images and detect faces. [default: one a core, up to 4 without --shards]"
        ),
    ] = None,
    shards: Annotated[
        str | None,
        typer.Option(
            metavar="OUT",
            help="For very many images, also behind URLs or in lists (@FILE): a folder or URL for Parquet files.",
        ),
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, metavar="N", help="With --shards: images in each.")] = 1000,
    engine: Engine = "local",
    address: Address = "",
    actors: Actors = None,
    train_if_missing: TrainIfMissing = None,
    recipe: TrainingRecipe = "",
    set_: RecipeChanges = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")] = False,
) -> None:
    """Recognise facial expressions in images.

    In folders, images are known by their content; other files are counted in a closing line.

    Shards are for very many images. After a stop or a kill, the same command resumes with the missing shards.

    Exit code: 0 all images were read, 3 some were not (each is named with its reason), 2 wrong usage.

    Examples:

    - `mien predict photo.jpg`

    - `mien predict holiday/ --annotate drawn/ --emoji --grid faces.png --out faces.csv`

    - `mien predict talk.mp4 --out frames.csv`

    - `find . -name '*.png' | mien predict - --format jsonl`

    - `mien predict photo.jpg --model mien-small+mien-base`

    - `mien predict photo.jpg --model own.onnx --train-if-missing faces/`

    - `mien predict s3://bucket/photos/ --shards answers --engine ray`
    """
    from mien.faces import make_detector
    from mien.recognition.recognizer import Recognizer

    video, models = _video_among(sources), one_model(model)
    if shards is not None or (engine, address, actors) != ("local", "", None):
        from mien.cli.predict_shards import check_shards, predict_into_shards
        from mien.cluster.predict import PredictSettings
        from mien.data.crops import DetectorChoice

        foreign: dict[str, object] = {"--out": out, "--annotate": annotate, "--grid": grid, "--batch-size": batch_size}
        foreign |= {"--emoji": emoji or None, "--device": None if device == "auto" else device}
        if engine == "ray":
            foreign["--workers"] = workers
        check_shards(shards, format_, foreign, video)
        ray = ray_settings(engine, address, actors)
        train_missing_model(models, train_if_missing, recipe, set_, quiet=quiet)
        choice = DetectorChoice(detector, cascade, yunet_weights)
        settings = PredictSettings(tuple(models), choice, min_face, abstain_below, tta)
        predict_into_shards(sources, str(shards), settings, ray, shard_size, workers, format_, quiet=quiet)
        return
    chosen = chosen_format(format_, out, SUFFIXES, default="table")
    _check_drawing(video, annotate, grid, emoji=emoji)
    images, skipped = _images(sources, video, (annotate, out, grid))
    train_missing_model(models, train_if_missing, recipe, set_, quiet=quiet)
    recognizer = Recognizer(
        models,
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
        _predict_video(recognizer, video, chosen, out, quiet=quiet)
        return
    from mien.media.grid import FaceGrid
    from mien.results.draw import AnnotatedFolder

    folder = AnnotatedFolder(annotate, emoji=emoji) if annotate is not None else None
    sheet = FaceGrid(grid, emoji=emoji) if grid is not None else None
    drawn = [drawing for drawing in (folder, sheet) if drawing is not None]
    show = not quiet and _bar_has_room(out, chosen)
    all_read = _predict_images(recognizer, images, chosen, out, drawn, skipped, show=show, counted="-" not in sources)
    if sheet is not None:
        sheet.finish()
    tell_skipped(skipped)
    if not all_read:
        raise typer.Exit(NOT_ALL_READ)


def _images(
    sources: list[str], video: str | None, outputs: Iterable[Path | None]
) -> tuple[Iterable[Path | NamedImage | str], SkippedFiles]:
    """The images to predict, without this command's own outputs; and the counts of other files in folders."""
    from mien.media.skipped import SkippedFiles
    from mien.media.sources import expand_sources

    skipped = SkippedFiles()
    if video is not None:
        return (), skipped
    return expand_sources(sources, exclude=[path for path in outputs if path is not None], skipped=skipped), skipped


def _predict_images(
    recognizer: Recognizer,
    images: Iterable[Path | NamedImage | str],
    format_: str,
    out: Path | None,
    drawn: Sequence[AnnotatedFolder | FaceGrid],
    skipped: SkippedFiles,
    *,
    show: bool,
    counted: bool,
) -> bool:
    """Writes predictions and drawings; returns whether all images could be read.

    show: a progress bar. counted: the number of images is known before the first is read.
    """
    from mien.media.sinks import open_sink

    all_read = True
    with ExitStack() as stack:
        sink = stack.enter_context(open_sink(format_, recognizer.summary(), out, skipped=skipped.counts))
        total = None
        if show and counted:
            images = list(images)
            total = len(images)
            show = total > 1
        results = recognizer.stream(images, keep_images=bool(drawn))
        for result in _with_progress(results, total) if show else results:
            all_read = all_read and result.error is None
            sink.write(result)
            for drawing in drawn:
                drawing.write(result)
    return all_read


def _check_drawing(video: str | None, annotate: Path | None, grid: Path | None, *, emoji: bool) -> None:
    """Raises MienError for options that draw nothing here."""
    from mien.errors import OutputError, VideoError

    option = next((name for name, given in (("--annotate", annotate), ("--grid", grid)) if given is not None), None)
    if video is not None and option is not None:
        raise VideoError(f"{video}: is a video; {option} is for images; use  mien watch {video} --record OUT.mp4")
    if emoji and option is None:
        raise OutputError("--emoji: nothing is drawn; add  --annotate DIR  or  --grid FILE.png")


def tell_skipped(skipped: SkippedFiles) -> None:
    """The closing line on files in folders that are no images."""
    if line := skipped.line():
        typer.echo(f"mien: {line}", err=True)


def _video_among(sources: list[str]) -> str | None:
    """The video that is the only source. Raises VideoError if it is one of several."""
    from pathlib import PurePath

    from mien.errors import VideoError

    if not any(PurePath(source).suffix for source in sources):
        return None
    from mien.media.addresses import resolve, scheme_of
    from mien.media.sources import is_video_file

    video = next((source for source in sources if scheme_of(source) != "data" and is_video_file(source)), None)
    if video is not None and len(sources) > 1:
        raise VideoError(f"{video}: is a video, which goes alone; give images, or one video")
    return str(resolve(video)) if video is not None and scheme_of(video) == "file" else video


def _predict_video(recognizer: Recognizer, video: str, format_: str, out: Path | None, *, quiet: bool) -> None:
    """Writes the table of a video's tracks, or the rows of its frames."""
    from mien.cli.watch import follow_video

    lost = follow_video(recognizer, video, format_, out, quiet=quiet)
    if lost is not None:
        typer.echo(f"mien: {lost}", err=True)
        raise typer.Exit(NOT_ALL_READ)


def _bar_has_room(out: Path | None, format_: str) -> bool:
    """Whether a progress bar is visible and does not run into predictions on the same terminal."""
    import sys

    return sys.stderr.isatty() and (out is not None or format_ == "table" or not sys.stdout.isatty())


def _with_progress(results: Iterator[ImageResult], total: int | None) -> Iterator[ImageResult]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total, rate="")
        for result in results:
            yield result
            speed = progress.tasks[0].speed
            progress.update(task, advance=1, rate=f"{speed:.1f} images/s" if speed else "")
