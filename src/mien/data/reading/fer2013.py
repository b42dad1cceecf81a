"""FER+: the votes of raters that belong to the rows of fer2013.csv."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import SPLITS
from mien.data.reading.text_tables import column_names, open_text_table
from mien.data.reading.trees import Tree, split_named
from mien.errors import DataError
from mien.labels import EIGHT, FERPLUS_VOTES

MIN_AGREEMENT, AGREEMENT_ROWS = 0.4, 100
"""FER+'s plurality agrees with FER2013's label on 63 % of rows, and on 18 % where the rows are shifted by one."""

FERPLUS_COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "nf",
)  # fmt: skip


def ferplus_to_eight(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """FER+'s ten vote columns (N, 10) -> votes for the eight expressions (N, 8) in the order of `labels.EIGHT`."""
    votes = np.zeros((len(raw), len(EIGHT)), np.float32)
    for column, name in enumerate(FERPLUS_VOTES):
        if name is not None:
            votes[:, EIGHT.index(name)] = raw[:, column]
    return votes


def vote_columns(raw: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """FER+'s votes (N, 10) as columns: `votes` (N, 8), and `ferplus_other` (N, 2), unknown and not-a-face."""
    return {"votes": ferplus_to_eight(raw), "ferplus_other": raw[:, -2:]}


def read_ferplus(tree: Tree, name: str) -> tuple[NDArray[np.float32], list[str]]:
    """fer2013new.csv: the votes float32 (N, 10) in the order of `labels.FERPLUS_VOTES`, and each row's split.

    Raises DataError where a column is missing, or a row holds no counts.
    """
    where = tree.where(name)
    table = open_text_table(tree, name)
    titles = column_names(table.first) if table else ()
    for column in ("usage", *FERPLUS_COLUMNS):
        if column not in titles:
            raise DataError(f"{where}: no column '{column}'; it has {', '.join(titles) or 'none'}")
    votes, splits = [], []
    for number, cells in table.with_header().rows() if table else ():
        row = dict(zip(titles, cells, strict=False))
        split = split_named(row["usage"])
        try:
            counts = [float(row[column]) for column in FERPLUS_COLUMNS]
        except (ValueError, KeyError):
            counts = [-1.0]
        if split is None or not all(0 <= c < 1000 for c in counts):
            raise DataError(
                f"{where}:{number}: no row of FER+; expected Training, PublicTest or PrivateTest and counts"
            )
        votes.append(counts)
        splits.append(split)
    return np.array(votes, np.float32).reshape(-1, len(FERPLUS_COLUMNS)), splits


def check_join(
    ours: str,
    theirs: str,
    codes: NDArray[np.int8],
    usages: Sequence[str],
    labels: NDArray[Any],
    votes: NDArray[np.float32],
) -> None:
    """That the rows of both files belong together: as many, of the same splits, and of like expressions."""
    if len(codes) != len(votes):
        raise DataError(
            f"{theirs}: {len(votes):,} rows; {ours} has {len(codes):,}: votes are joined by row, take both files whole"
        )
    other = np.array([SPLITS.index(u) for u in usages], np.int8)
    differ = np.flatnonzero((codes != other) & (codes >= 0))
    if len(differ):
        row = int(differ[0])
        raise DataError(f"{theirs}: row {row + 1} is {SPLITS[other[row]]} there and {SPLITS[codes[row]]} here: "
                        "rows are shifted?")  # fmt: skip
    eight = ferplus_to_eight(votes)
    seen = (labels >= 0) & (eight.sum(1) > 0)
    agreement = float((eight.argmax(1) == labels)[seen].mean()) if seen.any() else 1.0
    if seen.sum() >= AGREEMENT_ROWS and agreement < MIN_AGREEMENT:
        raise DataError(
            f"{theirs}: most votes agree with the label of {ours} on {agreement:.0%} of rows; expected about 63 %: "
            "the files do not belong together, or their rows are shifted"
        )
