"""Temporary folders that are known to be in use: a lock in each is held by a living process, and goes with it.

What a killed process leaves behind has a lock that nobody holds, and is removed by the next one that looks.
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
_MAKING_S = 3600.0  # a folder may be so long without its lock: a process was killed while it made it


class Hold:
    """A folder's lock; let go of by `release`, and by the end of the process."""

    def __init__(self, folder: Path) -> None:
        """Puts a lock into a new folder. Raises OSError."""
        import fcntl

        making = folder / f"{_LOCK}.new"
        self._file = os.open(making, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        making.rename(folder / _LOCK)  # it appears under its name when it is held already

    def release(self) -> None:
        """Lets go of it; once is enough."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder for this user alone, among the system's temporary ones, while the block runs.

    What killed servers have left there is removed before. Raises OSError.
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
    """Whether a living process holds the folder's lock, or has only just made the folder."""
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
    """Removes what killed servers of this user have left; how many folders that were."""
    removed = 0
    place = Path(tempfile.gettempdir())
    for folder in (*place.glob(f"{_PREFIX}*"), *place.glob(f"{_GONE}*-{_PREFIX}*")):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue  # anybody may write there
            if folder.name.startswith(_GONE) or not is_held(folder):
                removed += remove(folder)
    return removed


def remove(folder: Path) -> bool:
    """Removes a folder and all in it; whether it was there. Renamed first: who still writes in it finds it no more."""
    doomed = folder.with_name(f"{_GONE}{os.urandom(8).hex()}-{folder.name.removeprefix(_GONE)[-60:]}")
    try:
        folder.rename(doomed)
    except OSError:
        return False
    shutil.rmtree(doomed, ignore_errors=True)
    return True


def held_bytes(folder: Path) -> int:
    """How much of the disk the files below a folder take."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(place, name).stat().st_size
    return total
