"""Tables in Parquet, Arrow streams and Arrow files, read column by column and a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError, MissingExtraError

SUFFIXES = (".parquet", ".pq", ".arrow", ".feather")

_BATCH = 64  # rows whose undecoded images are in memory at a time


def require_arrow(name: str) -> None:
    """Raises MissingExtraError where pyarrow is missing."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("data", f"reading {name.rpartition('/')[2]}") from error


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
