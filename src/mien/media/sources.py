"""Expands files, folders, patterns, addresses and standard input into images; counts what is skipped."""

from __future__ import annotations

import codecs
import glob
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from mien.errors import ImageError
from mien.images import HEAD_BYTES, IMAGE_SUFFIXES, MAX_FILE_BYTES, VIDEO_SUFFIXES, describe_file, image_kind
from mien.media.addresses import LONGEST_PATH, NamedImage, resolve, scheme_of

_HINTS = {"video": " (use mien watch)"}
_NAMED = 3  # names that are shown of unexpected files

_COUNTABLE = frozenset({"video", "ZIP", "PDF", "archive", "program", "database", "raw camera file", "web page"})
_UNEXPECTED = frozenset({"unknown", "empty", "broken link", "raw camera file"})
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_NO_LIST = frozenset({"unknown", "text", "a web page", "an SVG drawing", "empty"})
STANDARD_INPUT = "standard input"
_JPEGS_IN_A_ROW = (".mjpeg", ".mjpg")  # videos that begin as an image does


class SkippedFiles:
    """Counts files by what they are, and keeps the first names of those whose kind is not known."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        """What -> how many: "text", "video", "ZIP", "unknown", ..."""
        self._names: dict[str, list[str]] = {}

    def add(self, path: str, what: str) -> None:
        """Counts one more. what: as `describe_file` returns it."""
        kind = what.removeprefix("a ").removeprefix("an ")
        self.counts[kind] = self.counts.get(kind, 0) + 1
        names = self._names.setdefault(kind, [])
        if len(names) < _NAMED:
            names.append(Path(path).name)

    def line(self) -> str:
        """What was skipped, in one line; empty where nothing was."""
        total = sum(self.counts.values())
        if not total:
            return ""
        return f"{total:,} file{' was' if total == 1 else 's were'} skipped: {self._listed()}"

    def in_brackets(self) -> str:
        """The same as part of an error."""
        return f" ({self._listed()})" if self.counts else ""

    def _listed(self) -> str:
        return ", ".join(self._counted(kind) for kind in sorted(self.counts, key=lambda kind: -self.counts[kind]))

    def _counted(self, kind: str) -> str:
        count = self.counts[kind]
        counted = f"{count:,} {kind}{'s' if count > 1 and kind in _COUNTABLE else ''}{_HINTS.get(kind, '')}"
        if kind not in _UNEXPECTED and not kind.startswith("not readable"):
            return counted
        names = ["".join(c if c.isprintable() else "?" for c in name) for name in self._names[kind]]
        return f"{counted}: {', '.join(names)}{', ...' if count > len(names) else ''}"


def read_listing(stream: BinaryIO, name: str = STANDARD_INPUT) -> Iterator[str | NamedImage]:
    """The non-empty lines of a list, as they arrive; or the image in the stream.

    A list is UTF-8 (other bytes are kept, as in file names) or UTF-16, with or without a byte order
    mark. Quotes around a line are removed unless a file has them in its name; NUL separates like a line break (find
    -print0). name: of the stream, in errors. Raises ImageError where it is neither.
    """
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[type-var]
    head = buffered.peek(HEAD_BYTES)[:HEAD_BYTES]
    if image_kind(head):
        data = buffered.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ImageError(f"{name}: has more than {MAX_FILE_BYTES / 1e6:,.0f} MB; make the image smaller")
        yield NamedImage(name, data)
        return
    encoding = _encoding(head)
    if not encoding.startswith("utf-16") and (what := describe_file(head)) not in _NO_LIST:
        raise ImageError(f"{name}: is {what}; expected a list of paths, one a line, or an image")
    text = io.TextIOWrapper(buffered, encoding=encoding, errors="surrogateescape", newline="\n")
    try:
        for line in text:
            for piece in line.rstrip("\r\n").split("\0"):
                if piece:
                    yield _unquoted(piece)
    finally:
        text.detach()  # it would close the stream


def _encoding(head: bytes) -> str:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if len(head) >= 4 and not any(head[1:64:2]):  # letters of ASCII, each followed by a zero
        return "utf-16-le"
    return "utf-16-be" if len(head) >= 4 and not any(head[0:64:2]) else "utf-8"


def _unquoted(line: str) -> str:
    bare = line.strip()
    if len(bare) > 2 and bare[0] == bare[-1] and bare[0] in "\"'" and not os.path.lexists(line):
        return bare[1:-1]
    return line


def expand_sources(
    sources: Sequence[str | Path],
    *,
    exclude: Path | Sequence[Path] | None = None,
    listing: BinaryIO | None = None,
    skipped: SkippedFiles | None = None,
) -> Iterator[Path | NamedImage | str]:
    """The images of `sources`, lazily, in the given order, no file twice.

    A file of any name is one image; a missing file fails when it is read. A folder gives the images below it, sorted:
    files with an image suffix, and others that are images by their content. Hidden names are skipped, and links to
    folders are not followed. A pattern (`photos/**/*.jpg`, for shells that do not expand it) gives the files that it
    matches, sorted. A file: URL is a path; a data: URL (str) is one image. `-` reads one path or address per line from
    `listing` (standard input), or the one image there.
    exclude: folders and files that are skipped inside folders, because outputs are written to them. skipped: collects
    the files in folders that are no images.

    Raises ImageError at once for a folder without images, for a pattern that matches no file, and for addresses as
    `resolve`; later for what is no list on standard input.
    """
    outputs = () if exclude is None else (exclude,) if isinstance(exclude, Path) else exclude
    excluded = frozenset(os.path.realpath(path) for path in outputs)
    named = [source if str(source) == "-" else _located(source) for source in sources]
    for source in named:
        text = str(source)
        if isinstance(source, Path) and os.path.isdir(source):  # noqa: PTH112 (of what is too long for a name: False)
            passed_over = SkippedFiles()
            if next(_walk(text, excluded, passed_over), None) is None:
                raise ImageError(f"{text}: no images in this folder{passed_over.in_brackets()}")
        elif _is_pattern(source) and next(_matches(text), None) is None:
            raise ImageError(f"{text}: matches no file; check the pattern")
    return _unique(_expand(named, excluded, listing, skipped or SkippedFiles()))


def is_video_file(path: str | Path) -> bool:
    """Whether its name is that of a video file; it need not be there."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def _located(source: str | Path) -> str | Path:
    """A path, or a data: URL as it is; patterns are paths, too. Raises ImageError."""
    if isinstance(source, Path) or scheme_of(source) == "data":
        return source
    found = resolve(source)
    assert isinstance(found, Path)
    return found


