"""Faces through a video: stages in threads, decode | detect or follow | classify, with bounded queues between them.

Frames of a file are never dropped: a slow stage makes the stages before it wait. A live source drops the oldest
waiting frame, so results stay close to the present.
"""

from __future__ import annotations

import atexit
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError, MienError
from mien.files import ClosedAtExit
from mien.media.video.frames import Frame, FrameSource
from mien.media.video.relay import Channel
from mien.recognition.classifier import FaceSteps
from mien.recognition.region import Region, cut_out, moved
from mien.recognition.scheduling import Crops
from mien.recognition.settings import SMOOTH_S
from mien.recognition.smoothing import DetailsSmoother, Smoother
from mien.recognition.tracking import Tracked, Tracker
from mien.results import Detections, Face, FrameResult, TrackedFace
from mien.results.details import Details

_FRAMES_AHEAD, _LIVE_FRAMES_AHEAD = 4, 2  # decoded frames that wait
_RESULTS_AHEAD = 32
_TURNED_EVERY = 10  # of frames without faces, every tenth is searched at other angles
_BATCH = 8  # frames of a file whose faces are classified together
_HELD_PIXELS = 16_000_000.0  # of the images that wait in a queue: no more than about 50 MB of them
_FILE_EVERY_S = 0.2  # from one detection to the next in a file, seconds of the video
_USUAL_RATE = 25.0  # frames a second, if the source states none
_LIVE_SHARE = 0.7  # of the time between two frames that detecting and following may take
_LIVE_MOST_S = 0.6  # at most, from one detection to the next, unless one takes longer
_LATENCIES = 1000  # only the most recent are kept


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """The working time of each stage, seconds. Stages run in parallel: their sum may exceed the time that has passed.

    decode: reading frames; a live source includes waiting for the next. detect: the detector. follow: tracking and
    cropping. classify: the model.
    """

    decode: float = 0.0
    detect: float = 0.0
    follow: float = 0.0
    classify: float = 0.0


@dataclass(frozen=True, slots=True)
class WatchStats:
    """Statistics of a watch so far.

    decoded: frames read from the source. returned: results that the caller took. dropped: frames of a live source that
    came too fast. faces: in all returned frames. failed: frames in which the detector failed; their faces are tracked.
    seconds: since the start; frames_per_s: returned frames a second. latency_p50_s, latency_p95_s: from the arrival of
    a frame to its result, over the last 1000 frames; None for files. detect_every: frames from one detection to the
    next.
    """

    decoded: int
    returned: int
    dropped: int
    faces: int
    failed: int
    seconds: float
    frames_per_s: float
    latency_p50_s: float | None
    latency_p95_s: float | None
    detect_every: int
    stages: StageSeconds


@dataclass(frozen=True, slots=True, eq=False)
class _Followed:
    """A frame whose faces are detected or tracked, and cropped, but not yet classified."""

    frame: int
    time_s: float
    arrived: float
    size_wh: tuple[int, int]
    faces: Tracked
    crops: Crops
    details: Sequence[Details | None]
    image: NDArray[np.uint8] | None


