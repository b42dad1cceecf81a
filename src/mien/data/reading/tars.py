"""Uncompressed tar archives as trees of files, read in place and without trust, and several of them as one tree."""

from __future__ import annotations

import io
import mmap
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from mien.data.reading.archives import MAX_MEMBERS
from mien.data.reading.trees import hidden, leads_out
from mien.errors import DataError, ImageError
from mien.images import MAX_FILE_BYTES, decode_image


class TarArchive:
    """A tar archive as a `Tree`: its names are looked through once, its members are read where they lie.

    Raises DataError where it is damaged or too large, holds a link or a device, or a member's name leads out of it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: dict[str, tuple[int, int]] = {}
        folders: set[str] = set()
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            for member in _members(path, len(self._data)):
                self._add(member, folders)
        except (OSError, ValueError, EOFError, tarfile.TarError) as error:
            raise DataError(
                f"{path}: can't be read as a tar archive ({error}); get a whole copy of the file"
            ) from error
        self.names: Sequence[str] = sorted(self._members)
        self.folders: Sequence[str] = sorted(folders)

    def _add(self, member: tarfile.TarInfo, folders: set[str]) -> None:
        name = "/".join(part for part in member.name.replace("\\", "/").split("/") if part != ".")
        if leads_out(name):
            raise DataError(f"{self._path}: the name '{member.name}' in it leads out of the archive; refused")
        if not (member.isreg() or member.isdir()) or member.sparse:
            kind = "a link" if member.issym() or member.islnk() else "neither a file nor a folder"
            raise DataError(f"{self._path}: '{member.name}' in it is {kind}; refused, pack the files themselves")
        if not name or any(hidden(part) for part in name.split("/")):
            return
        parts = name.split("/")
        inner = parts if member.isdir() else parts[:-1]
        folders.update("/".join(inner[: i + 1]) for i in range(len(inner)))
        if member.isreg():
            if name in self._members:
                raise DataError(f"{self._path}: two files in it are called '{name}'; pack it anew")
            self._members[name] = (member.offset_data, member.size)

    def where(self, name: str) -> str:
        """The archive's path and the member's name."""
        return f"{self._path}/{name}"

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self._members

    def size(self, name: str) -> int:
        """How many bytes a member has."""
        return self._members.get(name, (0, 0))[1]

    def open(self, name: str) -> BinaryIO:
        """A member to read."""
        if name not in self._members:
            raise DataError(f"{self.where(name)}: no such file in the archive")
        start, size = self._members[name]
        return cast(BinaryIO, io.BufferedReader(_Part(self._data, start, size)))

    def read(self, name: str) -> bytes:
        """A whole member; used for small ones only."""
        start, size = self._members[name]
        return self._data[start : start + size]

    def image(self, name: str) -> NDArray[np.uint8]:
        """An image as uint8 (H, W, 3), RGB."""
        where = self.where(name)
        if name not in self._members:
            raise ImageError(f"{where}: no such file; check the path")
        size = self.size(name)
        if size > MAX_FILE_BYTES:
            raise ImageError(f"{where}: has {size / 1e6:,.0f} MB, the limit is {MAX_FILE_BYTES / 1e6:,.0f}; make it "
                               "smaller")  # fmt: skip
        return decode_image(self.read(name), where)

    def stamp(self, name: str) -> str:
        """The archive's size and time, and where the member lies in it."""
        status = self._status
        return f"{status}-{self._members.get(name, (0, 0))}"

    @cached_property
    def _status(self) -> str:
        status = self._path.stat()
        return f"{status.st_size}-{status.st_mtime_ns}"


class TarArchives:
    """Several tar archives as one `Tree`: a folder for each. archives: name, without a slash at its end -> archive."""

    def __init__(self, archives: Mapping[str, TarArchive]) -> None:
        self._archives = archives
        self.names: Sequence[str] = [f"{a}/{name}" for a, archive in archives.items() for name in archive.names]
        self.folders: Sequence[str] = sorted(archives)

    def _inside(self, name: str) -> tuple[TarArchive, str]:
        for prefix in (name[:i] for i in range(len(name)) if name[i] == "/"):
            if prefix in self._archives:
                return self._archives[prefix], name[len(prefix) + 1 :]
        return next(iter(self._archives.values())), name

    def where(self, name: str) -> str:
        """The archive's path and the member's name."""
        archive, inner = self._inside(name)
        return archive.where(inner)

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        archive, inner = self._inside(name)
        return archive.has(inner)

    def size(self, name: str) -> int:
        """How many bytes a member has."""
        archive, inner = self._inside(name)
        return archive.size(inner)

    def open(self, name: str) -> BinaryIO:
        """A member to read."""
        archive, inner = self._inside(name)
        return archive.open(inner)

    def image(self, name: str) -> NDArray[np.uint8]:
        """An image as uint8 (H, W, 3), RGB."""
        archive, inner = self._inside(name)
        return archive.image(inner)

    def stamp(self, name: str) -> str:
        """The archive's size and time, and where the member lies in it."""
        archive, inner = self._inside(name)
        return archive.stamp(inner)


class _Part(io.RawIOBase):
    """A part of a mapped file as a file object."""

    def __init__(self, data: mmap.mmap, start: int, size: int) -> None:
        super().__init__()
        self._data, self._start, self._size, self._at = data, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._size - self._at))
        first = self._start + self._at
        buffer[:count] = self._data[first : first + count]
        self._at += count
        return count


def is_tar(path: Path) -> bool:
    """Whether a file is an uncompressed tar archive, by its first header, or by its name where that has no mark."""
    with path.open("rb") as file:
        start = file.read(512)
    return start[257:262] == b"ustar" or (path.suffix.lower() == ".tar" and start[:2] != b"\x1f\x8b")


def _members(path: Path, length: int) -> Iterator[tarfile.TarInfo]:
    """The members of a tar archive. Raises TarError where a header is wrong or leads nowhere, or there are too many."""
    with tarfile.open(path, "r:") as tar:
        last = -1
        for count, member in enumerate(tar):
            if (
                member.offset <= last
                or member.size < 0
                or (member.isreg() and member.offset_data + member.size > length)
            ):
                raise tarfile.ReadError(f"'{member.name}' reaches beyond its end")
            if count >= MAX_MEMBERS:
                raise DataError(f"{path}: holds more than {MAX_MEMBERS:,} files; unpack it yourself")
            last = member.offset
            tar.members = []  # type: ignore[attr-defined]  # it would keep them all
            yield member
