"""Reads standard input: a list of paths in any common encoding, or one image."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator
from typing import BinaryIO

from mien.errors import ImageError
from mien.images import HEAD_BYTES, MAX_FILE_BYTES, describe_file, image_kind
from mien.media.addresses import NamedImage

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_NO_LIST = frozenset({"unknown", "text", "a web page", "an SVG drawing", "empty"})
STANDARD_INPUT = "standard input"


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
