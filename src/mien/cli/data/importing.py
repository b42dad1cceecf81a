"""`mien data import`: reads any layout of face data and writes one that mien works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.data.looking import print_counts
from mien.cli.option_groups import grouped
from mien.cli.output_options import NOT_ALL_READ, Quiet, Resume, out_option, progress_bar, warn
from mien.data.settings import Kept

if TYPE_CHECKING:
    from mien.data.reading.reading import Choices
    from mien.data.source import Problem

_SHOWN = 20  # problems that are printed, of those that the list has


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """What the user knows of the layout; the rest is detected."""

    labels: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="What labels mean: names in the order of their numbers, OLD=NEW pairs, a TOML or CSV file of them, or "
            "a known order (fer2013, raf-db, affectnet, ...).",
        ),
    ] = ""
    split_map: Annotated[
        str, typer.Option(metavar="PAIRS", help="What splits mean, such as  holdout=test,extra=train.")
    ] = ""
    label_column: Annotated[str, typer.Option(metavar="NAME", help="The column of the labels, by name or number.")] = ""
    image_column: Annotated[str, typer.Option(metavar="NAME", help="The column of the images, by name or number.")] = ""
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder that paths in a list are relative to.")
    ] = None
    ferplus: Annotated[
        Path | None, typer.Option(metavar="FILE", help="fer2013new.csv, whose votes belong to the rows of SOURCE.")
    ] = None

    def choices(self) -> Choices:
        """As the library takes them."""
        from mien.data.reading.reading import make_choices

        return make_choices(**asdict(self))


@grouped
def import_(
    source: Annotated[Path, typer.Argument(help="A list, table, folder or ZIP; see above.")],
    *,
    out: Annotated[Path | None, out_option("The new data set.")] = None,
    as_: Annotated[Kept, typer.Option("--as", help="How the data set is kept.")] = "arrays",
    plan: Annotated[
        bool, typer.Option("--plan", "--dry-run", help="Read everything, report how it was read, and write nothing.")
    ] = False,
    reading: ReadingOptions,
    check: Annotated[bool, typer.Option(help="Check with a shipped model whether the labels are plausible.")] = True,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Import a data set of faces or photographs, and print how it was read.

    SOURCE may be Kaggle's fer2013.csv, a list of images and labels (CSV, TSV, JSON lines), Parquet, arrays (.npz),
    class folders of any names, RAF-DB, AffectNet, CK+, KDEF and others as published, YOLO, COCO, VOC, Label Studio,
    FiftyOne, or a ZIP of any of these. What can't be read is listed with its reason; nothing is guessed in silence.

    Exit code: 0 every file was used, 3 some were not (OUT/problems.csv names them), 2 wrong usage or data.

    Examples:

    - `mien data import fer2013.csv --out data/fer2013 --ferplus fer2013new.csv`
    - `mien data import archive.zip --plan`
    - `mien data import rafdb.csv --out data/faces --labels raf-db`
    - `mien data import my-faces/ --out data/faces --labels 0=bored,1=engaged --split-map holdout=test`
    - `mien data import list.tsv --out data/faces --image-column pic --label-column answer --root /data/images`
    """
    from mien.data.importing import import_dataset

    choices = reading.choices()
    if plan:
        _plan(source, choices, check=check, quiet=quiet)
        return
    if out is None:
        raise typer.BadParameter("expected a new folder for the data set, or --plan", param_hint="--out")
    with progress_bar("import", unit="images", quiet=quiet) as progress:
        dataset = import_dataset(source, out, as_=as_, choices=choices, check=check, resume=resume, progress=progress)
    _print_reading(dataset.steps[-1].settings["reading"])
    print_counts(dataset.counts())
    typer.echo(f"{out}: {len(dataset):,} images as {as_}")
    if problems := dataset.steps[-1].problems:
        warn(f"{problems:,} files or records could not be used; {out / 'problems.csv'} names each with its reason")
        raise typer.Exit(NOT_ALL_READ)


def _plan(source: Path, choices: Choices, *, check: bool, quiet: bool) -> None:
    from mien.data.importing import plan_import

    with progress_bar("read", unit="images", quiet=quiet) as progress:
        planned = plan_import(source, choices=choices, check=check, progress=progress)
    _print_reading(planned.reading)
    print_counts(planned.counts)
    typer.echo(f"{source}: {planned.samples:,} images; nothing was written")
    _print_problems(planned.problems)
    if planned.problems:
        raise typer.Exit(NOT_ALL_READ)


def _print_reading(lines: Sequence[str]) -> None:
    from mien.pages import plain

    for line in lines:
        typer.echo(plain(line))


def _print_problems(problems: Sequence[Problem]) -> None:
    from mien.pages import plain

    for problem in problems[:_SHOWN]:
        warn(plain(f"not read: {problem.source}: {problem.reason}"))
    if len(problems) > _SHOWN:
        warn(f"not read: {len(problems) - _SHOWN:,} more")
