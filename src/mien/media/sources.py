"""From what a user names (files, folders, patterns, a list on standard input) to picture files, one after another."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from mien.errors import PictureError
from mien.pictures import PICTURE_SUFFIXES

VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".asf"),
        *(".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".vob", ".mxf", ".y4m", ".mjpeg", ".mjpg"),
        *(".h264", ".264", ".h265", ".265", ".hevc"),
    }
)
"""File names that are taken for videos."""


def expand_sources(
    sources: Sequence[str | Path], *, exclude: Path | None = None, listing: TextIO | None = None
) -> Iterator[Path]:
    """The picture files that `sources` stand for, lazily, in the order given, none twice.

    A file stands for itself, whatever its name, also where it is missing: reading it says so. A folder stands for the
    files below it with a picture's suffix, sorted; hidden names are left out and links to folders are not followed.
    A pattern (`photos/**/*.jpg`, for shells that do not expand it) stands for the files that it matches, sorted.
    `-` stands for one path a line on `listing` (standard input). exclude: a folder that is passed over inside
    other folders, because outputs are being written to it.

    Raises PictureError at once for a folder without pictures and for a pattern that matches no file.
    """
    excluded = os.path.realpath(exclude) if exclude is not None else None
    for source in sources:
        text = str(source)
        if text == "-":
            continue
        if Path(text).is_dir():
            if next(_walk(text, excluded), None) is None:
                raise PictureError(f"{text}: no pictures in this folder ({', '.join(sorted(PICTURE_SUFFIXES))})")
        elif is_pattern(text) and next(_matches(text), None) is None:
            raise PictureError(f"{text}: matches no file; check the pattern")
    return _unique(_expand(sources, excluded, listing))


def is_video_file(path: str | Path) -> bool:
    """Whether its name is that of a video file; it need not be there."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def _expand(sources: Sequence[str | Path], excluded: str | None, listing: TextIO | None) -> Iterator[str]:
    for source in sources:
        text = str(source)
        if text == "-":
            for line in listing or sys.stdin:
                if path := line.rstrip("\r\n"):
                    yield path
        elif Path(text).is_dir():
            yield from _walk(text, excluded)
        elif is_pattern(text):
            yield from sorted(_matches(text))
        else:
            yield text


def is_pattern(text: str) -> bool:
    """Whether it has a pattern's signs and is no file's name."""
    return glob.has_magic(text) and not os.path.lexists(text)


def _matches(pattern: str) -> Iterator[str]:
    found = glob.iglob(pattern, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute patterns)
    return (path for path in found if Path(path).is_file())


def _walk(folder: str, excluded: str | None) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and (excluded is None or os.path.realpath(Path(root, name)) != excluded)
        )
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in PICTURE_SUFFIXES:
                yield str(Path(root, name))


def _unique(paths: Iterable[str]) -> Iterator[Path]:
    seen: set[str] = set()
    for path in paths:
        real = os.path.realpath(path) if "\0" not in path else path
        if real not in seen:
            seen.add(real)
            yield Path(path)