class Watch(ClosedAtExit):
    """Tracks the faces of a source. Iterate over it, once, for a FrameResult for each frame, in order.

    The first iteration starts its threads; the end of the loop, of the `with` block, or `close` stops them.

    Examples:
        >>> import mien
        >>> with mien.watch("src/mien/examples") as watch:
        ...     expressions = [face.smoothed_expression for frame in watch for face in frame]
        >>> expressions, watch.stats().returned
        (['happy'], 1)
    """

    def __init__(
        self,
        source: FrameSource,
        steps: FaceSteps,
        *,
        every: int | None = None,
        smooth_s: float = SMOOTH_S,
        keep_images: bool = False,
        max_seconds: float | None = None,
        live: bool | None = None,
        region: Region | None = None,
    ) -> None:
        """The source is closed with the watch. The options are those of `Recognizer.watch`.

        Raises ArgumentError for numbers out of range.
        """
        if every is not None and every < 1:
            raise ArgumentError(f"every is {every}; expected 1 (each frame) or more, or None")
        if max_seconds is not None and not max_seconds > 0:
            raise ArgumentError(f"max_seconds is {max_seconds}; expected more than 0, or None")
        self._source, self._steps, self._live = source, steps, source.live if live is None else live
        self._keep_images, self._max_seconds = keep_images, max_seconds
        self._region = region
        self._smoother = Smoother(smooth_s)
        self._details_smoother = DetailsSmoother() if smooth_s > 0 else None
        self._tracker = Tracker()
        self._pace = _Pace(every, live=self._live, rate=source.rate)

        ahead = _LIVE_FRAMES_AHEAD if self._live else _FRAMES_AHEAD
        self._frames: Channel[Frame] = Channel(ahead, budget=_HELD_PIXELS, drop_oldest=self._live)
        self._followed: Channel[_Followed] = Channel(1 if self._live else 2 * _BATCH, budget=_HELD_PIXELS)
        self._results: Channel[FrameResult] = Channel(1 if self._live else _RESULTS_AHEAD, budget=_HELD_PIXELS)
        self._threads: list[threading.Thread] = []
        self._closed = self._time_is_up = False
        self._alarm: threading.Timer | None = None
        self._began = self._ended = 0.0
        self._decoded = self._returned = self._faces = self._failed = self._faceless = 0
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._decode_s = self._detect_s = self._follow_s = self._classify_s = 0.0

    def __repr__(self) -> str:
        return f"Watch({self._source.name!r}, returned={self._returned})"

    @property
    def source(self) -> FrameSource:
        """Where the frames come from."""
        return self._source

    def __iter__(self) -> Iterator[FrameResult]:
        """The results. Raises VideoError where the source fails, after the results of what came before."""
        try:
            self._begin()
            while taken := self._results.take():
                self._returned += 1
                self._faces += len(taken[0].faces)
                yield taken[0]
            if self._results.error is not None and not self._closed:
                raise self._results.error
        finally:
            self.close()

    def close(self) -> None:
        """Stops the threads and closes the source; from any thread, any number of times."""
        if not self._closed:
            self._closed = True
            atexit.unregister(self.close)
            self._ended = time.monotonic()
            if self._alarm is not None:
                self._alarm.cancel()
            for channel in (self._frames, self._followed, self._results):
                channel.stop()
            self._source.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=10)  # a source that hangs in its driver must not hang the caller

    @property
    def end_verified(self) -> bool | None:
        """Whether the source's container states that it ended where it did; None where that does not apply."""
        return getattr(self._source, "end_verified", None)

    def stats(self) -> WatchStats:
        """The statistics so far; from any thread."""
        seconds = (self._ended or time.monotonic()) - self._began if self._began else 0.0
        latencies = list(self._latencies)
        p50, p95 = (float(v) for v in np.percentile(latencies, (50, 95))) if latencies else (None, None)
        return WatchStats(
            decoded=self._decoded,
            returned=self._returned,
            dropped=self._frames.dropped,
            faces=self._faces,
            failed=self._failed,
            seconds=seconds,
            frames_per_s=self._returned / seconds if seconds > 0 else 0.0,
            latency_p50_s=p50,
            latency_p95_s=p95,
            detect_every=self._pace.every,
            stages=StageSeconds(self._decode_s, self._detect_s, self._follow_s, self._classify_s),
        )

    def _begin(self) -> None:
        if self._closed or self._threads:
            return
        self._began = time.monotonic()
        if self._live and self._max_seconds is not None:  # a camera that gives nothing must not outlast its time
            self._alarm = threading.Timer(self._max_seconds, self._ring)
            self._alarm.daemon = True
            self._alarm.start()
        stages: tuple[tuple[str, Callable[[], None]], ...] = (
            ("decode", self._decode),
            ("follow", self._follow),
            ("classify", self._classify),
        )
        # Daemons, ended at exit: a program that ends without leaving the loop is not held up, nor are they in its way.
        atexit.register(self.close)
        self._threads = [threading.Thread(target=work, name=f"mien-{name}", daemon=True) for name, work in stages]
        for thread in self._threads:
            thread.start()

    def _ring(self) -> None:
        self._time_is_up = True
        self._source.close()

    def _decode(self) -> None:
        error: BaseException | None = None
        try:
            self._read()
        except Exception as reason:  # raised in the consumer
            error = None if self._time_is_up and isinstance(reason, MienError) else reason
        self._frames.end(error)

    def _read(self) -> None:
        started = time.perf_counter()
        for frame in self._source:
            self._decode_s += time.perf_counter() - started
            if self._time_is_up or (self._max_seconds is not None and frame.time_s >= self._max_seconds):
                return
            self._decoded += 1
            height, width = frame.image.shape[:2]
            if not self._frames.put(frame, height * width):
                return
            started = time.perf_counter()

    def _follow(self) -> None:
        error: BaseException | None = None
        try:
            while frames := self._frames.take():
                item = self._detect(frames[0])
                if not self._followed.put(item, 0 if item.image is None else math.prod(item.size_wh)):
                    return
            error = self._frames.error
        except Exception as reason:  # raised in the consumer
            error = reason
            self._frames.stop()
        finally:
            self._followed.end(error)

    def _detect(self, frame: Frame) -> _Followed:
        image, left_top = frame.image, None
        if self._region is not None:
            image, left_top = cut_out(image, self._region)
        started = time.perf_counter()
        found = None
        if self._pace.due(frame, unsure=self._tracker.unsure):
            found = self._find(image)
            detected = time.perf_counter()
            self._detect_s += detected - started
            self._pace.detected(detected - started, whole=found is not None and found.cropped)
        else:
            detected = started
        faces = (
            self._tracker.follow(image, frame.time_s)
            if found is None
            else self._tracker.update(found, frame.time_s, image)
        )
        crops = self._steps.crop(image, faces.detections)
        if left_top is not None:
            faces = replace(faces, detections=moved(faces.detections, left_top))
        details = self._steps.details(frame.image, faces.detections)
        followed = time.perf_counter() - detected
        self._follow_s += followed
        self._pace.followed(followed)
        height, width = frame.image.shape[:2]
        kept = frame.image if self._keep_images else None
        return _Followed(frame.number, frame.time_s, frame.arrived, (width, height), faces, crops, details, kept)

    def _find(self, image: NDArray[np.uint8]) -> Detections | None:
        try:
            found = self._steps.detect(image, upright=self._faceless % _TURNED_EVERY != 0)
        except cv2.error:  # OpenCV can't work on it; the next frame will do
            self._failed += 1
            return None
        self._faceless = 0 if len(found) else self._faceless + 1
        return found

    def _classify(self) -> None:
        error: BaseException | None = None
        try:
            while items := self._followed.take(_BATCH, least=1 if self._live else _BATCH):
                if not all(
                    self._results.put(result, 0 if result.image is None else result.width * result.height)
                    for result in self._classified(items)
                ):
                    return
            error = self._followed.error
        except Exception as reason:  # raised in the consumer
            error = reason
            self._frames.stop()
            self._followed.stop()
        finally:
            self._results.end(error)

    def _classified(self, items: Sequence[_Followed]) -> list[FrameResult]:
        started = time.perf_counter()
        classified = self._steps.classify(
            [(item.faces.detections, item.crops, item.details) for item in items], [item.image for item in items]
        )
        results = [self._result(item, faces) for item, faces in zip(items, classified, strict=True)]
        self._classify_s += time.perf_counter() - started
        return results

    def _result(self, item: _Followed, faces: tuple[Face, ...]) -> FrameResult:
        tracked = []
        for track, face, detected in zip(item.faces.tracks, faces, item.faces.detected, strict=True):
            probabilities = np.fromiter(face.probabilities.values(), np.float32)
            values = self._smoother.smooth(track, item.time_s, probabilities)
            smoothed = dict(zip(face.probabilities, values.tolist(), strict=True))
            steady = face
            if face.details is not None and self._details_smoother is not None:
                steady = replace(face, details=self._details_smoother.smooth(track, item.time_s, face.details))
            tracked.append(TrackedFace(track, steady, detected, smoothed, max(smoothed, key=smoothed.__getitem__)))
        latency_s = None
        if self._live:
            latency_s = time.monotonic() - item.arrived
            self._latencies.append(latency_s)
        width, height = item.size_wh
        return FrameResult(item.frame, item.time_s, width, height, tuple(tracked), latency_s, item.image)


