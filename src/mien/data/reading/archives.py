"""ZIP and uncompressed tar archives as trees of files, read in place and without trust: nothing is extracted."""

from __future__ import annotations

import io
import mmap
import stat
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from mien.data.reading.trees import hidden, leads_out
from mien.errors import DataError, ImageError
from mien.images import MAX_FILE_BYTES, decode_image
from mien.labels import EIGHT, canonical

UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged file or archive raises."""

MAX_MEMBERS = 2_000_000
"""Archives of more files are refused."""

MAX_RATIO, RATIO_FROM = 200, 1024**3
"""The highest ratio of an archive's unpacked size to its own; a higher one is refused above 1 GiB."""

_OTHER_ARCHIVES = (
    (0, b"\x1f\x8b", "a gzip file"), (0, b"BZh", "a bzip2 file"), (0, b"\xfd7zXZ", "an xz file"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"), (0, b"Rar!", "a RAR archive"), (257, b"ustar", "a tar archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file"), (0, b"\x04\x22\x4d\x18", "an LZ4 file"),
    (0, b"PK\x07\x08", "a part of a split ZIP"),
)  # fmt: skip


_UTF_8 = 0x800
"""The flag of a member of a ZIP whose name is in UTF-8."""

_OF_WINDOWS = ("cp437", "cp932", "gbk", "big5", "cp949", "cp866", "cp1252")


class Packed(ABC):
    """An archive as a `Tree`: what ZIP and tar have in common. Subclasses fill `_members` by `_list`."""

    _members: dict[str, Any]

    def __init__(self, path: Path) -> None:
        self._path = path

    def _list(self, entries: Iterable[tuple[str, bool, Any]]) -> None:
        """Takes the archive's entries: name, whether it is a folder, and what `_members` keeps. Raises DataError."""
        self._members = {}
        folders: set[str] = set()
        for name, is_folder, member in entries:
            if leads_out(name):
                raise DataError(f"{self._path}: the name '{name}' in it leads out of the archive; refused")
            parts = name.rstrip("/").split("/")
            if not name or any(hidden(part) for part in parts):
                continue
            inner = parts if is_folder else parts[:-1]
            folders.update("/".join(inner[: i + 1]) for i in range(len(inner)))
            if not is_folder:
                if name in self._members:
                    raise DataError(f"{self._path}: two files in it are called '{name}'; pack it anew")
                self._members[name] = member
        self.names: Sequence[str] = sorted(self._members)
        self.folders: Sequence[str] = sorted(folders)

    def where(self, name: str) -> str:
        """The archive's path and the member's name."""
        return f"{self._path}/{name}"

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self._members

    @abstractmethod
    def size(self, name: str) -> int:
        """How many bytes a member has, unpacked; 0 where there is none."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """A member to read. Raises DataError."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A whole member. Raises DataError."""

    def image(self, name: str) -> NDArray[np.uint8]:
        """An image as uint8 (H, W, 3), RGB. Raises ImageError."""
        where, size = self.where(name), self.size(name)
        if not self.has(name):
            raise ImageError(f"{where}: no such file; check the path")
        if size > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES / 1e6
            raise ImageError(f"{where}: has {size / 1e6:,.0f} MB, the limit is {limit:,.0f}; make it smaller")
        try:
            data = self.read(name)
        except DataError as error:
            raise ImageError(str(error)) from error
        return decode_image(data, where)


class Archive(Packed):
    """A ZIP archive as a `Tree`.

    Raises DataError where it is damaged, encrypted, too large, or a member's name leads out of it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._zip = zipfile.ZipFile(path)
            members = self._zip.infolist()
        except (*UNREADABLE, ValueError, NotImplementedError) as error:
            raise DataError(f"{path}: can't be read as a ZIP ({error}); get a whole copy of the file") from error
        if len(members) > MAX_MEMBERS:
            raise DataError(f"{path}: holds {len(members):,} files, the limit is {MAX_MEMBERS:,}; unpack it yourself")
        unfolded, size = sum(m.file_size for m in members), path.stat().st_size
        if unfolded > RATIO_FROM and unfolded > MAX_RATIO * size:  # the file's own size: members may overlap
            raise DataError(f"{path}: {size:,} bytes would unfold to {unfolded:,}; refused as a ZIP bomb")
        self._list((self._checked_name(m), m.is_dir(), m) for m in members)

    def _checked_name(self, member: zipfile.ZipInfo) -> str:
        name = (member.filename if member.flag_bits & _UTF_8 else _decoded(member.filename)).replace("\\", "/")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"{self._path}: '{name}' in it is a symbolic link; refused, pack the files themselves")
        if member.flag_bits & 1:
            raise DataError(f"{self._path}: '{name}' in it is encrypted; unpack it with its password")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{self._path}: '{name}' is compressed in an unusual way; pack it anew, or unpack it")
        return name

    def size(self, name: str) -> int:
        """How many bytes a member has, unpacked."""
        return self._members[name].file_size if name in self._members else 0

    def open(self, name: str) -> BinaryIO:
        """A member to read; it gives no more bytes than its entry declares."""
        try:
            return cast(BinaryIO, self._zip.open(self._members[name]))
        except KeyError:
            raise DataError(f"{self.where(name)}: no such file in the archive") from None
        except (*UNREADABLE, NotImplementedError) as error:
            raise DataError(f"{self.where(name)}: can't be read ({error}); get a whole copy of the archive") from error

    def read(self, name: str) -> bytes:
        """A whole member."""
        try:
            with self.open(name) as file:
                return file.read(MAX_FILE_BYTES)
        except (*UNREADABLE, NotImplementedError) as error:
            raise DataError(f"{self.where(name)}: can't be read ({error}); get a whole copy of the archive") from error

    def stamp(self, name: str) -> str:
        """The archive's size and time, and the member's checksum."""
        status = self._path.stat()
        return f"{status.st_size}-{status.st_mtime_ns}-{self._members[name].CRC if name in self._members else 0}"


def _decoded(name: str) -> str:
    """The name of a member that does not say how it is encoded, and was read as cp437, which the ZIP's standard says.

    macOS writes UTF-8 so, Windows the encoding of its language: the first one in which a folder names an expression.
    """
    try:
        raw = name.encode("cp437")
        return raw.decode("utf-8")
    except UnicodeEncodeError:  # its name was in an extra field
        return name
    except UnicodeDecodeError:
        pass
    for encoding in _OF_WINDOWS:
        decoded = raw.decode(encoding, "replace")
        if any(canonical(part) in EIGHT for part in decoded.replace("\\", "/").split("/")):
            return decoded
    return name


def other_archive(path: Path) -> str | None:
    """What a file is, where it is an archive that mien doesn't read; else None."""
    with path.open("rb") as file:
        start = file.read(512)
    return next((kind for at, mark, kind in _OTHER_ARCHIVES if start[at:].startswith(mark)), None)


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
        return io.BytesIO(self.read(name))

    def read(self, name: str) -> bytes:
        """A whole member."""
        archive, _, start, size = self._members[name]
        return bytes(archive.data[start : start + size])

    def stamp(self, name: str) -> str:
        """The archive's size and time, and where the member is in it."""
        archive, _, start, size = self._members[name]
        return f"{archive.status}-{(start, size)}"


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
