"""The work on one shard: paths and URLs of images in, rows of faces out. It is the same on every engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from mien.cluster.plan import pyarrow
from mien.cluster.remote import read_url
from mien.errors import ImageError
from mien.media.addresses import source_name
from mien.media.video.network import is_address
from mien.recognition.recognizer import Recognizer
from mien.recognition.scheduling import BatchLimit, DetectedImage, batches, run_ahead
from mien.results import ImageResult, ModelSummary
from mien.results.rows import Row, columns, parquet_table

KEY = b"mien"
"""The metadata key of a shard: the checksum of its list, its number and its counts, as JSON."""

_READERS = 8  # threads that read URLs


@dataclass(frozen=True, slots=True)
class Shard:
    """Images to process. first: the number of the first one in the list. listing: the checksum of the list."""

    number: int
    first: int
    sources: tuple[str, ...]
    listing: str


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of images, of their faces, and of images that failed."""

    images: int = 0
    faces: int = 0
    failed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.images + other.images, self.faces + other.faces, self.failed + other.failed)


@dataclass(frozen=True, slots=True)
class ShardDone:
    """The rows of a shard as a Parquet file, and its counts."""

    number: int
    data: bytes
    counts: Counts


def work_on_shard(
    recognizer: Recognizer, shard: Shard, *, workers: int = 1, progress: Callable[[int], None] = lambda _: None
) -> ShardDone:
    """Recognises the faces in the images of a shard. An image that can't be read is a row with its reason.

    The batches depend on the shard alone, so rows are the same on every machine with the same kind of processor;
    another kind may differ in the last digit. workers: threads that detect and classify faces; other threads read
    URLs ahead. progress: called with the number of finished images of the shard.
    """
    return _done(shard, _results(recognizer, shard.sources, workers, progress), recognizer.summary())


def failed_shard(shard: Shard, model: ModelSummary, reason: str) -> ShardDone:
    """A shard whose images all failed for the same reason."""
    results = (ImageResult(source, 0, 0, error=f"{source}: {reason}") for source in shard.sources)
    return _done(shard, results, model)


def halves(shard: Shard) -> tuple[Shard, ...]:
    """A shard in two parts with the same number. A shard of one image is not divided."""
    middle = len(shard.sources) // 2
    if not middle:
        return (shard,)
    first, second = shard.sources[:middle], shard.sources[middle:]
    return replace(shard, sources=first), replace(shard, first=shard.first + middle, sources=second)


def joined_shard(shard: Shard, parts: Sequence[ShardDone]) -> ShardDone:
    """Joins the results of the parts of a shard, given in order."""
    pa = pyarrow()
    import pyarrow.parquet as pq

    tables = [pq.read_table(pa.BufferReader(part.data)) for part in parts]
    return _written(shard, pa.concat_tables(tables), sum((part.counts for part in parts), Counts()))


def _results(
    recognizer: Recognizer, sources: Iterable[str], workers: int, progress: Callable[[int], None]
) -> Iterator[ImageResult]:
    """The results in order. Detection and classification share the threads, whichever is slower."""
    done = 0
    with (
        _stopped(ThreadPoolExecutor(_READERS, thread_name_prefix="mien-read")) as readers,
        _stopped(ThreadPoolExecutor(workers, thread_name_prefix="mien")) as pool,
    ):
        reads = ((source, readers.submit(read_url, source) if is_address(source) else None) for source in sources)
        detections = (pool.submit(_detect, recognizer, source, read) for source, read in reads)
        found = batches(run_ahead(detections, _READERS + 2 * workers), BatchLimit())
        for future in run_ahead((pool.submit(recognizer.classify, batch) for batch in found), workers + 1):
            results = future.result()
            done += len(results)
            progress(done)
            yield from results


def _detect(recognizer: Recognizer, source: str, read: Future[bytes] | None) -> DetectedImage:
    try:
        if read is None:
            return recognizer.detect_source(source, source_name(source))
        return recognizer.detect_source(read.result(), source)
    except ImageError as error:
        return DetectedImage(ImageResult(source, 0, 0, error=str(error)))


@contextmanager
def _stopped(pool: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    """A pool that ends without waiting: tasks that have not begun are cancelled."""
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _done(shard: Shard, results: Iterable[ImageResult], model: ModelSummary) -> ShardDone:
    rows: list[Row] = []
    faces = failed = 0
    for number, result in enumerate(results, start=shard.first):
        faces += len(result.faces)
        failed += result.error is not None
        rows.extend((number, *row) for row in result.rows(model.labels, details=model.details))
    names = ("image", *columns(model.labels, details=model.details))  # image: the number in the list
    table = parquet_table(rows, names)
    return _written(shard, table, Counts(len(shard.sources), faces, failed))


def _written(shard: Shard, table: Any, counts: Counts) -> ShardDone:
    import pyarrow.parquet as pq

    about = {
        "listing": shard.listing,
        "shard": shard.number,
        "images": counts.images,
        "faces": counts.faces,
        "failed": counts.failed,
    }
    place = pyarrow().BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({KEY: json.dumps(about)}), place, compression="zstd")
    return ShardDone(shard.number, place.getvalue().to_pybytes(), counts)
