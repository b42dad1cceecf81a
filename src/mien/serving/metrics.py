"""The Prometheus metrics of `/metrics`: requests, images, faces, batches, the queue. Counts and times, never content.

With several workers, prometheus_client's multiprocess mode keeps the counts in small files of a private folder. Any
worker then reports the sum over all workers.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_FACES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter, histogram = partial(Counter, registry=self._registry), partial(Histogram, registry=self._registry)
        gauge = partial(Gauge, registry=self._registry, multiprocess_mode="livesum")
        self.requests = counter("mien_requests", "Requests with a response", ("route", "method", "status"))
        about = "From a request's head to the end of its response"
        self.request_seconds = histogram("mien_request_seconds", about, ("route",), buckets=_SECONDS)
        self.refused = counter("mien_refused", "Refused requests", ("code", "kind"))
        self.closed = counter("mien_closed", "Connections closed by the server, by why", ("reason",))
        self.images = counter("mien_images", "Images, by whether they were readable", ("outcome",))
        self.faces = counter("mien_faces", "Classified faces")
        self.batch_faces = histogram("mien_batch_faces", "Faces classified together", buckets=_FACES)
        self.waiting = gauge("mien_queue_images", "Images queued or in progress")
        self.upload_bytes = gauge("mien_upload_bytes", "Uploads held in memory")
        self.work_bytes = gauge("mien_work_bytes", "Memory that running work may take")
        self.streams = gauge("mien_streams", "Open streams")
        self.frames = counter("mien_frames", "Frames of streams, answered or dropped", ("outcome",))
        self.videos = counter("mien_videos", "Processed videos, by final state", ("state",))

    def text(self) -> bytes:
        """The text of `/metrics`, summed over all workers."""
        registry = self._registry
        if os.environ.get(_FOLDER):
            _forget_the_dead()
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _forget_the_dead() -> None:
    """Removes the queue and streams of killed workers."""
    for file in Path(os.environ[_FOLDER]).glob("gauge_livesum_*.db"):
        if not Path(f"/proc/{file.stem.rpartition('_')[2]}").exists() and Path("/proc/self").exists():
            file.unlink(missing_ok=True)
