"""Parses a multipart body chunk by chunk. Passes on files, and form fields if the caller wants them.

Declared types and lengths are ignored; only the declared boundary is used.
"""

from __future__ import annotations

from collections.abc import Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from mien.serving.refusals import Refusal, bad_request


def form_boundary(content_type: str) -> bytes | None:
    """Returns the boundary of a multipart body, empty if it is missing. None: the body is not multipart."""
    kind, options = parse_options_header(content_type)
    return options.get(b"boundary", b"") if kind.startswith(b"multipart/") else None


class FileParts:
    """Reads a body in chunks: `take` each chunk, then call `end`."""

    def __init__(
        self,
        boundary: bytes,
        *,
        begin: Callable[[str], None],
        data: Callable[[bytes], None],
        begin_field: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """begin: called with a file's declared name, which may be empty. data: called with each chunk of its bytes.

        begin_field: called with a field's name; returns whether `data` gets its bytes. All of them may raise Refusal.
        Raises Refusal.
        """
        self._begin_file, self._begin_field, self._data = begin, begin_field, data
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
        if b"filename" in options:
            self._is_wanted = True
            self._begin_file(options[b"filename"].decode("utf-8", errors="replace"))
        else:
            self._is_wanted = self._begin_field(options.get(b"name", b"").decode("utf-8", errors="replace"))

    def _add(self, data: bytes, start: int, end: int) -> None:
        if self._is_wanted:
            self._data(bytes(data[start:end]))

    def _finish(self) -> None:
        self._ended = True


def _damaged() -> Refusal:
    return bad_request("bad_multipart", "the multipart body is damaged or cut off")
