"""Bounded work ahead of a consumer: what streams of images and shards share."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def run_ahead(jobs: Iterable[Future[T]], limit: int) -> Iterator[Future[T]]:
    """The futures in their order, done or not, while at most `limit` of them are submitted and not yet consumed.

    jobs: lazy; the next job is submitted when it is taken. Each yielded future is for the caller to wait for.
    """
    submitted: deque[Future[T]] = deque()
    for job in jobs:
        submitted.append(job)
        if len(submitted) >= limit:
            yield submitted.popleft()
    while submitted:
        yield submitted.popleft()
