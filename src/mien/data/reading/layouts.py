"""The layouts that mien knows, in the order in which they are looked for: one description for code, tests and docs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mien.data.reading.arrow_tables import SUFFIXES
from mien.data.reading.folders import find_folders, find_loose
from mien.data.reading.lists import find_lists, find_one_list
from mien.data.reading.parquet import find_parquet, read_parquet
from mien.data.reading.reading import Found, Layout, Scan
from mien.data.reading.trees import suffix_of
from mien.errors import DataError

LAYOUTS: tuple[Layout, ...] = (
    Layout("image Parquet", "Parquet or Arrow files with a column of images and one of labels", find_parquet),
    Layout("class folders", "folders named after expressions", partial(find_folders, own_classes=False)),
    Layout("lists", "a column of images and one of labels", find_lists),
    Layout(
        "own class folders", "two or more sibling folders that hold images", partial(find_folders, own_classes=True)
    ),
    Layout("loose images", "images that nothing labels", find_loose),
)

KNOWN = (
    "fer2013.csv, a CSV of path,label[,split], image Parquet, class folders with or without splits, RAF-DB, AffectNet, "
    "CK+48, a folder of pictures, a ZIP of these, or arrays of mien"
)
"""The layouts, for messages."""


FILES: tuple[tuple[tuple[bytes, ...], tuple[str, ...], Callable[[Scan, str], Found]], ...] = (
    ((b"PAR1", b"ARROW1"), SUFFIXES, read_parquet),
)
"""Single files that are not lists: their first bytes, their suffixes, and what reads them."""


def _reader_of(scan: Scan, name: str) -> Callable[[Scan, str], Found]:
    """What reads a single file, told by its first bytes, else by its suffix; lists have neither."""
    start = scan.head(name)
    by_start = [read for starts, _, read in FILES if start.startswith(starts)]
    by_suffix = [read for _, suffixes, read in FILES if suffix_of(name) in suffixes]
    return [*by_start, *by_suffix, find_one_list][0]


def find_layout(scan: Scan, name: str = "") -> Found | None:
    """The data set in a tree, or in the one file `name` of it; None where there is none that mien knows."""
    if name:
        return _reader_of(scan, name)(scan, name)
    for layout in LAYOUTS:
        found = layout.find(scan)
        if found:
            return found
    return None


def why_unused(scan: Scan, found: Found, name: str) -> str:
    """Why a file of a data set is neither a sample nor a list that was used."""
    if name in set(scan.images):
        return found.stray
    return "is not an image, and not a list that was used"