def _expand(
    sources: Iterable[str | Path], excluded: frozenset[str], listing: BinaryIO | None, skipped: SkippedFiles
) -> Iterator[str | NamedImage]:
    for source in sources:
        text = str(source)
        if text == "-":
            yield from read_listing(listing or sys.stdin.buffer)
        elif isinstance(source, str):
            yield text
        elif os.path.isdir(source):  # noqa: PTH112
            yield from _walk(text, excluded, skipped)
        elif _is_pattern(source):
            yield from sorted(_matches(text))
        else:
            yield text


def is_pattern(text: str) -> bool:
    """Whether it has a pattern's signs and is no file's name."""
    return len(text) <= LONGEST_PATH and glob.has_magic(text) and not os.path.lexists(text)


def _is_pattern(source: str | Path) -> bool:
    return isinstance(source, Path) and is_pattern(str(source))


def _matches(pattern: str) -> Iterator[str]:
    found = glob.iglob(pattern, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute patterns)
    return (path for path in found if os.path.isfile(path))  # noqa: PTH113


def _walk(folder: str, excluded: frozenset[str], skipped: SkippedFiles) -> Iterator[str]:
    excluded_names = {Path(path).name for path in excluded}
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and (not excluded or os.path.realpath(Path(root, name)) not in excluded)
        )
        for name in sorted(names):
            path = Path(root, name)
            if name.startswith(".") or (name in excluded_names and os.path.realpath(path) in excluded):
                continue
            suffix = path.suffix.lower()
            what = None if suffix in IMAGE_SUFFIXES else _other_than_image(path, suffix)
            if what is None:
                yield str(path)
            else:
                skipped.add(str(path), what)


def _other_than_image(path: Path, suffix: str) -> str | None:
    """What a file is by its first bytes, in a few words; None: an image."""
    try:
        if not path.is_file():
            return "broken link" if path.is_symlink() else "no regular file"
        with path.open("rb", buffering=0) as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        return f"not readable ({error.strerror})"
    if image_kind(head) is None:
        what = describe_file(head)
        return None if what == "a JPEG XL image" else what  # an image all the same: why it can't be read is a row
    return "a video" if suffix in _JPEGS_IN_A_ROW else None


def _unique(found: Iterable[str | NamedImage]) -> Iterator[Path | NamedImage | str]:
    seen: set[str] = set()
    for source in found:
        if isinstance(source, NamedImage) or scheme_of(source):
            yield source
            continue
        real = os.path.realpath(source) if "\0" not in source else source
        if real not in seen:
            seen.add(real)
            yield Path(source)
