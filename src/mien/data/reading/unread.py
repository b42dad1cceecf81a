"""Why a list that lies beside images is not read, and what it lacks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from mien.data.reading.archives import UNREADABLE
from mien.data.reading.label_reading import is_number
from mien.data.reading.list_columns import (
    LOOKED_AT,
    PREDICTION_WORDS,
    ListColumns,
    columns_of,
    label_column,
    vote_titles,
)
from mien.data.reading.reading import Scan, paths_of
from mien.data.reading.text_tables import LIST_SUFFIXES, TextTable, json_objects, one_value, open_text_table
from mien.data.reading.trees import base_name, suffix_of
from mien.errors import DataError
from mien.labels import canonical


def holds_predictions(name: str) -> bool:
    """Whether a list holds what a program predicted, or a template for it, by its name: sample_submission.csv."""
    return bool(PREDICTION_WORDS & set(re.split(r"[\W_]+", base_name(name).lower())))


def unread_lists(scan: Scan) -> list[str]:
    """A note for each list that names images of a tree, but no labels that are known."""
    return [
        f"{name} {why}" for name in scan.others if suffix_of(name) in LIST_SUFFIXES and (why := why_unread(scan, name))
    ]


def why_unread(scan: Scan, name: str, read: Callable[[], Mapping[str, str]] = dict) -> str:
    """Why a list that names images of a tree is not read; '' where it names none, or says the same.

    read: gives the labels of the images, as they are read.
    """
    if holds_predictions(name):
        return "holds predictions, by its name; give the file alone to read it"
    table = open_text_table(scan.tree, name)
    if table is None and suffix_of(name) in (".json", ".jsonl", ".ndjson"):
        return _broken_json(scan, name)
    try:
        opened = table and columns_of(scan, table)
        if table is None or opened:
            return _otherwise(scan, *opened, read()) if opened else ""
        named = table if table.columns else table.with_header()
        rows = [cells for _, cells in islice(named.rows(), LOOKED_AT)]
    except DataError as error:
        return str(error).removeprefix(f"{scan.tree.where(name)}: ")
    paths = paths_of(scan, name)
    columns = list(zip(*rows, strict=False))
    if not any(sum(paths.find(cell) is not None for cell in cells) * 2 > len(rows) for cells in columns):
        return _no_images(named, rows)
    return f"names images, but {no_labels(named)}"


def _otherwise(scan: Scan, table: TextTable, columns: ListColumns, read: Mapping[str, str]) -> str:
    """What to say of a list of labels where the images have labels already; '' where it says the same, or numbers."""
    paths, both, other = paths_of(scan, table.name), 0, 0
    for _, cells in table.rows() if columns.label >= 0 else ():
        if max(columns.image, columns.label) < len(cells):
            label = canonical(one_value(cells[columns.label]) or "")
            known = read.get(paths.find(cells[columns.image]) or "", "")
            if known and label and not is_number(label):
                both, other = both + 1, other + (label != known)
    return f"labels {other:,} of {both:,} images otherwise; give it alone to read its labels" if other else ""


def _no_images(named: TextTable, rows: Sequence[Sequence[str]]) -> str:
    """What a list has in place of a column of images; '' where it has no labels either."""
    if named.delimiter == " " or label_column(named.columns, rows, -1) < 0:
        return ""
    shown = ", ".join(named.columns)[:200]
    return f"has labels, but names no image that is here; its columns are {shown}: --image-column, --root"


def _broken_json(scan: Scan, name: str) -> str:
    """Why a JSON file holds no rows."""
    try:
        first = next(json_objects(scan.tree, name), None)
    except (DataError, *UNREADABLE) as error:
        return str(error).removeprefix(f"{scan.tree.where(name)}: ")
    return "" if first else "is JSON of no rows"


def no_labels(table: TextTable) -> str:
    """What a list has in place of a column of labels."""
    votes = vote_titles(table.columns)
    if votes:
        return (f"its columns {', '.join(votes)} hold votes or scores, not one class: add a column of the class, and "
                "name it with --label-column")  # fmt: skip
    return f"none of its columns ({', '.join(table.columns)[:200]}) is known as labels: --label-column"
