"""Expands sources into images: those of `mien.media.sources`, list files and URLs."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

from mien.cluster.remote import check_protocol, list_images
from mien.errors import DataError, ImageError
from mien.media.addresses import NamedImage
from mien.media.sources import STANDARD_INPUT, SkippedFiles, expand_sources, read_listing
from mien.media.video.network import is_address


class Lists:
    """Reads the lists among the sources, and hashes their lines: a list may change between two runs."""

    def __init__(self, standard_input: BinaryIO | None = None) -> None:
        """standard_input: the input that `-` reads; None: that of the process."""
        self._standard_input = standard_input
        self._digest = hashlib.sha256()
        self._any = False
        self.skipped = SkippedFiles()
        """The files of folders that are not images. Files at URLs are chosen by name and not counted."""

    def lines(self, source: str) -> Iterator[str]:
        """The lines of the list `@FILE`, or of standard input for `-`, without empty ones. Raises DataError."""
        self._any = True
        try:
            with _opened(source, self._standard_input) as file:
                for path in read_listing(file, STANDARD_INPUT if source == "-" else source[1:]):
                    if isinstance(path, NamedImage):
                        raise DataError(f"{path.name}: is an image; expected a list, one image a line")
                    self._digest.update(os.fsencode(path) + b"\n")
                    yield path
        except OSError as error:
            raise DataError(
                f"{source[1:]}: can't be read ({error.strerror}); expected a list, one image a line"
            ) from error

    def checksum(self) -> str:
        """The checksum of all lines that were read; empty without a list."""
        return self._digest.hexdigest() if self._any else ""


def _opened(source: str, standard_input: BinaryIO | None) -> AbstractContextManager[BinaryIO]:
    if source == "-":
        return nullcontext(standard_input or sys.stdin.buffer)
    return Path(source[1:]).open("rb")


def is_list(source: str) -> bool:
    """Whether a source is a list: `-` for standard input, `@FILE` for a file, one path or URL a line."""
    return source == "-" or source.startswith("@")


def expand_all(sources: Sequence[str], lists: Lists) -> Iterator[str]:
    """The paths and URLs of the images in `sources`, lazily, in the given order, without repetition.

    Lines of a list are not expanded. Uses 100 to 250 bytes of memory per image, to skip repeated ones.
    Raises ImageError for a folder without images or a pattern without matches; DataError for a list or URL that can't
    be read.
    """
    if not any(is_list(source) or is_address(source) for source in sources):
        yield from map(str, expand_sources(sources, skipped=lists.skipped))
        return
    seen: set[bytes] = set()
    for source in sources:
        empty = True
        for name in _expand(source, lists):
            empty = False
            whole = name if is_address(name) or "\0" in name else os.path.realpath(name)
            key = hashlib.blake2b(os.fsencode(whole), digest_size=16).digest()
            if key not in seen:
                seen.add(key)
                yield name
        if empty and is_address(source):
            raise ImageError(f"{source}: no images at this URL; check it, or give a list of images")


def _expand(source: str, lists: Lists) -> Iterator[str]:
    if is_list(source):
        for name in lists.lines(source):
            if is_address(name):
                check_protocol(name.partition("://")[0])
            yield name
    elif is_address(source):
        check_protocol(source.partition("://")[0])
        yield from list_images(source)
    else:
        yield from map(str, expand_sources([source], skipped=lists.skipped))
