"""Reads image Parquet, as Hugging Face `datasets` writes it: one file or many, with labels, splits and FER+ votes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import Chunk, Columns, Problem, Step, text_column
from mien.data.reading.fer2013 import vote_columns
from mien.data.reading.trees import column_name, load_in_threads, ordered, split_named, without_empty_colour
from mien.errors import DataError, MissingExtraError, PictureError
from mien.labels import EIGHT, FER2013, FERPLUS_VOTES, canonical, canonical_all
from mien.pictures import decode_picture

_USAGES = ("usage", "Usage", "split")
_BATCH = 64  # rows whose undecoded pictures are in memory at a time


@dataclass(frozen=True, slots=True)
class ImageParquet:
    """The `Source` of Parquet files with a column of encoded pictures.

    files: path -> its rows to read. columns: of those rows, of all files one behind the other. wrong: row of `columns`
    -> why it can't be used.
    """

    files: Mapping[Path, NDArray[np.int64]]
    columns: Columns
    wrong: Mapping[int, str]
    label_names: tuple[str, ...]
    fingerprint: str
    kind: str = "image Parquet"
    steps: tuple[Step, ...] = ()

    @property
    def total(self) -> int | None:
        """How many rows are read."""
        return len(self.columns["label"])

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The rows from `start` on, decoded in threads."""
        sources = self.columns["source"]
        for loaded in load_in_threads(self._cells(start), self._load):
            good = [i for (i, _), picture in loaded if picture is not None]
            rows = np.array(good, np.intp)
            problems = tuple(Problem(sources[i], reason) for (i, reason), picture in loaded if picture is None)
            pictures = [picture for _, picture in loaded if picture is not None]
            yield Chunk(pictures, {n: v[rows] for n, v in self.columns.items()}, problems, len(loaded))

    def _load(self, cell: tuple[int, bytes | None]) -> tuple[tuple[int, str], NDArray[np.uint8] | None]:
        i, data = cell
        if i in self.wrong:
            return (i, self.wrong[i]), None
        if data is None:
            return (i, "the image holds no bytes; expected a picture file in them"), None
        source = self.columns["source"][i]
        try:
            return (i, ""), without_empty_colour(decode_picture(data, source))
        except PictureError as error:
            return (i, str(error).removeprefix(f"{source}: ")), None

    def _cells(self, start: int) -> Iterator[tuple[int, bytes | None]]:
        """Row of `columns` and the bytes of its picture, from `start` on; row groups without any are not read."""
        import pyarrow
        import pyarrow.parquet as pq

        place = 0
        for path, rows in self.files.items():
            if start < place + len(rows):
                try:
                    with pq.ParquetFile(path, memory_map=True) as file:
                        yield from _pictures(file, rows, max(0, start - place), place)
                except (pyarrow.ArrowException, OSError) as error:
                    raise DataError(f"{path}: can't be read to its end: {error}") from error
            place += len(rows)