class _Pace:
    """Decides which frames the detector processes. A live source sets the pace, so that its frame rate can be held."""

    def __init__(self, every: int | None, *, live: bool, rate: float | None) -> None:
        self._interval_s = 1 / (rate or _USUAL_RATE)
        self._live, self._adapts = live, live and every is None
        self.every = every or max(1, round(_FILE_EVERY_S / self._interval_s))
        self._since = 0  # frames since the last detection, dropped ones included
        self._last: Frame | None = None
        self._detection_s = self._following_s = 0.0
        self._whole = False

    def due(self, frame: Frame, *, unsure: bool) -> bool:
        """Whether to detect faces in this frame. unsure: tracking failed for a face in the last one."""
        last, self._last = self._last, frame
        if last is None:
            return True
        missed = max(1, frame.number - last.number)
        self._since += missed
        if frame.time_s > last.time_s:
            self._interval_s += 0.1 * ((frame.time_s - last.time_s) / missed - self._interval_s)
        return self._whole or self._since >= self.every or (unsure and not self._adapts)

    def detected(self, seconds: float, *, whole: bool) -> None:
        """Records how long a detection took. whole: each image is a face, so nothing is tracked."""
        self._since, self._whole = 0, whole
        self._detection_s += (0.3 if self._detection_s else 1.0) * (seconds - self._detection_s)
        if self._adapts:
            self.every = self._fitting()

    def followed(self, seconds: float) -> None:
        """Records how long tracking and cropping a frame took."""
        self._following_s += (0.1 if self._following_s else 1.0) * (seconds - self._following_s)

    def _fitting(self) -> int:
        """The smallest number of frames in whose time one detection fits."""
        most = max(1, round(_LIVE_MOST_S / self._interval_s))
        spare_s = self._interval_s * _LIVE_SHARE - self._following_s
        return min(most, max(1, math.ceil(self._detection_s / spare_s))) if spare_s > 0 else most
