"""Receives a video from a request into a file. Refuses it as soon as it is too large or not a video."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from starlette.requests import ClientDisconnect, Request

from mien.images import describe_file, image_kind
from mien.serving.refusals import ClientGone, Refusal, bad_request, too_large
from mien.serving.settings import ServeSettings
from mien.serving.uploads import FormParts, check_encoding, form_boundary
from mien.serving.video_work import ACCEPTED

_HEAD = 1024  # bytes from which the format is detected
_PIECE = 1 << 20  # bytes per write
_CHECK_EVERY = 16 << 20  # bytes between two checks of disk space


async def receive_video(
    request: Request, place: Path, settings: ServeSettings, check_room: Callable[[int], None]
) -> None:
    """Writes the video of a request to `place`: the only file of a form, or the body.

    check_room: called in another thread with the number of bytes still expected, 0 if unknown. It raises Refusal if
    the disk has no room for them. Raises Refusal, ClientGone.
    """
    check_encoding(request)
    limit = settings.max_video_mb * 1_000_000
    declared = request.headers.get("content-length", "")
    expected = int(declared[:20]) if declared.isdecimal() else 0
    if expected > limit + 10_000:  # plus the boundaries of a form
        raise _over(settings)
    await asyncio.to_thread(check_room, expected)
    file = _UploadFile(place, settings)
    boundary = form_boundary(request.headers.get("content-type", ""))
    checked_at = 0
    try:
        form = None if boundary is None else FormParts(boundary, begin=file.begin, data=file.take)
        async with asyncio.timeout(settings.video_upload_timeout_s):
            chunks = aiter(request.stream())
            while True:
                async with asyncio.timeout(settings.upload_timeout_s):  # a client that stops sending
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                (form or file).take(chunk)
                if file.waiting >= _PIECE:
                    await asyncio.to_thread(file.write)
                if file.count - checked_at >= _CHECK_EVERY:
                    checked_at = file.count
                    await asyncio.to_thread(check_room, 0)
            if form is not None:
                form.end()
            await asyncio.to_thread(file.end)
    except TimeoutError:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "upload_timeout", "the upload took too long") from None
    except ClientDisconnect:
        raise ClientGone from None
    finally:
        file.close()


def looks_like_video(head: bytes) -> bool:
    """Whether a file may be a video. head: its first 1024 bytes, or all of a smaller file."""
    kind = image_kind(head)
    if kind:  # MJPEG begins as a JPEG does
        return kind in ("GIF", "JPEG") or _is_animated(head)
    return describe_file(head) in ("a video", "sound or video") or head.startswith(b"\0\0\1")  # bare MPEG


def _is_animated(head: bytes) -> bool:
    """Whether an image in PNG, WebP or AVIF is animated."""
    if head.startswith(b"\x89PNG"):
        return b"acTL" in head
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return head[12:16] == b"VP8X" and bool(head[20] & 2)
    return head[4:8] == b"ftyp" and b"avis" in head[: int.from_bytes(head[:4])]


def _over(settings: ServeSettings) -> Refusal:
    return too_large(f"the video has more than {settings.max_video_mb} MB; send a smaller one")


class _UploadFile:
    """The file of an upload. count: bytes received; waiting: bytes not written yet."""

    def __init__(self, place: Path, settings: ServeSettings) -> None:
        self._settings, self._file = settings, place.open("xb", buffering=0)
        self._pieces: list[bytes] = []
        self._head: bytes | None = b""  # None: checked
        self.count = self.waiting = 0

    def begin(self, _field: str, name: str | None) -> bool:
        """Called when a part of a form begins. Returns whether it is a file. Raises Refusal for a second file.

        A first, empty one is ignored: browsers send it for a file input without a file.
        """
        if name is not None and self.count:
            raise bad_request("one_video", "a request takes one video; send each video in its own request")
        return name is not None

    def take(self, data: bytes) -> None:
        """Adds a chunk. Raises Refusal."""
        self.count += len(data)
        self.waiting += len(data)
        if self.count > self._settings.max_video_mb * 1_000_000:
            raise _over(self._settings)
        self._pieces.append(data)
        if self._head is not None:
            self._head += data[: _HEAD - len(self._head)]
            if len(self._head) >= _HEAD:
                self._check_head()

    def write(self) -> None:
        """Writes the waiting chunks. Raises Refusal if the disk is full."""
        left = memoryview(b"".join(self._pieces))
        self._pieces, self.waiting = [], 0
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            raise no_room() from None

    def end(self) -> None:
        """Ends the file. Raises Refusal if it is empty or not a video."""
        if not self.count:
            raise bad_request(
                "no_video", "there is no video in the request; send a file (multipart) or a video's bytes"
            )
        if self._head is not None:
            self._check_head()
        self.write()

    def close(self) -> None:
        self._file.close()

    def _check_head(self) -> None:
        head, self._head = self._head or b"", None
        if not looks_like_video(head):
            message = f"this is not a video; expected {ACCEPTED}"
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unreadable_video", message)


def no_room() -> Refusal:
    """503: the disk, or the server's share of it, is full."""
    message = "there is no room for more videos; remove one, or try again later"
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "busy", message, retry_after=30)
