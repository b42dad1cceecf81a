"""Toy faces: cartoons of seven expressions, drawn with OpenCV from a seed, for tests, the demo and first tries.

The expressions differ in brows, eyes and mouth. Place, scale, tilt, shades, line thickness, strength of the expression
and noise vary, so that a network has something to learn and a person can still distinguish them.
"""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.data.samples import Samples
from mien.errors import ArgumentError
from mien.files import atomic_folder
from mien.labels import FER2013

_DETAIL = 4  # faces are drawn this many times larger and averaged down, which keeps thin lines smooth

Points = NDArray[np.float64]


class _Pen:
    """Draws in face coordinates: the face's centre is (0, 0), its chin (0, 1), x to the right.

    Grey images are drawn as RGB too, so that the same seed gives the same face in both.
    """

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        side = size * _DETAIL
        skin = rng.uniform(110, 235)
        background = rng.uniform(20, 235)
        if abs(background - skin) < 35:  # the outline of the face should be seen
            background = skin - 70
        self.skin = (skin, skin * rng.uniform(0.78, 0.92), skin * rng.uniform(0.62, 0.85))
        tint = rng.uniform(0.8, 1.2, 3)
        self.image = np.empty((side, side, 3), np.uint8)
        self.image[:] = np.clip(background * tint, 0, 255)
        self.ink = tuple(rng.uniform(0, 45, 3))
        self.radius = side * rng.uniform(0.37, 0.46)
        tilt = math.radians(rng.uniform(-12, 12))
        self.turn = np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
        self.centre = side * (0.5 + rng.uniform(-0.06, 0.06, 2))
        self.width = self.radius * rng.uniform(0.055, 0.085)

    def _pixels(self, points: Points) -> NDArray[np.int32]:
        sixteenths: Points = np.round((points @ self.turn * self.radius + self.centre) * 16)
        return sixteenths.astype(np.int32)

    def line(self, points: Points, *, width: float = 1.0) -> None:
        thickness = max(1, round(self.width * width))
        cv2.polylines(self.image, [self._pixels(points)], False, self.ink, thickness, cv2.LINE_AA, 4)

    def fill(self, points: Points, color: tuple[float, ...]) -> None:
        cv2.fillPoly(self.image, [self._pixels(points)], color, cv2.LINE_AA, 4)


def toy_faces(count: int, *, size: int = 48, seed: int = 0, channels: int = 1) -> Samples:
    """`count` cartoon faces with the seven labels of FER2013, as even as `count` allows and in random order.

    size: pixels of a side, 16 or more. channels: 1 grey, 3 RGB. Equal arguments give equal faces; a smaller count
    gives other ones. Raises ArgumentError for a count below 1, or another size or number of channels.
    """
    if count < 1 or size < 16 or channels not in {1, 3}:
        raise ArgumentError(
            f"{count} faces of {size} pixels and {channels} channels; expected 1, 16 and 1 or 3 at least"
        )
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count, dtype=np.int64) % len(FER2013))
    images = np.stack([_draw(FER2013[label], rng, size, channels) for label in labels])
    return Samples(images, labels, FER2013, tuple(f"toy-{seed}:{i}" for i in range(count)))


