"""Files that may be a whole data set and were not read: why, said aloud instead of reading the images beside them."""

from __future__ import annotations

from mien.data.reading.array_files import read_arrays
from mien.data.reading.array_stores import SUFFIXES as ARRAY_SUFFIXES
from mien.data.reading.arrow_tables import SUFFIXES as TABLE_SUFFIXES
from mien.data.reading.parquet import read_parquet
from mien.data.reading.reading import Found, Scan
from mien.data.reading.trees import suffix_of
from mien.errors import DataError

PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")
PICKLE = "is a pickle, which can run code; save it as .npz"

_FEW_IMAGES, _FEW_ARRAYS = 10, 50
"""At most 10 images may be banners beside the data set; more than 50 arrays hold a single image each."""


def refuse_containers(scan: Scan) -> Found | None:
    """Raises DataError, or MissingExtraError, for the first file that may hold the data; None where none does."""
    if len(scan.images) > _FEW_IMAGES:
        return None
    tables = scan.with_suffix(*TABLE_SUFFIXES)
    if tables:
        return read_parquet(scan, *tables)
    arrays = scan.with_suffix(*ARRAY_SUFFIXES)
    if len(arrays) > _FEW_ARRAYS:
        raise DataError(f"{scan.root}: {len(arrays):,} files of arrays such as {arrays[0]}; expected one array of all "
                        "images and one of all labels")  # fmt: skip
    if arrays:
        return read_arrays(scan, *arrays)
    for name in scan.with_suffix(*PICKLES):
        raise DataError(f"{scan.tree.where(name)}: {PICKLE}")
    for name in scan.with_suffix(".tar"):
        raise DataError(f"{scan.tree.where(name)}: is a tar archive, not of WebDataset's samples; unpack it")
    return None


def refuse_pickle(scan: Scan, name: str) -> Found:
    """Raises DataError."""
    raise DataError(f"{scan.tree.where(name)}: {PICKLE}")


def is_pickle(name: str) -> bool:
    """Whether a file is a pickle, by its name."""
    return suffix_of(name) in PICKLES
