"""`mien data explore` and `mien data info`: show a data set before training; tables of counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.output_options import (
    NOT_ALL_READ,
    DataSet,
    Quiet,
    Seed,
    TableOrJson,
    out_option,
    print_table,
    progress_bar,
    warn,
)
from mien.reporting import warnings_to

if TYPE_CHECKING:
    from mien.data.dataset import Dataset
    from mien.data.info import DatasetInfo

_SHOWN = 10  # lines on what was left out; sizes; problems


def explore(
    source: DataSet,
    out: Annotated[Path, out_option("The new folder for the page and its figures.")],
    per_class: Annotated[int, typer.Option(min=1, max=500, help="How many samples of each class to show.")] = 30,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Write a page (OUT/index.html) that shows a data set: counts, samples, mean faces, light and sizes.

    Exit code: 0 all records were read, 3 some could not be read, 2 wrong usage or data.

    Example: `mien data explore data/fer2013 --out looks/fer2013`
    """
    from mien.data import explore as library
    from mien.files import require_apart

    require_apart(source, out)
    dataset, left_out = open_counted(source)
    with progress_bar("explore", unit="images", quiet=quiet) as progress:
        page = library.explore(dataset, out, seed=seed, per_class=per_class, progress=progress)
    typer.echo(str(page))
    if left_out:
        raise typer.Exit(NOT_ALL_READ)


def info(source: DataSet, format_: TableOrJson = "table", quiet: Quiet = False) -> None:
    """Print what a data set holds: samples by split and class, sizes, columns, problems, and how it was made.

    Examples:

    - `mien data info data/fer2013`
    - `mien data info fer2013.csv --format json`
    """
    from mien.data.info import describe

    with progress_bar("read", unit="images", quiet=quiet) as progress:
        found = describe(source, progress=progress)
    if format_ == "json":
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        _print_info(found)


def open_counted(source: Path) -> tuple[Dataset, int]:
    """The data set, and how many records of it could not be read; the first of those are named on standard error."""
    from mien.data.readers import open_dataset

    left_out: list[str] = []
    with warnings_to(left_out.append):
        dataset = open_dataset(source)
    for line in left_out[:_SHOWN]:
        warn(line)
    if len(left_out) > _SHOWN:
        warn(f"and {len(left_out) - _SHOWN:,} more")
    return dataset, len(left_out)


def _print_info(found: DatasetInfo) -> None:
    from mien.pages import plain

    for name, value in _facts(found):
        typer.echo(plain(f"{name:8}  {value}"))
    typer.echo()
    print_counts({split.split: split.counts(found.label_names) for split in found.splits})
    steps = []
    for step in found.steps:
        settings = ", ".join(f"{k}={json.dumps(v)}" for k, v in step.settings.items() if v not in (None, [], ""))
        problems = f", {step.problems:,} problems" if step.problems else ""
        counts = f"{step.samples_in:,} -> {step.samples_out:,}{problems}"
        steps.append([plain(text) for text in (step.command, step.version, counts, settings)])
    if steps:
        typer.echo()
        print_table(("step", "version", "samples", "settings"), steps, left=4)
    if found.problems:
        typer.echo(f"\n{len(found.problems):,} records could not be used")
        for problem in found.problems[:_SHOWN]:
            typer.echo(plain(f"  {problem.source}: {problem.reason}"))
        if len(found.problems) > _SHOWN:
            typer.echo(f"  and {len(found.problems) - _SHOWN:,} more")


def _facts(found: DatasetInfo) -> list[tuple[str, str]]:
    sizes = [
        f"{s.height} x {s.width} {'RGB' if s.channels == 3 else 'grey'}"
        + (f" ({s.samples:,})" if len(found.sizes) > 1 else "")
        for s in found.sizes[:3]
    ]
    if len(found.sizes) > len(sizes):
        sizes.append(f"{len(found.sizes) - len(sizes):,} other sizes")
    facts = [
        ("data set", found.name),
        ("kind", f"{found.kind}, {found.disk_bytes / 1e6:,.1f} MB"),
        ("samples", f"{found.samples:,}"),
        ("size", ", ".join(sizes)),
        ("votes", "none" if found.voted is None else f"for {found.voted:,} samples"),
    ]
    if found.columns:
        facts.append(("columns", ", ".join(f"{name} ({kind})" for name, kind in found.columns)))
    return facts


def print_counts(counts: Mapping[str, Mapping[str, int]], title: str = "") -> None:
    """Prints split -> label -> count as a table: classes down, splits across, shares beside, on 80 columns.

    '' stands for no split, and for no label. Names come from files: what steers a terminal is left out of them.
    """
    from mien.pages import plain

    labels = list(dict.fromkeys(label for of_split in counts.values() for label in of_split))
    columns = [*counts.values(), {name: sum(c.get(name, 0) for c in counts.values()) for name in labels}]
    totals = [sum(column.values()) for column in columns]
    head = [cell for split in (*counts, "all") for cell in (plain(split or "(no split)"), "")]
    rows = []
    for label in (*labels, None):
        values = totals if label is None else [column.get(label, 0) for column in columns]
        cells = [
            cell
            for value, total in zip(values, totals, strict=True)
            for cell in (f"{value:,}", f"{100 * value / total:.1f} %" if total else "")
        ]
        rows.append(("all" if label is None else plain(label or "(no label)"), *cells))
    print_table(("class", *head), rows, title)
