"""Which parts of a face a prediction depends on: occlusion maps for any model file, and curves that test any map.

Maps are float32 (N, H, W), one per face: the higher the value, the more the prediction depends on that place. Values
are comparable only within one map.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.balance import model_balance
from mien.crop import crop_faces
from mien.errors import DataError, ImageError, OutputError
from mien.faces import FaceDetector, make_detector
from mien.files import make_folder, write_bytes, write_text
from mien.labels import canonical, canonical_all
from mien.media.addresses import NamedImage, read_source, source_name
from mien.media.sources import SkippedFiles, expand_sources
from mien.model_file import ModelFile, ModelInfo, load_model
from mien.pages import contact_sheet, png
from mien.reporting import log_warning

Faces = NDArray[np.uint8]
Maps = NDArray[np.float32]
Probabilities = Callable[[Faces], NDArray[np.float32]]
"""uint8 (N, H, W, C) -> float32 (N, K): a model file's `probabilities`."""

MapMaker = Callable[[Faces, NDArray[np.int64]], Maps]
"""Faces uint8 (N, H, W, C) and target classes int64 (N,) -> maps float32 (N, H, W)."""

_BATCH = 512


def occlusion_maps(
    probabilities: Probabilities,
    faces: Faces,
    targets: NDArray[np.int64],
    *,
    patch: float = 0.2,
    stride: float = 0.06,
) -> Maps:
    """The drop of the target's probability when a patch of the face is blurred (Zeiler & Fergus 2014).

    faces: uint8 (N, H, W, C). targets: int64 (N,), the class that each map explains. patch, stride: shares of the
    face's side. A patch is blurred heavily rather than painted grey, because a grey patch would itself be a feature.
    Where patches overlap, their drops are averaged. Returns float32 (N, H, W).
    """
    count, height, width, _ = faces.shape
    side, step = max(1, round(patch * height)), max(1, round(stride * height))
    places = [(top, left) for top in _places(height, side, step) for left in _places(width, side, step)]
    patches = np.zeros((len(places), height, width), bool)
    for mask, (top, left) in zip(patches, places, strict=True):
        mask[top : top + side, left : left + side] = True
    blurred = blurred_faces(faces)
    first = _target_probability(probabilities, faces, targets)
    maps = np.empty((count, height, width), np.float32)
    for i in range(count):
        changed = np.where(patches[..., None], blurred[i], faces[i])
        falls = first[i] - _target_probability(probabilities, changed, np.full(len(places), targets[i]))
        maps[i] = np.tensordot(falls, patches, 1) / patches.sum(0)
    return maps


