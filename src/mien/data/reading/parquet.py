"""Reads image Parquet and Arrow files, as Hugging Face `datasets` and others write them: labels, splits, FER+ votes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.reading.arrow_tables import (
    SUFFIXES,
    TableCells,
    TableFile,
    count_rows,
    innermost,
    is_list,
    named_images,
    read_columns,
    require_arrow,
    scale_of_lists,
    schema_of,
)
from mien.data.reading.ferplus import vote_columns
from mien.data.reading.list_columns import IMAGE_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS, explains
from mien.data.reading.reading import Found, Scan
from mien.data.reading.sources import Coded, Written, column_name, found_rows
from mien.data.reading.trees import Folder, Tree, first_of, folder_of, suffix_of
from mien.data.source import text_column
from mien.errors import DataError, MissingExtraError
from mien.labels import FERPLUS_VOTES

_IMAGES = ("image", "img", "jpg", "jpeg", "png", "image_bytes", "bytes", "picture", "photo", "face", "pixels", "data",
           "content", "webp", *IMAGE_COLUMNS)  # fmt: skip
_VOTES = "ferplus_votes"
_MOST_NAMES = 100


def find_parquet(scan: Scan) -> Found | None:
    """Image Parquet or Arrow files anywhere in a folder; those that hold no images are left alone."""
    names = _data_files(scan)
    if not names:
        return None
    try:
        require_arrow(names[0])
    except MissingExtraError:
        return None  # `read_parquet` reports it where nothing else is found
    files = []
    faults = []
    for name in names:
        try:
            files.append(_look_into(scan, name))
        except DataError as error:
            faults.append(error)
    if not files:
        return None
    damaged = [fault for fault in faults if not isinstance(fault, _NoImagesError)]
    if damaged:
        raise damaged[0]
    return _found(scan, files)


def read_parquet(scan: Scan, *names: str) -> Found:
    """The Parquet or Arrow files that are named. Raises DataError, MissingExtraError without pyarrow."""
    require_arrow(names[0])
    return _found(scan, [_look_into(scan, name) for name in names])


class _NoImagesError(DataError):
    """A table of something else."""


def _data_files(scan: Scan) -> list[str]:
    """The files that may hold rows; of what `save_to_disk` wrote, those that its state names."""
    found = []
    for name in scan.with_suffix(*SUFFIXES):
        folder, _, file = name.rpartition("/")
        state = _json(scan, f"{folder}/state.json" if folder else "state.json")
        parts = [part.get("filename") for part in state.get("_data_files", ()) if isinstance(part, dict)]
        if file in parts if parts else not file.startswith("cache-"):
            found.append(name)
    return found


def _json(scan: Scan, name: str) -> Mapping[str, Any]:
    try:
        found = json.loads(scan.text(name)) if scan.tree.has(name) else {}
    except (DataError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _look_into(scan: Scan, name: str) -> TableFile:
    """Which columns of a file hold what. Raises DataError where it can't be read or holds no images with labels."""
    where = scan.tree.where(name)
    if not isinstance(scan.tree, Folder):
        raise DataError(f"{where}: is a table in an archive; unpack it and give the folder")
    schema = schema_of(scan.tree.root / name)
    columns = list(schema.names)
    image = _chosen(scan.choices.image_column, columns, where) or _image_column(schema)
    shown = ", ".join(columns)[:300] or "none"
    if not image:
        raise _NoImagesError(f"{where}: no column of images; it has {shown}; expected 'image' with bytes, or name one "
                             "with --image-column")  # fmt: skip
    held = _held(schema.field(image).type)
    if not held:
        raise _NoImagesError(f"{where}: '{image}' is {schema.field(image).type}; expected bytes, a struct with 'bytes' "
                             "or 'path', paths, or lists of pixels")  # fmt: skip
    rest = [c for c in columns if c != image]
    votes = _first(rest, (_VOTES,))
    label = _chosen(scan.choices.label_column, rest, where) or _first([c for c in rest if c != votes], LABEL_COLUMNS)
    split = _first([c for c in rest if c != label], SPLIT_COLUMNS)
    if not label and [c for c in rest if c not in (split, votes)]:
        raise _NoImagesError(f"{where}: no column of labels; it has {shown}; expected 'label', or name one with "
                             "--label-column")  # fmt: skip
    if label and not _is_scalar(schema.field(label).type):
        raise DataError(f"{where}: '{label}' is {schema.field(label).type}; expected names or whole numbers")
    return TableFile(name, columns, image, held, label, split, votes)


