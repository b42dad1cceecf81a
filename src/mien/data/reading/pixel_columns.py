"""Which columns of a CSV of images hold the grey values, the label and the split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from mien.data.reading.list_columns import first_rows, label_column, split_column
from mien.data.reading.reading import Scan
from mien.data.reading.text_tables import TextTable, open_text_table
from mien.errors import DataError

PIXEL_COLUMNS = ("pixels", "pixel", "pixel_values", "image_pixels")
_LEAST_PIXELS = 64  # of an image that no column's name tells
_DELIMITERS = (",", ";", "\t")
_PIXEL_TITLE = re.compile(r"(?:pixel|pix|px|p)?_?(?:(?P<row>\d+)x)?(?P<number>\d+)")
BLANKS = bytes.maketrans(b',;[]()"', b"       ")
"""Turns what stands between values into blanks."""


@dataclass(frozen=True, slots=True)
class PixelColumns:
    """Where in a row what is. pixels: of the first value. each: how many columns hold a value each; 0: one holds all.

    count: how many columns there are. usage, label: -1 where there is none. delimiter: between columns. skipped: lines
    before the first row.
    """

    label: int
    pixels: int
    usage: int
    count: int
    each: int = 0
    delimiter: bytes = b","
    skipped: int = 1


def pixel_columns(scan: Scan, name: str) -> tuple[TextTable, PixelColumns] | None:
    """Where in a CSV what is; None where it holds no pixels. Raises DataError where columns of pixels are shuffled."""
    table = open_text_table(scan.tree, name)
    if table is None or table.delimiter not in _DELIMITERS:
        return None
    named = table.with_header()
    titles = named.columns
    where = scan.tree.where(name)
    pixels = next((titles.index(c) for c in PIXEL_COLUMNS if c in titles), -1)
    each, header = 0, True
    if pixels < 0:
        pixels, each = _columns_of_pixels(titles, where)
    if pixels < 0:
        rows = [cells for _, cells in islice(first_rows(table), 3)]
        pixels = next((i for i in range(len(titles)) if _are_pixels([row[i] for row in rows[1:] if i < len(row)])), -1)
        header = pixels < 0 or not _are_pixels(table.first[pixels : pixels + 1])
    if pixels < 0:
        return None
    rest = [i for i in range(len(titles)) if not pixels <= i < pixels + max(1, each)]
    rows = [[row[i] if i < len(row) else "" for i in rest] for _, row in first_rows(named if header else table)]
    places = _places([titles[i] for i in rest] if header else [""] * len(rest), rows, scan, where)
    label, usage = (rest[i] if i >= 0 else -1 for i in places)
    skipped = table.skipped + header
    delimiter = table.delimiter.encode()
    return named if header else table, PixelColumns(label, pixels, usage, len(titles), each, delimiter, skipped)


def _places(titles: Sequence[str], rows: Sequence[Sequence[str]], scan: Scan, where: str) -> tuple[int, int]:
    """Which of the columns beside the pixels hold the label and the split; -1 where none does."""
    choice = "_".join(scan.choices.label_column.lower().split())
    if choice and choice not in titles:
        raise DataError(f"{where}: no column '{scan.choices.label_column}'; it has {', '.join(titles)[:200]}")
    usage = split_column(titles, rows, ())
    label = titles.index(choice) if choice else label_column(titles, rows, usage)
    left = [i for i in range(len(titles)) if i != usage]
    if label < 0 and len(left) == 1 and not any(titles):
        label = left[0]
    return label, usage


def _columns_of_pixels(titles: Sequence[str], where: str) -> tuple[int, int]:
    """The first of the columns that hold a pixel each (pixel0, p_1, 2, 28x28), and how many there are; -1 and 0.

    Raises DataError where they are in another order than their names.
    """
    matches = [(i, m) for i, title in enumerate(titles) if (m := _PIXEL_TITLE.fullmatch(title))]
    if len(matches) < _LEAST_PIXELS:
        return -1, 0
    numbers = [(int(m["row"] or 0), int(m["number"])) for _, m in matches]
    places = [i for i, _ in matches]
    if numbers != sorted(numbers) and len(set(numbers)) == len(numbers) and {r for r, _ in numbers} != {0}:
        numbers = [(c, r) for r, c in numbers]
    steps = {b[1] - a[1] for a, b in pairwise(numbers) if a[0] == b[0]}
    if len(set(numbers)) < len(numbers) or places != list(range(places[0], places[0] + len(places))):
        return -1, 0
    if numbers != sorted(numbers) or steps - {1}:
        first = titles[places[0]]
        raise DataError(
            f"{where}: its {len(places)} columns of pixels ({first}, ...) are not in their order; sort them"
        )
    return places[0], len(places)


def _are_pixels(cells: Sequence[str]) -> bool:
    """Whether cells are the grey values of an image each."""
    texts = [cell.encode("utf-8", "replace").translate(BLANKS).split() for cell in cells]
    return bool(texts) and all(
        len(text) >= _LEAST_PIXELS and all(value.replace(b".", b"", 1).isdigit() for value in text) for text in texts
    )
