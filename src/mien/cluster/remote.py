"""Pictures and folders behind URLs, by fsspec: listed, and read into memory in one piece."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

from mien.errors import DataError, MissingExtraError, PictureError
from mien.pictures import PICTURE_SUFFIXES

MAX_BYTES = 64 * 1024 * 1024
"""Larger files behind URLs are refused: a few of them wait in memory for each worker."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_TRIES, _PAUSE_S = 3, 0.5


def is_url(text: str) -> bool:
    """Whether this names something behind a URL (s3://, gs://, https://, memory://, file://, ...)."""
    return _URL.match(text) is not None


def open_url(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and what the file system calls the place.

    Raises MissingExtraError without fsspec; DataError for an unknown kind of URL and where its package is missing.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingExtraError("cluster", f"reading {url}") from error
    try:
        return url_to_fs(url)  # type: ignore[no-any-return]
    except ImportError as error:
        raise DataError(f"{url}: needs another package: {error}") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{url}: can't be opened ({error}); check the URL") from error


@cache
def check_protocol(protocol: str) -> None:
    """Raises DataError where URLs that begin with `protocol://` can't be read here, MissingExtraError without fsspec.

    Looks at what is installed, not at the network.
    """
    try:
        from fsspec import get_filesystem_class
    except ImportError as error:
        raise MissingExtraError("cluster", f"reading {protocol}://") from error
    try:
        get_filesystem_class(protocol)
    except ImportError as error:
        raise DataError(f"{protocol}://: needs another package: {error}") from error
    except ValueError as error:
        raise DataError(f"{protocol}://: no such kind of URL; expected s3://, gs://, https://, file://, ...") from error


def list_pictures(url: str) -> Iterator[str]:
    """The URLs of the pictures that a URL stands for, sorted within each folder; none for a folder without pictures.

    A URL with a picture's suffix, or with a query, is taken for a picture, and not asked for. One with `*` is a
    pattern. Any other is a folder: the files below it with a picture's suffix; hidden names are left out.
    Raises DataError where it can't be listed.
    """
    path = url.partition("#")[0]
    if "?" in path or ("*" not in path and _is_picture(path)):
        yield url
        return
    system, place = open_url(url)
    try:
        if "*" in place:
            for found in sorted(system.glob(place)):
                yield str(system.unstrip_protocol(found))
        else:
            yield from _walk(system, place)
    except FileNotFoundError:
        return
    # Each kind of file system raises errors of its own, many of them no OSError.
    except Exception as error:
        raise DataError(
            f"{url}: can't be listed ({_reason(error)}); check the URL and the access to it, or give a list of pictures"
        ) from error


def read_url(url: str) -> bytes:
    """The bytes of a file behind a URL, at most `MAX_BYTES`; what fails is tried three times.

    Raises PictureError: missing, not allowed, too large, or can't be read.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            return _read(url)
        except FileNotFoundError as error:
            raise PictureError(f"{url}: no such file; check the URL") from error
        except PermissionError as error:
            raise PictureError(f"{url}: no permission to read it; check your access") from error
        except DataError as error:
            raise PictureError(str(error)) from error
        except PictureError:
            raise
        except Exception as error:  # as above
            if attempt == _TRIES:
                raise PictureError(f"{url}: can't be read ({_reason(error)}); tried {_TRIES} times") from error
        time.sleep(_PAUSE_S * attempt)
    raise AssertionError  # the last attempt returns or raises


def _read(url: str) -> bytes:
    system, place = open_url(url)
    size = system.info(place).get("size")
    if size is None:  # a server that does not say: read no more than allowed
        with system.open(place, "rb", block_size=0) as file:
            data = file.read(MAX_BYTES + 1)
    else:
        data = b"" if size > MAX_BYTES else system.cat_file(place)
    if (size or len(data)) > MAX_BYTES:
        raise PictureError(f"{url}: has more than {MAX_BYTES / 1e6:,.0f} MB, the limit; make it smaller")
    return bytes(data)


def _walk(system: Any, folder: str) -> Iterator[str]:
    inside = folder.rstrip("/") + "/"
    folders = []
    for entry in sorted(system.ls(folder, detail=True), key=lambda e: str(e["name"])):
        name = str(entry["name"])
        base = name.rstrip("/").rpartition("/")[2]
        if not name.startswith(inside) or name.rstrip("/") == folder.rstrip("/") or base.startswith("."):
            continue
        if entry["type"] == "directory":
            folders.append(name)
        elif _is_picture(name):
            yield str(system.unstrip_protocol(name))
    for name in folders:
        yield from _walk(system, name)


def _is_picture(name: str) -> bool:
    base = name.rpartition("/")[2]
    return f".{base.rpartition('.')[2].lower()}" in PICTURE_SUFFIXES if "." in base else False


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
