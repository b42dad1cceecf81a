"""The work behind the server: reading and finding in a few threads, faces of concurrent requests classified together.

The event loop only waits. A picture has a place from its acceptance to its answer; where all are taken the request is
refused at once, and a request that is cancelled gives its places back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from mien.faces import make_detector
from mien.model_file import open_model
from mien.recognition.recognizer import DetectedImage, Recognizer
from mien.results import ImageResult, ModelSummary
from mien.serving.metrics import Metrics
from mien.serving.refusals import bad_request, busy
from mien.serving.settings import ServeSettings

WHOLE = "none"
"""The detector for pictures that are face crops already; always there."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture as it came: what the client calls it, and its bytes."""

    name: str
    data: bytes


class Engine:
    """Recognises for many clients at once, with every model and detector that is served."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        """Opens the models. Raises ModelFileError, DetectorError."""
        self._metrics = metrics
        self._length, self._taken = settings.queue_length, 0
        # Several pictures are worked on at once: each of them keeps to one thread.
        detectors = {
            name: make_detector(name, min_face=settings.min_face, threads=1, device=settings.device)
            for name in dict.fromkeys((*settings.detectors, WHOLE))
        }
        self._recognizers: dict[tuple[str, str], Recognizer] = {}
        self._batches: dict[str, _Batches] = {}
        self._lookers = ThreadPoolExecutor(settings.thread_count, thread_name_prefix="mien-look")
        self._classifying = ThreadPoolExecutor(1, thread_name_prefix="mien-classify")
        self._summaries: dict[str, ModelSummary] = {}
        for name in settings.models:
            model = open_model(name, threads=1, device=settings.device)
            called = (
                model.info.name
                if model.info.name not in self._summaries
                else f"{model.info.name}-{len(self._summaries) + 1}"
            )
            for detector_name, detector in detectors.items():
                self._recognizers[called, detector_name] = Recognizer(
                    model,
                    detector=detector,
                    min_face=settings.min_face,
                    batch_size=settings.batch_size,
                    max_pixels=settings.max_pixels,
                )
            any_of_it = self._recognizers[called, WHOLE]
            self._summaries[called] = any_of_it.summary()  # now: the file may be another one later
            self._batches[called] = _Batches(any_of_it, self._classifying, settings, metrics)
        self.models = tuple(self._summaries)
        self.detectors = settings.detectors
        self.ready = False

    def summary(self, model: str) -> ModelSummary:
        """A served model's name, labels and checksum, as it was when it was opened."""
        return self._summaries[model]

    async def warm_up(self) -> None:
        """Every network answers once, so that the first client does not wait for its loading."""
        picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
        loop = asyncio.get_running_loop()
        for recognizer in self._recognizers.values():
            seen = await loop.run_in_executor(self._lookers, recognizer.detect_source, picture, "warm-up")
            await loop.run_in_executor(self._classifying, _answer, recognizer, [seen])
        self.ready = True

    def choose(self, model: str | None, detector: str | None) -> tuple[str, str]:
        """The model and detector that a request asks for; the first ones where it does not. Raises Refusal."""
        model, detector = model or self.models[0], detector or self.detectors[0]
        if model not in self._summaries:
            raise bad_request("unknown_model", "this model is not served; GET /v1/models names those that are")
        if (model, detector) not in self._recognizers:
            raise bad_request("unknown_detector", "this detector is not served; GET /v1/models names those that are")
        return model, detector

    @property
    def full(self) -> bool:
        """Whether no place is free."""
        return self._taken >= self._length

    @contextmanager
    def places(self, count: int) -> Iterator[None]:
        """Holds places for that many pictures. Raises Refusal (503) at once where they are not free."""
        if self._taken + count > self._length:
            raise busy("the queue is full")
        self._change(count)
        try:
            yield
        finally:
            self._change(-count)

    async def recognize(
        self, uploads: Sequence[Upload], *, model: str, detector: str, keep_images: bool = False
    ) -> list[ImageResult]:
        """Results in the order of the pictures; one that can't be read has its `error`. The caller holds the places."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._one(upload, model=model, detector=detector, keep_image=keep_images))
                for upload in uploads
            ]
        return [task.result() for task in tasks]

    def close(self) -> None:
        """Ends the threads; what waits is dropped."""
        for pool in (self._lookers, self._classifying):
            pool.shutdown(cancel_futures=True)

    async def _one(self, upload: Upload, *, model: str, detector: str, keep_image: bool) -> ImageResult:
        recognizer = self._recognizers[model, detector]
        loop = asyncio.get_running_loop()
        seen = await loop.run_in_executor(self._lookers, recognizer.detect_source, upload.data, upload.name, keep_image)
        self._metrics.pictures.labels("read" if seen.result.error is None else "not_read").inc()
        return await self._batches[model].answer(seen) if seen.face_count else seen.result

    def _change(self, count: int) -> None:
        self._taken += count
        self._metrics.waiting.set(self._taken)


class _Batches:
    """Collects the faces of one model's pictures for a moment, then has them classified together."""

    def __init__(
        self, recognizer: Recognizer, pool: ThreadPoolExecutor, settings: ServeSettings, metrics: Metrics
    ) -> None:
        self._recognizer, self._pool, self._metrics = recognizer, pool, metrics
        self._window_s, self._size = settings.batch_window_ms / 1000, settings.batch_size
        self._waiting: list[tuple[DetectedImage, asyncio.Future[ImageResult]]] = []
        self._running: asyncio.Task[None] | None = None

    async def answer(self, seen: DetectedImage) -> ImageResult:
        """One picture's result, classified with those that come at the same time."""
        future: asyncio.Future[ImageResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((seen, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            await asyncio.sleep(self._window_s)
            while self._waiting:  # what came during one batch is the next one: no further window
                batch = self._take()
                if batch:
                    await self._classify(batch)
        finally:
            self._running = None

    def _take(self) -> list[tuple[DetectedImage, asyncio.Future[ImageResult]]]:
        """The oldest pictures up to a full batch, without those that nobody waits for any more."""
        batch: list[tuple[DetectedImage, asyncio.Future[ImageResult]]] = []
        faces = 0
        while self._waiting and faces < self._size:
            seen, future = self._waiting.pop(0)
            if not future.done():
                batch.append((seen, future))
                faces += seen.face_count
        return batch

    async def _classify(self, batch: list[tuple[DetectedImage, asyncio.Future[ImageResult]]]) -> None:
        seen = [item for item, _ in batch]
        faces = sum(item.face_count for item in seen)
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._pool, _answer, self._recognizer, seen)
        except Exception as error:  # each of the waiting requests answers for itself
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        self._metrics.faces.inc(faces)
        self._metrics.batch_faces.observe(faces)
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)


def _answer(recognizer: Recognizer, seen: Sequence[DetectedImage]) -> list[ImageResult]:
    return list(recognizer.classify(seen))
