"""The work on one shard: paths and URLs of pictures in, the rows of their faces out. The same on every engine."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from mien.cluster.plan import pyarrow
from mien.cluster.remote import is_url, read_url
from mien.errors import PictureError
from mien.media.addresses import source_name
from mien.recognition.recognizer import DetectedImage, Recognizer
from mien.results import ImageResult
from mien.results.rows import Row, columns, image_rows, parquet_table

KEY = b"mien"
"""The key of a shard's metadata: the list that it belongs to, its number and its counts, as JSON."""

_READERS = 8  # threads that wait for what is behind URLs
_FACES, _PICTURES = 64, 256  # faces classified together, from so many pictures at most


@dataclass(frozen=True, slots=True)
class Shard:
    """Pictures to work on. first: the first one's number in the list. listing: the list's checksum."""

    number: int
    first: int
    sources: tuple[str, ...]
    listing: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How many pictures there were, faces in them, and pictures that failed."""

    pictures: int = 0
    faces: int = 0
    failed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.pictures + other.pictures, self.faces + other.faces, self.failed + other.failed)


@dataclass(frozen=True, slots=True)
class ShardDone:
    """The rows of a shard as a Parquet file, and its counts."""

    number: int
    data: bytes
    counts: Counts


def work_on_shard(
    recognizer: Recognizer, shard: Shard, *, workers: int = 1, told: Callable[[int], None] = lambda _: None
) -> ShardDone:
    """Recognises in the pictures of a shard. A picture that can't be read is a row with its reason.

    Which faces are classified together hangs on the shard alone, so that its rows are the same wherever it is worked
    on (with one kind of processor; another one may differ in the last digit). workers: threads that search pictures
    and classify faces; others read ahead what is behind URLs. told: is given how many pictures of the shard are done.
    """
    return _done(shard, _results(recognizer, shard.sources, workers, told), recognizer.labels)


def failed_shard(shard: Shard, labels: Sequence[str], reason: str) -> ShardDone:
    """A shard whose pictures all failed for the same reason."""
    results = (ImageResult(source, 0, 0, error=f"{source}: {reason}") for source in shard.sources)
    return _done(shard, results, labels)


def halves(shard: Shard) -> tuple[Shard, ...]:
    """A shard in two parts of the same number; one of a single picture stays whole."""
    middle = len(shard.sources) // 2
    if not middle:
        return (shard,)
    first, second = shard.sources[:middle], shard.sources[middle:]
    return replace(shard, sources=first), replace(shard, first=shard.first + middle, sources=second)


def joined_shard(shard: Shard, parts: Sequence[ShardDone]) -> ShardDone:
    """A whole shard out of what became of its parts, which are given in order."""
    pa = pyarrow()
    import pyarrow.parquet as pq

    tables = [pq.read_table(pa.BufferReader(part.data)) for part in parts]
    return _written(shard, pa.concat_tables(tables), sum((part.counts for part in parts), Counts()))


def shard_columns(labels: Sequence[str]) -> tuple[str, ...]:
    """The columns of a shard: `image`, the number in the list, from 0, and those of `mien.results.rows`."""
    return ("image", *columns(labels))


def _results(
    recognizer: Recognizer, sources: Iterable[str], workers: int, told: Callable[[int], None]
) -> Iterator[ImageResult]:
    """The results in order. Searching and answering share the threads, so that each has work whichever takes longer."""
    waiting: list[DetectedImage] = []
    answering: deque[Future[list[ImageResult]]] = deque()
    faces = done = 0

    def answered() -> list[ImageResult]:
        nonlocal done
        results = answering.popleft().result()
        done += len(results)
        told(done)
        return results

    with (
        _stopped(ThreadPoolExecutor(_READERS, thread_name_prefix="mien-read")) as readers,
        _stopped(ThreadPoolExecutor(workers, thread_name_prefix="mien")) as pool,
    ):
        for seen in _looked_at(recognizer, sources, readers, pool, _READERS + 2 * workers):
            waiting.append(seen)
            faces += seen.face_count
            if faces >= _FACES or len(waiting) >= _PICTURES:
                answering.append(pool.submit(_answer, recognizer, waiting))
                waiting, faces = [], 0
                if len(answering) > workers:
                    yield from answered()
        answering.append(pool.submit(_answer, recognizer, waiting))
        while answering:
            yield from answered()


def _answer(recognizer: Recognizer, seen: list[DetectedImage]) -> list[ImageResult]:
    return list(recognizer.classify(seen))


def _looked_at(
    recognizer: Recognizer, sources: Iterable[str], readers: ThreadPoolExecutor, pool: ThreadPoolExecutor, ahead: int
) -> Iterator[DetectedImage]:
    """The pictures in order, read and searched in threads a little ahead: only so many bytes are in memory."""

    def look(source: str, read: Future[bytes] | None) -> DetectedImage:
        try:
            if read is None:
                return recognizer.detect_source(source, source_name(source))
            return recognizer.detect_source(read.result(), source)
        except PictureError as error:
            return DetectedImage(ImageResult(source, 0, 0, error=str(error)))

    running: deque[Future[DetectedImage]] = deque()
    for source in sources:
        read = readers.submit(read_url, source) if is_url(source) else None
        running.append(pool.submit(look, source, read))
        if len(running) >= ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


@contextmanager
def _stopped(pool: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    """A pool that is not waited for: what has not begun never does."""
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _done(shard: Shard, results: Iterable[ImageResult], labels: Sequence[str]) -> ShardDone:
    rows: list[Row] = []
    faces = failed = 0
    for number, result in enumerate(results, start=shard.first):
        faces += len(result.faces)
        failed += result.error is not None
        rows.extend((number, *row) for row in image_rows(result, labels))
    table = parquet_table(rows, shard_columns(labels))
    return _written(shard, table, Counts(len(shard.sources), faces, failed))


def _written(shard: Shard, table: Any, counts: Counts) -> ShardDone:
    import pyarrow.parquet as pq

    about = {
        "listing": shard.listing,
        "shard": shard.number,
        "pictures": counts.pictures,
        "faces": counts.faces,
        "failed": counts.failed,
    }
    place = pyarrow().BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({KEY: json.dumps(about)}), place, compression="zstd")
    return ShardDone(shard.number, place.getvalue().to_pybytes(), counts)