def open_parquet(paths: Sequence[Path], root: Path, *, splits: Sequence[str] | None) -> ImageParquet:
    """Parquet files with the columns `image` (a struct with `bytes`, or bytes) and `label` as one source.

    root: what names of files are given relative to. splits: those to read, None for all; a row's split stands in a
    column `usage` or `split`, or in its file's name (train-00000-of-00002.parquet). Labels: whole numbers with the
    names that `datasets` writes, else in FER2013's or FER+'s order; or names; empty or -1 for none. `ferplus_votes`
    become `votes`; other columns of numbers and text are kept. Raises DataError, MissingExtraError without pyarrow.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError("data", f"reading {paths[0].name}") from error
    tables = [_small_columns(path) for path in paths]
    named = {_written_names(table) for table in tables}
    if len(named) > 1:
        raise DataError(f"{root}: its Parquet files name different labels; import them one by one")
    try:
        table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        raise DataError(
            f"{root}: columns differ between its Parquet files ({error}); import them one by one"
        ) from error
    where = str(paths[0] if len(paths) == 1 else root)
    names, labels = _labels(table, named.pop(), where)
    wrong: dict[int, str] = {}
    for i in np.flatnonzero((labels < -1) | (labels >= max(len(names), 1))).tolist():
        wrong[i] = f"label {labels[i]}; expected 0 to {len(names) - 1}"
    counts = [t.num_rows for t in tables]
    of_files = [_split_in_name(path, root) for path in paths]
    split = np.repeat(text_column(of_files), counts)
    usage = next((c for c in _USAGES if c in table.column_names), None)
    if usage:
        meanings = {v: split_named(str(v)) if v else "" for v in set(table.column(usage).to_pylist())}
        for i, value in enumerate(table.column(usage).to_pylist()):
            split[i] = meanings[value] or ""
            if meanings[value] is None:
                wrong[i] = f"{usage} '{value}'; expected train, validation or test"
    within = np.concatenate([np.arange(n) for n in counts])
    shown = [path.relative_to(root).as_posix() for path in paths]
    sources = [f"{name}:{i}" for name, count in zip(shown, counts, strict=True) for i in range(count)]
    columns: dict[str, NDArray[Any]] = {"source": text_column(sources), "split": split, "label": labels}
    if "ferplus_votes" in table.column_names:
        columns |= vote_columns(_votes(table.column("ferplus_votes"), where))
    for name in table.column_names:
        if name not in ("label", "ferplus_votes", usage):
            columns[column_name(name)] = _values(table.column(name))

    rows = np.arange(len(labels))
    if splits is not None:  # rows of an unknown split stay in, to be told as problems
        rows = np.flatnonzero(np.isin(split.astype(str), list(splits)) | np.isin(rows, list(wrong)))
    file_of = np.repeat(np.arange(len(paths)), counts)[rows]
    files = {path: within[rows[file_of == i]] for i, path in enumerate(paths)}
    places = {int(row): i for i, row in enumerate(rows.tolist()) if row in wrong}
    status = [path.stat() for path in paths]
    stamp = " ".join(f"{n}-{s.st_size}-{s.st_mtime_ns}" for n, s in zip(shown, status, strict=True))
    stamp += f" {','.join(splits) if splits is not None else 'all'}"
    return ImageParquet(
        files,
        {name: values[rows] for name, values in columns.items()},
        {place: wrong[row] for row, place in places.items()},
        names,
        stamp,
    )


def _small_columns(path: Path) -> Any:
    """A file's columns of labels, votes, numbers and text, without the pictures. Raises DataError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            schema = file.schema_arrow
            for column in ("image", "label"):
                if column not in schema.names:
                    raise DataError(f"{path}: no column '{column}'; it has {', '.join(schema.names)}")
            kind = schema.field("image").type
            if pa.types.is_struct(kind):
                kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else kind
            if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind)):
                raise DataError(f"{path}: 'image' is {kind}; expected bytes, or a struct with 'bytes'")
            wanted = ["label", *(["ferplus_votes"] if "ferplus_votes" in schema.names else [])]
            wanted += [f.name for f in schema if f.name not in ("label", "image") and _is_scalar(f.type)]
            table = file.read(columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: can't read it as Parquet: {error}") from error
    plain = [
        table.column(n).cast(pa.string()) if pa.types.is_dictionary(table.schema.field(n).type) else table.column(n)
        for n in table.column_names
    ]
    return pa.table(plain, names=table.column_names).replace_schema_metadata(schema.metadata)


def _is_scalar(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    checks = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    return any(check(kind) for check in checks)


def _written_names(table: Any) -> tuple[str, ...]:
    """The names of labels that `datasets` writes into a file."""
    features = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    return tuple(features.get("info", {}).get("features", {}).get("label", {}).get("names") or ())


def _labels(table: Any, written: tuple[str, ...], where: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Label names and each row's label as it stands there, -1 for none."""
    from pyarrow import types

    column = table.column("label")
    if types.is_string(column.type) or types.is_large_string(column.type):
        texts = column.to_pylist()
        named = ordered({canonical(t) for t in texts if t})
        return named, np.array([named.index(canonical(t)) if t else -1 for t in texts], np.int64)
    if not types.is_integer(column.type):
        raise DataError(f"{where}: 'label' is {column.type}; expected whole numbers or names")
    labels: NDArray[np.int64] = column.fill_null(-1).to_numpy().astype(np.int64)
    if written:
        return canonical_all(written, where), labels
    return (FER2013 if not (labels == len(FER2013)).any() else EIGHT), labels


def _votes(column: Any, where: str) -> NDArray[np.float32]:
    """FER+'s votes (N, 10)."""
    expected = f"expected {len(FERPLUS_VOTES)} counts of 0 or more in each row"
    try:
        votes = np.array(column.to_pylist(), np.float32).reshape(len(column), -1)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{where}: ferplus_votes has rows of unequal length, or that hold no numbers; {expected}"
        ) from error
    if len(votes) and (votes.shape[1] != len(FERPLUS_VOTES) or not (votes >= 0).all()):  # NaN is not >= 0
        raise DataError(f"{where}: ferplus_votes can't be read as votes; {expected}")
    return votes.reshape(-1, len(FERPLUS_VOTES))


def _values(column: Any) -> NDArray[Any]:
    """A column of numbers or text as the manifest keeps it; empty cells are NaN, or ''."""
    import pyarrow as pa
    from pyarrow import types

    text = types.is_string(column.type) or types.is_large_string(column.type)
    if text or (types.is_boolean(column.type) and column.null_count):
        return text_column(column.cast(pa.string()).fill_null("").to_pylist())
    values: NDArray[Any] = column.to_numpy()  # of whole numbers with empty cells: float64
    return values


def _split_in_name(path: Path, root: Path) -> str:
    """The split that a file's name or its folders' names tell; '' where none does."""
    parts = path.relative_to(root).with_suffix("").parts
    for part in reversed(parts):
        for word in part.replace("_", "-").replace(".", "-").split("-"):
            split = split_named(word)
            if split:
                return split
    return ""


def _pictures(file: Any, rows: NDArray[np.int64], skip: int, place: int) -> Iterator[tuple[int, bytes | None]]:
    """Bytes of the pictures of `rows` (ascending) but the first `skip`, each with its place among all rows."""
    first = 0  # of the row group
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        low, high = np.searchsorted(rows, (first, first + count))
        at, low = first, max(int(low), skip)
        first += count
        if low >= high:
            continue
        for batch in file.iter_batches(_BATCH, row_groups=[group], columns=["image"]):
            column = batch.column(0)
            while low < high and rows[low] < at + len(batch):
                cell = column[int(rows[low] - at)].as_py()
                data = cell.get("bytes") if isinstance(cell, dict) else cell
                yield place + low, data
                low += 1
            at += len(batch)
            if low >= high:
                break
