"""Removes copies from a data set; lists and shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mien.data.arrays import write_arrays
from mien.data.dataset import Dataset, Selection, collect
from mien.data.duplicates import DuplicateGroups, find_duplicates
from mien.data.readers import as_source, keep_apart
from mien.data.source import SPLITS, Problem
from mien.errors import OutputError
from mien.files import csv_text, make_folder, write_text
from mien.pages import Page, Tile
from mien.reporting import Progress

Keep = Literal["first", "test", "none"]
Conflicts = Literal["drop", "keep", "majority"]

_SHOWN, _SHOWN_OF_GROUP = 60, 6
"""How many groups of each kind the page shows, and how many pairs of one group."""


@dataclass(frozen=True, slots=True, eq=False)
class Deduped:
    """What `dedupe` found and did.

    before: the data set as it was. rows: int64, those of its samples that stay. problems: records that can't be read.
    table, page: the files with the groups, None after a dry run.
    """

    before: Dataset
    groups: DuplicateGroups
    rows: NDArray[np.int64]
    problems: tuple[Problem, ...]
    table: Path | None = None
    page: Path | None = None


def dedupe(
    source: Dataset | str | Path,
    out: Path,
    *,
    near: int | None = None,
    keep: Keep = "test",
    conflicts: Conflicts = "drop",
    report: Path | None = None,
    dry_run: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Deduped:
    """Writes the data set `source` without its duplicates to the folder `out`.

    near, keep, conflicts: as in `find_duplicates` and `dedupe_rows`. report: the folder for the groups' table
    (`<name of out>-groups.csv`) and page (`.html`); None: beside `out`. dry_run: nothing is written. resume: go
    on where a killed run of the same settings stopped. Raises DataError, OutputError, MissingExtraError.
    """
    out = Path(out)
    folder = out.parent if report is None else Path(report)
    table, page = (folder / f"{out.name}-groups{suffix}" for suffix in (".csv", ".html"))
    keep_apart(source, out, table, page)
    if folder.resolve().is_relative_to(out.resolve()):
        raise OutputError(f"{folder}: lies in the new data set {out}; give another place for the report")
    if out.exists() and not resume and not dry_run:  # said now, not after the search
        raise OutputError(f"{out}: exists already; give a new folder")
    dataset, problems = _read(source, progress)
    groups = find_duplicates(dataset, near=near, progress=progress)
    rows = dedupe_rows(dataset, groups, keep=keep, conflicts=conflicts)
    if dry_run:
        return Deduped(dataset, groups, rows, problems)
    staying = np.zeros(len(dataset), bool)
    staying[rows] = True
    settings = {"near": near, "keep": keep, "conflicts": conflicts}
    rest = Selection(dataset, staying, problems)
    write_arrays(rest, out, command="dedupe", settings=settings, resume=resume, progress=progress)
    make_folder(folder)
    write_table(dataset, groups, staying, table)
    groups_page(dataset, groups, staying).write(page)
    return Deduped(dataset, groups, rows, problems, table, page)


def _read(source: Dataset | str | Path, progress: Progress | None) -> tuple[Dataset, tuple[Problem, ...]]:
    opened = as_source(source)
    inner = getattr(opened, "source", opened)
    if isinstance(inner, Dataset):
        return inner, ()
    problems: list[Problem] = []
    dataset = collect(opened, problem=problems.append, name=str(source), progress=progress)
    return dataset, tuple(problems)


def dedupe_rows(
    dataset: Dataset, groups: DuplicateGroups, *, keep: Keep = "test", conflicts: Conflicts = "drop"
) -> NDArray[np.int64]:
    """The rows that stay, in order: all samples without a copy, and at most one of each group.

    keep: which one. `first`: the first in the data set's order. `test`: the one in test, else in validation, else in
    train (of several there, the first), so that what a model is measured on stays and is not trained on. `none`: no
    copy stays. conflicts: the handling of groups with different labels. `drop`: no copy stays. `keep`: they are like
    others. `majority`: one of the copies with the most frequent label, chosen as above; no copy where two labels are
    equally frequent.
    """
    members = np.flatnonzero(groups.group >= 0)
    if keep == "none":
        return np.flatnonzero(groups.group < 0)
    if conflicts != "keep":
        settled = ~groups.conflicting[groups.group[members]]
        if conflicts == "majority":
            settled |= dataset.labels[members] == _majorities(dataset, groups)[groups.group[members]]
        members = members[settled]
    rank = np.zeros(len(members), np.int64)
    if keep == "test":
        for better, split in enumerate(SPLITS, start=1):
            rank[dataset.splits[members] == split] = -better
    members = members[np.lexsort((members, rank, groups.group[members]))]
    _, places = np.unique(groups.group[members], return_index=True)
    return np.sort(np.concatenate((np.flatnonzero(groups.group < 0), members[places])))


def _majorities(dataset: Dataset, groups: DuplicateGroups) -> NDArray[np.int64]:
    """int64 (G,): each group's most frequent label, -2 where there is none or two are equally frequent."""
    votes = np.zeros((groups.groups, len(dataset.label_names)), np.int64)
    members = np.flatnonzero((groups.group >= 0) & (dataset.labels >= 0))
    np.add.at(votes, (groups.group[members], dataset.labels[members]), 1)
    most = votes.max(1, initial=0)
    return np.where((votes == most[:, None]).sum(1) == 1, votes.argmax(1), -2)