def _first(columns: Sequence[str], known: Sequence[str]) -> str:
    lower = {column.lower(): column for column in reversed(columns)}
    return next((lower[name] for name in known if name in lower), "")


def _chosen(column: str, columns: Sequence[str], where: str) -> str:
    if column and column not in columns and not _first(columns, (column.lower(),)):
        raise DataError(f"{where}: no column '{column}'; it has {', '.join(columns)[:300]}")
    return column if column in columns else _first(columns, (column.lower(),))


def _image_column(schema: Any) -> str:
    """The column of images: by its name, or the only one that holds bytes."""
    held = {name: _held(schema.field(name).type) for name in schema.names}
    usable = [name for name in schema.names if held[name] in ("bytes", "list")]
    named = _first(usable, _IMAGES) or _first([n for n in schema.names if held[n] == "text"], _IMAGES)
    only = [name for name in usable if held[name] == "bytes"]
    return named or (only[0] if len(only) == 1 else _first(schema.names, ("image",)))


def _held(kind: Any) -> str:
    """How a column of this type holds images: `bytes`, `list` or `text`; '' where it can't."""
    from pyarrow import types

    kind = getattr(kind, "storage_type", kind)
    if types.is_struct(kind):
        return "bytes" if {"bytes", "path"} & {field.name for field in kind} else ""
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_null(kind):
        return "bytes"
    if is_list(kind):
        inner = innermost(kind)
        return "list" if types.is_integer(inner) or types.is_floating(inner) else ""
    return "text" if types.is_string(kind) or types.is_large_string(kind) else ""


