"""Opens files, archives and folders of any layout in `layouts`, by their content, as a source of samples."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from mien.data.reading.archives import Archive, TarArchive, is_tar, other_archive
from mien.data.reading.layouts import KNOWN, PACKED, find_layout, labels_read, why_unused
from mien.data.reading.reading import EXPORTED, Choices, Found, Reading, Scan
from mien.data.reading.sources import ImageFiles
from mien.data.reading.trees import Folder, Tree, printable, suffix_of
from mien.data.source import CHUNK, PROBLEMS, Chunk, Problem, Source, SourceOver
from mien.errors import DataError
from mien.signatures import describe_file


@dataclass(frozen=True, slots=True)
class Opened(SourceOver):
    """A data set as its layout reads it, and behind it a problem for each file that is no part of it.

    reading: what was understood. unused: file name -> why no sample comes from it; looked up when they are reported.
    """

    source: Source
    reading: Reading
    unused: Sequence[str] = ()
    why: Callable[[str], str] = str

    @property
    def kind(self) -> str:
        """What the layout is called."""
        return self.reading.layout

    @property
    def total(self) -> int | None:
        """How many records there are, unused files among them."""
        return None if self.source.total is None else self.source.total + len(self.unused)

    @property
    def fingerprint(self) -> str:
        """The source's, and the names of the unused files."""
        return f"{self.source.fingerprint} {len(self.unused)}" if self.unused else self.source.fingerprint

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The records from `start` on."""
        count = self.source.total or 0
        if start < count or not self.unused:
            yield from self.source.chunks(start)
        empty = {"source": np.zeros(0, object), "split": np.zeros(0, object), "label": np.zeros(0, np.int64)}
        for first in range(max(0, start - count), len(self.unused), CHUNK):
            names = self.unused[first : first + CHUNK]
            yield Chunk([], empty, tuple(Problem(printable(n), self.why(n)) for n in names), len(names))


def open_place(path: Path, said: Choices) -> Opened:
    """The data set of a folder, an archive or a file. Raises DataError, MissingExtraError."""
    if path.is_dir():
        return _open_tree(Folder(path), path, said)
    if not path.is_file():
        raise DataError(f"{path}: is neither a file nor a folder; expected {KNOWN}")
    return _open_file(path, said)


def _open_file(path: Path, said: Choices) -> Opened:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}); check its permissions") from error
    if zipfile.is_zipfile(path) and path.suffix.lower() != ".npz":
        return _open_tree(Archive(path), path, said)
    if is_tar(path):
        return _open_tree(TarArchive(path), path, said)
    other = other_archive(path)
    if other:
        raise DataError(f"{path}: is {other}; unpack it and give the folder, or pack it as a ZIP")
    scan = Scan(Folder(path.parent), path.parent, said, one_file=True)
    return _finish(find_layout(scan, path.name), None, said, path)


def _open_tree(tree: Tree, root: Path, said: Choices) -> Opened:
    if not tree.names and not tree.folders:
        raise DataError(f"{root}: is empty; expected {KNOWN}")
    scan = Scan(tree, root, said)
    return _finish(find_layout(scan), scan, said, root)


def _nothing(scan: Scan | None, root: Path) -> str:
    """What is in a tree in which there is no data set."""
    kinds = Counter(suffix_of(name) or "without a suffix" for name in scan.tree.names) if scan else Counter()
    holds = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6)) or "only empty folders"
    packed = [(name, describe_file(scan.head(name))) for name in scan.tree.names] if scan else []
    for name, what in packed:
        if what in PACKED:
            return f"{root}: holds {what} ({name}) and no images; {PACKED[what]}"
    return f"{root}: no images, lists or tables that mien reads in it ({holds}); expected {KNOWN}"


def _finish(found: Found | None, scan: Scan | None, said: Choices, root: Path) -> Opened:
    """The source of what was found, with the splits that are wanted, and every file that it leaves over."""
    if found is None:
        raise DataError(_nothing(scan, root))
    source = found.source
    unused: list[str] = []
    if scan is not None:
        used = {r.name for r in source.records} if isinstance(source, ImageFiles) else set()
        used |= {*found.used, *scan.class_files}
        used |= {PROBLEMS} if scan.tree.has(EXPORTED) else set()
        unused = [name for name in scan.tree.names if name not in used]
    if said.splits is not None and isinstance(source, ImageFiles):  # problems of no split are reported with every split
        source = replace(
            source, records=[r for r in source.records if r.split in said.splits or (r.wrong and not r.split)]
        )

    read = cache(partial(labels_read, found))  # for all lists that were not used

    def why(name: str) -> str:
        return why_unused(scan, found, name, read) if scan else ""

    return Opened(source, found.reading, unused, why)
