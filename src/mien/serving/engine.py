"""Recognition for concurrent requests: images are decoded and searched in threads, faces are classified in batches.

The event loop only waits. `Turns` decides which image is next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mien.errors import ImageError
from mien.faces import make_detector
from mien.images import decode_image, decoding_cost
from mien.model_file import load_model, split_models
from mien.recognition.inputs import Unreadable
from mien.recognition.recognizer import Recognizer
from mien.recognition.scheduling import BatchLimit, DetectedImage
from mien.results import ImageResult, ModelSummary
from mien.serving.memory import Budget
from mien.serving.metrics import Metrics
from mien.serving.refusals import bad_request
from mien.serving.settings import ServeSettings
from mien.serving.turns import Turns

NO_DETECTOR = "none"
"""The detector for images that are face crops already; always available."""
_WHOLE_PIXELS = 25_000_000  # larger JPEG is decoded at a reduced scale: faces of the least size need no more
_SEARCHED_PIXELS = 1920 * 1920  # the detectors shrink larger images
_NETWORK_BYTES = 20_000_000  # of a search for faces, beside what depends on its pixels


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded image: the client's name for it, and its bytes.

    pixels, memory: of the array that it is decoded to, and the bytes that the work on it takes at most.
    """

    name: str
    data: bytes
    pixels: int = 0
    memory: int = 0


def weighed(upload: Upload, settings: ServeSettings) -> Upload:
    """The image with what it takes to decode it, by its header."""
    pixels, memory = decoding_cost(upload.data, max_pixels=settings.max_pixels, whole_pixels=_WHOLE_PIXELS)
    work = _NETWORK_BYTES + 30 * min(pixels, _SEARCHED_PIXELS) + 9 * pixels
    return replace(upload, pixels=pixels, memory=max(memory, work) if pixels else 0)


