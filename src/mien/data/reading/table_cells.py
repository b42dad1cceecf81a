"""The images in the rows of Parquet and Arrow tables: encoded, as paths, as text, or as lists of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.reading.arrow_tables import batches_of, schema_of
from mien.data.reading.image_files import without_empty_colour
from mien.data.reading.image_paths import ImagePaths
from mien.data.reading.pixel_arrays import axes_of, image_of, scale_of
from mien.data.reading.pixel_texts import pixels_of
from mien.data.reading.trees import Folder
from mien.errors import DataError, ImageError
from mien.images import decode_image


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
        if name is None:
            raise ImageError(f"'{value[:120]}': no such file beside {file.name}, and no bytes; check the path")
        try:
            return without_empty_colour(self.images.image(name))
        except ImageError as error:
            raise ImageError(str(error).removeprefix(f"{self.images.where(name)}: ")) from error

    def paths(self, file: TableFile) -> ImagePaths:
        """How paths in a file are understood: relative to its folder, or to the one that the user names."""
        folder = file.name[: file.name.rfind("/") + 1] if self.images is self.tree else ""
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
