"""The layouts that mien knows, in the order in which they are looked for: one description for code, tests and docs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mien.data.reading.array_files import find_arrays, read_arrays
from mien.data.reading.array_stores import HDF5_SUFFIXES
from mien.data.reading.arrow_tables import SUFFIXES
from mien.data.reading.folders import find_folders, find_loose
from mien.data.reading.lists import find_lists, find_manifest, find_one_list
from mien.data.reading.parquet import find_parquet, read_parquet
from mien.data.reading.pixel_tables import find_fer2013, find_pixel_table, holds_pixels, read_pixel_table
from mien.data.reading.reading import Found, Layout, Scan
from mien.data.reading.refused import PICKLE, PICKLES, is_pickle, refuse_containers, refuse_pickle
from mien.data.reading.trees import suffix_of
from mien.data.reading.webdataset import find_webdataset

LAYOUTS: tuple[Layout, ...] = (
    Layout("FER2013", "fer2013.csv or icml_face_data.csv, with fer2013new.csv beside it", find_fer2013),
    Layout("folders that mien exported", "manifest.csv with the columns file, source, split, label", find_manifest),
    Layout("image Parquet", "Parquet or Arrow files with a column of images and one of labels", find_parquet),
    Layout("arrays", ".npy, .npz, .mat or HDF5 with arrays of images and of labels, called so", find_arrays),
    Layout("WebDataset", "tar files of KEY.jpg or KEY.png with KEY.cls, KEY.txt or KEY.json", find_webdataset),
    Layout("class folders", "folders named after expressions", partial(find_folders, own_classes=False)),
    Layout("a list of images", "a column of images that are there, and one of labels", find_lists),
    Layout("a CSV of images", "a column pixels, or a column for each pixel", find_pixel_table),
    Layout("own class folders", "two or more sibling folders with images", partial(find_folders, own_classes=True)),
    Layout("loose images", "images that nothing labels", lambda scan: refuse_containers(scan) or find_loose(scan)),
)

KNOWN = f"{', '.join(dict.fromkeys(layout.title for layout in LAYOUTS))}, a ZIP of any of these, or arrays of mien"
"""The layouts, for messages."""


FILES: tuple[tuple[tuple[bytes, ...], tuple[str, ...], Callable[[Scan, str], Found]], ...] = (
    ((b"PAR1", b"ARROW1"), SUFFIXES, read_parquet),
    ((b"\x93NUMPY", b"\x89HDF", b"MATLAB"), (".npy", ".npz", ".mat", *HDF5_SUFFIXES), read_arrays),
    ((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), PICKLES, refuse_pickle),
)
"""Single files that are not lists: their first bytes, their suffixes, and what reads them."""


def _reader_of(scan: Scan, name: str) -> Callable[[Scan, str], Found]:
    """What reads a single file, told by its first bytes, else by its suffix; lists have neither."""
    start = scan.head(name)
    by_start = [read for starts, _, read in FILES if start.startswith(starts)]
    by_suffix = [read for _, suffixes, read in FILES if suffix_of(name) in suffixes]
    return next(iter([*by_start, *by_suffix, _read_table]))


def _read_table(scan: Scan, name: str) -> Found:
    return read_pixel_table(scan, name) if holds_pixels(scan, name) else find_one_list(scan, name)


def find_layout(scan: Scan, name: str = "") -> Found | None:
    """The data set in a tree, or in the one file `name` of it; None where there is none that mien knows."""
    if name:
        return _reader_of(scan, name)(scan, name)
    if scan.choices.image_column or scan.choices.label_column or scan.choices.root:  # they are of lists
        found = find_lists(scan)
        if found:
            return found
    return next((found for layout in LAYOUTS if (found := layout.find(scan))), None)


def why_unused(scan: Scan, found: Found, name: str) -> str:
    """Why a file of a data set is neither a sample nor a list that was used."""
    if name in scan.image_set:
        return found.stray
    if is_pickle(name):
        return PICKLE
    head = scan.head(name)
    what = "empty" if not head else other_kind(head)
    return f"is {what}, not an image, and was not needed as a list"


def other_kind(head: bytes) -> str:
    """What a file that is no image is, by its first bytes."""
    for start, kind in ((b"PK\x03\x04", "a ZIP"), (b"%PDF", "a PDF"), (b"PAR1", "Parquet"), (b"\x89HDF", "HDF5")):
        if head.startswith(start):
            return kind
    if head[4:8] == b"ftyp":
        return "a video, or an image in HEIC or AVIF"
    if b"\0" not in head:
        return "text"
    return "of an unknown kind"
