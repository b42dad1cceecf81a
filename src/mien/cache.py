"""The user's cache folder, and files that are fetched into it on request, complete and checked by sha256."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from mien.errors import MienError
from mien.files import make_folder, write_bytes


def cache_folder() -> Path:
    """$MIEN_CACHE, or else `mien` in the platform's cache folder; it need not exist."""
    own = os.environ.get("MIEN_CACHE")
    if own:
        return Path(own)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library/Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mien"


def sha256_of(path: Path) -> str:
    """The file's checksum, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_file(
    url: str, place: Path, *, sha256: str, max_bytes: int, failure: type[MienError], advice: str, timeout_s: float = 30
) -> Path:
    """Downloads `url` to `place` and returns it; a right file that is there already stays.

    sha256: of the file that is expected; another one is not kept. max_bytes: nothing endless is read. Raises `failure`
    with `advice` where the download fails or another file comes, OutputError where it can't be written.
    """
    if place.is_file() and sha256_of(place) == sha256:
        return place
    import urllib.request  # slow to import, and needed by few

    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            data: bytes = answer.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise failure(f"{url}: download failed ({error}); {advice}") from error
    if len(data) > max_bytes:
        raise failure(f"{url}: more than {max_bytes / 1e6:g} MB, which is not the file that is expected; {advice}")
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise failure(f"{url}: sha256 is {found[:16]}…, expected {sha256[:16]}…: damaged or another file; {advice}")
    make_folder(place.parent)
    write_bytes(place, data)
    return place
