"""Files that appear whole or not at all: written beside their place, then moved onto it."""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TextIO

from mien.errors import OutputError

_FORMULA = re.compile(r"(?!-?[\d.]+(e[-+]?\d+)?$)'*[=+\-@\t\r].", re.DOTALL)


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


@contextmanager
def resumable_path(path: Path) -> Iterator[Path]:
    """As `atomic_path`, with the same temporary name in each run: a resumed run replaces what a killed one left."""
    temporary = path.with_name(f".{path.name}.part")
    yield temporary
    temporary.replace(path)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A hidden folder beside `path`, moved there when the block ends well; OSError becomes OutputError.

    replace: whether a folder that is there is replaced; otherwise only an empty one may be.
    """
    path = Path(path)
    if not replace and (path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir())))):
        raise OutputError(f"{path}: exists already; give a new folder")
    parent = path.absolute().parent
    make_folder(parent)
    try:
        with tempfile.TemporaryDirectory(dir=parent, prefix=f".{path.name[:100]}.") as hidden:
            folder = Path(hidden, "new")
            folder.mkdir()
            yield folder
            if path.exists():
                path.rename(Path(hidden, "old"))
            folder.rename(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def require_apart(source: Path, out: Path) -> None:
    """Raises OutputError where `out` is `source`, contains it, or is inside it, also by `..` or links.

    Nothing is ever written into what is read.
    """
    try:
        read, written = Path(source).resolve(), Path(out).resolve()
    except (OSError, RuntimeError) as error:  # links in a circle: RuntimeError before Python 3.13
        raise OutputError(f"{out}: can't be compared with {source} ({error}); choose another place") from error
    if written == read:
        raise OutputError(f"{out}: is the input itself; nothing is ever written into it, give a new place")
    if read in written.parents:
        raise OutputError(f"{out}: lies inside the input {source}; nothing is ever written into it, give another place")
    if written in read.parents:
        raise OutputError(f"{out}: contains the input {source}; give a new folder")


def write_bytes(path: Path, data: bytes) -> None:
    """A whole file at once. Raises OutputError."""
    with atomic_path(path) as place:
        place.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """A whole text file (UTF-8) at once. Raises OutputError."""
    with atomic_text(path) as file:
        file.write(text)


def csv_text(rows: Iterable[Iterable[Any]], *, exact: bool = False) -> str:
    """Rows as CSV, each cell `inert`; None is an empty one. exact: cells as they are, for a file that is data."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(row if exact else map(inert, row) for row in rows)
    return text.getvalue()


def inert(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: a text that begins like one gets an apostrophe before it."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def literal(cell: Any) -> Any:
    """A cell as it was before `inert`."""
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and _FORMULA.match(cell) else cell


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
