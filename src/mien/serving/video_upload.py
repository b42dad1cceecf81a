"""Takes a video out of a request, straight into a file: counted while it comes, refused as soon as it can't be one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from starlette.requests import ClientDisconnect, Request

from mien.serving.multipart import FileParts, form_boundary
from mien.serving.refusals import ClientGone, Refusal, bad_request, too_large
from mien.serving.settings import ServeSettings

_HEAD = 1024  # bytes by which it is seen what a file is
_PIECE = 1 << 20  # bytes that are written at once
_LOOK_EVERY = 16 << 20  # bytes between two looks at the disk
_ANYWHERE = (
    b"\x1a\x45\xdf\xa3",
    b"OggS",
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    b"DKIF",
    b"YUV4MPEG2",
    b"GIF8",
)
_MPEG = (b"\x00\x00\x01", b"\x00\x00\x00\x01", b"\xff\xd8\xff")  # MPEG, H.264 and H.265 without a container; MJPEG
_ATOMS = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}  # with which an MP4 or MOV may begin


async def receive_video(
    request: Request, place: Path, settings: ServeSettings, check_room: Callable[[int], None]
) -> None:
    """Writes the video of a request, a form's only file or the body itself, into `place`.

    check_room: is told how many bytes are still to come, 0 where that is not known, and raises Refusal where the disk
    has no room for them; called in another thread. Raises Refusal, ClientGone.
    """
    limit = settings.max_video_mb * 1_000_000
    declared = request.headers.get("content-length", "")
    expected = int(declared[:20]) if declared.isdecimal() else 0
    if expected > limit + 10_000:  # a form's borders come on top
        raise _over(settings)
    await asyncio.to_thread(check_room, expected)
    file = _UploadFile(place, settings)
    boundary = form_boundary(request.headers.get("content-type", ""))
    looked_at = 0
    try:
        form = None if boundary is None else FileParts(boundary, begin=file.begin, data=file.take)
        async with asyncio.timeout(settings.video_upload_timeout_s):
            chunks = aiter(request.stream())
            while True:
                async with asyncio.timeout(settings.upload_timeout_s):  # a client that falls silent
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                (form or file).take(chunk)
                if file.waiting >= _PIECE:
                    await asyncio.to_thread(file.write)
                if file.count - looked_at >= _LOOK_EVERY:
                    looked_at = file.count
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
    """Whether a file that begins so (a thousand bytes, or all of a smaller one) may be a video."""
    return (
        head.startswith(_ANYWHERE)
        or head.startswith(_MPEG)
        or head[4:8] in _ATOMS
        or (head.startswith(b"\x89PNG") and b"acTL" in head)  # an animated PNG
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or (head[:1] == b"G" and head[188:189] == b"G")  # a transport stream's packets
        or (head[4:5] == b"G" and head[196:197] == b"G")  # with time codes, as cameras write them
    )


def _over(settings: ServeSettings) -> Refusal:
    return too_large(f"the video has more than {settings.max_video_mb} MB; send a smaller one")


class _UploadFile:
    """The file that grows. count: bytes so far; waiting: those that are not written yet."""

    def __init__(self, place: Path, settings: ServeSettings) -> None:
        self._settings, self._file = settings, place.open("xb", buffering=0)
        self._pieces: list[bytes] = []
        self._head: bytes | None = b""  # None: looked at
        self.count = self.waiting = 0

    def begin(self, _name: str) -> None:
        """A file of a form begins. Raises Refusal where there was one before.

        An empty one is what a page's form sends where no file was chosen.
        """
        if self.count:
            raise bad_request("one_video", "a request takes one video; send the others in requests of their own")

    def take(self, data: bytes) -> None:
        """More of it. Raises Refusal."""
        self.count += len(data)
        self.waiting += len(data)
        if self.count > self._settings.max_video_mb * 1_000_000:
            raise _over(self._settings)
        self._pieces.append(data)
        if self._head is not None:
            self._head += data[: _HEAD - len(self._head)]
            if len(self._head) >= _HEAD:
                self._look()

    def write(self) -> None:
        """Hands what waits to the disk. Raises Refusal where it is full."""
        left = memoryview(b"".join(self._pieces))
        self._pieces, self.waiting = [], 0
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            raise no_room() from None

    def end(self) -> None:
        """That was all. Raises Refusal."""
        if not self.count:
            raise bad_request(
                "no_video", "there is no video in the request; send a file (multipart) or a video's bytes"
            )
        if self._head is not None:
            self._look()
        self.write()

    def close(self) -> None:
        self._file.close()

    def _look(self) -> None:
        head, self._head = self._head or b"", None
        if not looks_like_video(head):
            message = "this is no video of a kind that is taken: MP4, MOV, WebM, MKV, AVI, MPEG, OGG"
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unreadable_video", message)


def no_room() -> Refusal:
    """503: the disk, or the server's share of it, is full."""
    message = "there is no room for more videos; remove one, or try again later"
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "busy", message, retry_after=30)
