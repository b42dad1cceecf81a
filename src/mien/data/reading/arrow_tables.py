"""Tables in Parquet and Arrow, a few rows at a time, and the images in them: encoded, as paths, text or numbers."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.reading.pixels import axes_of, image_of, pixels_of, scale_of
from mien.data.reading.reading import ImagePaths
from mien.data.reading.sources import without_empty_colour
from mien.data.reading.trees import Folder, folder_of
from mien.errors import DataError, ImageError, import_extra
from mien.images import decode_image
from mien.signatures import image_kind

SUFFIXES = (".parquet", ".pq", ".arrow", ".feather")

_BATCH = 64  # rows whose undecoded images are in memory at a time


def require_arrow(name: str) -> None:
    """Raises MissingExtraError where pyarrow is missing."""
    import_extra("pyarrow", "data", f"reading {name.rpartition('/')[2]}")


def schema_of(path: Path) -> Any:
    """The columns of a table and their types. Raises DataError."""
    with _opened(path) as (kind, file):
        return file.schema_arrow if kind == "Parquet" else file.schema


def count_rows(path: Path) -> int:
    """How many rows a table has. Raises DataError."""
    with _opened(path) as (kind, file):
        return int(file.metadata.num_rows) if kind == "Parquet" else sum(len(b) for b in _arrow_batches(file))


def read_columns(path: Path, columns: Sequence[str]) -> Any:
    """Whole columns of a table. Raises DataError."""
    with _opened(path) as (kind, file):
        if kind == "Parquet":
            return file.read(columns=list(columns))
        import pyarrow as pa

        batches = [batch.select(list(columns)) for batch in _arrow_batches(file)]
        return pa.Table.from_batches(batches, pa.schema([file.schema.field(name) for name in columns]))


def batches_of(path: Path, column: str, rows: NDArray[np.int64] | None) -> Iterator[tuple[int, Any]]:
    """Pieces of a column, each with the number of its first row, in order.

    rows: those that are looked at (ascending): pieces without any are left out where that spares reading them; None
    for all. Raises DataError where the file can't be read to its end.
    """
    with _opened(path) as (kind, file):
        if kind == "Parquet":
            yield from _parquet_batches(file, column, rows)
            return
        at = 0
        for batch in _arrow_batches(file):
            if rows is None or (len(rows) and at <= rows[-1]):
                yield at, batch.column(column)
            at += len(batch)


def _parquet_batches(file: Any, column: str, rows: NDArray[np.int64] | None) -> Iterator[tuple[int, Any]]:
    first = 0  # of the row group
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        at, last = first, first + count - 1
        first += count
        if rows is not None:
            low, high = np.searchsorted(rows, (at, last + 1))
            if low >= high:
                continue
            last = int(rows[high - 1])
        for batch in file.iter_batches(_BATCH, row_groups=[group], columns=[column]):
            yield at, batch.column(0)
            at += len(batch)
            if at > last:
                break


def _arrow_batches(file: Any) -> Iterator[Any]:
    if hasattr(file, "num_record_batches"):
        for i in range(file.num_record_batches):
            yield file.get_batch(i)
    else:
        yield from file


@contextmanager
def _opened(path: Path) -> Iterator[tuple[str, Any]]:
    """A table's kind by the file's first bytes, and its reader; faults while it is read are DataErrors."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = "Arrow" if path.suffix.lower() in (".arrow", ".feather") else "Parquet"
    try:
        with path.open("rb") as file:
            start = file.read(6)
        kind = "Parquet" if start[:4] == b"PAR1" else "Arrow" if start == b"ARROW1" else kind
        if kind == "Parquet":
            with pq.ParquetFile(path, memory_map=True) as table:
                yield kind, table
        else:
            with pa.memory_map(str(path)) as mapped:
                reader = pa.ipc.open_file if start == b"ARROW1" else pa.ipc.open_stream
                with reader(mapped) as table:
                    yield kind, table
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: can't read it as {kind}: {error}; get a whole copy of the file") from error


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file of a table: its name in the tree, and its columns, '' where it has none. held: how an image is held."""

    name: str
    columns: Sequence[str]
    image: str
    held: str
    label: str
    split: str
    votes: str


@dataclass(slots=True)
class TableCells:
    """The images of the rows of files.

    tree: where the tables are. images: where image files are that they name. counts: how many rows each table has.
    scale: what numbers in lists are multiplied by.
    """

    tree: Folder
    images: Folder
    files: Sequence[TableFile]
    counts: Sequence[int]
    scale: float = 1.0
    _paths: dict[str, ImagePaths] = field(default_factory=dict)

    def read(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
        """Each row and the bytes, path or numbers of its image; parts of files without any such row are not read."""
        first = 0
        for file, count in zip(self.files, self.counts, strict=True):
            low, high = np.searchsorted(rows, (first, first + count))
            if low < high:
                inside = rows[low:high] - first
                for row, cell in self._cells(file, inside):
                    yield first + row, (file, cell)
            first += count

    def _cells(self, file: TableFile, rows: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
        low = 0
        for at, column in batches_of(self.tree.root / file.name, file.image, rows):
            while low < len(rows) and rows[low] < at + len(column):
                yield int(rows[low]), column[int(rows[low] - at)].as_py()
                low += 1

    def decode(self, cell: tuple[TableFile, Any], source: str) -> NDArray[np.uint8]:
        """An image, (H, W, 1) where it has no colour."""
        file, value = cell
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if not value:
            raise ImageError("the image holds no bytes; expected an image file in them")
        if isinstance(value, bytes):
            return without_empty_colour(decode_image(value, source))
        if file.held == "list":
            return self._of_numbers(value)
        if _is_pixels(value):
            return _of_text(value)
        name = self.paths(file).find(value)
        if name is None and (data := _of_base64(value)):
            return without_empty_colour(decode_image(data, source))
        if name is None:
            raise ImageError(f"'{value[:120]}': no such file beside {file.name}, and no bytes; check the path")
        try:
            return without_empty_colour(self.images.image(name))
        except ImageError as error:
            raise ImageError(str(error).removeprefix(f"{self.images.where(name)}: ")) from error

    def paths(self, file: TableFile) -> ImagePaths:
        """How paths in a file are understood: relative to its folder, or to the one that the user names."""
        folder = folder_of(file.name) if self.images is self.tree else ""
        return self._paths.setdefault(folder, ImagePaths(self.images, folder))

    def _of_numbers(self, value: Any) -> NDArray[np.uint8]:
        try:
            pixels = np.array(value, np.float32)
            axes = axes_of(pixels.shape, "the image")
        except (ValueError, TypeError) as error:
            raise ImageError("its lists of numbers have unequal lengths, or hold something else") from error
        except DataError as error:
            raise ImageError(str(error)) from error
        return without_empty_colour(image_of(pixels, axes, self.scale))


def named_images(cells: TableCells, file: TableFile) -> set[str]:
    """The image files beside a table that its rows name; its first row tells whether they do."""
    path = cells.tree.root / file.name
    first = next((c[0].as_py() for _, c in batches_of(path, file.image, np.arange(1)) if len(c)), None)
    if file.held == "list" or not _path_of(first):
        return set()
    written = {_path_of(cell.as_py()) for _, column in batches_of(path, file.image, None) for cell in column}
    return {name for one in written if one and (name := cells.paths(file).find(one))}


def _path_of(cell: Any) -> str:
    """The path that a cell names instead of holding an image; '' where it names none."""
    path = cell.get("path") if isinstance(cell, dict) and not cell.get("bytes") else cell
    return path if isinstance(path, str) and not _is_pixels(path) else ""


def scale_of_lists(cells: TableCells, where: str) -> float:
    """What numbers in lists are multiplied by, judged over all of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    scales = set()
    for file in cells.files:
        kind = innermost(schema_of(cells.tree.root / file.name).field(file.image).type)
        if file.held != "list" or pa.types.is_uint8(kind):
            continue
        low, high = np.inf, -np.inf
        for _, column in batches_of(cells.tree.root / file.name, file.image, None):
            numbers = getattr(column, "storage", column)
            while is_list(numbers.type):
                numbers = numbers.flatten()
            found = pc.min_max(numbers.filter(pc.is_finite(numbers))).as_py()
            if found["min"] is not None:
                low, high = min(low, found["min"]), max(high, found["max"])
        if low <= high:
            scales.add(scale_of(low, high, np.dtype(kind.to_pandas_dtype()), f"{where}: '{file.image}'"))
    if len(scales) > 1:
        raise DataError(
            f"{where}: pixels are from 0 to 1 in one file and from 0 to 255 in another; import them one by one"
        )
    return scales.pop() if scales else 1.0


def _is_pixels(text: str) -> bool:
    """Whether text is the grey values of an image, as fer2013.csv has them."""
    return len(text) > 30 and text[:30].replace(" ", "").isdecimal()


def _of_base64(text: str) -> bytes | None:
    """The image file behind base64, or a data: URL; None: the text is no such."""
    try:
        data = base64.b64decode(text.rpartition(",")[2], validate=True)
    except ValueError:
        return None
    return data if image_kind(data) else None


def _of_text(text: str) -> NDArray[np.uint8]:
    count = len(text.split())
    side = round(count**0.5)
    images, wrong = pixels_of([text.encode()], side)
    if wrong:
        raise ImageError(wrong[0])
    image: NDArray[np.uint8] = images[0]
    return image


def is_list(kind: Any) -> bool:
    """Whether a type is one of lists."""
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def innermost(kind: Any) -> Any:
    """The type of what lists of lists hold in the end."""
    while is_list(kind):
        kind = kind.value_type
    return kind
