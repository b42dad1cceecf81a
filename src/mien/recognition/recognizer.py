"""Pictures and videos in, frozen results out: reads, finds faces, cuts them out, and asks the model.

Reading and finding run ahead in a few threads; faces of several pictures are classified together in batches.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.crop import VIEWS
from mien.errors import MienError, VideoError
from mien.faces import FaceDetector, make_detector
from mien.faces.geometry import large_enough
from mien.media.addresses import NamedImage, read_source, source_name
from mien.model_file import DEFAULT_MODEL, ModelFile, open_model
from mien.pictures import MAX_PIXELS, as_picture, decode_picture, is_pillow_image
from mien.recognition.classifier import Classifier, Crops
from mien.results import Box, Detections, Face, ImageResult, ModelSummary

if TYPE_CHECKING:
    from mien.media.video.frames import FrameSource
    from mien.recognition.region import Region
    from mien.recognition.watch import Watch

Model = str | Path | ModelFile
Source = Any
"""A path, a file: or data: URL, the bytes of a picture file (plain, or a NamedImage), a Pillow image, or a uint8 array
(H, W), (H, W, 3) RGB or (H, W, 4) RGBA."""

_HELD_PIXELS = 32_000_000  # pictures kept for drawing wait for their answers; no more than about 100 MB of them


def _no_faces() -> Detections:
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture that was read and searched, and waits for its answers."""

    result: ImageResult
    detections: Detections = field(default_factory=_no_faces)
    crops: Crops = ()

    @property
    def face_count(self) -> int:
        """How many faces it has."""
        return len(self.crops[0]) if self.crops else 0

    @property
    def held_pixels(self) -> int:
        """How much it keeps for drawing."""
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
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """A model by shipped name, path or object; several answer with the mean of their probabilities.

        detector: a method's name or an object. min_face: faces whose longer edge has fewer pixels are left out (not
        with the detector `none`, where each picture is a face). abstain_below: answers with less confidence are
        marked as abstained, 0 to 1. tta: each face is looked at ten times, mirrored and shifted; slower, a little
        better. batch_size: faces classified together. workers: threads that read and search pictures; None: one a
        processor core, four at most. threads: of each network; 0: as many as it likes.
        max_pixels: larger picture files are refused before they are decoded; JPEG is decoded at a reduced scale
        instead, as is any picture above `mien.pictures.WHOLE_PIXELS`. Results are in pixels of the reduced picture.
        Raises ModelFileError, DetectorError; ValueError for a number out of range.
        """
        if min_face < 1 or batch_size < 1 or (workers is not None and workers < 1):
            raise ValueError("min_face, batch_size and workers must be at least 1")
        if not 0.0 <= abstain_below <= 1.0:
            raise ValueError(f"abstain_below is {abstain_below}; expected 0 to 1")
        models = [model] if isinstance(model, str | Path | ModelFile) else list(model)
        # Threads that wait busily would take the cores from those that read and search: half the pictures a second.
        opened = [m if isinstance(m, ModelFile) else open_model(m, threads=threads, spin=False) for m in models]
        self.classifier = Classifier(opened, tta=tta)
        self.detector: FaceDetector = (
            make_detector(detector, min_face=min_face, threads=threads) if isinstance(detector, str) else detector
        )
        self._min_face = min_face
        self._abstain_below = abstain_below
        self._batch_size = batch_size
        self._faces_a_call = max(1, batch_size // VIEWS) if tta else batch_size
        self._workers = workers or min(4, os.cpu_count() or 1)
        self._max_pixels = max_pixels

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

        A picture is a path, the bytes of a file, a Pillow image, or a uint8 array (H, W), (H, W, 3) in RGB order or
        (H, W, 4) RGBA; for OpenCV's BGR give `array[..., ::-1]`. One picture that can't be read raises PictureError;
        among several it is a result with its `error`.
        """
        if isinstance(source, list | tuple):
            return list(self.stream(source))
        seen = self._look(source, _name(source, 0), keep_picture=True)
        return next(self.answer([seen]))

    def stream(self, sources: Iterable[Source], *, keep_pictures: bool = False) -> Iterator[ImageResult]:
        """Results in the order of `sources`, each as soon as it is known; any number of pictures in little memory.

        sources may be lazy. A picture that can't be read is a result with its `error`. keep_pictures: each result
        carries its RGB picture, for drawing.
        """
        running: deque[Future[Seen]] = deque()
        waiting: list[Seen] = []
        numbered = enumerate(sources)
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="mien")
        try:
            while True:
                while len(running) < 2 * self._workers and (item := next(numbered, None)) is not None:
                    running.append(pool.submit(self.look, item[1], _name(item[1], item[0]), keep_pictures))
                if not running:
                    break
                # Rather than wait for the next picture, classify what is there; batches fill where finding is fast.
                if waiting and (not running[0].done() or self._enough(waiting)):
                    yield from self.answer(waiting)
                    waiting = []
                waiting.append(running.popleft().result())
            yield from self.answer(waiting)
        finally:
            pool.shutdown(cancel_futures=True)

    def watch(
        self,
        source: str | int | Path | FrameSource,
        *,
        every: int | None = None,
        smooth_s: float = 0.5,
        keep_pictures: bool = False,
        max_seconds: float | None = None,
        live: bool | None = None,
        region: Region | tuple[float, float, float, float] | str | None = None,
    ) -> Watch:
        """Follows the faces of a video, camera or stream: iterate over it for a FrameResult for each frame.

        >>> for frame in Recognizer().watch("talk.mp4"):  # doctest: +SKIP
        ...     for face in frame.faces:
        ...         print(frame.time_s, face.track, face.smoothed_expression)

        source: what `mien.media.video.opening.open_source` takes, or a FrameSource. every: the detector looks at each
        so manieth frame, and in between faces are followed; None: five times a second for files, and as often as the
        frame rate allows for live sources. smooth_s: the time constant of the smoothed probabilities, seconds; 0 for
        none. keep_pictures: each result carries its RGB picture. max_seconds: ends it there, by the source's time, and
        for live sources also by the clock. live: overrides whether the source is live, that is whether frames may be
        dropped to keep up with it. region: x, y, width, height of the part of the upright frame that is looked at, in
        pixels, or in fractions of the frame where all four are 1 at most; results are in pixels of the whole frame.
        Raises VideoError where the source can't be opened or fails, or the region is not within its frames;
        MissingExtraError without PyAV, ValueError for a number out of range.
        """
        from mien.media.video.opening import open_source
        from mien.recognition.region import as_region
        from mien.recognition.watch import Watch

        opened = open_source(source, live=live) if isinstance(source, str | int | Path) else source
        try:
            return Watch(
                opened,
                self,
                every=every,
                smooth_s=smooth_s,
                keep_pictures=keep_pictures,
                max_seconds=max_seconds,
                live=live,
                region=None if region is None else as_region(region),
            )
        except (ValueError, VideoError):
            opened.close()
            raise

    def find(self, picture: NDArray[np.uint8]) -> Detections:
        """The faces of an RGB picture (H, W, 3) that are large enough, from left to right."""
        return large_enough(self.detector.detect(picture), min_face=self._min_face)

    def cut(self, picture: NDArray[np.uint8], detections: Detections) -> Crops:
        """The faces of an RGB picture, cut as the model wants them; `()` where there are none."""
        return self.classifier.crop(picture, detections) if len(detections) else ()

    def faces_of(self, found: Sequence[tuple[Detections, Crops]]) -> Iterator[tuple[Face, ...]]:
        """The faces of each picture, from detections and their crops (`()` where there are none), in batches."""
        with_faces = [crops for _, crops in found if crops]
        rows: Iterator[NDArray[np.float32]] = iter(())
        if with_faces:
            rows = self._classify(tuple(np.concatenate(same) for same in zip(*with_faces, strict=True)))
        for detections, crops in found:
            yield tuple(
                self._face(box, float(score), next(rows))
                for box, score in zip(detections.boxes.tolist(), detections.scores, strict=True)
                if crops
            )

    def _enough(self, waiting: Sequence[Seen]) -> bool:
        return (
            len(waiting) >= self._batch_size
            or sum(seen.face_count for seen in waiting) >= self._batch_size
            or sum(seen.held_pixels for seen in waiting) >= _HELD_PIXELS
        )

    def look(self, source: Source, name: str, keep_picture: bool = False) -> Seen:
        """The first half of the work on one picture: read, search, cut; one that can't be read has its `error`.

        For callers that batch on their own, from any thread; `answer` does the second half.
        """
        try:
            return self._look(source, name, keep_picture=keep_picture)
        except MienError as error:
            reason = str(error)
        except MemoryError:
            reason = f"{name}: does not fit into memory; make it smaller"
        except cv2.error as error:
            reason = f"{name}: OpenCV can't work on it ({error.err}); convert it to an ordinary JPEG or PNG"
        return Seen(ImageResult(name, 0, 0, error=reason))

    def _look(self, source: Source, name: str, *, keep_picture: bool) -> Seen:
        picture = self._read(source, name)
        detections = self.find(picture)
        height, width = picture.shape[:2]
        result = ImageResult(name, width, height, picture=picture if keep_picture else None)
        return Seen(result, detections, self.cut(picture, detections))

    def _read(self, source: Source, name: str) -> NDArray[np.uint8]:
        if isinstance(source, str | Path | NamedImage):
            return read_source(source, max_pixels=self._max_pixels)
        if isinstance(source, bytes):
            return decode_picture(source, name, max_pixels=self._max_pixels)
        return as_picture(source, name)

    def answer(self, waiting: Sequence[Seen]) -> Iterator[ImageResult]:
        """The second half: results of pictures that were looked at, in their order, their faces classified together."""
        for seen, faces in zip(waiting, self.faces_of([(s.detections, s.crops) for s in waiting]), strict=True):
            old = seen.result
            yield ImageResult(old.source, old.width, old.height, faces, old.error, old.picture)

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
    if isinstance(source, str | Path | NamedImage):
        return source_name(source)
    if is_pillow_image(source) and (name := getattr(source, "filename", "")):
        return str(name)
    return f"picture {index}"
