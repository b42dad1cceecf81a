"""Measures how often a model changes its answer on a face under mild disturbances that a person hardly sees.

    python benchmarks/stability.py [--data ../shared/data] [--split validation] [--faces 1000] [--model mien-small ...]

Fourteen disturbances: the mirror image, turns of 3 degrees both ways and of 5, scales of 1.04 and 0.96, shifts of a
48th of the side in four directions, 15 % darker and brighter, noise of standard deviation 3, and JPEG of quality 80.
Intervals are of 95 %: over faces, drawn again 1,000 times.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from page import SHARED, arguments, table, write_page

from mien.data.fitted import read_dataset, require_split
from mien.evaluation.fitting import fit_faces
from mien.evaluation.robustness import choose_rows
from mien.model_file import load_model
from mien.releases import releases

Faces = NDArray[np.uint8]


def _each(change: Callable[[Faces], object]) -> Callable[[Faces], Faces]:
    return lambda faces: np.stack([np.asarray(change(face), np.uint8).reshape(face.shape) for face in faces])


def _moved(turn: float = 0, scale: float = 1, shift: tuple[float, float] = (0, 0)) -> Callable[[Faces], Faces]:
    """Turned by degrees, enlarged, and shifted by shares of the side; the border's pixels are repeated."""

    def change(face: Faces) -> object:
        side = face.shape[0]
        matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), turn, scale)
        matrix[:, 2] += np.multiply(shift, side)
        return cv2.warpAffine(face, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    return _each(change)


def _brighter(by: float) -> Callable[[Faces], Faces]:
    return lambda faces: np.clip(np.rint(faces * np.float32(by)), 0, 255).astype(np.uint8)


def _noisy(faces: Faces) -> Faces:
    noise = np.random.default_rng(0).normal(0, 3, faces.shape)
    return np.clip(np.rint(faces + noise), 0, 255).astype(np.uint8)


def _as_jpeg(face: Faces) -> object:
    _, data = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


DISTURBANCES: dict[str, Callable[[Faces], Faces]] = {
    "mirrored": lambda faces: np.ascontiguousarray(faces[:, :, ::-1]),
    "turned 3°": _moved(turn=3),
    "turned -3°": _moved(turn=-3),
    "turned 5°": _moved(turn=5),
    "scale 1.04": _moved(scale=1.04),
    "scale 0.96": _moved(scale=0.96),
    "shift right": _moved(shift=(1 / 48, 0)),
    "shift left": _moved(shift=(-1 / 48, 0)),
    "shift down": _moved(shift=(0, 1 / 48)),
    "shift up": _moved(shift=(0, -1 / 48)),
    "darker": _brighter(0.85),
    "brighter": _brighter(1.15),
    "noise": _noisy,
    "JPEG 80": _each(_as_jpeg),
}


def interval(flipped: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of a value (N,) per face."""
    draws = np.random.default_rng(0).integers(0, len(flipped), (1000, len(flipped)))
    low, high = np.quantile(flipped[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    parser = arguments(__doc__, repeats=1)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--faces", type=int, default=1000)
    parser.add_argument("--model", nargs="+", default=list(releases()))
    options = parser.parse_args()
    found = read_dataset(options.data, size=48, channels=1, splits=(options.split,))
    images = require_split(found, options.split, options.data).images
    images = images[choose_rows(len(images), options.faces)]
    views = {name: change(images) for name, change in DISTURBANCES.items()}
    rows, flips = [], {}
    for name in options.model:
        model = load_model(name)

        def answers(faces: Faces, model=model) -> NDArray[np.int64]:  # type: ignore[no-untyped-def]
            parts = (faces[i : i + 256] for i in range(0, len(faces), 256))
            return np.concatenate([model.probabilities(fit_faces(part, model)).argmax(axis=1) for part in parts])

        clean = answers(images)
        changed = np.stack([answers(view) != clean for view in views.values()]).astype(np.float64)
        flips[name] = changed.mean(axis=1)
        shares = (changed.mean(axis=0), changed.max(axis=0))
        rows.append((name, *(f"{s.mean():.1%} ({interval(s)[0]:.1%} to {interval(s)[1]:.1%})" for s in shares)))
    lines = [
        f"{len(images):,} faces of {options.split}, fourteen disturbances each.",
        "",
        *table(("model", "answers that change", "faces with at least one"), rows),
        "",
        *table(
            ("disturbance", *flips), [(d, *(f"{f[i]:.1%}" for f in flips.values())) for i, d in enumerate(DISTURBANCES)]
        ),
    ]
    write_page(options.results, "stability", "Answers under mild disturbances", lines, packages=("onnxruntime",))


if __name__ == "__main__":
    main()
