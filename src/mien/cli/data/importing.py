"""`mien data import`: any layout of face data into one that mien works with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.exit_codes import NOT_ALL_READ

if TYPE_CHECKING:
    pass


def import_(
    source: Annotated[Path, typer.Argument(help="A CSV, Parquet file(s), a folder or a ZIP; see below.")],
    out: Annotated[Path, typer.Argument(help="The new data set.")],
    as_: Annotated[
        Literal["arrays", "folders", "parquet"], typer.Option("--as", help="How the data set is kept.")
    ] = "arrays",
    ferplus: Annotated[
        Path | None, typer.Option(metavar="FILE", help="fer2013new.csv, whose votes belong to the rows of SOURCE.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed import stopped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what SOURCE is, and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")] = False,
) -> None:
    """Import a data set of faces or photographs. Records that can't be used are listed, the others kept.

    SOURCE may be Kaggle's fer2013.csv or icml_face_data.csv, a plain CSV of path,label[,split], Hugging Face image
    Parquet (a file or a folder), class folders with or without splits, RAF-DB, AffectNet or CK+48 as published, a
    folder of pictures, or a ZIP of any of these folders or of a CSV.

    Exit code: 0 all records were used, 3 some were not (OUT/problems.csv names them), 2 wrong usage or data.

    Examples:

    - `mien data import fer2013.csv data/fer2013`

    - `mien data import fer2013.csv data/ferplus --ferplus fer2013new.csv`

    - `mien data import archive.zip faces --as folders`

    - `mien data import legend.csv data/faces --dry-run`
    """
    from mien.cli.data.counts import print_counts
    from mien.cli.progress import progress_bar
    from mien.data.importing import import_dataset
    from mien.data.readers import open_source

    if dry_run:
        found = open_source(source, ferplus=ferplus)
        count = "an unknown number of" if found.total is None else f"{found.total:,}"
        typer.echo(f"{source}: {found.kind}, {count} records, labels {', '.join(found.label_names) or 'none'}")
        typer.echo(f"would be written to {out} as {as_}")
        return
    with progress_bar("import", unit="pictures", quiet=quiet) as progress:
        result = import_dataset(source, out, as_=as_, ferplus=ferplus, resume=resume, progress=progress)
    print_counts(result.counts())
    problems = result.steps[-1].problems
    typer.echo(f"{out}: {len(result):,} pictures as {as_}")
    if problems:
        listed = out / "problems.csv"
        typer.echo(f"{problems:,} records could not be used; {listed} names each with its reason", err=True)
        raise typer.Exit(NOT_ALL_READ)
