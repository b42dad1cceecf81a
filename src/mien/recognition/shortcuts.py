"""`mien.predict` and `mien.watch`: recognition in one call, with recognizers that are kept from call to call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

from mien.image_arrays import ColorOrder
from mien.model_file import ModelFile
from mien.recognition.recognizer import Recognizer
from mien.recognition.settings import ABSTAIN_BELOW, MIN_FACE, SMOOTH_S
from mien.releases import DEFAULT_MODEL

if TYPE_CHECKING:
    from mien.balance import Prior
    from mien.faces import FaceDetector
    from mien.media.overlay import Privacy
    from mien.media.video.frames import FrameSource
    from mien.recognition.outputs import OutputSummary
    from mien.recognition.recognizer import Model, Source
    from mien.recognition.watch import Watch
    from mien.results import ImageResult, Results

    VideoSource = str | int | Path | FrameSource


class _Options(TypedDict, total=False):
    """The keywords that `predict` and `watch` share, for their overloads."""

    model: Model | Sequence[Model]
    detector: str | FaceDetector
    device: str
    min_face: int
    abstain_below: float
    balance: float | None
    prior: Prior | None
    details: bool


class _PredictOptions(_Options, total=False):
    tta: bool
    color: ColorOrder
    keep_images: bool | None


class _WatchOptions(_Options, total=False):
    every: int | None
    smooth_s: float
    max_seconds: float | None
    live: bool | None
    keep_images: bool
    privacy: Privacy


# A str is a Sequence, and so is bytes: the first overload that fits counts.
@overload
def predict(source: Source, **options: Unpack[_PredictOptions]) -> ImageResult: ...  # type: ignore[overload-overlap]
@overload
def predict(source: Sequence[Source], **options: Unpack[_PredictOptions]) -> Results: ...  # type: ignore[overload-overlap]
@overload
def predict(source: Iterable[Source], **options: Unpack[_PredictOptions]) -> Iterator[ImageResult]: ...
def predict(
    source: Any,
    *,
    model: Model | Sequence[Model] = DEFAULT_MODEL,
    detector: str | FaceDetector = "auto",
    device: str = "auto",
    min_face: int = MIN_FACE,
    abstain_below: float = ABSTAIN_BELOW,
    balance: float | None = None,
    prior: Prior | None = None,
    tta: bool = False,
    details: bool = False,
    color: ColorOrder = "rgb",
    keep_images: bool | None = None,
) -> ImageResult | Results | Iterator[ImageResult]:
    """Recognises the expressions in one image or several, with a `Recognizer` that is kept for the next call.

    Args:
        source: As for `Recognizer.predict`: a path, the bytes of an image file, an open file, a Pillow image, an array
            (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of 0 to 255 or 0 to 1, or a tensor (C, H, W). Several: a folder, a
            pattern, an array (N, H, W, C), a tensor (N, C, H, W), a list, or a generator.
        model: As for `Recognizer`: a name, a file, an opened model, or several of them.
        detector: `auto`, `mtcnn`, `yunet`, `centerface`, `haar`, `none`, or an object.
        device: `auto`, `cpu`, `cuda`, ...
        min_face: The smallest face, pixels of its longer edge.
        abstain_below: Predictions with less confidence are marked as abstained, 0 to 1.
        balance: How far the model's training mix of expressions is evened out, 0 to 1; None: what the model states.
        prior: Your own mix of expressions: label -> count or share, or a JSON file of that.
        tta: Classify each face in ten views; slower, a little better.
        details: Also fit a mesh to each face, and read pose, gaze, eyes, mouth and 52 blendshapes from it.
        color: Order of the channels of arrays and tensors: `rgb`, or `bgr` for OpenCV's.
        keep_images: Whether results keep their image; None: one image is kept, and of several those in memory.

    Returns:
        ImageResult for one image; Results, a list, for several; for a generator an iterator of ImageResult. To a type
        checker a str, Path or array is one image: write `[folder]` for a folder, a pattern or a batch.

    Raises:
        ImageError: The only image can't be read; among several it is a result with its `error`.
        ModelFileError: There is no such model, or it is not mien's.
        DetectorError: There is no such detector, or its weights are missing.
        DeviceError: The device is unknown.
        ArgumentError: A number or the color is out of range.

    Examples:
        >>> import mien
        >>> result = mien.predict("src/mien/examples/astronaut.png")
        >>> len(result), result[0].expression, result[0].top(2)[1][0]
        (1, 'happy', 'neutral')
    """
    options = {"device": device, "min_face": min_face, "abstain_below": abstain_below, "tta": tta, "details": details}
    recognizer = _recognizer(model, detector=detector, balance=balance, prior=prior, **options)
    found: ImageResult | Results | Iterator[ImageResult] = recognizer.predict(
        source, color=color, keep_images=keep_images
    )
    return found


@overload
def watch(source: VideoSource, *, out: None = None, **options: Unpack[_WatchOptions]) -> Watch: ...
@overload
def watch(source: VideoSource, *, out: str | Path, **options: Unpack[_WatchOptions]) -> OutputSummary: ...
def watch(
    source: VideoSource,
    *,
    out: str | Path | None = None,
    model: Model | Sequence[Model] = DEFAULT_MODEL,
    detector: str | FaceDetector = "auto",
    device: str = "auto",
    min_face: int = MIN_FACE,
    abstain_below: float = ABSTAIN_BELOW,
    balance: float | None = None,
    prior: Prior | None = None,
    details: bool = False,
    every: int | None = None,
    smooth_s: float = SMOOTH_S,
    max_seconds: float | None = None,
    live: bool | None = None,
    keep_images: bool = False,
    privacy: Privacy = "none",
) -> Watch | OutputSummary:
    """Tracks the faces of a video, camera or stream; with `out`, writes the results into a folder.

    Args:
        source: As for `Recognizer.watch`: a video file, a camera's number, an address, a folder of images.
        out: A folder for `timeline.csv`, `drawn.mp4` and `plot.png`; it is created if it is missing.
        model: As for `Recognizer`, as are `detector` and `device`.
        detector: `auto`, `mtcnn`, `yunet`, `centerface`, `haar`, `none`, or an object.
        device: `auto`, `cpu`, `cuda`, ...
        min_face: The smallest face, pixels of its longer edge.
        abstain_below: Predictions with less confidence are marked as abstained, 0 to 1.
        balance: How far the model's training mix of expressions is evened out, 0 to 1; None: what the model states.
        prior: Your own mix of expressions: label -> count or share, or a JSON file of that.
        details: Also read pose, gaze, eyes, mouth and 52 blendshapes of each face.
        every: Run the detector on every Nth frame; None: as often as is useful.
        smooth_s: Time constant of the smoothed probabilities, seconds; 0 for none.
        max_seconds: Stop after this time of the video, seconds.
        live: Whether frames may be dropped to keep up with the source; None: what the kind of source needs.
        keep_images: Whether frame results carry their image; without `out`.
        privacy: With `out`: hide faces in the drawn video and the plot, `none`, `blur` or `box`.

    Returns:
        Without `out`, an iterator of FrameResult, one for each frame; with it, a summary of what was written.

    Raises:
        VideoError: The source can't be opened, or fails before its first frame.
        OutputError: The folder can't be written.
        MissingExtraError: PyAV or matplotlib is not installed.
        ArgumentError: A number is out of range.

    Examples:
        >>> import mien
        >>> [len(frame) for frame in mien.watch("src/mien/examples")]  # a folder of images is a video, too
        [1]
        >>> mien.watch("talk.mp4", out="talk/").written
        ('talk/timeline.csv', 'talk/plot.png', 'talk/drawn.mp4')
    """
    options = {"device": device, "min_face": min_face, "abstain_below": abstain_below, "details": details}
    recognizer = _recognizer(
        model, detector=detector, balance=balance, prior=prior, threads=network_threads(), **options
    )
    keep = keep_images or out is not None
    watched = recognizer.watch(
        source, every=every, smooth_s=smooth_s, keep_images=keep, max_seconds=max_seconds, live=live
    )
    if out is None:
        return watched
    from mien.recognition.watch_files import watch_into

    return watch_into(Path(out), watched, recognizer.summary(), privacy=privacy)


def network_threads() -> int:
    """Threads of each network of a watch: its stages run in parallel and share the processor."""
    return max(1, (os.cpu_count() or 1) // 2)


def _recognizer(
    model: Model | Sequence[Model], *, detector: str | FaceDetector, prior: Prior | None, **options: Any
) -> Recognizer:
    """A recognizer with these options; the same one as before unless a model file has changed."""
    models = (model,) if isinstance(model, str | Path | ModelFile) else tuple(model)
    if not isinstance(detector, str) or prior is not None:  # a mapping is no key, and its file may change
        return Recognizer(models, detector=detector, prior=prior, **options)
    return _kept(models, tuple(_version(each) for each in models), detector, **options)


@lru_cache(maxsize=4)
def _kept(models: tuple[Model, ...], _versions: tuple[object, ...], detector: str, **options: Any) -> Recognizer:
    return Recognizer(models, detector=detector, **options)


def _version(model: Model) -> object:
    """What changes when a model's file does."""
    if isinstance(model, ModelFile) or not (path := Path(model)).exists():
        return None
    status = path.stat()
    return status.st_mtime_ns, status.st_size
