"""The schedule of recognition: read and detect ahead, collect faces in batches, classify each batch.

Streams of images, shards and the server share it; they differ in what runs the two halves of the work, which are
`Recognizer.detect_source` and `Recognizer.classify`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mien.results import Detections, ImageResult
from mien.results.details import Details

T = TypeVar("T")

Crops = tuple[NDArray[np.uint8], ...]
"""The faces of one image, cropped once for each crop that the models expect: uint8 (N, H, W, C) each."""


def _no_faces() -> Detections:
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True)
class DetectedImage:
    """An image whose faces are detected and cropped, but not yet classified."""

    result: ImageResult
    detections: Detections = field(default_factory=_no_faces)
    crops: Crops = ()
    details: Sequence[Details | None] = ()

    @property
    def face_count(self) -> int:
        """The number of its faces."""
        return len(self.crops[0]) if self.crops else 0

    @property
    def held_pixels(self) -> int:
        """The size of the image that its result keeps, pixels."""
        return 0 if self.result.image is None else self.result.width * self.result.height


@dataclass(frozen=True, slots=True)
class BatchLimit:
    """When a batch is full: so large that classifying is efficient, so small that memory is bounded."""

    faces: int = 64
    images: int = 256
    held_pixels: int = 32_000_000  # about 100 MB

    def reached_by(self, batch: Sequence[DetectedImage]) -> bool:
        """Whether the batch has as many faces, images or pixels as one may have."""
        return (
            len(batch) >= self.images
            or sum(image.face_count for image in batch) >= self.faces
            or sum(image.held_pixels for image in batch) >= self.held_pixels
        )


def run_ahead(jobs: Iterable[Future[T]], limit: int) -> Iterator[Future[T]]:
    """The futures in their order, done or not, while at most `limit` of them are submitted and not yet consumed.

    jobs: lazy; the next job is submitted when it is taken. The caller waits for each yielded future.
    """
    submitted: deque[Future[T]] = deque()
    for job in jobs:
        submitted.append(job)
        if len(submitted) >= limit:
            yield submitted.popleft()
    while submitted:
        yield submitted.popleft()


def batches(
    detected: Iterable[Future[DetectedImage]], limit: BatchLimit, *, eager: bool = False
) -> Iterator[list[DetectedImage]]:
    """Images whose faces are classified together, in order.

    eager: a batch ends also where the next image is not ready; batches fill up if detection is fast. Otherwise batches
    depend on the order of the images alone, not on timing.
    """
    batch: list[DetectedImage] = []
    for future in detected:
        if batch and (limit.reached_by(batch) or (eager and not future.done())):
            yield batch
            batch = []
        batch.append(future.result())
    if batch:
        yield batch
