"""Flags of `mien data audit`: a CSV that a person can edit, from which `mien data drop` drops by kind.

A flag names its sample by row and by source, split and label, so that a file of another data set is refused.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.arrays import write_arrays
from mien.data.dataset import Dataset, Selection
from mien.data.readers import as_dataset
from mien.errors import DataError
from mien.files import csv_text, literal, write_text
from mien.reporting import Progress

KINDS = (
    "blank", "low-contrast", "no-face", "duplicate", "near-duplicate", "leak", "label-conflict", "votes-disagree",
    "label-suspect",
)  # fmt: skip
"""The kinds of flags, in the order in which they are listed."""

FLAGS = "flags.csv"
"""Their file in an audit's folder."""

COLUMNS = ("kind", "source", "split", "label", "row", "score", "reason", "suggested")


@dataclass(frozen=True, slots=True, eq=False)
class Flags:
    """The flags of one kind, the worst first.

    rows: int64 (n,). scores: float64 (n,), 0 to 1, higher is worse. reasons, suggested: a text each; `suggested` is
    the name of a likelier label, or ''. others: the row that each is a copy of; empty for other kinds, and once read.
    """

    kind: str
    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    reasons: tuple[str, ...]
    suggested: tuple[str, ...]
    others: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What a drop takes away: samples before and after, how many of each split, and how many of test were spared."""

    samples_in: int
    samples_out: int
    by_split: tuple[tuple[str, int], ...]
    spared: int


def rank_flags(
    kind: str,
    rows: NDArray[np.int64],
    scores: NDArray[np.float32] | NDArray[np.float64],
    reasons: Sequence[str],
    suggested: Sequence[str] | None = None,
    others: Sequence[int] = (),
) -> Flags:
    """Flags of one kind, sorted: the worst first, equal ones in the order given."""
    rounded: NDArray[np.float64] = np.asarray(scores, np.float64).round(6)  # as the file holds them
    order = np.argsort(-rounded, kind="stable")
    names = suggested or [""] * len(rows)
    return Flags(
        kind, rows[order].astype(np.int64), rounded[order], tuple(reasons[i] for i in order.tolist()),
        tuple(names[i] for i in order.tolist()),
        tuple(others[i] for i in order.tolist()) if others else (),
    )  # fmt: skip


def flag_rows(dataset: Dataset, flags: Sequence[Flags]) -> Iterator[tuple[str, str, str, str, int, float, str, str]]:
    """A row per flag, with the columns of `COLUMNS`."""
    for each in flags:
        cells = zip(each.rows.tolist(), each.scores.tolist(), each.reasons, each.suggested, strict=True)
        for row, score, reason, suggested in cells:
            yield each.kind, *about(dataset, row), row, score, reason, suggested


def write_flags(path: Path, dataset: Dataset, flags: Sequence[Flags]) -> None:
    """All flags as CSV with the columns of `COLUMNS`. Raises OutputError."""
    rows = [(*row[:5], f"{row[5]:.6g}", *row[6:]) for row in flag_rows(dataset, flags)]
    write_text(path, csv_text([COLUMNS, *rows]))


def read_flags(path: Path, dataset: Dataset) -> tuple[Flags, ...]:
    """Flags that were written for this data set; lines may have been deleted or re-sorted since.

    Raises DataError naming the first line that can't be used: a missing column, an unknown kind, no number, or a row
    that is another sample.
    """
    found: dict[str, list[tuple[int, float, str, str]]] = {kind: [] for kind in KINDS}
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                raise DataError(f"{path}: no column '{missing[0]}'; expected {', '.join(COLUMNS)}")
            for line in table:
                kind, flag = _parse(line, dataset, f"{path}:{table.line_num}")
                found[kind].append(flag)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: can't be read as flags ({error}); expected flags.csv of `mien data audit`") from error
    made = []
    for kind, flags in found.items():
        if flags:
            rows, scores, reasons, suggested = zip(*flags, strict=True)
            made.append(rank_flags(kind, np.array(rows, np.int64), np.array(scores), reasons, suggested))
    return tuple(made)


def drop_rows(
    dataset: Dataset, flags: Sequence[Flags], *, only: Sequence[str], min_score: float = 0.0, from_test: bool = False
) -> NDArray[np.int64]:
    """Rows int64 (n,), ascending, that flags of the kinds `only` with at least `min_score` take away.

    Samples of the test split stay unless `from_test`. Raises DataError for an unknown kind.
    """
    check_kinds(only)
    chosen = np.zeros(len(dataset), bool)
    for each in flags:
        if each.kind in only:
            chosen[each.rows[each.scores >= min_score]] = True
    if not from_test:
        chosen &= dataset.splits != "test"
    return np.flatnonzero(chosen)


def drop_flagged(
    data: Dataset | str | Path,
    out: str | Path,
    *,
    flags: str | Path,
    only: Sequence[str],
    min_score: float = 0.0,
    from_test: bool = False,
    dry_run: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Dropped:
    """Writes the data set without its flagged samples into the folder `out`; with `dry_run` it only counts.

    Which ones, see `drop_rows`. Raises DataError where the flags do not fit or nothing would be left, OutputError.
    """
    check_kinds(only)
    out = Path(out)
    dataset = as_dataset(data, out=out)
    found = read_flags(Path(flags), dataset)
    rows = drop_rows(dataset, found, only=only, min_score=min_score, from_test=from_test)
    spared = len(drop_rows(dataset, found, only=only, min_score=min_score, from_test=True)) - len(rows)
    if not dry_run:
        settings = {
            "flags": hashlib.sha256(Path(flags).read_bytes()).hexdigest(),
            "only": sorted(set(only)),
            "min_score": min_score,
            "from_test": from_test,
        }
        rest = Selection(dataset, ~np.isin(np.arange(len(dataset)), rows))
        write_arrays(rest, out, command="drop", settings=settings, resume=resume, progress=progress)
    by_split = tuple((split, int((dataset.splits[rows] == split).sum())) for split in dataset.counts())
    return Dropped(len(dataset), len(dataset) - len(rows), by_split, spared)


def source_text(dataset: Dataset, row: int) -> str:
    """A sample's source as a text file can hold it."""
    return str(dataset.sources[row]).encode("utf-8", "backslashreplace").decode()


