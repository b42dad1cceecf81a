"""Photographs, or loose crops of faces, into face crops framed as the models expect them: `mien data crop`."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.crop import crop_faces, fit_face
from mien.crop_spec import CropSpec
from mien.data.arrays import read_problems
from mien.data.dataset import Dataset
from mien.data.settings import CropSettings, Kept, Which
from mien.data.source import PROBLEMS, Chunk, Problem, Source, SourceOver, text_column
from mien.faces import DetectorChoice, FaceDetector
from mien.faces.geometry import large_enough, taken
from mien.images import as_image
from mien.reporting import Progress
from mien.results import Detections

Image = NDArray[np.uint8]

ENLARGED = 96
"""An image whose longer side is shorter, in pixels, is a loose crop: it is enlarged to this before it is searched."""

PADS = {"auto": 0.0, "mtcnn": 0.25, "yunet": 0.0, "centerface": 0.0, "haar": 0.5}
"""By how much of its longer side a loose crop is padded on each side: what finds most faces of FER2013."""

Made = TypeVar("Made")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class Cropped:
    """What cropping gave: the faces, and the images that gave none, each with its reason; `listing` names them."""

    faces: Dataset
    problems: tuple[Problem, ...]
    listing: Path


def crop_dataset(
    source: Dataset | str | Path,
    out: Path,
    *,
    detector: DetectorChoice,
    settings: CropSettings,
    as_: Kept = "arrays",
    workers: int | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    engine: Callable[[Source], Source] | None = None,
) -> Cropped:
    """Cuts the faces out of all images of a data set or folder `source` and writes them to `out`.

    as_: what is written; the images without a face are listed in `OUT/problems.csv`.
    workers: threads that search and cut; None: one per processor. resume: go on where a killed run of the same settings
    stopped. engine: makes the source of the faces from that of the images; None: `CroppedSource`.
    Raises DataError, DetectorError, OutputError, MissingExtraError.
    """
    from mien.data.export import write_source
    from mien.data.readers import as_source, keep_apart

    keep_apart(source, out)
    recorded = {"detector": detector.identity(), **settings.to_dict()}
    opened = as_source(source)
    if engine is None:
        count = workers or os.cpu_count() or 1
        threads = 1 if count > 1 else 0  # each worker has a detector of its own
        make = partial(detector.make, min_face=settings.min_face, threads=threads)
        cropped: Source = CroppedSource(opened, make, settings, count)
    else:
        cropped = engine(opened)
    faces = write_source(cropped, out, as_=as_, command="crop", settings=recorded, resume=resume, progress=progress)
    return Cropped(faces, read_problems(out), out / PROBLEMS)


def find_faces(detector: FaceDetector, image: Image, *, pad: float | None = None) -> Detections:
    """Faces in an RGB image (H, W, 3), best first, in its pixels; a loose crop is padded and enlarged for it.

    pad: as in `CropSettings`. A photograph is searched as it is, as recognition does.
    """
    height, width = image.shape[:2]
    longer = max(height, width)
    small = longer < ENLARGED
    share = (PADS.get(detector.name, 0.0) if small else 0.0) if pad is None else pad
    border = round(share * longer)
    if not small and not border:
        return detector.detect(image)
    padded = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)
    factor = max(1.0, ENLARGED / longer)
    size = tuple(round(n * factor) for n in padded.shape[1::-1])
    enlarged = cv2.resize(padded, size, interpolation=cv2.INTER_CUBIC) if small else padded
    found = detector.detect(enlarged)  # type: ignore[arg-type]
    if found.cropped:  # the detector takes each image for a face: for this one as it is
        return detector.detect(image)
    shrink = (np.array(padded.shape[1::-1]) / np.array(enlarged.shape[1::-1])).astype(np.float32)
    boxes = found.boxes * np.tile(shrink, 2) - np.float32(border)
    marks = found.landmarks
    landmarks = None if marks is None else (marks * shrink - np.float32(border)).astype(np.float32)
    return Detections(boxes, found.scores, landmarks)


def select_faces(found: Detections, *, min_face: int, which: Which) -> Detections:
    """Those faces that are large enough, from left to right as recognition has them; or the largest alone."""
    chosen = large_enough(found, min_face=min_face)
    if which == "all" or chosen.cropped or not len(chosen):
        return chosen
    edges = chosen.boxes[:, 2:] - chosen.boxes[:, :2]
    return taken(chosen, np.array([edges.prod(axis=1).argmax()]))


@dataclass(frozen=True, slots=True)
class CroppedSource(SourceOver):
    """A source of the faces in another source's images. `chunks(start)` counts the other source's records.

    make: makes a detector; each of `workers` threads has its own. A face has the columns of its image, and these:
    `image`, the image's source (`source` itself gets "#0", "#1", ... where an image gives several faces); `face`,
    int64, from left to right; `box`, float32 (n, 4), x1, y1, x2, y2 in the image's pixels; `detection_score`,
    float32, 0 where no face was found; `landmarks`, float32 (n, 10), x, y of `Detections.landmarks`, NaN where the
    detector gives none.
    """

    make: Callable[[], FaceDetector]
    settings: CropSettings
    workers: int = 1

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The faces of the images from `start` on."""
        with Workers(self.make, self.workers) as workers:
            for chunk in self.source.chunks(start):
                yield _joined(chunk, workers.map(self._cut, chunk.images), self.settings.size, self.settings.channels)

    def _cut(self, detector: FaceDetector, image: Image) -> _Cut:
        image = as_image(image, "the image")
        wanted = self.settings
        found = find_faces(detector, image, pad=wanted.pad)
        faces = select_faces(found, min_face=wanted.min_face, which=wanted.faces)
        wrong, tight = "", len(faces) > 0 and not faces.cropped and not wanted.spec.align
        if not len(faces) and wanted.no_face == "drop":
            too_small = f" of {wanted.min_face} pixels or more" if len(found) else ""
            wrong = f"no face{too_small} found by {detector.name}"
        elif not len(faces):
            edges = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
            faces = Detections(edges, np.zeros(1, np.float32), cropped=wanted.no_face == "keep")
        crops = crop_faces(image, faces, wanted.spec, size=wanted.size, channels=wanted.channels)
        if tight:
            for i, box in enumerate(faces.boxes.tolist()):
                part = _tight_part(image, box, wanted.spec)
                if part is not None:
                    crops[i] = fit_face(part, wanted.size, wanted.channels)
        marks = np.full((len(faces), 10), np.nan, np.float32)
        if faces.landmarks is not None:
            marks = faces.landmarks.reshape(-1, 10).astype(np.float32)
        return _Cut(crops, faces.boxes.astype(np.float32), faces.scores.astype(np.float32), marks, wrong)


