"""What every command that writes a data set checks before it begins."""

from __future__ import annotations

from pathlib import Path

from mien.errors import OutputError


def apart(source: Path, out: Path) -> None:
    """Makes sure that what is written stays away from what is read, whatever the paths look like (`..`, links).

    Raises OutputError where `out` is `source`, contains it, or lies inside it.
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
