"""Pictures that lie as files in a tree, a folder or a ZIP: the tree, and the source that reads pictures from it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import CHUNK, Chunk, Problem, Step, text_column
from mien.errors import DataError, PictureError
from mien.labels import EIGHT
from mien.pictures import PICTURE_SUFFIXES, read_picture

CHUNK_BYTES = 64 * 1024 * 1024
"""A chunk ends early where its pictures are this large, so that photographs take no more memory than faces."""

_SPLIT_NAMES = {
    "training": "train", "train": "train",
    "publictest": "validation", "public": "validation", "validation": "validation", "valid": "validation",
    "val": "validation", "dev": "validation",
    "privatetest": "test", "private": "test", "test": "test", "testing": "test",
}  # fmt: skip

_IDENTITIES = {"identity", "subject", "person", "user.id", "subject_id", "person_id"}
_TAKEN = {"source", "split", "label", "votes", "ferplus_other", "height", "width", "channels"}
_ROOTED = re.compile(r"[/\\]|[A-Za-z]:")

Item = TypeVar("Item")
Result = TypeVar("Result")


class Tree(Protocol):
    """Files under one root, called by their path from there, with forward slashes."""

    @property
    def names(self) -> Sequence[str]:
        """All files but hidden ones, sorted."""
        ...

    @property
    def folders(self) -> Sequence[str]:
        """All folders but hidden ones, sorted; empty ones too."""
        ...

    def where(self, name: str) -> str:
        """How a message calls a file."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A file to read. Raises DataError."""
        ...

    def picture(self, name: str) -> NDArray[np.uint8]:
        """A picture as uint8 (H, W, 3), RGB. Raises PictureError that begins with `where(name)`."""
        ...

    def stamp(self, name: str) -> str:
        """A text that changes with the file: its size and time."""
        ...


@dataclass(frozen=True)
class Folder:
    """A folder as a `Tree`. Folders that are links are not entered, but for those of splits right in the root."""

    root: Path

    @cached_property
    def _listing(self) -> tuple[list[str], list[str]]:
        files: list[str] = []
        folders: list[str] = []
        todo = [""]
        while todo:
            prefix = todo.pop()
            try:
                with os.scandir(self.root / prefix) as entries:
                    for entry in entries:
                        if hidden(entry.name):
                            continue
                        linked_split = not prefix and split_named(entry.name) is not None
                        if entry.is_dir(follow_symlinks=linked_split):
                            folders.append(prefix + entry.name)
                            todo.append(f"{prefix}{entry.name}/")
                        elif entry.is_file():
                            files.append(prefix + entry.name)
            except OSError as error:
                raise DataError(
                    f"{self.root / prefix}: can't be listed ({error.strerror}); check its permissions"
                ) from error
        return sorted(files), sorted(folders)

    @property
    def names(self) -> Sequence[str]:
        """All files but hidden ones, sorted."""
        return self._listing[0]

    @property
    def folders(self) -> Sequence[str]:
        """All folders but hidden ones, sorted."""
        return self._listing[1]

    def where(self, name: str) -> str:
        """The file's path."""
        return str(self.root / name)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        try:
            return (self.root / name).is_file()
        except (OSError, ValueError):  # a name too long, or with a NUL
            return False

    def open(self, name: str) -> BinaryIO:
        """A file to read."""
        try:
            return (self.root / name).open("rb")
        except OSError as error:
            raise DataError(f"{self.where(name)}: can't be read ({error.strerror}); check the file") from error

    def picture(self, name: str) -> NDArray[np.uint8]:
        """A picture as uint8 (H, W, 3), RGB."""
        return read_picture(self.root / name)

    def stamp(self, name: str) -> str:
        """Size and time of the file."""
        try:
            status = (self.root / name).stat()
        except (OSError, ValueError):  # its absence will be a problem of its own
            return "-"
        return f"{status.st_size}-{status.st_mtime_ns}"


