"""Recognises expressions in images and videos: read, detect, crop, classify; returns frozen results.

A few threads read and detect ahead; faces of several images are classified in one batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.balance import Prior
from mien.errors import ArgumentError, ImageError, MienError, VideoError
from mien.faces import FaceDetector, make_detector
from mien.faces.mesh import open_mesh
from mien.image_arrays import ColorOrder, Tensor, check_color
from mien.images import MAX_PIXELS
from mien.inference import check_device
from mien.model_file import ModelFile, load_model
from mien.recognition.classifier import Classifier, FaceSteps
from mien.recognition.inputs import images_of, is_in_memory, is_one, name_of, read_image, spread
from mien.recognition.scheduling import BatchLimit, DetectedImage, batches, run_ahead
from mien.recognition.settings import ABSTAIN_BELOW, MIN_FACE, SMOOTH_S
from mien.releases import DEFAULT_MODEL
from mien.results import ImageResult, ModelSummary, Results

if TYPE_CHECKING:
    from PIL import Image

    from mien.media.addresses import NamedImage
    from mien.media.video.frames import FrameSource
    from mien.recognition.region import Region
    from mien.recognition.watch import Watch

    Encoded = bytes | bytearray | memoryview | BinaryIO | NamedImage
    Source = str | os.PathLike[str] | Encoded | Image.Image | NDArray[Any] | Tensor

Model = str | Path | ModelFile


class Recognizer:
    """Recognises facial expressions in images, videos, cameras and streams.

    Args:
        model: A shipped or fetched model's name, a file, or an opened model; several are averaged, as the
            mean of their probabilities.
        detector: `auto`, `mtcnn`, `yunet`, `centerface`, `haar`, `none` (each image is a face), or an object with
            their method `detect`.
        device: `auto`, `cpu`, `cuda`, `coreml`, ... (`mien.inference.DEVICES`), where the networks of models given
            by name or path and of the detector run. auto: a graphics card where the installed onnxruntime has one,
            else the processor, with one warning where the card does not work; `summary().device` names what runs.
        min_face: Faces with a longer edge of fewer pixels are dropped, except with the detector `none`.
        abstain_below: Predictions with less confidence are marked as abstained, 0 to 1.
        balance: How far the mix of expressions that the model was trained on is evened out, 0 to 1; 0: the share of
            raters who would say so. None: what the model file states, or 1 if `prior` is given.
        prior: Your own mix of expressions in place of an even one: label -> count or share, or a JSON file of that.
        tta: Each face is classified in ten views, mirrored and shifted; slower, a little better.
        batch_size: Faces that are classified together.
        workers: Threads that read images and detect faces; None: one per processor core, at most four.
        threads: Of each network; 0: onnxruntime chooses.
        max_pixels: Larger image files are refused before they are decoded; JPEG is decoded at a reduced scale, as
            is any image above `mien.images.WHOLE_PIXELS`. Results are in pixels of the reduced image.
        details: Also fit a mesh of 478 points to each face, and read pose, gaze, eyes, mouth and 52 blendshapes
            from it; see docs/details.md.

    Raises:
        ModelFileError: There is no such model, it is not mien's, models have different labels, or a balance is
            given for a model without a training mix.
        DetectorError: There is no such detector, or its weights are missing.
        DeviceError: The device is unknown.
        ArgumentError: A number is out of range, or the prior can't be used.

    Examples:
        >>> recognizer = Recognizer("mien-nano", abstain_below=0.4)
        >>> recognizer.predict("src/mien/examples/astronaut.png")[0].expression
        'happy'
        >>> recognizer
        Recognizer('mien-nano', device='cpu')
    """

    def __init__(
        self,
        model: Model | Sequence[Model] = DEFAULT_MODEL,
        *,
        detector: str | FaceDetector = "auto",
        device: str = "auto",
        min_face: int = MIN_FACE,
        abstain_below: float = ABSTAIN_BELOW,
        balance: float | None = None,
        prior: Prior | None = None,
        tta: bool = False,
        batch_size: int = 64,
        workers: int | None = None,
        threads: int = 0,
        max_pixels: int = MAX_PIXELS,
        details: bool = False,
    ) -> None:
        if min_face < 1 or batch_size < 1 or (workers is not None and workers < 1):
            raise ArgumentError("min_face, batch_size and workers must be at least 1")
        if not 0.0 <= abstain_below <= 1.0:
            raise ArgumentError(f"abstain_below is {abstain_below}; expected 0 to 1")
        check_device(device)
        models = [model] if isinstance(model, str | Path | ModelFile) else list(model)
        # Threads that wait busily would take the cores from those that read and detect: half the images a second.
        opened = [
            m if isinstance(m, ModelFile) else load_model(m, threads=threads, spin=False, device=device) for m in models
        ]
        if isinstance(detector, str):
            detector = make_detector(detector, min_face=min_face, threads=threads, device=device)
        self.classifier = Classifier(opened, tta=tta, balance=balance, prior=prior)
        self.steps = FaceSteps(
            detector,
            self.classifier,
            min_face=min_face,
            abstain_below=abstain_below,
            batch_size=batch_size,
            mesh=open_mesh(threads=threads, device=device) if details else None,
        )
        self._batch_size, self._max_pixels = batch_size, max_pixels
        self._workers = workers or min(4, os.cpu_count() or 1)

    def __repr__(self) -> str:
        model = self.summary()
        return f"Recognizer({model.name!r}, device={model.device!r})"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the model, in the order of its probabilities."""
        return self.classifier.labels

    def summary(self) -> ModelSummary:
        """The model: name, labels, checksum, and the device that runs it."""
        return replace(self.classifier.summary(), details=self.steps.gives_details)

    # A str is a Sequence, and so is bytes: the first that fits counts.
    @overload
    def predict(  # type: ignore[overload-overlap]
        self, source: Source, *, color: ColorOrder = "rgb", keep_images: bool | None = None
    ) -> ImageResult: ...
    @overload
    def predict(  # type: ignore[overload-overlap]
        self, source: Sequence[Source], *, color: ColorOrder = "rgb", keep_images: bool | None = None
    ) -> Results: ...
    @overload
    def predict(
        self, source: Iterable[Source], *, color: ColorOrder = "rgb", keep_images: bool | None = None
    ) -> Iterator[ImageResult]: ...
    def predict(
        self, source: object, *, color: ColorOrder = "rgb", keep_images: bool | None = None
    ) -> ImageResult | Results | Iterator[ImageResult]:
        """Recognises the expressions in one image or several.

        Args:
            source: One image:

                - a path (str or Path), the bytes of an image file, or a file opened with mode "rb";
                - a Pillow image;
                - an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or a PyTorch tensor (C, H, W) or (H, W, C). Whole
                  numbers are 0 to 255; floats are 0 to 1, or 0 to 255 if the largest is above 1.

                Several: a folder, a pattern ("holiday/*.jpg"), an array (N, H, W, C), a tensor (N, C, H, W), or a list
                of any of these. A generator or another iterable is read lazily.
            color: The order of the channels of arrays and tensors: `rgb`, or `bgr` for OpenCV's. Of files and Pillow
                images it is known.
            keep_images: Whether results keep their image, for `plot`, `save` and `Face.crop`. None: one image is kept,
                and of several those that are in memory already; files are read again when they are drawn.

        Returns:
            ImageResult for one image; Results, a list, for several; for a generator an iterator of ImageResult, each as
            soon as it is known. To a type checker a str, Path or array is one image: write `[folder]` for a folder, a
            pattern or a batch.

        Raises:
            ImageError: The only image can't be read, or its range or shape is ambiguous. Among several it is a result
                with its `error`. A folder or pattern without images.
            ArgumentError: Another `color`.

        Examples:
            >>> import numpy as np
            >>> recognizer = Recognizer()
            >>> recognizer.predict("src/mien/examples/*.png")
            Results(1 image, 1 face: happy 0.99)
            >>> recognizer.predict(np.zeros((120, 160, 3), np.uint8))
            ImageResult('image 0', 160x120, no faces)
        """
        check_color(color)
        if is_one(source):
            keep = True if keep_images is None else keep_images
            detected = self._detect_source(source, name_of(source, 0), keep, color)
            return self.classify([detected])[0]
        if isinstance(source, str | os.PathLike) or is_in_memory(source):
            return Results(self._stream(images_of(source), keep_images, color))
        results = self._stream(spread(cast("Iterable[object]", source)), keep_images, color)
        return Results(results) if isinstance(source, Sequence) else results

    def stream(
        self, sources: Iterable[Source], *, color: ColorOrder = "rgb", keep_images: bool = False
    ) -> Iterator[ImageResult]:
        """Recognises any number of images in little memory.

        Args:
            sources: As a list is for `predict`; it may be lazy. An image that can't be read is a result with its
                `error`.
            color: As for `predict`.
            keep_images: Whether each result carries its image, RGB (H, W, 3).

        Returns:
            Results in the order of `sources`, each as soon as it is known.

        Raises:
            ArgumentError: Another `color`.

        Examples:
            >>> paths = ["src/mien/examples/astronaut.png"] * 2
            >>> [len(result) for result in Recognizer().stream(paths)]
            [1, 1]
        """
        check_color(color)
        return self._stream(spread([sources] if isinstance(sources, str | Path) else sources), keep_images, color)

    def _stream(self, sources: Iterable[object], keep_images: bool | None, color: ColorOrder) -> Iterator[ImageResult]:
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="mien")

        def submit(index: int, source: object) -> Future[DetectedImage]:
            keep = is_in_memory(source) if keep_images is None else keep_images
            return pool.submit(self.detect_source, source, name_of(source, index), keep, color)

        limit = BatchLimit(self._batch_size, self._batch_size)
        try:
            jobs = run_ahead((submit(*item) for item in enumerate(sources)), 2 * self._workers)
            for batch in batches(jobs, limit, eager=True):
                yield from self.classify(batch)
        finally:
            pool.shutdown(cancel_futures=True)

    def watch(
        self,
        source: str | int | Path | FrameSource,
        *,
        every: int | None = None,
        smooth_s: float = SMOOTH_S,
        keep_images: bool = False,
        max_seconds: float | None = None,
        live: bool | None = None,
        region: Region | tuple[float, float, float, float] | str | None = None,
    ) -> Watch:
        """Tracks the faces of a video, camera or stream.

        Args:
            source: A video file, a camera's number, an rtsp:// or http:// address, a folder of images, or a
                FrameSource; see `mien.media.video.opening.open_video`.
            every: Run the detector on every Nth frame and track faces in between. None: five times a second for files,
                and as often as the frame rate allows for live sources.
            smooth_s: Time constant of the smoothed probabilities, seconds; 0 for none.
            keep_images: Whether each result carries its image, RGB (H, W, 3).
            max_seconds: Stop after this time of the source, seconds; for live sources also by the clock.
            live: Overrides whether the source is live, that is whether frames may be dropped to keep up with it.
            region: x, y, width, height of the part of the upright frame in which faces are detected, in pixels, or in
                fractions of the frame where all four are 1 at most; results are in pixels of the whole frame.

        Returns:
            An iterator: a FrameResult for each frame, in order.

        Raises:
            VideoError: The source can't be opened, or fails.
            MissingExtraError: PyAV is not installed.
            ArgumentError: A number is out of range.

        Examples:
            >>> for frame in Recognizer().watch("src/mien/examples"):  # a folder of images is a video, too
            ...     for face in frame:
            ...         print(frame.time_s, face.track, face.smoothed_expression)
            0.0 1 happy
        """
        from mien.media.video.opening import open_video
        from mien.recognition.region import as_region
        from mien.recognition.watch import Watch

        opened = open_video(source, live=live) if isinstance(source, str | int | Path) else source
        try:
            return Watch(
                opened, self.steps, every=every, smooth_s=smooth_s, keep_images=keep_images, max_seconds=max_seconds,
                live=live, region=None if region is None else as_region(region),
            )  # fmt: skip
        except (ValueError, VideoError):
            opened.close()
            raise

    def detect_source(
        self, source: object, name: str, keep_image: bool = False, color: ColorOrder = "rgb"
    ) -> DetectedImage:
        """The first half of the work on one image: read, detect, crop; one that can't be read has its `error`.

        For callers that batch on their own, from any thread; `classify` does the second half.
        """
        try:
            return self._detect_source(source, name, keep_image, color)
        except MienError as error:
            return DetectedImage(ImageResult(name, 0, 0, error=str(error), labels=self.labels))

    def classify(self, detected: Sequence[DetectedImage]) -> list[ImageResult]:
        """The second half: classifies the faces of all images together; results in the order of the images."""
        found = [(each.detections, each.crops, each.details) for each in detected]
        faces = self.steps.classify(found, [each.result.image for each in detected])
        return [replace(each.result, faces=its) for each, its in zip(detected, faces, strict=True)]

    def _detect_source(self, source: object, name: str, keep_image: bool, color: ColorOrder) -> DetectedImage:
        try:
            image = read_image(source, name, color=color, max_pixels=self._max_pixels)
            detections = self.steps.detect(image)
            crops, details = self.steps.crop(image, detections), self.steps.details(image, detections)
            if keep_image and isinstance(source, np.ndarray) and np.may_share_memory(image, source):
                image = image.copy()  # the caller may fill the array with the next frame
        except MemoryError as error:
            raise ImageError(f"{name}: does not fit into memory; make it smaller") from error
        except cv2.error as error:
            reason = f"{name}: OpenCV can't work on it ({error.err}); convert it to an ordinary JPEG or PNG"
            raise ImageError(reason) from error
        height, width = image.shape[:2]
        kept = image if keep_image else None
        result = ImageResult(name, width, height, image=kept, labels=self.labels)
        return DetectedImage(result, detections, crops, details)