def _tight_part(image: Image, box: list[float], spec: CropSpec) -> Image | None:
    """The square around a face, inside the image, where the image is a loose crop or smaller than the square.

    Beyond the image's border there is nothing but repeated pixels, and the face would become smaller. None: it is an
    ordinary photograph.
    """
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    side = max(x2 - x1, y2 - y1) * (1 + spec.margin)
    if max(height, width) >= ENLARGED and side <= min(height, width):
        return None
    edge = max(1, min(round(side), height, width))
    left = min(max(round((x1 + x2 - edge) / 2), 0), width - edge)
    top = min(max(round((y1 + y2 - edge) / 2 + spec.shift_y * side), 0), height - edge)
    return image[top : top + edge, left : left + edge]


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """The faces of one image, or why there are none."""

    crops: Image
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    wrong: str = ""


def _joined(chunk: Chunk, cuts: Sequence[_Cut | str], size: int, channels: int) -> Chunk:
    """A chunk of images and what was cut out of each (or why it failed) -> a chunk of faces."""
    nothing = _Cut(
        np.zeros((0, size, size, channels), np.uint8),
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.float32),
        np.zeros((0, 10), np.float32),
    )
    every = [replace(nothing, wrong=cut) if isinstance(cut, str) else cut for cut in cuts]
    counts = [len(cut.crops) for cut in every]
    of_image = np.repeat(np.arange(len(every)), counts)
    names = chunk.columns["source"]
    face = np.concatenate([np.zeros(0, np.int64), *(np.arange(count) for count in counts)])
    several = np.array(counts, np.int64)[of_image] > 1
    sources = [f"{n}#{f}" if more else n for n, f, more in zip(names[of_image], face, several, strict=True)]
    parts = [nothing, *every]
    columns = {name: values[of_image] for name, values in chunk.columns.items()} | {
        "source": text_column(sources),
        "photograph": names[of_image],
        "face": face.astype(np.int64),
        "box": np.concatenate([cut.boxes for cut in parts]),
        "detection_score": np.concatenate([cut.scores for cut in parts]),
        "landmarks": np.concatenate([cut.landmarks for cut in parts]),
    }
    problems = [Problem(str(name), cut.wrong) for name, cut in zip(names, every, strict=True) if cut.wrong]
    crops = np.concatenate([cut.crops for cut in parts])
    return Chunk(crops, columns, (*chunk.problems, *problems), chunk.consumed)


class Workers(Generic[Made]):
    """Threads that work on images, each with its own detector, because some detectors take one image at a time."""

    def __init__(self, make: Callable[[], Made], count: int) -> None:
        """make: makes what each of the `count` threads works with."""
        self._free: queue.SimpleQueue[Made] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(make())
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="mien")

    def __enter__(self) -> Workers[Made]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[[Made, Image], Result], images: Sequence[Image] | Image) -> list[Result | str]:
        """What `work` makes of each image, in order; for an image that it can't work on, why (text)."""

        def one(image: Image) -> Result | str:
            made = self._free.get()
            try:
                return work(made, image)
            except MemoryError:
                return "does not fit into memory; make it smaller"
            except cv2.error as error:
                return f"OpenCV can't work on it ({error.err}); convert it to an ordinary JPEG or PNG"
            finally:
                self._free.put(made)

        return list(self._pool.map(one, images))
