"""Pictures in, frozen results out: reads, finds faces, cuts them out, and asks the model.

Reading and finding run ahead in a few threads; faces of several pictures are classified together in batches.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.crop import VIEWS
from mien.errors import MienError
from mien.faces import FaceDetector, make_detector
from mien.faces.geometry import large_enough
from mien.model_file import DEFAULT_MODEL, ModelFile, open_model
from mien.pictures import as_picture, is_pillow_image, read_picture
from mien.recognition.classifier import Classifier, Crops
from mien.results import Box, Detections, Face, ImageResult, ModelSummary

Model = str | Path | ModelFile
Source = Any
"""A path, a Pillow image, or a uint8 array (H, W), (H, W, 3) RGB or (H, W, 4) RGBA."""

_HELD_PIXELS = 32_000_000  # pictures kept for drawing wait for their answers; no more than about 100 MB of them


@dataclass(frozen=True, slots=True)
class _Seen:
    """A picture that was read and searched, and waits for its answers."""

    result: ImageResult
    detections: Detections | None = None
    crops: Crops = ()

    @property
    def face_count(self) -> int:
        return len(self.crops[0]) if self.crops else 0

    @property
    def held_pixels(self) -> int:
        return 0 if self.result.picture is None else self.result.width * self.result.height


class Recognizer:
    """Recognises facial expressions in pictures.

    >>> Recognizer().predict("photo.jpg").faces[0].expression  # doctest: +SKIP
    'happy'
    """

    def __init__(
        self,
        model: Model | Sequence[Model] = DEFAULT_MODEL,
        *,
        detector: str | FaceDetector = "mtcnn",
        min_face: int = 20,
        abstain_below: float = 0.0,
        tta: bool = False,
        batch_size: int = 64,
        workers: int | None = None,
        threads: int = 0,
    ) -> None:
        """A model by shipped name, path or object; several answer with the mean of their probabilities.

        detector: a method's name or an object. min_face: faces whose longer edge has fewer pixels are left out (not
        with the detector `none`, where each picture is a face). abstain_below: answers with less confidence are
        marked as abstained, 0 to 1. tta: each face is looked at ten times, mirrored and shifted; slower, a little
        better. batch_size: faces classified together. workers: threads that read and search pictures; None: one a
        processor core, four at most. threads: of each network; 0: as many as it likes.
        Raises ModelFileError, DetectorError; ValueError for a number out of range.
        """
        if min_face < 1 or batch_size < 1 or (workers is not None and workers < 1):
            raise ValueError("min_face, batch_size and workers must be at least 1")
        if not 0.0 <= abstain_below <= 1.0:
            raise ValueError(f"abstain_below is {abstain_below}; expected 0 to 1")
        models = [model] if isinstance(model, str | Path | ModelFile) else list(model)
        opened = [m if isinstance(m, ModelFile) else open_model(m, threads=threads) for m in models]
        self.classifier = Classifier(opened, tta=tta)
        self.detector: FaceDetector = (
            make_detector(detector, min_face=min_face, threads=threads) if isinstance(detector, str) else detector
        )
        self._min_face = min_face
        self._abstain_below = abstain_below
        self._batch_size = batch_size
        self._faces_a_call = max(1, batch_size // VIEWS) if tta else batch_size
        self._workers = workers or min(4, os.cpu_count() or 1)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the model answers, in the order of its probabilities."""
        return self.classifier.labels

    def summary(self) -> ModelSummary:
        """Which model answers: name, labels, checksum."""
        return self.classifier.summary()

    @overload
    def predict(self, source: str | Path | NDArray[np.uint8]) -> ImageResult: ...
    @overload
    def predict(self, source: list[Any] | tuple[Any, ...]) -> list[ImageResult]: ...
    @overload
    def predict(self, source: Any) -> Any: ...
    def predict(self, source: Any) -> ImageResult | list[ImageResult]:
        """One picture -> ImageResult, which shows itself in a notebook; a list or tuple of pictures -> a list.

        A picture is a path, a Pillow image, or a uint8 array (H, W), (H, W, 3) in RGB order or (H, W, 4) RGBA; for
        OpenCV's BGR give `array[..., ::-1]`. One picture that can't be read raises PictureError; among several it is a
        result with its `error`.
        """
        if isinstance(source, list | tuple):
            return list(self.stream(source))
        seen = self._look(source, _name(source, 0), keep_picture=True)
        return next(self._answer([seen]))

    def stream(self, sources: Iterable[Source], *, keep_pictures: bool = False) -> Iterator[ImageResult]:
        """Results in the order of `sources`, each as soon as it is known; any number of pictures in little memory.

        sources may be lazy. A picture that can't be read is a result with its `error`. keep_pictures: each result
        carries its RGB picture, for drawing.
        """
        running: deque[Future[_Seen]] = deque()
        waiting: list[_Seen] = []
        numbered = enumerate(sources)
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="mien")
        try:
            while True:
                while len(running) < 2 * self._workers and (item := next(numbered, None)) is not None:
                    running.append(pool.submit(self._look_or_fail, item[1], _name(item[1], item[0]), keep_pictures))
                if not running:
                    break
                # Rather than wait for the next picture, classify what is there; batches fill where finding is fast.
                if waiting and (not running[0].done() or self._enough(waiting)):
                    yield from self._answer(waiting)
                    waiting = []
                waiting.append(running.popleft().result())
            yield from self._answer(waiting)
        finally:
            pool.shutdown(cancel_futures=True)

    def _enough(self, waiting: Sequence[_Seen]) -> bool:
        return (
            len(waiting) >= self._batch_size
            or sum(seen.face_count for seen in waiting) >= self._batch_size
            or sum(seen.held_pixels for seen in waiting) >= _HELD_PIXELS
        )

    def _look_or_fail(self, source: Source, name: str, keep_picture: bool) -> _Seen:
        try:
            return self._look(source, name, keep_picture=keep_picture)
        except MienError as error:
            reason = str(error)
        except MemoryError:
            reason = f"{name}: does not fit into memory; make it smaller"
        except cv2.error as error:
            reason = f"{name}: OpenCV can't work on it ({error.err}); convert it to an ordinary JPEG or PNG"
        return _Seen(ImageResult(name, 0, 0, error=reason))

    def _look(self, source: Source, name: str, *, keep_picture: bool) -> _Seen:
        picture = read_picture(source) if isinstance(source, str | Path) else as_picture(source, name)
        detections = large_enough(self.detector.detect(picture), min_face=self._min_face)
        height, width = picture.shape[:2]
        result = ImageResult(name, width, height, picture=picture if keep_picture else None)
        return _Seen(result, detections, self.classifier.crop(picture, detections) if len(detections) else ())

    def _answer(self, waiting: Sequence[_Seen]) -> Iterator[ImageResult]:
        with_faces = [seen.crops for seen in waiting if seen.face_count]
        rows: Iterator[NDArray[np.float32]] = iter(())
        if with_faces:
            rows = self._classify(tuple(np.concatenate(same) for same in zip(*with_faces, strict=True)))
        for seen in waiting:
            if seen.detections is None or not seen.face_count:
                yield seen.result
                continue
            faces = tuple(
                self._face(box, float(score), next(rows))
                for box, score in zip(seen.detections.boxes.tolist(), seen.detections.scores, strict=True)
            )
            old = seen.result
            yield ImageResult(old.source, old.width, old.height, faces, picture=old.picture)

    def _classify(self, crops: Crops) -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(crops[0]), self._faces_a_call):
            yield from self.classifier.probabilities(tuple(c[start : start + self._faces_a_call] for c in crops))

    def _face(self, box: list[float], score: float, row: NDArray[np.float32]) -> Face:
        best = int(row.argmax())
        return Face(
            box=Box(*box),
            detection_score=score,
            expression=self.labels[best],
            confidence=float(row[best]),
            probabilities=dict(zip(self.labels, row.tolist(), strict=True)),
            abstained=bool(row[best] < self._abstain_below),
        )


def _name(source: Source, index: int) -> str:
    """What a result is called: the path as given, a Pillow image's file, or the position among the sources."""
    if isinstance(source, str | Path):
        return str(source)
    if is_pillow_image(source) and (name := getattr(source, "filename", "")):
        return str(name)
    return f"picture {index}"