class Engine:
    """Recognises images of concurrent requests with every served model and detector."""

    def __init__(self, settings: ServeSettings, turns: Turns, budget: Budget, metrics: Metrics) -> None:
        """Opens the models. Raises ModelFileError, DetectorError, ArgumentError."""
        self._settings, self._turns, self._budget, self._metrics = settings, turns, budget, metrics
        make = partial(make_detector, min_face=settings.min_face, cascade=settings.cascade, device=settings.device)
        named = dict.fromkeys((*settings.detectors, NO_DETECTOR))
        detectors = {name: make(name, threads=settings.threads) for name in named}
        recognizer_of = partial(
            Recognizer, min_face=settings.min_face, balance=settings.balance, prior=settings.prior,
            batch_size=settings.batch_size, threads=1, details=settings.details,
        )  # fmt: skip
        self._recognizers: dict[tuple[str, str], Recognizer] = {}
        self._batches: dict[str, _Batches] = {}
        self._classifying = ThreadPoolExecutor(1, thread_name_prefix="mien-classify")
        self._summaries: dict[str, ModelSummary] = {}
        # As in the library: threads of a network that do not spin help a single client, and do not harm many.
        load = partial(load_model, threads=settings.threads, spin=False, device=settings.device)
        for name in settings.models:
            members = [load(part) for part in split_models(name)]
            called = "+".join(model.info.name for model in members)
            if called in self._summaries:
                called = f"{called}-{len(self._summaries) + 1}"
            for detector_name, detector in detectors.items():
                self._recognizers[called, detector_name] = recognizer_of(members, detector=detector)
            crops_only = self._recognizers[called, NO_DETECTOR]
            self._summaries[called] = crops_only.summary()  # read now: the file may be replaced later
            self._batches[called] = _Batches(crops_only, self._classifying, settings, turns, metrics)
        self.models = tuple(self._summaries)
        self.detectors = settings.detectors
        self.ready = False

    def summary(self, model: str) -> ModelSummary:
        """The name, labels and checksum of a served model when it was opened."""
        return self._summaries[model]

    async def warm_up(self) -> None:
        """Runs every network once, so that the first request does not wait for it to load."""
        image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
        loop = asyncio.get_running_loop()
        for recognizer in self._recognizers.values():
            detected = await loop.run_in_executor(self._classifying, recognizer.detect_source, image, "warm-up")
            await loop.run_in_executor(self._classifying, recognizer.classify, [detected])
        self._budget.settle()
        self.ready = True

    def choose(self, model: str | None, detector: str | None) -> tuple[str, str]:
        """The requested model and detector, or the defaults. Raises Refusal."""
        model, detector = model or self.models[0], detector or self.detectors[0]
        if model not in self._summaries:
            raise bad_request("unknown_model", "this model is not served; GET /v1/models lists the served models")
        if (model, detector) not in self._recognizers:
            message = "this detector is not served; GET /v1/models lists the served detectors"
            raise bad_request("unknown_detector", message)
        return model, detector

    async def recognize(
        self, uploads: Sequence[Upload], *, client: str, model: str, detector: str, keep_images: bool = False
    ) -> list[ImageResult]:
        """Returns results in order; an unreadable image has an `error`."""
        one = partial(self._one, client, self._recognizers[model, detector], model, keep_images)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(upload)) for upload in uploads]
        return [task.result() for task in tasks]

    def close(self) -> None:
        """Ends the thread and drops waiting faces."""
        self._classifying.shutdown(cancel_futures=True)

    async def _one(
        self, client: str, recognizer: Recognizer, model: str, keep_image: bool, upload: Upload
    ) -> ImageResult:
        work, fits = partial(self._detect, upload, recognizer, keep_image), upload.memory <= self._budget.limit
        detected = await self._turns.run(client, work, pixels=upload.pixels * fits, memory=upload.memory * fits)
        self._metrics.images.labels("read" if detected.result.error is None else "not_read").inc()
        return await self._batches[model].classify(detected) if detected.face_count else detected.result

    def _detect(self, upload: Upload, recognizer: Recognizer, keep_image: bool) -> DetectedImage:
        """Decodes an image and searches it for faces; in a thread."""
        name, most = upload.name, self._settings.max_pixels
        try:
            if upload.memory > self._budget.limit:
                needed = f"takes {upload.memory / 1e6:,.0f} MB to decode"
                raise ImageError(f"{name}: {needed}, more than this server may; make it smaller")
            source: object = decode_image(upload.data, name, max_pixels=most, whole_pixels=_WHOLE_PIXELS)
        except ImageError as error:
            source = Unreadable(name, str(error))
        except MemoryError:
            source = Unreadable(name, f"{name}: does not fit into memory; make it smaller")
        return recognizer.detect_source(source, name, keep_image)


class _Batches:
    """Collects detected images of one model for a short window, then classifies their faces as a batch."""

    def __init__(
        self, recognizer: Recognizer, pool: ThreadPoolExecutor, settings: ServeSettings, turns: Turns, metrics: Metrics
    ) -> None:
        self._recognizer, self._pool, self._turns, self._metrics = recognizer, pool, turns, metrics
        self._window_s, self._limit = settings.batch_window_ms / 1000, BatchLimit(settings.batch_size)
        self._waiting: list[tuple[DetectedImage, asyncio.Future[ImageResult]]] = []
        self._running: asyncio.Task[None] | None = None

    async def classify(self, detected: DetectedImage) -> ImageResult:
        """Classifies an image in a batch with those that arrive within the window."""
        future: asyncio.Future[ImageResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((detected, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            if not self._turns.idle:
                await asyncio.sleep(self._window_s)
            while self._waiting:  # images that arrived during a batch form the next one, without another window
                await self._run_batch()
        finally:
            self._running = None

    async def _run_batch(self) -> None:
        """Classifies the oldest images up to a full batch, without cancelled ones."""
        images: list[DetectedImage] = []
        futures: list[asyncio.Future[ImageResult]] = []
        while self._waiting and not self._limit.reached_by(images):
            detected, future = self._waiting.pop(0)
            if not future.done():
                images.append(detected)
                futures.append(future)
        if not images:
            return
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._pool, self._recognizer.classify, images)
        except Exception as error:
            for future in futures:  # each waiting request reports it
                if not future.done():
                    future.set_exception(error)
            return
        faces = sum(image.face_count for image in images)
        self._metrics.faces.inc(faces)
        self._metrics.batch_faces.observe(faces)
        for future, result in zip(futures, results, strict=True):
            if not future.done():
                future.set_result(result)
