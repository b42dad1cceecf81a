"""Annotations in CSV: Roboflow's _classes.csv, a column for each class."""

from __future__ import annotations

from collections.abc import Sequence

from mien.data.reading.annotation_json import NO_LABEL_YET, listed
from mien.data.reading.annotations import Annotated, Mark, floats
from mien.data.reading.reading import Found, Scan
from mien.data.reading.text_tables import TextTable, open_text_table


def find_tables(scan: Scan) -> Found | None:
    """A _classes.csv in each folder."""
    hot: list[TextTable] = []
    for name in scan.named("_classes.csv"):
        table = open_text_table(scan.tree, name)
        table = table and table.with_header()
        if table and table.columns[0] == "filename":
            hot.append(table)
    if hot:
        gathered = Annotated(scan, "Roboflow multi-class CSV")
        for table in hot:
            _read_hot(gathered, table)
        return gathered.found("the columns of " + listed(gathered.used), also=hot[0].first[1:])
    return None


def _read_hot(gathered: Annotated, table: TextTable) -> None:
    split = _start(gathered, table)
    classes = table.first[1:]
    for number, cells in table.rows():
        where = f"{table.name}:{number}"
        gathered.place(cells[0], table.name, split, where, _hot_marks(cells[1:], classes, where), NO_LABEL_YET)


def _hot_marks(cells: Sequence[str], classes: Sequence[str], where: str) -> list[Mark]:
    values = floats(list(cells))
    if values is None or len(values) != len(classes) or set(values) - {0.0, 1.0}:
        return [Mark("", wrong=f"expected a 0 or 1 for each of {len(classes)} classes", where=where)]
    return [Mark(name) for name, value in zip(classes, values, strict=True) if value]


def _start(gathered: Annotated, table: TextTable) -> str:
    gathered.used.add(table.name)
    return gathered.split_of_list(table.name)