def _is_scalar(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    checks = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    return any(check(kind) for check in (*checks, types.is_null))


def _found(scan: Scan, files: Sequence[TableFile]) -> Found:
    import pyarrow as pa

    assert isinstance(scan.tree, Folder)
    first = files[0]
    where = scan.tree.where(first.name) if len(files) == 1 else str(scan.root)
    tables, declared = [], set()
    for file in files:
        schema = schema_of(scan.tree.root / file.name)
        tables.append(_small_columns(scan, file, schema))
        declared.add(tuple(_declared_names(schema, file.label)))
    if len(declared) > 1:
        raise DataError(f"{where}: its Parquet files name different labels; import them one by one")
    try:
        table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        raise DataError(f"{where}: columns differ between its tables ({error}); import them one by one") from error
    counts = [count_rows(scan.tree.root / file.name) for file in files]
    images = scan.image_tree
    assert isinstance(images, Folder)
    cells = TableCells(scan.tree, images, files, counts)
    sources = [f"{file.name}:{i}" for file, count in zip(files, counts, strict=True) for i in range(count)]
    split = table.column("split") if "split" in table.column_names else None
    names_of_numbers = declared.pop()
    named = "label" if names_of_numbers else _names_column(table) or "label"
    written = Written(
        sources,
        _coded(table.column(named)) if "label" in table.column_names else Coded([""], np.zeros(len(sources), int)),
        _coded(split) if split else _splits_in_names(scan, files, counts),
        first.split or "split",
        names_of_numbers,
        "fer2013" if first.votes or _are_of_the_challenge(split) else "",
        _further(table, where),
    )
    used = {file.name for file in files} | _settings_beside(scan.tree, files)
    used |= {name for file in files for name in named_images(cells, file)}
    cells.scale = scale_of_lists(cells, where)
    title = "image Parquet" if suffix_of(first.name) in (".parquet", ".pq") else "image Arrow"
    names = first_of([file.name for file in files])
    labels_from = f"column '{first.label if named == 'label' else named}' of {names}" if first.label else ""
    stamp = " ".join(f"{file.name}-{scan.tree.stamp(file.name)}" for file in files)
    notes = [] if first.image == "image" else [f"images are column '{first.image}'"]
    return found_rows(scan, written, cells, title=title, where=where, labels_from=labels_from, stamp=stamp,
                      used=used, notes=notes)  # fmt: skip


def _small_columns(scan: Scan, file: TableFile, schema: Any) -> Any:
    """A file's columns of labels, splits, votes, numbers and text, without the images. Raises DataError."""
    import pyarrow as pa

    assert isinstance(scan.tree, Folder)
    named = {file.label: "label", file.split: "split", file.votes: _VOTES}
    rest = [f.name for f in schema if f.name != file.image and f.name not in named and _is_scalar(f.type)]
    wanted = [name for name in (file.label, file.votes, file.split) if name]
    table = read_columns(scan.tree.root / file.name, [*wanted, *rest])
    columns = {named.get(name, column_name(name)): table.column(name) for name in table.column_names}
    plain = [c.cast(pa.string()) if pa.types.is_dictionary(c.type) else c for c in columns.values()]
    return pa.table(plain, names=list(columns))


def _declared_names(schema: Any, label: str) -> list[str]:
    """The names of labels that `datasets` writes into a file."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = features[label].get("names") or ()
        return [str(name) for name in names]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _coded(column: Any) -> Coded:
    """A column of names or numbers as text; empty cells are ''."""
    import pyarrow as pa

    encoded = column.combine_chunks()
    encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    if pa.types.is_null(encoded.type):
        return Coded([""], np.zeros(len(encoded), np.int64))
    encoded = encoded.dictionary_encode()
    codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False)
    return Coded([*map(str, encoded.dictionary.to_pylist()), ""], codes.astype(np.int64))


def _names_column(table: Any) -> str:
    """The column of text that tells which expressions the numbers of the labels stand for; '' where none does."""
    from pyarrow import types

    names = [n for n in table.column_names if n not in ("label", "split", _VOTES)]
    texts = [n for n in names if types.is_string(table.column(n).type) or types.is_large_string(table.column(n).type)]
    if "label" not in table.column_names:
        return ""
    found = [
        name
        for name in texts
        if len(table.column(name).unique()) <= _MOST_NAMES
        and explains(zip(*(map(str, table.column(c).to_pylist()) for c in ("label", name)), strict=True))
    ]
    return found[0] if len(found) == 1 else ""


def _are_of_the_challenge(split: Any) -> bool:
    """Whether splits are called as in FER2013, whose numbers mean the same everywhere."""
    words = set(split.unique().to_pylist()) - {None, ""} if split else set()
    return bool(words & {"PublicTest", "PrivateTest"}) and words <= {"Training", "PublicTest", "PrivateTest"}


def _splits_in_names(scan: Scan, files: Sequence[TableFile], counts: Sequence[int]) -> Coded:
    """Each row's split, as the name of its file or of the folders around it tells."""
    words = [scan.choices.split_word(file.name.rpartition(".")[0].split("/"), pieces=True) for file in files]
    values = list(dict.fromkeys(words))
    return Coded(values, np.repeat(np.array([values.index(word) for word in words], np.int64), counts))


def _further(table: Any, where: str) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {}
    for name in table.column_names:
        if name == _VOTES:
            columns |= vote_columns(_votes(table.column(name), where))
        elif name not in ("label", "split"):
            columns[name] = _values(name, table.column(name))
    return columns


def _votes(column: Any, where: str) -> NDArray[np.float32]:
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


def _values(name: str, column: Any) -> NDArray[Any]:
    """A column of numbers or text as the manifest keeps it; empty cells are NaN, or ''."""
    import pyarrow as pa
    from pyarrow import types

    text = types.is_string(column.type) or types.is_large_string(column.type) or types.is_null(column.type)
    if text or name == "identity" or (types.is_boolean(column.type) and column.null_count):
        return text_column(column.cast(pa.string()).fill_null("").to_pylist())
    values: NDArray[Any] = column.to_numpy()  # of whole numbers with empty cells: float64
    return values


def _settings_beside(tree: Tree, files: Sequence[TableFile]) -> set[str]:
    folders = {folder_of(file.name) for file in files if suffix_of(file.name) == ".arrow"}
    folders |= {folder[: folder.rstrip("/").rfind("/") + 1] for folder in folders}
    names = ("state.json", "dataset_info.json", "dataset_dict.json")
    return {folder + name for folder in folders for name in names if tree.has(folder + name)}
