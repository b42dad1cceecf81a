"""Reads CSV of any kind: its header, and its rows by column name."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from mien.data.reading.archives import UNREADABLE
from mien.data.reading.trees import Tree
from mien.errors import DataError

MAX_LINE = 16 * 1024 * 1024
"""A longer line is no row of a picture; it would be a file without line ends."""


def header_of(tree: Tree, name: str) -> list[str]:
    """A CSV's column names, in lower case. Raises DataError where it is no UTF-8 text."""
    with tree.open(name) as file:
        try:
            line = file.readline(MAX_LINE)
            row = next(csv.reader([line.decode("utf-8-sig").rstrip("\r\n")]), [])
        except UnicodeDecodeError as error:
            raise DataError(f"{tree.where(name)}: not UTF-8 text: {error}; save it as UTF-8") from error
        except (*UNREADABLE, csv.Error) as error:
            raise DataError(f"{tree.where(name)}: can't read it as CSV: {error}") from error
    return [cell.strip().lower() for cell in row]


def dict_rows(tree: Tree, name: str, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """A CSV's rows by column name in lower case, with their line numbers; cells are stripped, absent ones ''.

    Raises DataError where a needed column is missing, or the file is no CSV.
    """
    where = tree.where(name)
    with tree.open(name) as raw:
        try:
            file = io.TextIOWrapper(raw, "utf-8-sig", newline="")
            reader = csv.reader(file)
            header = [cell.strip().lower() for cell in next(reader, [])]
            for column in needed:
                if column not in header:
                    raise DataError(f"{where}: no column '{column}'; it has {', '.join(header) or 'none'}")
            for row in reader:
                if row:
                    cells = [*(cell.strip() for cell in row), *[""] * (len(header) - len(row))]
                    yield reader.line_num, dict(zip(header, cells, strict=False))
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: not UTF-8 text: {error}; save it as UTF-8") from error
        except (*UNREADABLE, csv.Error) as error:
            raise DataError(f"{where}: can't read it as CSV: {error}") from error
