"""A lock for one process at a time in a folder; the system releases it whenever and however the process ends."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Literal, overload

from filelock import FileLock, Timeout

from mien.files import cannot_write


@overload
def hold(path: Path, *, wait: Literal[True]) -> ExitStack: ...


@overload
def hold(path: Path, *, wait: Literal[False]) -> ExitStack | None: ...


def hold(path: Path, *, wait: bool) -> ExitStack | None:
    """Holds a lock file until the returned object is closed; None if another process has it, without waiting.

    On a shared disk without locks the file itself is the lock. Raises OutputError where it can't be made.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        return None
    except OSError as error:
        raise cannot_write(path, error) from error
    held = ExitStack()
    held.callback(lock.release)
    return held
