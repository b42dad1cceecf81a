"""Uncompressed tar archives as trees of files, read in place and without trust, and several of them as one tree."""

from __future__ import annotations

import io
import mmap
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from mien.data.reading.archives import MAX_MEMBERS, Packed
from mien.errors import DataError


class _Member(NamedTuple):
    """Where a file is: its archive, its name there, the place of its first byte, and how many bytes it has."""

    archive: TarArchive
    name: str
    start: int
    size: int


class TarArchive(Packed):
    """A tar archive as a `Tree`: its names are looked through once, its members are read where they are.

    Raises DataError where it is damaged or too large, holds a link or a device, or a member's name leads out of it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            with path.open("rb") as file:
                self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            status = path.stat()
            self.status = f"{status.st_size}-{status.st_mtime_ns}"
            self._list(self._entry(member) for member in _members(path, len(self.data)))
        except (OSError, ValueError, EOFError, tarfile.TarError) as error:
            raise DataError(
                f"{path}: can't be read as a tar archive ({error}); get a whole copy of the file"
            ) from error

    @classmethod
    def joined(cls, archives: Mapping[str, TarArchive]) -> TarArchive:
        """Several archives as one tree: a folder for each. archives: name, without a slash at its end -> archive."""
        tree = cls.__new__(cls)
        tree._members = {f"{a}/{name}": m for a, archive in archives.items() for name, m in archive._members.items()}
        tree.names, tree.folders = list(tree._members), sorted(archives)
        return tree

    def _entry(self, member: tarfile.TarInfo) -> tuple[str, bool, _Member]:
        if not (member.isreg() or member.isdir()) or member.sparse:
            kind = "a link" if member.issym() or member.islnk() else "neither a file nor a folder"
            raise DataError(f"{self._path}: '{member.name}' in it is {kind}; refused, pack the files themselves")
        name = "/".join(part for part in member.name.replace("\\", "/").split("/") if part != ".")
        return name, member.isdir(), _Member(self, name, member.offset_data, member.size)

    def where(self, name: str) -> str:
        """The archive's path and the member's name."""
        member = self._members.get(name)
        return f"{member.archive._path}/{member.name}" if member else f"{getattr(self, '_path', '')}/{name}"

    def size(self, name: str) -> int:
        """How many bytes a member has."""
        return self._members[name].size if name in self._members else 0

    def open(self, name: str) -> BinaryIO:
        """A member to read."""
        if name not in self._members:
            raise DataError(f"{self.where(name)}: no such file in the archive")
        archive, _, start, size = self._members[name]
        return cast(BinaryIO, io.BufferedReader(_Part(archive.data, start, size)))

    def read(self, name: str) -> bytes:
        """A whole member."""
        archive, _, start, size = self._members[name]
        return bytes(archive.data[start : start + size])

    def stamp(self, name: str) -> str:
        """The archive's size and time, and where the member is in it."""
        archive, _, start, size = self._members[name]
        return f"{archive.status}-{(start, size)}"


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
            beyond = member.isreg() and member.offset_data + member.size > length
            if member.offset <= last or member.size < 0 or beyond:
                raise tarfile.ReadError(f"'{member.name}' reaches beyond its end")
            if count >= MAX_MEMBERS:
                raise DataError(f"{path}: holds more than {MAX_MEMBERS:,} files; unpack it yourself")
            last = member.offset
            tar.members = []  # type: ignore[attr-defined]  # it would keep them all
            yield member
