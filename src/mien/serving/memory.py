"""The memory of one worker: a budget that is asked before memory is spent, and an allocator that gives it back."""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mien.serving.refusals import Refusal, busy

if TYPE_CHECKING:
    from prometheus_client import Gauge

    from mien.serving.metrics import Metrics

_RECEIVED = 0.4  # share of uploads and streams; the rest is for the work on them
_SPARE = 0.1  # share that nobody may take: small objects, fragments, buffers of connections
_SMALL, _FOR_SMALL = 1_000_000, 0.1  # bytes of a small upload, and the share that is kept for those
_KEPT = 50_000_000  # bytes that are freed and kept for the next image
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's mallopt


class Budget:
    """Bytes that uploads, streams and decoded images may take. Called from the event loop only."""

    def __init__(self, most_mb: int, client_share: float, metrics: Metrics) -> None:
        """client_share: of received bytes that one client may hold."""
        self._most, self._client_share, self._metrics = most_mb * 1_000_000, client_share, metrics
        self._received: Counter[str] = Counter()
        self._at_work = self._least = 0
        self.limit = self._most // 2

    def settle(self) -> None:
        """Subtracts what the process holds when its networks are warm; half of the limit is always left."""
        self.limit = max(self.limit, round(self._most * (1 - _SPARE)) - resident_bytes())

    @contextmanager
    def received(self, client: str, count: int = 0) -> Iterator[Callable[[int], None]]:
        """Takes bytes for an upload, and yields what takes more; they are given back when the block ends.

        Both raise Refusal (503) if there is no room.
        """
        held = 0

        def take(count: int) -> None:
            nonlocal held
            limit = self.limit * _RECEIVED * (1 if held + count <= _SMALL else 1 - _FOR_SMALL)
            if self._received.total() + count > limit or self._received[client] + count > limit * self._client_share:
                raise busy("too many uploads at once", kind="memory")
            held += count
            change(count)

        def change(count: int) -> None:
            self._received[client] += count
            self._metrics.upload_bytes.set(self._received.total())

        try:
            take(count)
            yield take
        finally:
            change(-held)
            self._received = +self._received  # without clients that have none

    def has_room(self, count: int) -> bool:
        """Whether work may take this number of bytes now."""
        return self._received.total() + self._at_work + count <= self.limit

    async def return_freed(self) -> None:
        """Returns freed memory to the system if there is much more than after the last time; some milliseconds."""
        if resident_bytes() - self._received.total() > self._least + _KEPT:
            await asyncio.to_thread(_return_free_pages)
            self._least = resident_bytes() - self._received.total()

    def work(self, count: int) -> None:
        """Adds bytes of work, or subtracts them."""
        self._at_work += count
        self._metrics.work_bytes.set(self._at_work)


class Places:
    """Places of which one client may have a share. Called from the event loop only."""

    def __init__(
        self, most: int, client_share: float, full: Callable[[], Refusal], gauge: Gauge | None = None, *, least: int = 1
    ) -> None:
        """full: makes what is raised when there are no more. gauge: shows how many are taken. least: for one client."""
        self._most, self._full, self._gauge = most, full, gauge
        self.share = max(least, math.ceil(most * client_share))
        self._taken: Counter[str] = Counter()

    def check(self, client: str, count: int = 1) -> None:
        """Raises Refusal (503) unless the client may take as many places."""
        if self._taken.total() + count > self._most or self._taken[client] + count > self.share:
            raise self._full()

    @contextmanager
    def taken(self, client: str, count: int = 1) -> Iterator[None]:
        """Takes places while the block runs. Raises Refusal (503)."""
        self.check(client, count)
        self._change(client, count)
        try:
            yield
        finally:
            self._change(client, -count)

    def _change(self, client: str, count: int) -> None:
        self._taken[client] += count
        self._taken = +self._taken  # without clients that have none
        if self._gauge is not None:
            self._gauge.set(self._taken.total())


def resident_bytes() -> int:
    """Resident memory of this process; 0 where the system has no /proc."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def settle_allocator() -> None:
    """Makes glibc return large blocks that are freed, and keep small ones for the next image.

    By default it keeps blocks of up to 32 MB once such a block was freed, in as many arenas as there are threads. With
    its threshold fixed, it would return every free end of an arena, and each image would take 4,000 page faults.
    """
    with suppress(OSError, AttributeError, TypeError):  # Windows has no library without a name
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 4 << 20)
        libc.mallopt(_TRIM_THRESHOLD, 64 << 20)
        libc.mallopt(_ARENA_MAX, 4)


def _return_free_pages() -> None:
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
