"""Whose turn it is: the work of all clients in one queue that is fair, weighed in pixels and bounded in memory.

- Clients take turns by the pixels that they have had: one with many images does not delay another.
- Of one client the smallest image comes first, unless the oldest has waited for some seconds.
- Huge images, and the parsing of bodies, have threads of their own, so that small images never wait for them.
- Work begins when the budget of memory has room for it.
- A request that can't be ready before its deadline is refused at once.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from mien.serving.memory import Budget, Places
from mien.serving.metrics import Metrics
from mien.serving.refusals import busy, too_slow
from mien.serving.settings import ServeSettings

T = TypeVar("T")
SMALL, HUGE, BODY = "small", "huge", "body"
"""Kinds of work, each with its own threads: images, huge images, and bodies that are parsed."""

HUGE_PIXELS = 16_000_000
"""A larger image is huge."""

_PER_IMAGE = 250_000  # pixels that weigh as much as the work that every image takes
_AHEAD = 1  # small images that wait at the threads, so that none is idle until the event loop has time for the next
_PATIENCE_S = 5.0  # an older image is not overtaken by smaller ones of its client
_PACE, _LEARNING = 5e-8, 0.1  # seconds a pixel, at first; the weight of a new measurement
_PACES = (5e-9, 1e-6)  # one odd measurement must not refuse everything


@dataclass(eq=False, slots=True)
class _Job:
    client: str
    work: Callable[[], Any]
    kind: str
    pixels: int
    memory: int
    since: float
    started: asyncio.Future[asyncio.Future[Any]]
    began: float = 0.0

    def run(self) -> Any:
        self.began = time.monotonic()
        return self.work()

    @property
    def weight(self) -> int:
        return self.pixels + _PER_IMAGE


class Turns:
    """Runs work in threads. Called from the event loop."""

    def __init__(self, settings: ServeSettings, budget: Budget, metrics: Metrics) -> None:
        self._budget = budget
        threads = settings.threads or os.cpu_count() or 1
        self._threads = {SMALL: threads, HUGE: max(1, threads // 4), BODY: max(1, threads // 2)}
        self._pools = {kind: ThreadPoolExecutor(n, f"mien-{kind}") for kind, n in self._threads.items()}
        self._running: Counter[str] = Counter()
        self._pace = dict.fromkeys(self._threads, _PACE)
        self._waiting: list[_Job] = []  # the oldest first
        self._had: dict[str, float] = {}  # by client: the weight of its work so far, of clients that have work
        most, files = settings.queue_length, settings.max_files
        full, share = partial(busy, "the queue is full", kind="queue"), settings.client_share
        self._places = Places(most, share, full, metrics.waiting, least=files)
        too_many = partial(busy, "the queue has too many huge images", kind="queue")
        self._huge = Places(max(files, most // 2), 1, too_many)

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not self._waiting and not self._running.total()

    async def run(
        self, client: str, work: Callable[[], T], *, pixels: int = 0, memory: int = 0, kind: str | None = None
    ) -> T:
        """Runs the work when it is the client's turn; cancelling removes it.

        pixels: its weight. memory: bytes that it takes at most. kind: None: by the pixels.
        """
        started, memory = asyncio.get_running_loop().create_future(), min(memory, self._budget.limit)
        job = _Job(client, work, kind or kind_of(pixels), pixels, memory, time.monotonic(), started)
        self._waiting.append(job)
        # A client that comes, or comes again, has no claim on the time before.
        others = {job.client for job in self._waiting} - {client}
        least = min((self._had[other] for other in others), default=0.0)
        self._had[client] = max(self._had.get(client, 0.0), least)
        self._start()
        try:
            running = await started
        finally:
            if job in self._waiting:
                self._waiting.remove(job)
        return await asyncio.shield(running)  # a thread can't be cancelled

    @contextmanager
    def places(self, client: str, pixels: Sequence[int], deadline: float) -> Iterator[None]:
        """Occupies places for images of these sizes. deadline: as `time.monotonic`.

        Raises Refusal (503) if the places are not free, or if the images can't be ready before the deadline.
        """
        huge = sum(kind_of(size) == HUGE for size in pixels)
        with self._places.taken(client, len(pixels)), self._huge.taken(client, huge):
            needed = max(
                self._seconds(client, [s for s in pixels if kind_of(s) == kind], kind) for kind in (SMALL, HUGE)
            )
            left = deadline - time.monotonic()
            if needed > left:
                raise too_slow(math.ceil(min(60.0, max(1.0, needed - left))))
            yield

    def close(self) -> None:
        """Ends the threads and drops waiting work."""
        for pool in self._pools.values():
            pool.shutdown(cancel_futures=True)

    def _seconds(self, client: str, pixels: Sequence[int], kind: str) -> float:
        """The expected time until images of one kind are ready."""
        if not pixels:
            return 0.0
        weight = sum(pixels) + len(pixels) * _PER_IMAGE
        jobs = [job for job in self._waiting if job.kind == kind]
        others = {job.client for job in jobs} - {client}
        own = sum(job.weight for job in jobs if job.client == client and job.pixels <= max(pixels))
        all_ = sum(job.weight for job in jobs if job.client != client) + own
        ahead = min(all_ + weight, (len(others) + 1) * (own + weight))
        return self._pace[kind] * ahead / self._threads[kind]

    def _start(self) -> None:
        while (job := self._next()) is not None:
            self._waiting.remove(job)
            self._running[job.kind] += 1
            self._had[job.client] += job.weight
            self._budget.work(job.memory)
            running = asyncio.get_running_loop().run_in_executor(self._pools[job.kind], job.run)
            running.add_done_callback(partial(self._end, job))
            job.started.set_result(running)

    def _next(self) -> _Job | None:
        """The waiting job whose turn it is; None if there is no thread or no memory for any."""
        now = time.monotonic()
        for kind, threads in self._threads.items():
            if self._running[kind] >= threads + _AHEAD * (kind == SMALL):
                continue
            jobs = [job for job in self._waiting if job.kind == kind and not job.started.done()]
            for client in sorted({job.client for job in jobs}, key=self._had.__getitem__):
                own = [job for job in jobs if job.client == client]
                late = now - own[0].since > _PATIENCE_S
                job = own[0] if late else min(own, key=lambda job: job.pixels)
                if self._budget.has_room(job.memory):
                    return job
        return None

    def _end(self, job: _Job, ended: asyncio.Future[Any]) -> None:
        self._running[job.kind] -= 1
        self._budget.work(-job.memory)
        if job.pixels:
            measured = min(max((time.monotonic() - job.began) / job.weight, _PACES[0]), _PACES[1])
            self._pace[job.kind] += _LEARNING * (measured - self._pace[job.kind])
        if not ended.cancelled():
            ended.exception()  # may have no other reader
            self._start()
        if self.idle:
            self._had.clear()


def kind_of(pixels: int) -> str:
    """Whether an image is small or huge."""
    return HUGE if pixels > HUGE_PIXELS else SMALL