def blurred_faces(faces: Faces) -> Faces:
    """Faces without details, as the baseline of "nothing there": Gaussian blur, sigma an eighth of the side."""
    sigma = faces.shape[1] / 8
    blurred = [cv2.GaussianBlur(face, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) for face in faces]
    return np.stack(blurred).reshape(faces.shape).astype(np.uint8, copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class MapTest:
    """Deletion and insertion curves: the target's mean probability while pixels are removed, or added, by map value.

    shares: float32 (S,), the share of changed pixels, 0 to 1. deletion, insertion: float32 (S,), in the map's order.
    random_deletion, random_insertion: in the order of smooth random maps. With a meaningful map the probability falls
    faster under deletion, and rises faster under insertion, than with random maps (Petsiuk et al. 2018, RISE).
    """

    shares: NDArray[np.float32]
    deletion: NDArray[np.float32]
    insertion: NDArray[np.float32]
    random_deletion: NDArray[np.float32]
    random_insertion: NDArray[np.float32]

    def areas(self) -> dict[str, float]:
        """The areas under the curves: for deletion lower is better, for insertion higher."""
        widths = np.diff(self.shares)
        curves = {name: np.array(values) for name, values in self.to_dict().items() if name != "shares"}
        return {name: float(((v[1:] + v[:-1]) / 2 * widths).sum()) for name, v in curves.items()}

    def to_dict(self) -> dict[str, list[float]]:
        """The curves as lists, four decimals."""
        return {field.name: [round(float(v), 4) for v in getattr(self, field.name)] for field in fields(self)}


def check_maps(
    probabilities: Probabilities,
    faces: Faces,
    maps: Maps,
    targets: NDArray[np.int64],
    *,
    steps: int = 20,
    seed: int = 0,
) -> MapTest:
    """The deletion and insertion curves of maps and of random maps; the blurred face is the baseline."""
    shares = np.linspace(0, 1, steps + 1, dtype=np.float32)
    random = _random_maps(maps.shape, seed)
    blurred = blurred_faces(faces)

    def curve(order: Maps, start: Faces, goal: Faces) -> NDArray[np.float32]:
        ranks = _ranks(order)
        values = []
        for share in shares:
            changed = np.where((ranks < share)[..., None], goal, start)
            values.append(_target_probability(probabilities, changed, targets).mean())
        return np.array(values, np.float32)

    return MapTest(
        shares,
        deletion=curve(maps, faces, blurred),
        insertion=curve(maps, blurred, faces),
        random_deletion=curve(random, faces, blurred),
        random_insertion=curve(random, blurred, faces),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Maps of N faces, what they explain, and their test.

    faces: uint8 (N, H, W, C). names: the image of each. expressions: the label that each map explains.
    probabilities: float32 (N,), the model's for that label. maps: float32 (N, H, W). problems: one line for each image
    that could not be read or has no face.
    """

    model: str
    method: str
    faces: Faces
    names: tuple[str, ...]
    expressions: tuple[str, ...]
    probabilities: NDArray[np.float32]
    maps: Maps
    test: MapTest
    problems: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Explanation({self.model!r}, {self.method}: {', '.join(self.expressions) or 'no face'})"


def explain(
    model: str | Path | ModelFile,
    images: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    expression: str | None = None,
    detector: str | FaceDetector = "auto",
    maps_of: MapMaker | None = None,
) -> Explanation:
    """Finds which parts of each face a prediction depends on, and tests whether the maps mean anything.

    Args:
        model: A shipped model's name, a model file, or an opened model.
        images: Files, folders or patterns.
        out: A folder for sheet.png, explain.json and an image for each face; None writes nothing.
        expression: The expression to explain; None: each face's most likely one.
        detector: `auto`, `mtcnn`, `yunet`, `centerface`, `haar`, `none` for images that are face crops, or an object.
        maps_of: Makes the maps, as `mien.training.gradcam.RunMaps.maps` does for a training run; None: occlusion, which
            works for any model.

    Returns:
        Explanation: `maps` float32 (N, H, W) of the N `faces`, `expressions`, the `test` of the maps, and `problems`,
        one line for each image that could not be read or has no face.

    Raises:
        DataError: No face was found, or the model does not know the expression.
        ImageError: A folder or pattern has no images.
        ModelFileError: There is no such model, or it is not a model of mien.
        OutputError: The folder can't be written into.

    Examples:
        >>> import mien
        >>> mien.explain("mien-small", "photo.jpg", out="explained").expressions
        ('happy',)
    """
    opened = model if isinstance(model, ModelFile) else load_model(model)
    found = make_detector(detector) if isinstance(detector, str) else detector
    skipped = SkippedFiles()
    given = [images] if isinstance(images, str | Path) else images
    sources = list(expand_sources(given, exclude=None if out is None else Path(out), skipped=skipped))
    if line := skipped.line():
        log_warning(line)
    faces, names, problems = crop_images(sources, found, opened.info)
    explanation = explain_faces(opened, faces, names, expression=expression, maps_of=maps_of, problems=problems)
    if out is not None:
        write_explanation(explanation, Path(out))
    return explanation


def crop_images(
    paths: Sequence[Path | NamedImage | str], detector: FaceDetector, info: ModelInfo
) -> tuple[Faces, tuple[str, ...], tuple[str, ...]]:
    """Detects and crops the faces of images for a model.

    Returns the crops, uint8 (N, H, W, C); the image of each; and one line for each image that could not be read or has
    no face. Raises DataError if there is no face at all.
    """
    crops, names, problems = [], [], []
    for path in paths:
        try:
            image = read_source(path)
        except ImageError as error:
            problems.append(str(error))
            continue
        found = crop_faces(image, detector.detect(image), info.crop, size=info.size, channels=info.channels)
        if not len(found):
            problems.append(f"{source_name(path)}: no face found")
        crops.append(found)
        names += [source_name(path)] * len(found)
    if not names:
        raise DataError(f"no face to explain in {len(paths)} images" + (f"; first: {problems[0]}" if problems else ""))
    return np.concatenate(crops), tuple(names), tuple(problems)


def explain_faces(
    model: ModelFile,
    faces: Faces,
    names: Sequence[str],
    *,
    expression: str | None = None,
    maps_of: MapMaker | None = None,
    problems: Sequence[str] = (),
) -> Explanation:
    """Maps of face crops for one expression, or for each face's most likely one, tested by deletion and insertion.

    maps_of: makes the maps (Grad-CAM); None: occlusion. Raises DataError for an expression that the model lacks.
    """
    labels = canonical_all(model.info.labels, str(model.path))
    balance = model_balance([model])

    def probabilities(faces: Faces) -> NDArray[np.float32]:
        return balance.apply(model.probabilities(faces))

    answers = probabilities(faces)
    targets = answers.argmax(1).astype(np.int64)
    if expression is not None:
        if canonical(expression) not in labels:
            raise DataError(f"{model.info.name} has no expression '{expression}'; expected one of {', '.join(labels)}")
        targets[:] = labels.index(canonical(expression))
    method = "occlusion" if maps_of is None else "Grad-CAM"
    maps = occlusion_maps(probabilities, faces, targets) if maps_of is None else maps_of(faces, targets)
    test = check_maps(probabilities, faces, maps, targets)
    chosen = answers[np.arange(len(faces)), targets]
    return Explanation(
        model=model.info.name,
        method=method,
        faces=faces,
        names=tuple(names),
        expressions=tuple(labels[t] for t in targets),
        probabilities=chosen,
        maps=maps,
        test=test,
        problems=tuple(problems),
    )


def write_explanation(explanation: Explanation, out: Path) -> None:
    """Writes sheet.png, explain.json and face-0001.png ... into the folder `out`. Raises OutputError."""
    e, out = explanation, Path(out)
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is a file; give a folder")
    make_folder(out)
    drawn = [overlay(face, map_) for face, map_ in zip(e.faces, e.maps, strict=True)]
    captions = [f"{name} {p:.2f}" for name, p in zip(e.expressions, e.probabilities, strict=True)]
    for number, image in enumerate(drawn, start=1):
        write_bytes(out / f"face-{number:04d}.png", png(image))
    pairs = [np.concatenate([cv2.resize(_colour(f), (192, 192), interpolation=cv2.INTER_CUBIC), d])
             for f, d in zip(e.faces, drawn, strict=True)]  # fmt: skip
    write_bytes(out / "sheet.png", png(contact_sheet(pairs, captions, tile=192, columns=8)))
    rows = [
        {"source": name, "expression": label, "probability": round(float(p), 4), "image": f"face-{i:04d}.png"}
        for i, (name, label, p) in enumerate(zip(e.names, e.expressions, e.probabilities, strict=True), start=1)
    ]
    about = {"model": e.model, "method": e.method, "areas": e.test.areas(), "curves": e.test.to_dict(), "faces": rows}
    write_text(out / "explain.json", json.dumps(about, indent=2) + "\n")


def overlay(face: Faces, map_: NDArray[np.float32], *, side: int = 192, strength: float = 0.55) -> Faces:
    """Draws a map over its face (H, W, C), enlarged: uint8 (side, side, 3), RGB; red is high, blue is low."""
    colour = cv2.resize(_colour(face), (side, side), interpolation=cv2.INTER_CUBIC)
    smooth = cv2.resize(unit_range(map_), (side, side), interpolation=cv2.INTER_CUBIC)
    bgr = cv2.applyColorMap((smooth.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_JET)
    heat = bgr[..., ::-1].astype(np.float32)
    return (colour * (1 - strength) + heat * strength).clip(0, 255).astype(np.uint8)


def unit_range(map_: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scales a map to 0 to 1; a constant map becomes 0."""
    low, high = float(map_.min()), float(map_.max())
    return np.zeros_like(map_) if high - low < 1e-12 else ((map_ - low) / (high - low)).astype(np.float32)


def _colour(face: Faces) -> Faces:
    return np.repeat(face, 3, axis=2) if face.shape[2] == 1 else face


def _places(length: int, side: int, step: int) -> list[int]:
    return sorted({*range(0, length - side + 1, step), length - side})


def _ranks(maps: Maps) -> NDArray[np.float32]:
    """Each pixel's rank in its map, highest first, as a share of all pixels: 0 to below 1."""
    flat = maps.reshape(len(maps), -1)
    ranks = np.empty(flat.shape, np.float32)
    order = np.argsort(-flat, axis=1, kind="stable")
    np.put_along_axis(ranks, order, np.arange(flat.shape[1], dtype=np.float32)[None] / flat.shape[1], 1)
    return ranks.reshape(maps.shape)


def _random_maps(shape: tuple[int, ...], seed: int) -> Maps:
    """Smooth random maps: the random order also removes patches, not single pixels."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((shape[0], 8, 8), dtype=np.float32)
    return np.stack([cv2.resize(c, (shape[2], shape[1]), interpolation=cv2.INTER_CUBIC) for c in coarse])


def _target_probability(probabilities: Probabilities, faces: Faces, targets: NDArray[np.int64]) -> NDArray[np.float32]:
    parts = [probabilities(np.ascontiguousarray(faces[i : i + _BATCH])) for i in range(0, len(faces), _BATCH)]
    return np.concatenate(parts)[np.arange(len(faces)), targets]
