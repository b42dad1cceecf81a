"""Parses a multipart body chunk by chunk.

Declared types and lengths are ignored; only the declared boundary is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from mien.serving.refusals import Refusal, bad_request

_ENCODED_NAME = re.compile(rb";\s*filename\*\s*=\s*utf-8'[^']*'([^;\s]*)", re.IGNORECASE)  # as RFC 6266 writes names


def form_boundary(content_type: str) -> bytes | None:
    """Returns the boundary of a multipart body, empty if it is missing. None: the body is not multipart."""
    kind, options = parse_options_header(content_type)
    return options.get(b"boundary", b"") if kind.startswith(b"multipart/") else None


class FormParts:
    """Reads a body in chunks: `take` each chunk, then call `end`."""

    def __init__(
        self,
        boundary: bytes,
        *,
        begin: Callable[[str, str | None], bool],
        data: Callable[[bytes], None],
    ) -> None:
        """begin: called with a field's name, and the declared name of its file, which may be empty; None: no file.

        Returns whether `data` gets the bytes of the part. data: called with each chunk of them. Both may raise Refusal.
        Raises Refusal for an invalid boundary.
        """
        self._begin_part, self._data = begin, data
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        self._is_wanted = self._ended = False
        if not boundary:
            raise _damaged()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_part_data": self._add,
                    "on_header_field": self._add_header,
                    "on_header_value": self._add_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_end": self._finish,
                },
            )
        except FormParserError:
            raise _damaged() from None

    def take(self, data: bytes) -> None:
        """Parses the next chunk of the body. Raises Refusal."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise _damaged() from None

    def end(self) -> None:
        """Ends the body. Raises Refusal if the final boundary is missing."""
        if not self._ended:
            raise _damaged()

    def _begin(self) -> None:
        self._disposition = b""

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        filename = options.get(b"filename")
        if filename is None and (encoded := _ENCODED_NAME.search(self._disposition)):
            filename = unquote_to_bytes(encoded[1])
        name = None if filename is None else filename.decode("utf-8", errors="replace")
        self._is_wanted = self._begin_part(options.get(b"name", b"").decode("utf-8", errors="replace"), name)

    def _add(self, data: bytes, start: int, end: int) -> None:
        if self._is_wanted:
            self._data(bytes(data[start:end]))

    def _finish(self) -> None:
        self._ended = True


def _damaged() -> Refusal:
    return bad_request("bad_multipart", "the multipart body is damaged or cut off")
