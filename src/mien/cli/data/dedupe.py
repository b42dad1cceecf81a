"""`mien data dedupe`: removes images that are in a data set more than once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.data.looking import print_counts
from mien.cli.output_options import NOT_ALL_READ, DataSet, DryRun, NewData, Quiet, Resume, progress_bar, warn

if TYPE_CHECKING:
    from mien.data.dedupe import Deduped

_Near = Annotated[
    int | None,
    typer.Option(
        metavar="BITS",
        min=0,
        max=16,
        help="Also near copies whose hashes differ in at most BITS of 64 bits; 8 is a good start.  [default: exact "
        "copies only]",
    ),
]
_Keep = Annotated[Literal["first", "test", "none"], typer.Option(help="Which copy of a group stays; see above.")]
_Conflicts = Annotated[
    Literal["drop", "keep", "majority"], typer.Option(help="What becomes of groups with different labels.")
]
_Report = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where the table and the contact sheet go.  [default: beside OUT]")
]


def dedupe(
    source: DataSet,
    out: NewData,
    near: _Near = None,
    keep: _Keep = "test",
    conflicts: _Conflicts = "drop",
    report: _Report = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Find images that are in a data set more than once, inside and across splits, and remove the copies.

    Exact copies have the same pixels. `--near` also finds images that were compressed again, resized, watermarked or
    brightened: candidates by perceptual hash, which are then compared. Consecutive frames of a film are near copies
    too, so near copies are removed only on demand. Check them first, with `--dry-run` or in OUT-groups.html.

    `--keep test` keeps one copy of each group, that in test, else in validation, else in train: nothing a model is
    measured on is then in its training data. `first` keeps the first in the data set's order, `none` no copy.

    `--conflicts drop` removes groups with different labels as a whole: the images can't show which label is right.
    `majority` keeps a copy with the most frequent label, `keep` treats such groups like others.

    OUT-groups.csv lists all groups, OUT-groups.html shows them, doubtful ones first.

    Exit code: 0 done, 3 some records could not be read (OUT/problems.csv names them), 2 wrong usage or data.

    Examples:

    - `mien data dedupe data/fer2013 --out data/fer2013-unique`
    - `mien data dedupe data/fer2013 --out clean --near 8 --dry-run`
    - `mien data dedupe data/fer2013 --out clean --near 8 --keep first --conflicts majority --report looks`
    """
    from mien.data.dedupe import dedupe as remove_copies

    with progress_bar("dedupe", unit="images", quiet=quiet) as progress:
        result = remove_copies(
            source, out, near=near, keep=keep, conflicts=conflicts, report=report, dry_run=dry_run, resume=resume,
            progress=progress,
        )  # fmt: skip
    _print(result, near_copies=near is not None)
    typer.echo("nothing was written" if dry_run else f"{out}\n{result.table}\n{result.page}")
    if result.problems:
        where = "" if dry_run else f": {out / 'problems.csv'}"
        warn(f"{len(result.problems):,} records could not be read{where}")
        raise typer.Exit(NOT_ALL_READ)


def _print(result: Deduped, *, near_copies: bool) -> None:
    before, groups = result.before, result.groups
    near_groups = f", {int(groups.near.sum()):,} of them of near copies" if near_copies else ""
    typer.echo(f"{groups.groups:,} groups of {groups.images:,} images{near_groups}")
    typer.echo(f"{groups.conflicts:,} groups with different labels, {groups.cross_split:,} across splits")
    print_counts(before.counts(), f"before: {len(before):,} samples")
    print_counts(before.take(result.rows).counts(), f"after: {len(result.rows):,} samples")
