"""FER+ as images with raters' votes: the folders that its authors' script writes, or images beside fer2013new.csv."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mien.data.reading.fer2013 import FERPLUS_COLUMNS, vote_columns
from mien.data.reading.folders import split_of
from mien.data.reading.image_files import Box, ImageFiles, Record
from mien.data.reading.image_paths import ImagePaths, paths_of
from mien.data.reading.published import base_name, without_repeats
from mien.data.reading.reading import Found, Reading, Scan, split_words
from mien.data.reading.text_tables import TextTable, open_text_table
from mien.data.reading.trees import split_named
from mien.errors import DataError
from mien.labels import EIGHT, FERPLUS_VOTES

_BOX = re.compile(r"\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)")
_OTHER = ("unknown", "not a face")
_EXTRA: Mapping[str, Any] = {"votes": np.dtype((np.float32, (8,))), "ferplus_other": np.dtype((np.float32, (2,)))}

Line = tuple[int, str, str, Sequence[str], str]
"""Of a list: line number, split as written, image, ten votes, and a box or ''."""


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
    for listed, lines in lists:
        paths = paths_of(scan, listed)
        rows = [(_record(scan, paths, listed, line, splits), line[0]) for line in lines]
        records += without_repeats(rows, listed)
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
    source = ImageFiles(
        paths_of(scan, lists[0][0]).tree, records, labels, "FER+ images", _EXTRA,
        stamp=" ".join(scan.tree.stamp(n) for n in sorted(used)),
    )  # fmt: skip
    why = Counter(r.wrong.partition(":")[0] for r in records if r.wrong)
    notes = ["the label is what most raters chose; their votes are the columns votes and ferplus_other"]
    if why["no label"]:
        notes.append(f"{why['no label']:,} images without one: their first choices are level, or no expression")
    reading = Reading(
        "FER+ images", f"the votes in {', '.join(sorted(used))}", labels, split_words(splits), tuple(notes)
    )
    return Found(source, reading, used, "is in no list of votes")


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
    votes = _votes(cells)
    if votes is None:
        return Record(where, split or "", wrong=f"'{','.join(cells)[:60]}'; expected ten counts of votes")
    path = paths.find(image)
    if path is None:
        wrong = f"'{image[:60]}': no such file beside {listed}" if image else f"no image's name ({_summary(votes)})"
        return Record(where, split or "", wrong=wrong)
    columns = vote_columns(np.array([votes], np.float32))
    extra = (tuple(columns["votes"][0].tolist()), tuple(columns["ferplus_other"][0].tolist()))
    label, wrong = _plurality(votes)
    return Record(path, split or "", label, extra, wrong, _part(box))


def _votes(cells: Sequence[str]) -> list[float] | None:
    try:
        votes = [float(cell) for cell in cells]
    except ValueError:
        return None
    return votes if len(votes) == len(FERPLUS_VOTES) and all(0 <= v < 1000 for v in votes) else None


def _plurality(votes: Sequence[float]) -> tuple[str, str]:
    """The number of what most raters chose, or why there is none."""
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
