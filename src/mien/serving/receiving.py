"""Reads the bodies of requests, within limits of size, rate, time and number.

An upload must go on: one that sends less than `LEAST_BYTES` within the time for a head is refused. If there are too
many uploads, the slowest one of the client with the most gives way to a new one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from mien.serving.memory import Budget
from mien.serving.refusals import ClientGone, Refusal, busy, too_large
from mien.serving.settings import ServeSettings

LEAST_BYTES = 40_000
"""Of an upload, within `head_timeout_s`; or its end."""

_BUFFERS = 500_000  # bytes of an upload that wait in buffers, of uvicorn and of what reads it
_FAST = 100_000  # bytes a second; a faster upload does not give way


@dataclass(eq=False, slots=True)
class _Upload:
    """A body that is being read. timer: of its waiting for more."""

    client: str
    began: float = field(default_factory=time.monotonic)
    count: int = 0
    gives_way: bool = False
    timer: asyncio.Timeout | None = None

    def rate(self) -> float:
        return self.count / max(0.1, time.monotonic() - self.began)


class Receiver:
    """All bodies that are being read by a worker."""

    def __init__(self, settings: ServeSettings, budget: Budget) -> None:
        self._settings, self._budget = settings, budget
        self._most = max(1, settings.max_connections // 2)
        self._share = math.ceil(self._most * settings.client_share)
        self._uploads: list[_Upload] = []

    @asynccontextmanager
    async def in_memory(self, request: Request, deadline: float) -> AsyncIterator[list[bytes]]:
        """The body as chunks, which the caller takes out; the budget counts them until the block ends.

        deadline: as `time.monotonic`. Raises Refusal, ClientGone.
        """
        limit = self._settings.max_upload_mb
        over = too_large(f"the upload has more than {limit} MB; send smaller or fewer images")
        chunks = []
        with self._budget.received(client_of(request)) as take:
            async with aclosing(self.chunks(request, limit * 1_000_000, over, deadline)) as body:
                async for chunk in body:
                    take(len(chunk))
                    chunks.append(chunk)
            yield chunks

    async def chunks(
        self, request: Request, most: int, over: Refusal, deadline: float, *, of_client: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yields the body, `most` bytes at most; more are refused with `over`. Raises Refusal, ClientGone.

        of_client: uploads that a client may have at once; None: its share of all.
        """
        if request.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
            message = "the body is compressed; send it without Content-Encoding, as files of images and videos are"
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoded", message)
        if declared_bytes(request) > most:
            raise over
        client = client_of(request)
        with self._budget.received(client, _BUFFERS), self._admitted(client, of_client or self._share) as upload:
            try:
                stream, marked, marked_at = aiter(request.stream()), 0, time.monotonic()
                while True:
                    limit = min(marked_at + self._settings.head_timeout_s, deadline)
                    async with asyncio.timeout_at(limit) as upload.timer:
                        if upload.gives_way:
                            raise TimeoutError
                        chunk = await anext(stream, None)
                    upload.timer = None
                    if chunk is None:
                        return
                    upload.count += len(chunk)
                    if upload.count > most:
                        raise over
                    yield chunk
                    if upload.count - marked >= LEAST_BYTES:
                        marked, marked_at = upload.count, time.monotonic()
            except TimeoutError:
                if upload.gives_way:
                    raise busy("there are too many uploads, and this one is slow", kind="slow_upload") from None
                message = "the upload was too slow, or took too long"
                raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "upload_timeout", message) from None
            except ClientDisconnect:
                raise ClientGone from None

    @contextmanager
    def _admitted(self, client: str, share: int) -> Iterator[_Upload]:
        """A new upload; a slow one gives way to it if there are too many. Raises Refusal (503)."""
        staying = [upload for upload in self._uploads if not upload.gives_way]
        own = [upload for upload in staying if upload.client == client]
        if len(staying) >= self._most or len(own) >= share:
            if len(own) < share:
                ((most, _),) = Counter(upload.client for upload in staying).most_common(1)
                own = [upload for upload in staying if upload.client == most]
            slowest = min(own, key=_Upload.rate)
            if slowest.rate() > _FAST:
                raise busy("there are too many uploads", kind="uploads")
            slowest.gives_way = True
            if slowest.timer is not None:
                slowest.timer.reschedule(asyncio.get_running_loop().time())  # ends now
        upload = _Upload(client)
        self._uploads.append(upload)
        try:
            yield upload
        finally:
            self._uploads.remove(upload)


def client_of(request: Request) -> str:
    """The client that `Gate` found: by its token, or else by its address."""
    return str(request.scope.get("mien.client", ""))


def declared_bytes(request: Request) -> int:
    """The Content-Length; 0 if there is none."""
    declared = request.headers.get("content-length", "")
    return int(declared[:20]) if declared.isdecimal() else 0
