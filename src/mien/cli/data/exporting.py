"""`mien data export` and `mien data split`: other programs' layouts; train, validation, test and folds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mien.cli.data.looking import print_counts
from mien.cli.option_groups import grouped
from mien.cli.output_options import (
    NOT_ALL_READ,
    DataSet,
    DryRun,
    NewData,
    Quiet,
    Resume,
    out_option,
    progress_bar,
    warn,
)
from mien.data.settings import ExportSettings, SplitSettings


@grouped
def export(
    source: DataSet,
    out: Annotated[Path, out_option("The new folder, or for csv a file that ends in .csv.")],
    settings: ExportSettings,
    resume: Resume = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Write a data set in a layout that other programs read.

    - `folders`: SPLIT/CLASS/NAME.png, and manifest.csv with all else that is known
    - `npy`: SPLIT_images.npy (uint8, N x H x W x C), SPLIT_labels.npy, SPLIT_votes.npy
    - `csv`: fer2013.csv (grey squares alone), and fer2013new.csv where there are votes
    - `parquet`: as Hugging Face `datasets` reads it
    - `webdataset`: tar files of 5,000 samples: KEY.png, KEY.cls, KEY.json
    - `yolo`, `coco`: photographs, boxes and classes. The box is the whole image, a detector's (`--detector`), or for
    faces of `mien data crop` their place in the photographs (`--photographs`)
    - `label-studio`, `fiftyone`: to look at labels; `mien data relabel` applies the answers. With `--flags`, what an
    audit flagged and its suggestions

    Exit code: 0 all was written, 3 some images have no face or can't be read (OUT/problems.csv), 2 wrong usage or data.

    Examples:

    - `mien data export faces --out out/folders --as folders`
    - `mien data export faces --out fer2013.csv --as csv`
    - `mien data export crops --out yolo --as yolo --photographs photos --jpeg 95`
    """
    from mien.data.export import check_layout, export_dataset
    from mien.data.readers import open_dataset
    from mien.files import require_apart

    require_apart(source, out)
    dataset = open_dataset(source)
    if dry_run:
        check_layout(dataset, settings)
        print_counts(dataset.counts(), f"{source}: {len(dataset):,} samples")
        typer.echo(f"would be written to {out} as {settings.as_}")
        return
    with progress_bar("export", unit="images", quiet=quiet) as progress:
        problems = export_dataset(dataset, out, **asdict(settings), resume=resume, progress=progress)
    count = "the flagged" if settings.flags else f"{len(dataset):,}"
    typer.echo(f"{out}: {count} samples as {settings.as_}")
    if problems:
        warn(f"{len(problems):,} images have no face, or can't be read: {out / 'problems.csv'}")
        raise typer.Exit(NOT_ALL_READ)


@grouped
def split(
    source: DataSet,
    out: NewData,
    settings: SplitSettings,
    resume: Resume = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
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
    from mien.data.splits import split_dataset

    with progress_bar("split", unit="samples", quiet=quiet) as progress:
        before, division = split_dataset(source, out, settings, dry_run=dry_run, resume=resume, progress=progress)
    print_counts(before.counts(), f"before: {len(before):,} samples")
    print_counts(division.dataset.counts(), f"after: {len(division.dataset):,} samples")
    for number, count in enumerate(division.fold_counts()):
        typer.echo(f"fold {number}: {count:,} samples")
    if division.crossing:
        warn(
            f"note: {division.crossing:,} groups of duplicates or persons are in several splits that were kept; "
            "remove duplicates with  mien data dedupe"
        )
    typer.echo("nothing was written" if dry_run else str(out))
