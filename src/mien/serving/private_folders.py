"""Private temporary folders, each locked by the process that made it: a free lock shows that it was killed."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "mien-videos-"


@contextmanager
def private_folder() -> Iterator[Path]:
    """Makes a temporary folder that only this user can read, and removes it when the block ends.

    Removes the folders that killed servers of this user left first. Raises OSError.
    """
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            # Any user may write to the temporary folder.
            if not left.is_symlink() and left.stat().st_uid == os.getuid() and not is_locked(left):
                remove(left)
    folder = place / f"{_PREFIX}{secrets.token_hex(8)}"
    lock = locked_folder(folder)
    try:
        yield folder
    finally:
        remove(folder)
        os.close(lock)


def locked_folder(place: Path) -> int:
    """Makes a folder, which gets its name when it is locked. Returns the lock, a file to close. Raises OSError."""
    import fcntl

    making = place.with_name(f".new-{place.name}")
    making.mkdir(mode=0o700)
    lock = os.open(making, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    making.rename(place)
    return lock


def is_locked(folder: Path) -> bool:
    """Whether a running process holds the folder's lock."""
    import fcntl

    with suppress(FileNotFoundError):
        file = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
    return False


def remove(folder: Path) -> None:
    """Removes a folder and its content. Renames it first, so that no writer finds it."""
    doomed = folder.with_name(f"{_PREFIX}gone.{secrets.token_hex(8)}")
    with suppress(OSError):
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def held_bytes(folder: Path) -> int:
    """Total size in bytes of the files below a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(place, name).stat().st_size
    return total
