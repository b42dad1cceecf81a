"""The Prometheus metrics of `/metrics`: requests, images, faces, batches, the queue. Counts and times, never content.

With several workers, prometheus_client's multiprocess mode keeps the counts in small files of a private folder. Any
worker then reports the sum over all workers.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_FACES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self._registry = own
        self._many = bool(os.environ.get(_FOLDER))
        self.requests = Counter(
            "mien_requests", "Requests with a response", ("route", "method", "status"), registry=own
        )
        self.request_seconds = Histogram(
            "mien_request_seconds", "From a request's head to the end of its response", ("route",),
            buckets=_SECONDS, registry=own,
        )  # fmt: skip
        self.refused = Counter("mien_refused", "Refused requests", ("code", "kind"), registry=own)
        self.closed = Counter("mien_closed", "Connections closed by the server, by why", ("reason",), registry=own)
        self.images = Counter("mien_images", "Images, by whether they were readable", ("outcome",), registry=own)
        self.faces = Counter("mien_faces", "Classified faces", registry=own)
        self.batch_faces = Histogram("mien_batch_faces", "Faces classified together", buckets=_FACES, registry=own)
        self.waiting = Gauge(
            "mien_queue_images", "Images queued or in progress", registry=own, multiprocess_mode="livesum"
        )
        self.upload_bytes = Gauge(
            "mien_upload_bytes", "Uploads held in memory", registry=own, multiprocess_mode="livesum"
        )
        self.work_bytes = Gauge(
            "mien_work_bytes", "Memory that running work may take", registry=own, multiprocess_mode="livesum"
        )
        self.streams = Gauge("mien_streams", "Open streams", registry=own, multiprocess_mode="livesum")
        self.frames = Counter(
            "mien_frames", "Frames of streams, by whether they were answered or dropped", ("outcome",), registry=own
        )
        self.videos = Counter("mien_videos", "Processed videos, by final state", ("state",), registry=own)

    def text(self) -> bytes:
        """The text of `/metrics`, summed over all workers."""
        registry = self._registry
        if self._many:
            _forget_the_dead()
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _forget_the_dead() -> None:
    """Removes the queue and streams of killed workers."""
    for file in Path(os.environ[_FOLDER]).glob("gauge_livesum_*.db"):
        if not Path(f"/proc/{file.stem.rpartition('_')[2]}").exists() and Path("/proc/self").exists():
            file.unlink(missing_ok=True)
