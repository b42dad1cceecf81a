"""`mien data crop` and `mien data screen`: photographs into faces; face crops without those that show none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.cluster_options import RayOptions
from mien.cli.model_options import Detector, DetectorFiles, Detectors
from mien.cli.option_groups import grouped
from mien.cli.output_options import NOT_ALL_READ, DataSet, DryRun, NewData, Quiet, Resume, progress_bar
from mien.data.settings import CropSettings, Kept, ScreenSettings

if TYPE_CHECKING:
    from mien.data.source import Source
    from mien.faces import DetectorChoice

_Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Threads. [default: one a processor]")]


@grouped
def crop(
    source: DataSet,
    *,
    out: NewData,
    detector: Detector = "auto",
    files: DetectorFiles,
    settings: CropSettings,
    as_: Annotated[Kept, typer.Option("--as", help="How the data set is kept.")] = "arrays",
    workers: _Workers = None,
    ray: RayOptions,
    resume: Resume = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Crop the faces of photographs, exactly as `mien predict` does.

    With the default size, channels, margin and align a model sees the same pixels in the crops (`mien predict
    --detector none`) as in the photographs. Images smaller than 96 pixels are loose crops: they are enlarged for
    detection. Their squares stay inside the image, as they do where a face fills a larger image. Each face keeps its
    image's label and split, and gets its box and landmarks.

    Exit code: 0 all images gave faces, 3 some did not (OUT/problems.csv names them), 2 wrong usage or
    data.

    Examples:

    - `mien data crop photos/ --out faces`
    - `mien data crop photos/ --out faces --size 224 --channels 3 --margin 0.3 --align --faces largest --as folders`
    - `mien data crop fer2013.csv --out npy --detector mtcnn --as npy`
    - `mien data crop images-of-faces/ --out faces --detector none`
    - `mien data crop photos/ --out faces --engine ray --actors 8`
    """
    from mien.data.crops import crop_dataset

    choice = files.choice(detector)
    if dry_run:
        _print_plan(source, out, (choice,))
        return
    with progress_bar("crop", unit="images", quiet=quiet) as progress:
        result = crop_dataset(
            source, out, detector=choice, settings=settings, as_=as_, workers=workers, resume=resume,
            progress=progress, engine=_on_ray(ray, choice, settings),
        )  # fmt: skip
    images = result.faces.steps[-1].samples_in
    typer.echo(f"{out}: {len(result.faces):,} faces of {images:,} images")
    _end(len(result.problems), "images could not be used", result.listing)


@grouped
def screen(
    source: DataSet,
    *,
    out: NewData,
    detector: Detectors = ["auto"],  # noqa: B006 (typer copies it)
    settings: ScreenSettings,
    files: DetectorFiles,
    workers: _Workers = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Keep the samples in which a face is found; list the others for a look.

    Detectors miss faces too: look at OUT-rejected.html (at most 300 of them, clearest cases first) before you trust the
    result; OUT-rejected.csv has all. Two detectors with `--votes 1` lose the fewest faces. The score of the best
    detector stays as the column screen_score.

    Exit code: 0 done, 3 some records could not be read (OUT/problems.csv names them), 2 wrong usage or data.

    Examples:

    - `mien data screen fer2013 --out fer2013-faces`
    - `mien data screen fer2013 --out fer2013-faces -d mtcnn -d yunet --votes 1 --keep-test`
    """
    from mien.data.screen import screen_dataset

    choices = files.choices(detector)
    if dry_run:
        _print_plan(source, out, choices)
        return
    with progress_bar("screen", unit="faces", quiet=quiet) as progress:
        result = screen_dataset(
            source, out, detectors=choices, settings=settings, workers=workers, resume=resume, progress=progress
        )
    dropped = ", ".join(f"{count:,} of {split or 'no split'}" for split, count in result.rejected_by_split())
    typer.echo(f"{out}: {len(result.dataset):,} samples, {len(result.rejected):,} rejected{dropped and f': {dropped}'}")
    if result.listing and result.page:
        typer.echo(f"{result.listing}, {result.page}")
    _end(len(result.unreadable), "records could not be read", out / "problems.csv")


def _on_ray(options: RayOptions, detector: DetectorChoice, settings: CropSettings) -> Callable[[Source], Source] | None:
    """What crops on Ray; None without --engine ray."""
    if (ray := options.settings()) is None:
        return None
    from mien.cluster.crop import RayCrops

    return partial(RayCrops, detector=detector, settings=settings, ray=ray)


def _print_plan(source: Path, out: Path, detectors: tuple[DetectorChoice, ...]) -> None:
    """What a run would read and write. The detectors are made, so that a missing file of theirs is found now."""
    from mien.data.readers import open_source
    from mien.files import require_apart

    require_apart(source, out)
    names = [choice.make(min_face=20, threads=1).name for choice in detectors]
    found = open_source(source)
    count = "an unknown number of" if found.total is None else f"{found.total:,}"
    typer.echo(f"{source}: {count} images, to be searched by {', '.join(names)}")
    typer.echo(f"would be written to {out}")


def _end(problems: int, what: str, listing: Path) -> None:
    if problems:
        typer.echo(f"{problems:,} {what}: {listing}", err=True)
        raise typer.Exit(NOT_ALL_READ)
