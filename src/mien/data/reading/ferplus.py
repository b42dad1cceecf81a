"""FER+: raters' votes that belong to the rows of fer2013.csv, or to images beside a list of votes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.reading.folders import split_of
from mien.data.reading.list_columns import vote_counts
from mien.data.reading.lists import one_record_each
from mien.data.reading.reading import Found, ImagePaths, Scan, paths_of
from mien.data.reading.sources import Box, Record, found_files
from mien.data.reading.text_tables import TextTable, column_names, open_text_table
from mien.data.reading.trees import Tree, base_name, split_named
from mien.data.source import SPLITS
from mien.errors import DataError
from mien.labels import EIGHT, FERPLUS_VOTES

MIN_AGREEMENT, AGREEMENT_ROWS = 0.4, 100
"""FER+'s plurality agrees with FER2013's label on 63 % of rows, and on 18 % where the rows are shifted by one."""

FERPLUS_COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "nf",
)  # fmt: skip

_BOX = re.compile(r"\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)")
_OTHER = ("unknown", "not a face")
_EXTRA: Mapping[str, Any] = {"votes": np.dtype((np.float32, (8,))), "ferplus_other": np.dtype((np.float32, (2,)))}
Line = tuple[int, str, str, Sequence[str], str]
"""Of a list: line number, split as written, image, ten votes, and a box or ''."""


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
        counts = vote_counts([row.get(column, "") for column in FERPLUS_COLUMNS])
        if split is None or counts is None:
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
            f"{theirs}: most votes agree with the label of {ours} on {100 * agreement:.0f} % of rows; expected about "
            "63 %: the files do not belong together, or their rows are shifted"
        )


def find_ferplus(scan: Scan, only: str = "") -> Found | None:
    """Images with FER+'s votes. The label of an image is what most raters chose, where no two are level.

    only: the one list that is looked at.
    """
    named = [only] if only else scan.named("label.csv")
    lists = [(n, lines) for n in named if (lines := _of_script(scan, n))]
    if not lists:
        named = [only] if only else scan.named("fer2013new.csv")
        lists = [(n, lines) for n in named if (lines := _of_table(scan, n))]
    if not lists:
        return None
    splits: dict[str, str] = {}
    records: list[Record] = []
    repeated: list[str] = []
    for listed, lines in lists:
        paths = paths_of(scan, listed)
        found, again = one_record_each(_record(scan, paths, listed, line, splits) for line in lines)
        records += found
        repeated += again
    where = scan.tree.where(lists[0][0])
    usable = [r for r in records if not r.wrong]
    if not usable:
        if not any(base_name(n).lower().startswith("fer") for n in scan.images):
            return None  # a list without its images: it may belong to a fer2013.csv
        raise DataError(f"{where}: none of its images can be used ({records[0].wrong})")
    labels = scan.labels([str(i) for i in range(len(EIGHT))], where, order="ferplus")
    if labels.names != EIGHT:
        raise DataError(f"{where}: has votes for {', '.join(EIGHT)}; --labels can't name them anew")
    used = {n for n, _ in lists}
    why = Counter(r.wrong.partition(":")[0] for r in records if r.wrong)
    notes = [*repeated, "the label is what most raters chose; their votes are the columns votes and ferplus_other"]
    if why["no label"]:
        notes.append(f"{why['no label']:,} images without one: their first choices are level, or no expression")
    return found_files(scan, records, labels, "FER+ images", f"the votes in {', '.join(sorted(used))}", splits=splits,
                       notes=notes, used=used, stray="is in no list of votes", tree=paths_of(scan, lists[0][0]).tree,
                       extra=_EXTRA)  # fmt: skip


def _of_script(scan: Scan, name: str) -> list[Line]:
    """Lines `fer0000000.png,"(0, 0, 48, 48)",4,0,0,1,3,2,0,0,0,0` of a folder of a split; none in other files."""
    table = open_text_table(scan.tree, name)
    if table is None or table.delimiter != ",":
        return []
    word = f"{scan.root.name}/{name}".split("/")[-2]
    lines: list[Line] = [(n, word, c[0], c[2:], c[1]) for n, c in table.rows() if len(c) > 1]
    return lines if 2 * sum(len(v) == 10 and bool(_BOX.fullmatch(b)) for _, _, _, v, b in lines) > len(lines) else []


def _of_table(scan: Scan, name: str) -> list[Line]:
    """Lines of fer2013new.csv, where its images are there as files; none in other files."""
    table = open_text_table(scan.tree, name)
    table = table.with_header() if table and table.delimiter == "," else None
    if table is None or not {"usage", "image_name", *FERPLUS_COLUMNS} <= set(table.columns):
        return []
    lines = list(_table_lines(table))
    there = {base_name(n).lower() for n in scan.images}
    return lines if any(image.lower() in there for _, _, image, _, _ in lines) else []


def _table_lines(table: TextTable) -> Iterator[Line]:
    at = {title: i for i, title in enumerate(table.columns)}
    for number, cells in table.rows():
        row = [*cells, *[""] * (len(at) - len(cells))]
        yield number, row[at["usage"]], row[at["image_name"]], [row[at[c]] for c in FERPLUS_COLUMNS], ""


def _record(scan: Scan, paths: ImagePaths, listed: str, line: Line, splits: dict[str, str]) -> Record:
    number, word, image, cells, box = line
    split = split_of(scan, word) if split_named(word) or word in scan.choices.split_map else ""
    if split:
        splits[word] = split
    where = f"{listed}:{number}"
    votes = vote_counts(cells)
    if votes is None or len(votes) != len(FERPLUS_VOTES):
        return Record(where, split or "", wrong=f"'{','.join(cells)[:60]}'; expected ten counts of votes")
    path = paths.find(image)
    if path is None:
        wrong = f"'{image[:60]}': no such file beside {listed}" if image else f"no image's name ({_summary(votes)})"
        return Record(where, split or "", wrong=wrong)
    columns = vote_columns(np.array([votes], np.float32))
    extra = (tuple(columns["votes"][0].tolist()), tuple(columns["ferplus_other"][0].tolist()))
    label, wrong = _plurality(votes)
    return Record(path, split or "", label, extra, wrong, _part(box))


def _plurality(votes: Sequence[float]) -> tuple[str, str]:
    most = max(votes)
    first = [i for i, vote in enumerate(votes) if vote == most]
    if most and len(first) == 1 and FERPLUS_VOTES[first[0]] is not None:
        return str(first[0]), ""
    return "", f"no label: {_summary(votes)}"


def _summary(votes: Sequence[float]) -> str:
    names = [name or _OTHER[i - 8] for i, name in enumerate(FERPLUS_VOTES)]
    found = sorted(((v, n) for v, n in zip(votes, names, strict=True) if v), key=lambda pair: -pair[0])
    return "votes for " + ", ".join(f"{n} {v:g}" for v, n in found) if found else "nobody voted"


def _part(box: str) -> Box | None:
    """The part of the image that was voted on; None for `(0, 0, width, height)`, the whole image."""
    match = _BOX.fullmatch(box)
    if match is None or match[1] == match[2] == "0":
        return None
    x1, y1, x2, y2 = (float(v) for v in match.groups())
    return x1, y1, x2, y2
