"""Reads images from a request, in memory only. A request is refused as soon as it passes a limit."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from mien.images import HEAD_BYTES, image_kind
from mien.serving.engine import Upload
from mien.serving.metrics import Metrics
from mien.serving.multipart import FileParts, form_boundary
from mien.serving.refusals import ClientGone, Refusal, busy, too_large
from mien.serving.settings import ServeSettings
from mien.serving.text_bodies import IMAGE_KEYS, as_uploads, check_count, images_in_text, no_image


class UploadMemory:
    """Counts the bytes of uploads that are held in memory."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit, self._held, self._metrics = limit, 0, metrics

    def take(self, count: int) -> None:
        """Adds incoming bytes. Raises Refusal (503) if they would pass the limit."""
        if self._held + count > self._limit:
            raise busy("too many uploads at once")
        self._change(count)

    def give_back(self, count: int) -> None:
        """Subtracts released bytes."""
        self._change(-count)

    def _change(self, count: int) -> None:
        self._held += count
        self._metrics.upload_bytes.set(self._held)


async def read_body(request: Request, settings: ServeSettings, memory: UploadMemory) -> bytearray:
    """Reads the body of a request. The caller returns its length to `memory`. Raises Refusal, ClientGone."""
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


def images_of(body: bytearray, content_type: str, *, max_files: int) -> list[Upload]:
    """Returns the files of a multipart body, the images of a text, or the body as one image. Raises Refusal."""
    boundary = form_boundary(content_type)
    if boundary is not None:
        return _files_of(bytes(body), boundary, max_files)
    if not body:
        raise no_image()
    data = bytes(body)
    texts = None if image_kind(data[:HEAD_BYTES]) else images_in_text(data, content_type, max_files=max_files)
    return [Upload("image 0", data)] if texts is None else texts


def _files_of(body: bytes, boundary: bytes, max_files: int) -> list[Upload]:
    """Returns the files of a form, or the images in its fields if it has no files."""
    files: list[tuple[str, list[bytes]]] = []
    fields: list[list[bytes]] = []
    current: list[bytes] = []

    def begin(name: str) -> None:
        nonlocal current
        check_count(len(files) + 1, max_files)
        current = []
        files.append((name or f"image {len(files)}", current))

    def more(data: bytes) -> None:
        current.append(data)

    def begin_field(name: str) -> bool:
        nonlocal current
        current = []
        if name.removesuffix("[]") not in IMAGE_KEYS:
            return False
        fields.append(current)
        return True

    parts = FileParts(boundary, begin=begin, data=more, begin_field=begin_field)
    parts.take(body)
    parts.end()
    if files:
        return [Upload(name, b"".join(pieces)) for name, pieces in files]
    return as_uploads([b"".join(pieces).decode("utf-8", "replace") for pieces in fields], max_files=max_files)


def _over(settings: ServeSettings) -> Refusal:
    return too_large(f"the upload has more than {settings.max_upload_mb} MB; send smaller or fewer images")