def write_toy_folders(
    out: Path, *, train: int = 1400, validation: int = 350, test: int = 350, size: int = 48, seed: int = 0
) -> None:
    """Writes grey toy faces as a data set of class folders: out/train/happy/0001.png, and so on.

    Raises OutputError where `out` has something in it already or can't be written.
    """
    with atomic_folder(Path(out)) as folder:
        for part, (split, count) in enumerate((("train", train), ("validation", validation), ("test", test))):
            if count == 0:
                continue
            faces = toy_faces(count, size=size, seed=3 * seed + part)
            for name in FER2013:
                (folder / split / name).mkdir(parents=True)
            for i, (face, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
                place = folder / split / FER2013[label] / f"{i:04d}.png"
                place.write_bytes(cv2.imencode(".png", face)[1].tobytes())


def _draw(expression: str, rng: np.random.Generator, size: int, channels: int) -> NDArray[np.uint8]:
    pen = _Pen(rng, size)
    strength = rng.uniform(0.75, 1.1)
    head = _oval(0, 0, rng.uniform(0.74, 0.84), 1.0)
    pen.fill(head, pen.skin)
    pen.line(head)
    _hair(pen, rng)
    pen.line(np.array([[0.0, -0.08], [0.07 * rng.choice([-1, 1]), 0.16], [0.0, 0.18]]), width=0.7)
    for side in (-1, 1):
        _brow(pen, expression, side, strength, rng)
        _eye(pen, expression, side, strength, rng)
    _mouth(pen, expression, strength, rng)
    small = cv2.resize(pen.image, (size, size), interpolation=cv2.INTER_AREA).astype(np.float64)
    if channels == 1:
        small = small @ np.array([[0.299], [0.587], [0.114]])
    noise = rng.normal(0, rng.uniform(2, 9), (size, size, 1))
    return np.clip(np.round(small + noise), 0, 255).astype(np.uint8)


def _hair(pen: _Pen, rng: np.random.Generator) -> None:
    if rng.random() < 0.7:
        line = rng.uniform(-0.82, -0.68)
        x = np.linspace(-1, 1, 25)
        top = np.stack((0.82 * x, -np.sqrt(1 - 0.95 * x * x) * 1.04), 1)
        bottom = np.stack((0.7 * x[::-1], line + 0.25 * x[::-1] ** 2 + rng.uniform(-0.03, 0.03, 25)), 1)
        shade = rng.uniform(0, 90)
        pen.fill(np.concatenate((top, bottom)), (shade, shade * 0.85, shade * 0.7))


def _brow(pen: _Pen, expression: str, side: int, strength: float, rng: np.random.Generator) -> None:
    """A brow from its inner to its outer end: heights of the ends, and how far its middle arches."""
    inner, outer, arch, width = {
        "angry": (-0.28, -0.56, 0.0, 1.9),
        "disgust": (-0.34, -0.44, -0.03, 1.5),
        "fear": (-0.64, -0.50, 0.05, 1.0),
        "happy": (-0.47, -0.44, 0.09, 1.0),
        "sad": (-0.62, -0.36, 0.0, 1.2),
        "surprise": (-0.62, -0.58, 0.13, 1.0),
        "neutral": (-0.45, -0.45, 0.02, 1.2),
    }[expression]
    middle = -0.45
    inner, outer = (middle + (v - middle) * strength + rng.uniform(-0.02, 0.02) for v in (inner, outer))
    x = np.linspace(0, 1, 9)
    y = inner + (outer - inner) * x - arch * strength * 4 * x * (1 - x)
    pen.line(np.stack((side * (0.13 + 0.42 * x), y), 1), width=width)


def _eye(pen: _Pen, expression: str, side: int, strength: float, rng: np.random.Generator) -> None:
    x, y = side * 0.33, -0.18
    white = (245.0, 245.0, 245.0)
    if expression == "disgust":  # squeezed shut: > <
        pen.line(np.array([[x + side * 0.15, y - 0.09], [x - side * 0.1, y], [x + side * 0.15, y + 0.09]]), width=1.1)
        return
    if expression == "happy" and rng.random() < 0.5:  # laughing eyes: an arch
        pen.line(_arc(x, y + 0.04, 0.15, -0.13), width=1.2)
        return
    half_height, pupil = {
        "angry": (0.085, 0.075), "fear": (0.19, 0.045), "happy": (0.11, 0.08), "sad": (0.1, 0.08),
        "surprise": (0.2, 0.085), "neutral": (0.115, 0.08),
    }[expression]  # fmt: skip
    half_height *= rng.uniform(0.92, 1.08)
    pen.fill(_oval(x, y, 0.16, half_height), white)
    pen.line(_oval(x, y, 0.16, half_height), width=0.6)
    pen.fill(_oval(x + rng.uniform(-0.03, 0.03), y, pupil, min(pupil, half_height)), pen.ink)
    if expression == "sad":  # a lid that hangs to the outside
        lid = np.array([[x - side * 0.18, y - 0.09], [x + side * 0.18, y + 0.0]])
        pen.fill(np.array([*lid, [x + side * 0.18, y - 0.14], [x - side * 0.18, y - 0.16]]), pen.skin)
        pen.line(lid, width=0.9)
        if side > 0 and rng.random() < 0.6:
            pen.fill(_oval(x + 0.04, y + 0.27, 0.05, 0.11 * strength), (150.0, 195.0, 245.0))


def _mouth(pen: _Pen, expression: str, strength: float, rng: np.random.Generator) -> None:
    dark, white, tongue = (70.0, 20.0, 25.0), (245.0, 245.0, 245.0), (205.0, 95.0, 105.0)
    y = 0.5 + rng.uniform(-0.03, 0.03)
    half = rng.uniform(0.30, 0.38)
    if expression == "happy":
        smile = _arc(0, y - 0.08, half + 0.06, 0.28 * strength)
        if rng.random() < 0.6:
            pen.fill(smile, white)
            pen.line(smile[[0, -1]])
        pen.line(smile)
    elif expression == "sad":
        pen.line(_arc(0, y + 0.12, half * 0.9, -0.2 * strength), width=1.1)
    elif expression == "surprise":
        pen.fill(_oval(0, y + 0.05, 0.15 * strength, 0.24 * strength), dark)
        pen.line(_oval(0, y + 0.05, 0.15 * strength, 0.24 * strength))
    elif expression == "angry":  # bared, pressed teeth
        teeth = np.array([[-half, y + 0.13], [-half + 0.07, y - 0.05], [half - 0.07, y - 0.05], [half, y + 0.13]])
        pen.fill(teeth, white)
        pen.line(teeth[[0, 1, 2, 3, 0]])
        for x in (-0.14, 0.0, 0.14):
            pen.line(np.array([[x, y - 0.05], [x, y + 0.13]]), width=0.6)
    elif expression == "fear":  # open, stretched wide, its edge trembling
        upper = np.stack((np.linspace(-half, half, 9), y - 0.05 + 0.035 * np.cos(math.pi * np.arange(9))), 1)
        lips = np.concatenate((upper, [[half, y + 0.17], [-half, y + 0.17]]))
        pen.fill(lips, dark)
        pen.line(np.concatenate((lips, lips[:1])))
    elif expression == "disgust":  # a wry line with the tongue out
        along = np.linspace(-half, half, 17)
        pen.fill(np.concatenate((_arc(0.1, y + 0.02, 0.15, 0.32 * strength), [[0.25, y], [-0.05, y]])), tongue)
        pen.line(_arc(0.1, y + 0.02, 0.15, 0.32 * strength), width=0.7)
        pen.line(np.stack((along, y + 0.05 * np.sin(along / half * 1.5 * math.pi)), 1), width=1.1)
    else:
        pen.line(np.array([[-half * 0.8, y], [half * 0.8, y]]), width=1.1)


def _oval(x: float, y: float, half_width: float, half_height: float) -> Points:
    angle = np.linspace(0, 2 * math.pi, 41)
    return np.stack((x + half_width * np.cos(angle), y + half_height * np.sin(angle)), 1)


def _arc(x: float, y: float, half_width: float, drop: float) -> Points:
    """A parabola between two ends at height y whose middle hangs `drop` lower (higher where negative)."""
    t = np.linspace(-1, 1, 21)
    return np.stack((x + half_width * t, y + drop * (1 - t * t)), 1)
