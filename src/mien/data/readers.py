"""Opens a data set of any layout that mien knows, going by what it holds.

`open_source` reads it chunk by chunk, `open_dataset` whole, `read_dataset` as training and evaluation want it.
Splits are called train, validation and test, whatever the source calls them; '' where it has none.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from mien.data.arrays import is_arrays, open_arrays
from mien.data.dataset import SPLITS, Chunk, Dataset, Fitted, Problem, Source, SourceOver, collect
from mien.data.reading.archives import Archive, other_archive
from mien.data.reading.csv_rows import header_of
from mien.data.reading.layouts import find_layout
from mien.data.reading.parquet import open_parquet
from mien.data.reading.tables import is_picture_list, open_csv, open_picture_list
from mien.data.reading.trees import Folder, PictureFiles, Tree
from mien.data.samples import Samples
from mien.errors import DataError

KNOWN = (
    "fer2013.csv, a CSV of path,label[,split], image Parquet, class folders with or without splits, RAF-DB, AffectNet, "
    "CK+48, a folder of pictures, a ZIP of these, or arrays of mien"
)
"""The layouts, for messages."""

_FER2013_NAMES = ("fer2013.csv", "icml_face_data.csv")
_FERPLUS_NAME = "fer2013new.csv"


class KnownSource(Source, Protocol):
    """A source that can say what it is."""

    @property
    def kind(self) -> str:
        """What the layout is called."""
        ...


@dataclass(frozen=True, slots=True)
class Arrays(SourceOver):
    """A data set that mien wrote, as a source."""

    source: Dataset
    splits: Sequence[str] | None = None
    kind: str = "arrays of mien"

    @property
    def fingerprint(self) -> str:
        """The data set's, and the splits."""
        return self.source.fingerprint if self.splits is None else f"{self.source.fingerprint} {list(self.splits)}"

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The samples from row `start` on; pictures are views."""
        return self.source.chunks(start)


def open_source(path: Path, *, splits: Sequence[str] | None = None, ferplus: Path | None = None) -> KnownSource:
    """A data set of any layout, to be read chunk by chunk. Its layout is told by what it holds.

    splits: those that are read, others cost nothing; None for all. ferplus: fer2013new.csv, whose votes belong to the
    rows of a fer2013.csv; one beside a fer2013.csv in a folder or ZIP is found by itself. Raises DataError where there
    is no data set, or one that can't be used; MissingExtraError for Parquet and arrays without pyarrow.
    """
    path = Path(path)
    votes = _votes_file(ferplus) if ferplus else None
    if not path.exists():
        raise DataError(f"{path}: no such data set; expected {KNOWN}")
    if path.is_dir() and is_arrays(path):
        found: KnownSource = Arrays(_taken(open_arrays(path), splits), splits)
    elif path.is_dir():
        found = _open_folder(path, splits, votes)
    elif not path.is_file():
        raise DataError(f"{path}: is neither a file nor a folder; expected {KNOWN}")
    else:
        found = _open_file(path, splits, votes)
    if ferplus and "votes" not in found.kind:
        raise DataError(f"{path}: is {found.kind}; --ferplus goes with fer2013.csv alone")
    return found


def open_dataset(path: Path, *, splits: Sequence[str] | None = None, warn: Callable[[str], None] = print) -> Dataset:
    """A data set of any layout, whole. Arrays are opened in place, others are read into a temporary file.

    warn: is told each record that could not be used, one line each. Otherwise as `open_source`.
    """
    source = open_source(path, splits=splits)
    if isinstance(source, Arrays):
        return source.source
    return collect(source, problem=_telling(warn), name=str(path))


def read_dataset(
    path: Path, *, size: int, channels: int, splits: Sequence[str] = SPLITS, warn: Callable[[str], None] = print
) -> dict[str, Samples]:
    """The wanted splits of a data set, those that it has, as training and evaluation take them.

    size, channels: what the faces are resized and converted to. The images lie in a temporary file or are views of the
    arrays, not to be written to. Otherwise as `open_dataset`; also raises DataError where a sample has no label.
    """
    source = open_source(path, splits=splits)
    if source.total == 0:
        return {}
    if isinstance(source, Arrays):
        dataset = source.source
    else:
        dataset = collect(Fitted(source, size, channels), problem=_telling(warn), name=str(path))
    found = set(dataset.splits.tolist())
    return {s: dataset.samples(s, size=size, channels=channels) for s in splits if s in found}


def require_split(dataset: dict[str, Samples], split: str, path: Path) -> Samples:
    """One split of a data set. Raises DataError that says which splits there are."""
    if split not in dataset:
        has = f"it has {', '.join(dataset)}" if dataset else "it has none of train, validation, test"
        raise DataError(f"{path}: no split '{split}'; {has}; make splits with  mien data split")
    return dataset[split]


def _telling(warn: Callable[[str], None]) -> Callable[[Problem], None]:
    return lambda problem: warn(f"left out: {problem.source}: {problem.reason}")


def _taken(dataset: Dataset, splits: Sequence[str] | None) -> Dataset:
    if splits is None:
        return dataset
    return dataset.take(np.flatnonzero(np.isin(dataset.splits.astype(str), list(splits))))


def _votes_file(ferplus: Path) -> tuple[Tree, str]:
    ferplus = Path(ferplus)
    if not ferplus.is_file():
        raise DataError(f"{ferplus}: no such file; expected fer2013new.csv of FER+")
    return Folder(ferplus.parent), ferplus.name


def _open_file(path: Path, splits: Sequence[str] | None, votes: tuple[Tree, str] | None) -> KnownSource:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}); check its permissions") from error
    if start == b"PAR1" or path.suffix.lower() == ".parquet":
        return open_parquet([path], path.parent, splits=splits)
    if zipfile.is_zipfile(path):
        return _open_tree(Archive(path), path, splits, votes)
    other = other_archive(path)
    if other:
        raise DataError(f"{path}: is {other}; unpack it and give the folder, or pack it as a ZIP")
    if path.suffix.lower() in (".csv", ".txt"):
        return _only(open_csv(Folder(path.parent), path.name, splits=splits, ferplus=votes), splits)
    raise DataError(f"{path}: not a data set that mien knows; expected {KNOWN}")


def _open_folder(root: Path, splits: Sequence[str] | None, votes: tuple[Tree, str] | None) -> KnownSource:
    parquet = sorted(root.glob("*.parquet")) or sorted(root.glob("data/*.parquet"))
    if parquet:
        return open_parquet(parquet, root, splits=splits)
    return _open_tree(Folder(root), root, splits, votes)


def _open_tree(tree: Tree, root: Path, splits: Sequence[str] | None, votes: tuple[Tree, str] | None) -> KnownSource:
    tables = [name for name in tree.names if name.lower().endswith(".csv")]
    for wanted in _FER2013_NAMES:
        fer2013 = [name for name in tables if name.rpartition("/")[2] == wanted]
        if fer2013:
            beside = fer2013[0].removesuffix(wanted) + _FERPLUS_NAME
            votes = votes or ((tree, beside) if tree.has(beside) else None)
            return _only(open_csv(tree, fer2013[0], splits=splits, ferplus=votes), splits)
    found = find_layout(tree)
    if found is None or not found.label_names:  # only a list beside them can tell what loose pictures show
        headers = {name: header_of(tree, name) for name in tables if name.count("/") <= 2}
        affectnet = [name for name, header in headers.items() if "subdirectory_filepath" in header]
        lists = [name for name, header in headers.items() if is_picture_list(header) or "pixels" in header]
        if affectnet:
            found = open_picture_list(tree, affectnet)
        elif len(lists) == 1:
            return _only(open_csv(tree, lists[0], splits=splits, ferplus=votes), splits)
    if found is not None:
        return _only(found, splits)
    parquet = [root / name for name in tree.names if name.endswith(".parquet")]
    if parquet and root.is_dir():
        return open_parquet(parquet, root, splits=splits)
    if not tree.names and not tree.folders:
        raise DataError(f"{root}: is empty; expected {KNOWN}")
    raise DataError(f"{root}: no data set that mien knows in it; expected {KNOWN}")


def _only(source: KnownSource, splits: Sequence[str] | None) -> KnownSource:
    """The records of some splits alone, and those of an unknown split, which are told as problems."""
    if splits is None or not isinstance(source, PictureFiles):
        return source
    return replace(source, records=[r for r in source.records if r.split in splits or (r.wrong and not r.split)])
