"""`mien data dedupe`: leave out what is in a data set more than once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mien.cli.exit_codes import NOT_ALL_READ


def dedupe(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The data set.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new data set, without duplicates.")],
    near: Annotated[
        int | None,
        typer.Option(
            metavar="BITS",
            min=0,
            max=16,
            help="Also near copies whose hashes differ in at most BITS of 64 bits; 8 is a good start.  [default: exact "
            "copies alone]",
        ),
    ] = None,
    keep: Annotated[
        Literal["first", "test", "none"], typer.Option(help="Which copy of a group stays; see below.")
    ] = "test",
    conflicts: Annotated[
        Literal["drop", "keep", "majority"], typer.Option(help="What becomes of groups with different labels.")
    ] = "drop",
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the table and the contact sheet go.  [default: beside OUT]"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a killed run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be left out.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")] = False,
) -> None:
    """Find images that are in a data set more than once, inside and across splits, and leave the copies out.

    Exact copies have the same pixels. With `--near` also images that were compressed again, resized, watermarked or
    made lighter: candidates by perceptual hash, which are then compared. Consecutive frames of a film are near copies
    too, so near copies are left out only when you ask for them: look first, with `--dry-run` or at OUT-groups.png.

    `--keep test` keeps one copy of each group, that in test, else in validation, else in train: nothing a model is
    measured on is then in its training data. `first` keeps the first in the data set's order, `none` no copy.

    `--conflicts drop` leaves out groups with different labels as a whole: which label is right, the images can't say.
    `majority` keeps a copy with the most frequent label, `keep` treats such groups like others.

    OUT-groups.csv lists all groups, OUT-groups.png shows them, doubtful ones first.

    Exit code: 0 done, 3 some records could not be read (OUT/problems.csv names them), 2 wrong usage or data.

    Examples:

    - `mien data dedupe data/fer2013 --out data/fer2013-unique`

    - `mien data dedupe data/fer2013 --out clean --near 8 --dry-run`

    - `mien data dedupe data/fer2013 --out clean --near 8 --keep first --conflicts majority --report looks`
    """
    from mien.cli.data.counts import print_counts
    from mien.cli.progress import progress_bar
    from mien.data.dedupe import dedupe as leave_out_copies

    with progress_bar("dedupe", unit="images", quiet=quiet) as progress:
        result = leave_out_copies(
            source,
            out,
            near=near,
            keep=keep,
            conflicts=conflicts,
            report=report,
            dry_run=dry_run,
            resume=resume,
            progress=progress,
        )
    before, groups = result.before, result.groups
    near_groups = f", {int(groups.near.sum()):,} of them of near copies" if near is not None else ""
    typer.echo(f"{groups.groups:,} groups of {groups.images:,} images{near_groups}")
    typer.echo(f"{groups.conflicts:,} groups with different labels, {groups.cross_split:,} across splits")
    print_counts(before.counts(), f"before: {len(before):,} samples")
    print_counts(before.take(result.rows).counts(), f"after: {len(result.rows):,} samples")
    typer.echo("nothing was written" if dry_run else f"{out}\n{result.table}\n{result.sheet}")
    if result.problems:
        where = "" if dry_run else f": {out / 'problems.csv'}"
        typer.echo(f"{len(result.problems):,} records could not be read{where}", err=True)
        raise typer.Exit(NOT_ALL_READ)
