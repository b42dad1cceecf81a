"""Divides a data set into train, validation and test, or into folds: by class, seeded, without leaks.

Samples that belong together (exact duplicates, one person, one photograph) always land on the same side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.arrays import write_arrays
from mien.data.dataset import Dataset, Selection
from mien.data.duplicates import find_duplicates
from mien.data.readers import as_dataset
from mien.data.settings import SplitSettings
from mien.data.source import text_column
from mien.errors import DataError
from mien.reporting import Progress

DEFAULT_SHARE = 0.1
"""The share of validation, and of test, where none is given and the data set has no such split."""

IDENTITY = "identity"
"""The column with the person in an image. If it exists, no person is on two sides."""


@dataclass(frozen=True, slots=True, eq=False)
class Divided:
    """A divided data set. crossing: how many groups reach across splits, as they can where a split was kept."""

    selection: Selection
    crossing: int

    @property
    def dataset(self) -> Dataset:
        """The samples that stay, with their splits."""
        return self.selection.source.take(np.flatnonzero(self.selection.staying))

    def fold_counts(self) -> list[int]:
        """How many samples each fold has; empty where there are no folds."""
        fold = self.dataset.columns.get("fold")
        return [] if fold is None else np.bincount(fold[fold >= 0]).tolist()


def split_dataset(
    source: Dataset | str | Path,
    out: str | Path,
    settings: SplitSettings,
    *,
    dry_run: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> tuple[Dataset, Divided]:
    """Divides the data set `source` and writes it to the folder `out`; returns it as it was, and divided.

    dry_run: nothing is written. Raises DataError as `divide` does, OutputError where `out` can't be written.
    """
    out = Path(out)
    dataset = as_dataset(source, out=out)
    division = divide(dataset, settings)
    if not dry_run:
        recorded = asdict(settings)
        write_arrays(division.selection, out, command="split", settings=recorded, resume=resume, progress=progress)
    return dataset, division


def divide(dataset: Dataset, settings: SplitSettings) -> Divided:
    """The data set with its splits, or a column `fold` (int64, -1 for samples of test), and of a subset's rows alone.

    New splits are cut from train and from samples of no split; those that are there stay as they are without `again`.
    Each split gets its share of each class to less than one sample, as far as groups allow. Raises DataError where the
    settings contradict each other or the data set.
    """
    _check(settings)
    named = _named(dataset, settings)
    groups = groups_of(dataset, settings.group_by)
    splits = text_column(dataset.splits.tolist())
    rng = np.random.default_rng(settings.seed)
    if named:
        rows = np.flatnonzero(np.isin(splits, ("train", "", *(named if settings.again else ()))))
        shares = {name: share for name, share in named.items() if share}
        parts = assign(dataset.labels[rows], groups[rows], [1 - sum(shares.values()), *shares.values()], rng)
        splits[rows] = text_column(("train", *shares))[parts]
    divided = dataset.with_columns(split=splits)
    if settings.folds:
        rows = np.flatnonzero(splits != "test")
        if len(rows) < settings.folds:
            raise DataError(f"{dataset.name}: {len(rows)} samples outside test; too few for {settings.folds} folds")
        fold = np.full(len(dataset), -1, np.int64)
        fold[rows] = assign(dataset.labels[rows], groups[rows], [1 / settings.folds] * settings.folds, rng)
        divided = divided.with_columns(fold=fold)
    crossing = _crossing(groups, splits)
    staying = np.ones(len(divided), bool)
    if settings.subset:
        staying[:] = False
        staying[subset_rows(divided, settings.subset, seed=settings.seed)] = True
    return Divided(Selection(divided, staying), crossing)


def subset_rows(dataset: Dataset, count: int, *, seed: int) -> NDArray[np.intp]:
    """`count` rows, in order: of splits, classes and folds the same shares as in all. Raises DataError for too many."""
    if not 0 < count <= len(dataset):
        raise DataError(f"{dataset.name}: has {len(dataset):,} samples; a subset of {count:,} can't be taken")
    rng = np.random.default_rng(seed)
    fold = dataset.columns.get("fold", dataset.labels)
    strata = _codes(list(zip(dataset.splits.tolist(), dataset.labels.tolist(), fold.tolist(), strict=True)))
    wanted = _whole(np.bincount(strata).astype(np.float64), count)
    order = rng.permutation(len(dataset))
    order = order[np.argsort(strata[order], kind="stable")]
    starts = np.concatenate(([0], np.cumsum(np.bincount(strata))[:-1]))
    return np.sort(np.concatenate([order[s : s + n] for s, n in zip(starts, wanted, strict=True)]))


def groups_of(dataset: Dataset, group_by: Sequence[str] = ()) -> NDArray[np.int64]:
    """int64 (N,): a number per sample, the same for samples that must stay together, directly or over others.

    These are exact duplicates, and samples with equal values in `identity` (where there is such a column) or in one
    of the columns `group_by`; empty values bind nothing. Raises DataError where a column is missing.
    """
    links: list[NDArray[np.int64]] = [find_duplicates(dataset, near=None).group]
    for name in dict.fromkeys((IDENTITY, *group_by)):
        values = dataset.columns.get(name)
        if values is None and name in group_by:
            raise DataError(f"{dataset.name}: no column '{name}' to group by; it has {', '.join(dataset.columns)}")
        if values is None:
            continue
        if values.ndim != 1:
            raise DataError(f"{dataset.name}: column '{name}' holds lists; group by a column of single values")
        links.append(_codes(values.tolist()))
    return _connected(links, len(dataset))


def assign(
    labels: NDArray[np.int64], groups: NDArray[np.int64], shares: Sequence[float], rng: np.random.Generator
) -> NDArray[np.int64]:
    """int64 (n,): which part each sample goes to, so that each part has its share of every class and groups stay whole.

    Groups of several go first, the largest first, each to the part where the chi-square distance between the classes
    wanted and reached grows least; single samples then fill each class up exactly.
    """
    part = np.full(len(labels), -1, np.int64)
    classes = labels + 1  # unlabelled ones are a class too
    target = np.outer(shares, np.bincount(classes))
    filled = np.zeros_like(target)
    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    linked = size[group] > 1
    if linked.any():
        _, group, size = np.unique(groups[linked], return_inverse=True, return_counts=True)
        histogram = np.zeros((len(size), target.shape[1]))
        np.add.at(histogram, (group, classes[linked]), 1)
        place = np.empty(len(size), np.int64)
        shuffled = rng.permutation(len(size))
        for one in shuffled[np.argsort(-size[shuffled], kind="stable")]:
            own = histogram[one]
            growth = (own * own - 2 * own * (target - filled)) / np.maximum(target, 1e-9)
            place[one] = growth.sum(1).argmin()
            filled[place[one]] += own
        part[linked] = place[group]
    for label in range(target.shape[1]):
        rows = rng.permutation(np.flatnonzero(~linked & (classes == label)))
        missing = np.clip(target[:, label] - filled[:, label], 0, None)
        counts = _whole(missing, len(rows), first=(target - filled).sum(1))
        filled[:, label] += counts
        part[rows] = np.repeat(np.arange(len(shares)), counts)
    return part


def _check(settings: SplitSettings) -> None:
    for name, share in (("validation", settings.validation), ("test", settings.test)):
        if share is not None and not 0 <= share < 1:
            raise DataError(f"--{name} is {share}; expected a share from 0 to below 1, as 0.1")
    if (settings.validation or 0) + (settings.test or 0) >= 1:
        raise DataError("--validation and --test together leave nothing for train; make them smaller")
    if settings.folds is not None and settings.folds < 2:
        raise DataError(f"--folds is {settings.folds}; expected 2 or more")
    if settings.subset is not None and settings.subset < 1:
        raise DataError(f"--subset is {settings.subset}; expected a number of samples")
    if settings.folds and settings.validation:
        raise DataError("--folds takes the place of --validation: each fold is held out once; give one of them")
    if settings.keep_test and settings.test:
        raise DataError("--keep-test leaves test as it is; leave --test out")


def _named(dataset: Dataset, settings: SplitSettings) -> dict[str, float]:
    """The splits to cut and their shares. Raises DataError where one is there already and may not be cut anew."""
    there = {name: int((dataset.splits == name).sum()) for name in ("validation", "test")}
    if settings.keep_test and not there["test"]:
        raise DataError(f"{dataset.name}: has no test split to keep; leave --keep-test out")
    asked = {"validation": settings.validation, "test": settings.test}
    named = {name: share for name, share in asked.items() if share is not None}
    if not named and not settings.folds and (settings.again or not settings.subset):
        named = {name: DEFAULT_SHARE for name in there if settings.again or not there[name]}
        if settings.keep_test:
            named.pop("test", None)
        if not named:
            raise DataError(f"{dataset.name}: has validation and test already; add --again to divide it anew")
    for name, share in named.items():
        if share and there[name] and not settings.again:
            raise DataError(
                f"{dataset.name}: has {there[name]:,} samples of {name} already; "
                f"leave --{name} out to keep them, or add --again to divide them anew"
            )
    return named


def _crossing(groups: NDArray[np.int64], splits: NDArray[Any]) -> int:
    pairs = set(zip(groups.tolist(), splits.tolist(), strict=True))
    return int((np.unique([group for group, _ in pairs], return_counts=True)[1] > 1).sum()) if pairs else 0


def _codes(values: list[Any]) -> NDArray[np.int64]:
    """Equal values -> equal numbers from 0; -1 for missing ones (None, '', -1, NaN)."""
    known: dict[Any, int] = {}
    nothing = (None, "", -1)
    return np.array(
        [-1 if v in nothing or v != v else known.setdefault(v, len(known)) for v in values],  # noqa: PLR0124 (NaN)
        np.int64,
    )


def _connected(links: Sequence[NDArray[np.int64]], count: int) -> NDArray[np.int64]:
    """Rows that share a number >= 0 in one of `links`, directly or over other rows, all get the first of these rows."""
    first = np.arange(count, dtype=np.int64)
    while True:
        before = first.copy()
        for link in links:
            bound = link >= 0
            lowest = np.full(link.max(initial=-1) + 1, count, np.int64)
            np.minimum.at(lowest, link[bound], first[bound])
            first[bound] = lowest[link[bound]]
        if (first == before).all():
            return first


def _whole(weights: NDArray[np.float64], total: int, first: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    """`total` in whole numbers, proportional to `weights`; the largest remainders get the rest, ties go by `first`."""
    if total == 0:
        return np.zeros(len(weights), np.int64)
    exact = weights * (total / weights.sum())
    counts: NDArray[np.int64] = np.floor(exact + 1e-9).astype(np.int64)
    remainder = np.round(exact - counts, 6)
    favour = np.zeros(len(weights)) if first is None else first
    counts[np.lexsort((-favour, -remainder))[: total - counts.sum()]] += 1
    return counts
