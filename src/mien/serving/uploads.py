"""Takes pictures out of a request: counted while they come, in memory only, refused as soon as a limit is passed.

What a client declares (type, names, lengths) is believed in nothing but how the body is divided into parts.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from mien.serving.engine import Upload
from mien.serving.metrics import Metrics
from mien.serving.refusals import ClientGone, Refusal, bad_request, busy, too_large
from mien.serving.settings import ServeSettings


class UploadMemory:
    """How many bytes of uploads are in memory at this moment."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit, self._held, self._metrics = limit, 0, metrics

    def take(self, count: int) -> None:
        """Accounts for bytes that come in. Raises Refusal (503) where there is no room for them."""
        if self._held + count > self._limit:
            raise busy("too many uploads at once")
        self._change(count)

    def give_back(self, count: int) -> None:
        """The bytes are gone."""
        self._change(-count)

    def _change(self, count: int) -> None:
        self._held += count
        self._metrics.upload_bytes.set(self._held)


async def read_body(request: Request, settings: ServeSettings, memory: UploadMemory) -> bytearray:
    """The body of a request; the caller gives its length back to `memory`. Raises Refusal, ClientGone."""
    limit = settings.max_upload_mb * 1_000_000
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise _over(settings)
    body = bytearray()
    try:
        async with asyncio.timeout(settings.upload_timeout_s):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limit:
                    raise _over(settings)
                memory.take(len(chunk))
                body += chunk
    except BaseException as error:
        memory.give_back(len(body))
        if isinstance(error, TimeoutError):
            message = f"the upload took more than {settings.upload_timeout_s:g} seconds"
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "upload_timeout", message) from None
        if isinstance(error, ClientDisconnect):
            raise ClientGone from None
        raise
    return body


def pictures_of(body: bytearray, content_type: str, *, max_files: int) -> list[Upload]:
    """The files of a multipart body, or the body itself as one picture. Raises Refusal."""
    kind, options = parse_options_header(content_type)
    if kind.startswith(b"multipart/"):
        uploads = _Parts(max_files).read(bytes(body), options.get(b"boundary", b""))
    else:
        uploads = [Upload("picture 0", bytes(body))] if body else []
    if not uploads:
        raise bad_request(
            "no_picture", "there is no picture in the request; send files (multipart) or a picture's bytes"
        )
    return uploads


def _over(settings: ServeSettings) -> Refusal:
    return too_large(f"the upload has more than {settings.max_upload_mb} MB; send smaller or fewer pictures")


class _Parts:
    """Callbacks of the multipart parser. Parts without a file name are form fields and are passed over."""

    def __init__(self, max_files: int) -> None:
        self._max_files = max_files
        self.uploads: list[Upload] = []
        self._header, self._value, self._name = bytearray(), bytearray(), None
        self._disposition = b""
        self._data: list[bytes] = []
        self._ended = False

    def read(self, body: bytes, boundary: bytes) -> list[Upload]:
        """The files of the body. Raises Refusal."""
        damaged = bad_request("bad_multipart", "the multipart body is damaged or cut off")
        if not boundary:
            raise damaged
        try:
            parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_part_data": self._add,
                    "on_part_end": self._end,
                    "on_header_field": self._add_header,
                    "on_header_value": self._add_value,
                    "on_header_end": self._end_header,
                    "on_end": self._finish,
                },
            )
            parser.write(body)
        except FormParserError:
            raise damaged from None
        if not self._ended:
            raise damaged
        return self.uploads

    def _begin(self) -> None:
        self._disposition, self._data = b"", []

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _add(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def _end(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            return
        if len(self.uploads) >= self._max_files:
            raise too_large(f"the request has more than {self._max_files} files; send them in several requests")
        name = options[b"filename"].decode("utf-8", errors="replace") or f"picture {len(self.uploads)}"
        self.uploads.append(Upload(name, b"".join(self._data)))

    def _finish(self) -> None:
        self._ended = True