def write_table(dataset: Dataset, groups: DuplicateGroups, staying: NDArray[np.bool_], path: Path) -> None:
    """A CSV of all samples that have a copy, group by group. kind: exact where another one has the same pixels."""
    rows: list[tuple[object, ...]] = [("group", "kind", "source", "split", "label", "kept", "distance")]
    for row in _by_group(groups).tolist():
        kind, kept = "exact" if groups.exact[row] else "near", "yes" if staying[row] else "no"
        where = (dataset.sources[row], dataset.splits[row], dataset.label_name(row))
        rows.append((groups.group[row], kind, *where, kept, groups.distance[row]))
    write_text(path, csv_text(rows))


def groups_page(dataset: Dataset, groups: DuplicateGroups, staying: NDArray[np.bool_]) -> Page:
    """Groups with different labels, then near copies, then groups across splits, then others, as pairs.

    A pair is the sample of a group that stays, or the first, beside each of the others; of large groups the first
    pairs only. Below are the labels, the splits and what is kept.
    """
    removed = int((~staying).sum())
    verdict = (
        f"{groups.images:,} of {len(dataset):,} samples are copies, in {groups.groups:,} groups; {removed:,} were "
        f"removed and {len(dataset) - removed:,} stay. {groups.conflicts:,} groups have different labels, and "
        f"{groups.cross_split:,} reach across splits."
    )
    page = Page(f"Copies in {Path(dataset.name).name}", verdict, kind="Dedupe")
    page.tiles((
        Tile("groups", f"{groups.groups:,}", f"{int(groups.near.sum()):,} with near copies"),
        Tile("removed", f"{removed:,}", f"of {len(dataset):,} samples"),
        Tile("different labels", f"{groups.conflicts:,}", "groups"),
        Tile("across splits", f"{groups.cross_split:,}", "groups"),
    ))  # fmt: skip
    how = "The sample that stays, or the first, beside each copy. Where pixels differ, a third image shows it."
    kinds = np.select((groups.conflicting, groups.near, groups.crossing), (0, 1, 2), 3)
    members = _by_group(groups)
    starts = np.searchsorted(groups.group[members], np.arange(groups.groups + 1))
    for kind, title in enumerate(("Different labels", "Near copies", "Across splits", "Other copies")):
        own = np.flatnonzero(kinds == kind)
        if not len(own):
            continue
        few = f" The first {_SHOWN} groups are shown." if len(own) > _SHOWN else ""
        page.section(f"{title}: {len(own):,} groups", how + few)
        pairs = [
            (first, row, f"group {g}{more}")
            for g in own[:_SHOWN].tolist()
            for first, row, more in _pairs(members[starts[g] : starts[g + 1]].tolist(), staying)
        ]
        texts = [tuple(_sample(dataset, row, bool(staying[row])) for row in pair[:2]) for pair in pairs]
        page.pairs(
            [(dataset.image(first), dataset.image(row)) for first, row, _ in pairs],
            [f"{name}: {', '.join(said)}" for (_, _, name), said in zip(pairs, texts, strict=True)],
            [(one, other) for one, other in texts],
        )
    return page


def _pairs(rows: list[int], staying: NDArray[np.bool_]) -> list[tuple[int, int, str]]:
    """The pairs of a group that are shown; behind the last, how many are not."""
    first = next((row for row in rows if staying[row]), rows[0])
    others = [row for row in rows if row != first]
    shown, left = others[:_SHOWN_OF_GROUP], len(others[_SHOWN_OF_GROUP:])
    return [(first, row, f" and {left} more" if left and row == shown[-1] else "") for row in shown]


def _sample(dataset: Dataset, row: int, kept: bool) -> str:
    split = f" ({split})" if (split := str(dataset.splits[row])) else ""
    return f"{dataset.label_name(row) or 'no label'}{split} {'kept' if kept else 'removed'}"


def _by_group(groups: DuplicateGroups) -> NDArray[np.int64]:
    members = np.flatnonzero(groups.group >= 0)
    return members[np.argsort(groups.group[members], kind="stable")]
