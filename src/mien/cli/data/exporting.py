"""`mien data export` and `mien data split`: other programs' layouts; train, validation, test and folds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mien.cli.data.counts import print_counts
from mien.cli.exit_codes import NOT_ALL_READ


def export(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The data set.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new folder, or for csv a file that ends in .csv.")],
    as_: Annotated[
        Literal["folders", "npy", "csv", "parquet", "webdataset", "yolo", "coco"],
        typer.Option("--as", help="The layout; see below."),
    ],
    jpeg: Annotated[
        int | None, typer.Option(metavar="QUALITY", min=1, max=100, help="Write JPEG instead of PNG, which is exact.")
    ] = None,
    photographs: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="yolo, coco: the photographs that the faces were cropped from."),
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="yolo, coco: find the boxes with this detector (mtcnn, yunet, haar).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a killed export.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and say what would be written.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")] = False,
) -> None:
    """Write a data set in a layout that other programs read.

    - `folders`: SPLIT/CLASS/NAME.png, and manifest.csv with all else that is known

    - `npy`: SPLIT_images.npy (uint8, N x H x W x C), SPLIT_labels.npy, SPLIT_votes.npy

    - `csv`: fer2013.csv (grey squares alone), and fer2013new.csv where there are votes

    - `parquet`: as Hugging Face `datasets` reads it

    - `webdataset`: tar files of 5,000 samples: KEY.png, KEY.cls, KEY.json

    - `yolo`, `coco`: photographs, boxes and classes. The box is the whole image, a detector's (`--detector`), or for
    faces of `mien data crop` their place in the photographs (`--photographs`)

    Exit code: 0 all was written, 3 some photographs can't be read (OUT/problems.csv), 2 wrong usage or data.

    Examples:

    - `mien data export faces --out out/folders --as folders`

    - `mien data export faces --out fer2013.csv --as csv`

    - `mien data export crops --out yolo --as yolo --photographs photos --jpeg 95`
    """
    from mien.cli.progress import progress_bar
    from mien.data.export import ExportSettings, check_layout, export_dataset
    from mien.data.readers import open_dataset
    from mien.files import require_apart

    require_apart(source, out)
    dataset = open_dataset(source, warn=lambda line: typer.echo(line, err=True))
    if dry_run:
        check_layout(dataset, ExportSettings(as_, jpeg, photographs, detector))
        print_counts(dataset.counts(), f"{source}: {len(dataset):,} samples")
        typer.echo(f"would be written to {out} as {as_}")
        return
    with progress_bar("export", unit="images", quiet=quiet) as progress:
        problems = export_dataset(
            dataset,
            out,
            as_=as_,
            jpeg=jpeg,
            photographs=photographs,
            detector=detector,
            resume=resume,
            progress=progress,
        )
    typer.echo(f"{out}: {len(dataset):,} samples as {as_}")
    if problems:
        typer.echo(f"{len(problems):,} photographs can't be read: {out / 'problems.csv'}", err=True)
        raise typer.Exit(NOT_ALL_READ)


def split(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The data set.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new data set.")],
    validation: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Share for validation, 0 to 1.  [default: 0.1 if missing]")
    ] = None,
    test: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Share for test, 0 to 1.  [default: 0.1 if missing]")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(metavar="K", help="Number K folds (column `fold`, 0 to K-1; -1 for test) instead.")
    ] = None,
    subset: Annotated[
        int | None, typer.Option(metavar="N", help="Keep N samples, with the same shares of splits and classes.")
    ] = None,
    group_by: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Keep samples with equal values together; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same splits.")] = 0,
    again: Annotated[bool, typer.Option("--again", help="Divide splits anew that are there already.")] = False,
    keep_test: Annotated[bool, typer.Option("--keep-test", help="With --again: but leave test as it is.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a killed run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the tables.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")] = False,
) -> None:
    """Divide a data set into train, validation and test, with the same shares of each class.

    Exact duplicates, images of one person (column `identity`) and equal values of `--group-by` stay on one side.

    Splits that are there stay as they are: new ones are cut from train and from samples without a split. So
    `--validation 0.1` alone cuts validation out of train and leaves test alone. To divide a split anew, name it and add
    `--again`; `--again` alone divides everything anew. Shares are of the samples that are divided.

    Examples:

    - `mien data split faces --out divided --validation 0.1 --test 0.1`

    - `mien data split faces --out folds --folds 5 --group-by photograph`

    - `mien data split faces --out small --subset 2000`

    - `mien data split faces --out divided --again --keep-test --dry-run`
    """
    from mien.cli.progress import progress_bar
    from mien.data.splits import SplitSettings, split_dataset

    settings = SplitSettings(
        validation=validation,
        test=test,
        folds=folds,
        subset=subset,
        group_by=tuple(group_by or ()),
        seed=seed,
        again=again,
        keep_test=keep_test,
    )
    with progress_bar("split", unit="samples", quiet=quiet) as progress:
        before, division = split_dataset(source, out, settings, dry_run=dry_run, resume=resume, progress=progress)
    print_counts(before.counts(), f"before: {len(before):,} samples")
    print_counts(division.dataset.counts(), f"after: {len(division.dataset):,} samples")
    for number, count in enumerate(division.fold_counts()):
        typer.echo(f"fold {number}: {count:,} samples")
    if division.crossing:
        typer.echo(
            f"note: {division.crossing:,} groups of duplicates or persons reach across splits that were kept; "
            "duplicates: mien data dedupe",
            err=True,
        )
    typer.echo("nothing was written" if dry_run else str(out))
