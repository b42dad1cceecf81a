"""Lists images and folders at URLs with fsspec, and reads them into memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from typing import Any

from mien.errors import DataError, ImageError, import_extra
from mien.images import IMAGE_SUFFIXES

MAX_BYTES = 64 * 1024 * 1024
"""The limit of a file at a URL, bytes. Several are in memory for each worker."""

_TRIES, _PAUSE_S = 3, 0.5


def open_url(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises MissingExtraError without fsspec; DataError for an unknown kind of URL or a missing package.
    """
    fsspec = import_extra("fsspec", "cluster", f"reading {url}")
    try:
        return fsspec.url_to_fs(url)  # type: ignore[no-any-return]
    except ImportError as error:
        raise DataError(f"{url}: needs another package: {error}") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{url}: can't be opened ({error}); check the URL") from error


@cache
def check_protocol(protocol: str) -> None:
    """Raises DataError if URLs with `protocol://` can't be read here, MissingExtraError without fsspec.

    Checks the installed packages, not the network.
    """
    fsspec = import_extra("fsspec", "cluster", f"reading {protocol}://")
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        raise DataError(f"{protocol}://: needs another package: {error}") from error
    except ValueError as error:
        raise DataError(f"{protocol}://: no such kind of URL; expected s3://, gs://, https://, file://, ...") from error


def list_images(url: str) -> Iterator[str]:
    """Expands a URL into the URLs of images, sorted within each folder; none for a folder without images.

    A URL with an image suffix or a query is an image, and no request is made. One with `*` is a pattern. Any other is
    a folder, which gives the files below it with an image suffix; hidden names are skipped.
    Raises DataError if it can't be listed.
    """
    path = url.partition("#")[0]
    if "?" in path or ("*" not in path and _is_image(path)):
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
    # Each file system raises its own errors, many of which are not OSError.
    except Exception as error:
        raise DataError(
            f"{url}: can't be listed ({_reason(error)}); check the URL and the access to it, or give a list of images"
        ) from error


def read_url(url: str) -> bytes:
    """The bytes of a file at a URL, at most `MAX_BYTES`. A failed read is tried three times.

    Raises ImageError for a file that is missing, not permitted, too large or not readable.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            return _read(url)
        except FileNotFoundError as error:
            raise ImageError(f"{url}: no such file; check the URL") from error
        except PermissionError as error:
            raise ImageError(f"{url}: no permission to read it; check your access") from error
        except DataError as error:
            raise ImageError(str(error)) from error
        except ImageError:
            raise
        except Exception as error:  # as above
            if attempt == _TRIES:
                raise ImageError(f"{url}: can't be read ({_reason(error)}); tried {_TRIES} times") from error
        time.sleep(_PAUSE_S * attempt)
    raise AssertionError  # the last attempt returns or raises


def _read(url: str) -> bytes:
    system, place = open_url(url)
    size = system.info(place).get("size")
    if size is None:  # the server gives no size: read no more than the limit
        with system.open(place, "rb", block_size=0) as file:
            data = file.read(MAX_BYTES + 1)
    else:
        data = b"" if size > MAX_BYTES else system.cat_file(place)
    if (size or len(data)) > MAX_BYTES:
        raise ImageError(f"{url}: has more than {MAX_BYTES / 1e6:,.0f} MB, the limit; make it smaller")
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
        elif _is_image(name):
            yield str(system.unstrip_protocol(name))
    for name in folders:
        yield from _walk(system, name)


def _is_image(name: str) -> bool:
    base = name.rpartition("/")[2]
    return f".{base.rpartition('.')[2].lower()}" in IMAGE_SUFFIXES if "." in base else False


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
