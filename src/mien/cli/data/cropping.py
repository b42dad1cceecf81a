"""`mien data crop` and `mien data screen`: photographs into faces; face crops without those that show none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.cluster_options import Actors, Address, Engine, ray_settings
from mien.cli.completion import complete_detector
from mien.cli.detector_options import Cascade, Detector, MinFace, Pad, YunetWeights
from mien.cli.exit_codes import NOT_ALL_READ

if TYPE_CHECKING:
    from mien.faces import DetectorChoice


def crop(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Photographs, or faces to crop anew.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new data set of faces.")],
    detector: Detector = "mtcnn",
    cascade: Cascade = None,
    yunet_weights: YunetWeights = None,
    size: Annotated[int, typer.Option(metavar="PX", min=8, max=2048, help="Side of a crop.")] = 48,
    channels: Annotated[int, typer.Option(min=1, max=3, help="1 grey, 3 RGB.")] = 1,
    margin: Annotated[
        float, typer.Option(min=-0.5, max=3.0, help="The crop's side is the face box's longer edge times 1 + MARGIN.")
    ] = -0.05,
    align: Annotated[bool, typer.Option("--align", help="Turn each face until its eyes lie level.")] = False,
    faces: Annotated[
        Literal["all", "largest"], typer.Option(help="All faces of an image, from left to right, or the largest.")
    ] = "all",
    no_face: Annotated[
        Literal["drop", "keep", "whole"],
        typer.Option(
            help="An image without a face: drop it; keep it as a face crop that is only resized; or take its whole "
            "area for the face's box and frame that like others."
        ),
    ] = "drop",
    min_face: MinFace = 20,
    pad: Pad = None,
    as_: Annotated[Literal["arrays", "folders"], typer.Option("--as", help="How the data set is kept.")] = "arrays",
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; default: one a processor.")] = None,
    engine: Engine = "local",
    address: Address = "",
    actors: Actors = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a killed run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")] = False,
) -> None:
    """Crop the faces of photographs, exactly as `mien predict` does.

    With the default size, channels, margin and align a model sees the same pixels in the crops (`mien predict
    --detector none`) as in the photographs. Images smaller than 96 pixels are loose crops: they are enlarged for
    detection, and cropped as they are. Each face keeps its image's label and split, and gets its box and landmarks.

    Exit code: 0 all images gave faces, 3 some did not (OUT/problems.csv names them), 2 wrong usage or
    data.

    Examples:

    - `mien data crop photos/ --out faces`

    - `mien data crop photos/ --out faces --size 224 --channels 3 --margin 0.3 --align --faces largest --as folders`

    - `mien data crop images-of-faces/ --out faces --detector none`

    - `mien data crop photos/ --out faces --engine ray --actors 8`
    """
    from mien.cli.progress import progress_bar
    from mien.crop import CropSpec
    from mien.data.crops import CropSettings, crop_dataset
    from mien.faces import DetectorChoice

    if channels not in (1, 3):
        raise typer.BadParameter(f"{channels}; expected 1 (grey) or 3 (RGB)", param_hint="--channels")
    choice = DetectorChoice(detector, cascade, yunet_weights)
    settings = CropSettings(
        size=size,
        channels=channels,
        spec=CropSpec(margin=margin, align=align),
        faces=faces,
        no_face=no_face,
        min_face=min_face,
        pad=pad,
    )
    if dry_run:
        _say_plan(source, out, (choice,))
        return
    ray = ray_settings(engine, address, actors)
    with progress_bar("crop", unit="images", quiet=quiet) as progress:
        if ray is None:
            result = crop_dataset(
                source, out, detector=choice, settings=settings, as_=as_, workers=workers, resume=resume,
                progress=progress,
            )  # fmt: skip
        else:
            from mien.cluster.crop import crop_on_ray

            result = crop_on_ray(
                source, out, detector=choice, settings=settings, ray=ray, as_=as_, resume=resume, progress=progress
            )
    images = result.faces.steps[-1].samples_in
    typer.echo(f"{out}: {len(result.faces):,} faces of {images:,} images")
    _end(len(result.problems), "images could not be used", result.listing)


def screen(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A data set of face crops.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The new data set, of the samples in which a face was found.")
    ],
    detector: Annotated[
        list[str],
        typer.Option("--detector", "-d", help="mtcnn, yunet or haar; repeatable.", autocompletion=complete_detector),
    ] = ["mtcnn"],  # noqa: B006 (typer copies it)
    votes: Annotated[int, typer.Option(metavar="K", min=1, help="How many of them must find a face.")] = 1,
    cascade: Cascade = None,
    yunet_weights: YunetWeights = None,
    pad: Pad = None,
    keep_test: Annotated[bool, typer.Option("--keep-test", help="Drop nothing from the split test.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; default: one a processor.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a killed run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")] = False,
) -> None:
    """Keep the samples in which a face is found; list the others for a look.

    Detectors miss faces too: look at OUT-rejected.png (at most 300 of them, clearest cases first) before you trust the
    result; OUT-rejected.csv has all. Two detectors with `--votes 1` lose the fewest faces. The score of the best
    detector stays as the column screen_score.

    Exit code: 0 done, 3 some records could not be read (OUT/problems.csv names them), 2 wrong usage or data.

    Examples:

    - `mien data screen fer2013 --out fer2013-faces`

    - `mien data screen fer2013 --out fer2013-faces -d mtcnn -d yunet --votes 1 --keep-test`
    """
    from mien.cli.progress import progress_bar
    from mien.data.screen import ScreenSettings, screen_dataset
    from mien.faces import DetectorChoice

    choices = tuple(DetectorChoice(name, cascade, yunet_weights) for name in detector)
    settings = ScreenSettings(votes=votes, keep_test=keep_test, pad=pad)
    if dry_run:
        _say_plan(source, out, choices)
        return
    with progress_bar("screen", unit="faces", quiet=quiet) as progress:
        result = screen_dataset(
            source, out, detectors=choices, settings=settings, workers=workers, resume=resume, progress=progress
        )
    dropped = ", ".join(f"{count:,} of {split or 'no split'}" for split, count in result.rejected_by_split())
    typer.echo(f"{out}: {len(result.dataset):,} samples, {len(result.rejected):,} rejected{dropped and f': {dropped}'}")
    if result.listing and result.sheet:
        typer.echo(f"{result.listing}, {result.sheet}")
    _end(len(result.unreadable), "records could not be read", out / "problems.csv")


def _say_plan(source: Path, out: Path, detectors: tuple[DetectorChoice, ...]) -> None:
    """What a run would read and write; the detectors are made, so that a missing file of theirs is found now."""
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