def about(dataset: Dataset, row: int) -> tuple[str, str, str]:
    """Source, split and label name of a sample, as a text file can hold them."""
    return source_text(dataset, row), str(dataset.splits[row]), dataset.label_name(row)


def _parse(line: dict[str, str], dataset: Dataset, place: str) -> tuple[str, tuple[int, float, str, str]]:
    kind = line["kind"]
    check_kinds([kind], place)
    try:
        row, score = int(line["row"]), float(line["score"])
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}: row '{line['row']}', score '{line['score']}'; expected numbers") from error
    if not (math.isfinite(score) and 0 <= score <= 1):
        raise DataError(f"{place}: score {score}; expected 0 to 1")
    given = (literal(line["source"]), literal(line["split"]), literal(line["label"]))
    if not 0 <= row < len(dataset):
        raise DataError(f"{place}: row {row}; {dataset.name} has {len(dataset):,}: the flags are of another data set")
    own = about(dataset, row)
    if given != own:
        raise DataError(
            f"{place}: row {row} is {_named(given)} there and {_named(own)} in {dataset.name}: "
            "the flags are of another data set; audit this one"
        )
    return kind, (row, score, literal(line["reason"] or ""), literal(line["suggested"] or ""))


def _named(about: tuple[str, str, str]) -> str:
    source, split, label = about
    return f"'{source}' ({split or 'no split'}, {label or 'no label'})"


def check_kinds(kinds: Sequence[str], place: str = "--only") -> None:
    """Raises DataError where one of these is no kind of flag."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise DataError(f"{place}: unknown kind '{unknown[0]}'; expected {', '.join(KINDS)}")
