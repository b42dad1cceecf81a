"""Temporary folders with a lock, which a process holds while it runs.

A folder whose lock is free belongs to a process that was killed. The next server removes it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "mien-videos-"
_LOCK = "lock"
_GONE = ".gone-"
_MAKING_S = 3600.0  # age from which a folder without a lock is a leftover: its process was killed while making it


class Hold:
    """A folder's lock; released by `release` and by the end of the process."""

    def __init__(self, folder: Path) -> None:
        """Creates and locks the lock file of a new folder. Raises OSError."""
        import fcntl

        making = folder / f"{_LOCK}.new"
        self._file = os.open(making, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        making.rename(folder / _LOCK)  # locked before it gets its name: nobody can find it free

    def release(self) -> None:
        """Releases the lock. Further calls do nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@contextmanager
def private_folder() -> Iterator[Path]:
    """Makes a temporary folder that only this user can read, and removes it when the block ends.

    Removes the folders of killed servers first. Raises OSError.
    """
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    hold = Hold(folder)
    try:
        yield folder
    finally:
        remove(folder)
        hold.release()


def is_held(folder: Path) -> bool:
    """Whether a running process holds the folder's lock, or the folder is new and has no lock yet."""
    import fcntl

    try:
        file = os.open(folder / _LOCK, os.O_RDWR)
    except OSError:
        with suppress(OSError):
            return time.time() - folder.stat().st_mtime < _MAKING_S
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def remove_leftovers() -> int:
    """Removes the folders that killed servers of this user left. Returns how many."""
    removed = 0
    place = Path(tempfile.gettempdir())
    for folder in (*place.glob(f"{_PREFIX}*"), *place.glob(f"{_GONE}*-{_PREFIX}*")):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue  # any user may write to the temporary folder
            if folder.name.startswith(_GONE) or not is_held(folder):
                removed += remove(folder)
    return removed


def remove(folder: Path) -> bool:
    """Removes a folder and its content. Returns whether it existed. Renames it first, so that no writer finds it."""
    doomed = folder.with_name(f"{_GONE}{os.urandom(8).hex()}-{folder.name.removeprefix(_GONE)[-60:]}")
    try:
        folder.rename(doomed)
    except OSError:
        return False
    shutil.rmtree(doomed, ignore_errors=True)
    return True


def held_bytes(folder: Path) -> int:
    """Total size in bytes of the files below a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(place, name).stat().st_size
    return total
