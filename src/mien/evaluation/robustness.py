"""Accuracy on corrupted faces: ten corruptions in five severities, after Hendrycks & Dietterich (2019).

Amounts are shares of the face's side where they are lengths, so that they mean the same for faces of any size. What is
random is drawn for each face by (seed, corruption, face) alone: a face turns the same way at every severity, and its
result does not depend on which other faces are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError
from mien.intervals import wilson_interval
from mien.reporting import Progress

Faces = NDArray[np.uint8]
Random = Sequence[np.random.Generator]
"""A generator for each face."""

SEVERITIES = (1, 2, 3, 4, 5)
FACES = 1000
"""How many faces are measured unless said otherwise: an accuracy of 0.8 is then known to about 0.025."""

BOX_SHIFT, BOX_SCALE = 0.02, 0.044
"""How far the crops of two good detectors differ: the root mean square of the shift along each axis, as a share of the
crop's side, and of the logarithm of the side. MTCNN against YuNet on 45 faces of photographs; Haar's cascade is about
twice as far (0.03 and 0.10) from both."""

EYES_Y, MOUTH_Y = 0.385, 0.775
"""Where detectors find eyes and mouth in FER2013's frame, as shares of its side; see docs/framing.md."""

_PHOTONS = 4
_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way in which faces get worse. what: what its amounts are. amounts: one for each severity."""

    name: str
    what: str
    amounts: tuple[float, float, float, float, float]
    change: Callable[[Faces, float, Random], Faces]


@dataclass(frozen=True, slots=True)
class CorruptionScore:
    """Accuracy at each amount. relative_error: the error divided by that on clean faces; None where that is 0."""

    name: str
    what: str
    amounts: tuple[float, ...]
    accuracy: tuple[float, ...]
    relative_error: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Robustness:
    """What corruptions cost, on the same n faces throughout. The means are over all corruptions and severities."""

    n: int
    seed: int
    clean_accuracy: float
    clean_accuracy_95: tuple[float, float]
    mean_accuracy: float
    mean_relative_error: float | None
    corruptions: tuple[CorruptionScore, ...]


def measure_robustness(
    call: Callable[[Faces], NDArray[np.int64]],
    faces: Faces,
    truth: NDArray[np.int64],
    *,
    rows: NDArray[np.int64] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Robustness:
    """Measures a classifier on corrupted faces, chunk by chunk, so that memory does not grow with them.

    call: uint8 (n, H, W, C) -> class indices (n,). faces: uint8 (N, H, W, C). truth: int64 (N,). rows: int64 (n,), the
    faces to measure on; None takes all. Raises ArgumentError where there are none.
    """
    rows = np.arange(len(faces)) if rows is None else rows
    if len(rows) == 0 or len(truth) != len(faces):
        raise ArgumentError(
            f"{len(rows)} rows of {len(faces)} faces with {len(truth)} truths; expected at least one row"
        )
    total, done = len(rows) * (1 + len(CORRUPTIONS) * len(SEVERITIES)), 0

    def right(name: str, severity: int) -> int:
        nonlocal done
        found = 0
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            found += int((call(corrupt(faces[part], name, severity, rows=part, seed=seed)) == truth[part]).sum())
            done += len(part)
            if progress:
                progress(done, total)
        return found

    clean = right("", 0)
    error, scores = 1 - clean / len(rows), []
    for c in CORRUPTIONS:
        accuracy = tuple(right(c.name, severity) / len(rows) for severity in SEVERITIES)
        relative = tuple((1 - a) / error for a in accuracy) if error > 0 else None
        scores.append(CorruptionScore(c.name, c.what, c.amounts, accuracy, relative))
    relatives = [value for score in scores for value in score.relative_error or ()]
    return Robustness(
        n=len(rows),
        seed=seed,
        clean_accuracy=clean / len(rows),
        clean_accuracy_95=wilson_interval(clean, len(rows)),
        mean_accuracy=float(np.mean([score.accuracy for score in scores])),
        mean_relative_error=float(np.mean(relatives)) if relatives else None,
        corruptions=tuple(scores),
    )


def choose_rows(count: int, wanted: int, *, seed: int = 0) -> NDArray[np.int64]:
    """`wanted` of `count` faces, by chance and in order; all where there are no more."""
    if wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, wanted, replace=False))


def corrupt(faces: Faces, name: str, severity: int, *, rows: NDArray[np.int64] | None = None, seed: int = 0) -> Faces:
    """Faces uint8 (n, H, W, C) with a corruption of severity 1 to 5; 0 gives them back as they are, whatever the name.

    rows: int64 (n,), what each face's random numbers are drawn by; None: its place in `faces`. Raises ArgumentError for
    another name or severity.
    """
    if severity == 0:
        return faces
    known = {c.name: c for c in CORRUPTIONS}
    if name not in known or severity not in SEVERITIES:
        raise ArgumentError(f"corruption '{name}' of severity {severity}; expected 0 to 5, of {', '.join(known)}")
    keys = range(len(faces)) if rows is None else rows.tolist()
    random = [np.random.default_rng((seed, key, *name.encode())) for key in keys]
    return known[name].change(faces, known[name].amounts[severity - 1], random)


def _blur(faces: Faces, amount: float, random: Random) -> Faces:
    sigma = amount * faces.shape[1]
    return _each(faces, lambda face, _: cv2.GaussianBlur(face, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), random)


def _noise(faces: Faces, amount: float, random: Random) -> Faces:
    drawn = np.stack([r.standard_normal(faces.shape[1:], np.float32) for r in random])
    return (faces + amount * drawn).round().clip(0, 255).astype(np.uint8)


def _jpeg(faces: Faces, amount: float, random: Random) -> Faces:
    how = (cv2.IMREAD_GRAYSCALE if faces.shape[3] == 1 else cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION

    def one(face: Faces, _: np.random.Generator) -> Any:
        # OpenCV takes blue for the first channel, and JPEG does not treat blue as it treats red.
        bgr = np.ascontiguousarray(face[..., ::-1])
        data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, round(amount)))[1]
        return np.asarray(cv2.imdecode(data, how)).reshape(face.shape)[..., ::-1]

    return _each(faces, one, random)


def _low_light(faces: Faces, amount: float, random: Random) -> Faces:
    # A few photons to a grey level, so that dark faces are grainy, too.
    drawn = [r.poisson(face * (amount * _PHOTONS)) / _PHOTONS for face, r in zip(faces, random, strict=True)]
    return np.stack(drawn).round().clip(0, 255).astype(np.uint8)


def _low_resolution(faces: Faces, amount: float, random: Random) -> Faces:
    height, width = faces.shape[1:3]
    small = max(1, round(width * amount)), max(1, round(height * amount))

    def one(face: Faces, _: np.random.Generator) -> Any:
        shrunk = cv2.resize(face, small, interpolation=cv2.INTER_AREA)
        return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC)

    return _each(faces, one, random)


def _rotation(faces: Faces, amount: float, random: Random) -> Faces:
    return _each(faces, lambda face, r: _warped(face, turn=np.radians(amount * r.choice((-1, 1)))), random)


def _crop_jitter(faces: Faces, amount: float, random: Random) -> Faces:
    def one(face: Faces, r: np.random.Generator) -> Faces:
        x, y, scale = r.standard_normal(3) * amount
        return _warped(face, scale=float(np.exp(scale * BOX_SCALE)), shift=(x * BOX_SHIFT, y * BOX_SHIFT))

    return _each(faces, one, random)


def _bars(faces: Faces, amount: float, random: Random) -> Faces:
    masks = np.zeros(faces.shape[:3], bool)
    for mask, r in zip(masks, random, strict=True):
        lengthwise = mask if r.random() < 0.5 else mask.T
        start, width = r.random() * (1 - amount), len(lengthwise)
        lengthwise[round(start * width) : round((start + amount) * width)] = True
    return _covered(faces, masks, random)


def _mouth(faces: Faces, amount: float, random: Random) -> Faces:
    return _covered(faces, _band(faces, MOUTH_Y, amount, 0.6), random)


def _eyes(faces: Faces, amount: float, random: Random) -> Faces:
    return _covered(faces, _band(faces, EYES_Y, amount, 0.8), random)


def _each(faces: Faces, change: Callable[[Faces, np.random.Generator], Any], random: Random) -> Faces:
    changed = np.empty_like(faces)
    for i, (face, r) in enumerate(zip(faces, random, strict=True)):
        changed[i] = change(face, r).reshape(face.shape)  # OpenCV drops an axis of one channel
    return changed


def _warped(face: Faces, *, turn: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Faces:
    """What a square sees that is turned, `scale` times as large, and shifted by shares of the side.

    Outside the face its border is repeated, as for a crop that crosses the border of an image.
    """
    height, width = face.shape[:2]
    centre = np.array([width - 1, height - 1]) / 2
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    offset = centre + np.array(shift) * (width, height) - matrix @ centre
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    whole = np.hstack([matrix, offset[:, None]])
    return cv2.warpAffine(face, whole, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def _band(faces: Faces, centre: float, height: float, width: float) -> NDArray[np.bool_]:
    """A rectangle in the middle of the face, as a mask (1, H, W)."""
    rows, columns = ((np.arange(length) + 0.5) / length for length in faces.shape[1:3])
    inside: NDArray[np.bool_] = (abs(rows - centre) < height / 2)[:, None] & (abs(columns - 0.5) < width / 2)
    return inside[None]


def _covered(faces: Faces, masks: NDArray[np.bool_], random: Random) -> Faces:
    """Faces with what the masks cover in one grey, drawn for each face: glasses and masks come in all shades."""
    shades = np.array([r.integers(0, 256) for r in random], np.uint8)
    return np.where(masks[..., None], shades[:, None, None, None], faces)


CORRUPTIONS: tuple[Corruption, ...] = (
    Corruption("blur", "standard deviation, share of the side", (0.0125, 0.02, 0.03, 0.0425, 0.06), _blur),
    Corruption("noise", "standard deviation, grey levels of 255", (5, 10, 18, 28, 40), _noise),
    Corruption("jpeg", "quality of 100", (60, 40, 25, 15, 8), _jpeg),
    Corruption("low light", "share of the light", (0.5, 0.3, 0.18, 0.1, 0.05), _low_light),
    Corruption("low resolution", "share of the side", (0.67, 0.5, 0.38, 0.28, 0.2), _low_resolution),
    Corruption("rotation", "degrees, either way", (5, 10, 15, 22, 30), _rotation),
    Corruption("crop jitter", "times the spread between two detectors", (1, 2, 3, 4, 5), _crop_jitter),
    Corruption("bar", "width, share of the side", (0.1, 0.18, 0.26, 0.34, 0.42), _bars),
    Corruption("mouth covered", "height, share of the side", (0.12, 0.2, 0.28, 0.36, 0.44), _mouth),
    Corruption("eyes covered", "height, share of the side", (0.08, 0.14, 0.2, 0.26, 0.32), _eyes),
)