@dataclass(frozen=True, slots=True)
class Record:
    """One picture file of a data set: its name in the tree and what is known of it.

    extra: values of the source's extra columns. wrong: why it can't be used, if it can't.
    """

    name: str
    split: str = ""
    label: int = -1
    extra: tuple[Any, ...] = ()
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """A `Source` of picture files.

    extra: the further columns, name -> dtype (object for text). complete: looks up what stands in files of its own,
    just before a record is read. stamp: of the files that the records were taken from.
    """

    tree: Tree
    records: Sequence[Record]
    label_names: tuple[str, ...]
    kind: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    complete: Callable[[Tree, Record], Record] | None = None
    stamp: str = ""
    steps: tuple[Step, ...] = ()

    @property
    def total(self) -> int | None:
        """How many records there are."""
        return len(self.records)

    @property
    def fingerprint(self) -> str:
        """Of all records, and of the sizes and times of their files."""
        digest = hashlib.blake2b(repr((self.kind, self.label_names, self.stamp)).encode(), digest_size=16)
        for r in self.records:
            about = (r.name, r.split, r.label, r.extra, r.wrong, "" if r.wrong else self.tree.stamp(r.name))
            digest.update(repr(about).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The records from `start` on, read in threads."""
        for loaded in load_in_threads(islice(self.records, start, None), self._load):
            good = [(record, picture) for record, picture in loaded if picture is not None]
            columns: dict[str, NDArray[Any]] = {
                "source": text_column([printable(r.name) for r, _ in good]),
                "split": text_column([r.split for r, _ in good]),
                "label": np.array([r.label for r, _ in good], np.int64),
            }
            for i, (name, dtype) in enumerate(self.extra.items()):
                values = [r.extra[i] for r, _ in good]
                columns[name] = text_column(values) if dtype is object else np.array(values, dtype)
            problems = tuple(Problem(printable(r.name), r.wrong) for r, picture in loaded if picture is None)
            yield Chunk([picture for _, picture in good], columns, problems, len(loaded))

    def _load(self, record: Record) -> tuple[Record, NDArray[np.uint8] | None]:
        if self.complete and not record.wrong:
            record = self.complete(self.tree, record)
        if record.wrong:
            return record, None
        try:
            return record, without_empty_colour(self.tree.picture(record.name))
        except PictureError as error:
            reason = str(error).removeprefix(f"{self.tree.where(record.name)}: ")
            return replace(record, wrong=reason), None


def load_in_threads(
    items: Iterable[Item], load: Callable[[Item], tuple[Result, NDArray[np.uint8] | None]]
) -> Iterator[list[tuple[Result, NDArray[np.uint8] | None]]]:
    """What `load` makes of the items, in order, in lists of at most `CHUNK`, of few where the pictures are large.

    load: gives what it likes and a picture, or None where there is none; runs in threads, one per processor.
    """
    workers = os.cpu_count() or 1
    waiting = iter(items)
    held: list[tuple[Result, NDArray[np.uint8] | None]] = []
    size = 0

    def load_some(some: Sequence[Item]) -> list[tuple[Result, NDArray[np.uint8] | None]]:
        return [load(item) for item in some]

    with ThreadPoolExecutor(workers) as pool:
        count = workers  # as many at once as fit into CHUNK_BYTES, judged by those before
        while batch := list(islice(waiting, min(count, CHUNK - len(held)))):
            step = max(1, len(batch) // (4 * workers))
            parts = [batch[i : i + step] for i in range(0, len(batch), step)]
            loaded = [one for part in pool.map(load_some, parts) for one in part]
            size_now = sum(p.nbytes for _, p in loaded if p is not None)
            held += loaded
            size += size_now
            if len(held) >= CHUNK or size >= CHUNK_BYTES:
                yield held
                held, size = [], 0
            room = CHUNK_BYTES - size
            count = min(max(room * len(batch) // max(size_now, 1), workers), 2 * count, CHUNK)
    if held:
        yield held


def without_empty_colour(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An RGB picture (H, W, 3) without any colour as (H, W, 1); others as they are."""
    if picture.shape[2] == 1:
        return picture
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    if (red[0] != green[0]).any():  # most coloured pictures show it in their first row
        return picture
    return picture[..., :1] if bool((red == green).all() and (red == blue).all()) else picture


def split_named(name: str) -> str | None:
    """train, validation or test for what data sets call them: Training, PublicTest, val, ...; None for other words."""
    return _SPLIT_NAMES.get(name.strip().lower())


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Label names in mien's order (that of `labels.EIGHT`), unknown ones behind, by alphabet."""
    return tuple(sorted(names, key=lambda n: (EIGHT.index(n) if n in EIGHT else len(EIGHT), n)))


def column_name(name: str) -> str:
    """The manifest's name of a further column: `identity` for who is shown; names that mien uses are kept free."""
    plain = name.strip()
    return "identity" if plain.lower() in _IDENTITIES else f"given_{plain}" if plain in _TAKEN else plain


def leads_out(name: str) -> bool:
    """Whether a path would lead out of the folder that it is relative to: absolute, of a drive, or with `..`."""
    return bool(_ROOTED.match(name)) or ".." in name.replace("\\", "/").split("/")


def hidden(name: str) -> bool:
    """Whether a file or folder is one of those that tools leave behind (.ipynb_checkpoints, __MACOSX)."""
    return name.startswith((".", "__"))


def is_picture_name(name: str) -> bool:
    """Whether a file is taken for a picture by its name."""
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES  # noqa: PTH122 (runs a million times)


def printable(name: str) -> str:
    """A file name as text that can be written: bytes that are not UTF-8 are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
