"""Files that appear whole or not at all: written beside their place, then moved onto it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TextIO

from mien.errors import OutputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary file's path beside `path`, moved onto it when the block ends well; OSError becomes OutputError.

    The temporary name keeps the suffix, for libraries that go by it. Devices and pipes (/dev/null) are
    written directly.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path  # a device or a pipe: to replace it would destroy it
        return
    try:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; expected the name of a file to write")
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=f".part{path.suffix}")
        os.close(handle)
    except OSError as error:
        raise cannot_write(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp's files are for their owner only
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """A text file (UTF-8) that appears under its name when the block ends well, and not at all where it fails."""
    # Names that are not UTF-8 are escaped instead of ending the run.
    with atomic_path(path) as place, place.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        yield file


def write_bytes(path: Path, data: bytes) -> None:
    """A whole file at once. Raises OutputError."""
    with atomic_path(path) as place:
        place.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """A whole text file (UTF-8) at once. Raises OutputError."""
    with atomic_text(path) as file:
        file.write(text)


def make_folder(path: Path) -> None:
    """A folder with its parents, known to be writable. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".writable."):
            pass
    except OSError as error:
        raise cannot_write(path, error) from error


class ClosedAtExit:
    """A context manager of something with a method `close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Completes what was written; once is enough."""
        raise NotImplementedError


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The error for a place that can't be written."""
    return OutputError(f"{path}: can't be written ({error.strerror or error}); choose another place")


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
