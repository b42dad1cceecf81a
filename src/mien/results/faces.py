"""What one image holds: detections as arrays, and faces as objects."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError, ImageError
from mien.results.details import Details, EyesOpen, Gaze, Pose
from mien.results.documents import FaceDocument

Point = tuple[float, float]
"""x, y in pixels of the image."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Faces found in one image, best first.

    boxes: float32 (N, 4), pixels of the image, x1, y1, x2, y2. scores: float32 (N,), 0 to 1.
    landmarks: float32 (N, 5, 2), x, y of the eye on the image's left, the eye on its right, nose, mouth corner on
    its left, mouth corner on its right; None where the method has none. cropped: the boxes are face crops already,
    framed as a model expects them, and are not framed anew.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32] | None = None
    cropped: bool = False

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the image; it may reach over the image's border.

    Attributes:
        x1: Left edge.
        y1: Top edge.
        x2: Right edge.
        y2: Bottom edge.

    Examples:
        >>> box = Box(10, 20, 40, 60)
        >>> x1, y1, x2, y2 = box
        >>> box.xywh, box.area, box.center
        ((10, 20, 30, 40), 1200, (25.0, 40.0))
    """

    x1: float
    y1: float
    x2: float
    y2: float

    def __iter__(self) -> Iterator[float]:
        """Left, top, right, bottom."""
        return iter(self.xyxy)

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return (self.x1, self.y1, self.x2, self.y2)

    @property
    def xywh(self) -> tuple[float, float, float, float]:
        """Left, top, width, height."""
        return (self.x1, self.y1, self.width, self.height)

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.y2 - self.y1

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height

    @property
    def center(self) -> Point:
        """The middle: x, y."""
        return ((self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2)


@dataclass(frozen=True, slots=True, repr=False)
class Face:
    """One face and its apparent expression.

    Attributes:
        box: Where it is, pixels of the image.
        detection_score: The score of the detector for this face, 0 to 1.
        expression: The most likely label.
        confidence: The most likely label's probability, 0 to 1.
        probabilities: Label -> the model's calibrated probability; they sum to 1.
        abstained: Whether the confidence is below `abstain_below`.
        landmarks: Five points x, y in pixels: the eye on the image's left, the eye on its right, nose, mouth corner on
            its left, mouth corner on its right. None if the detector has none.
        details: Mesh, pose, gaze, eyes, mouth and blendshapes, where they were requested (`details=True`); else None.
            `face.pose` is `face.details.pose`, and so are the others.
        image: The whole image, uint8 RGB (H, W, 3), if it was kept; else None. Faces of one image share it.

    Examples:
        >>> import mien
        >>> face = mien.predict("src/mien/examples/astronaut.png")[0]
        >>> face.expression, round(face.confidence, 2)
        ('happy', 0.99)
        >>> len(face.landmarks), face.crop().dtype
        (5, dtype('uint8'))
    """

    box: Box
    detection_score: float
    expression: str
    confidence: float
    probabilities: dict[str, float]
    abstained: bool = False
    landmarks: tuple[Point, ...] | None = None
    details: Details | None = None
    image: NDArray[np.uint8] | None = field(default=None, compare=False)

    @property
    def mesh(self) -> NDArray[np.float32] | None:
        """float32 (478, 3), pixels of the image; None without details."""
        return None if self.details is None else self.details.mesh

    @property
    def pose(self) -> Pose | None:
        """How the head is turned, degrees; None without details."""
        return None if self.details is None else self.details.pose

    @property
    def gaze(self) -> Gaze | None:
        """Where the eyes look, degrees; None without details."""
        return None if self.details is None else self.details.gaze

    @property
    def eyes_open(self) -> EyesOpen | None:
        """How far both eyes are open, 0 to 1; None without details."""
        return None if self.details is None else self.details.eyes_open

    @property
    def mouth_open(self) -> float | None:
        """How far the mouth is open, 0 to 1; None without details."""
        return None if self.details is None else self.details.mouth_open

    @property
    def blendshapes(self) -> dict[str, float] | None:
        """Blendshape -> 0 to 1; None without details."""
        return None if self.details is None else self.details.blendshapes

    def top(self, k: int = 3) -> tuple[tuple[str, float], ...]:
        """The most likely labels with their probabilities.

        Args:
            k: How many, at most as many as there are labels.

        Returns:
            (label, probability) pairs, the most likely first.

        Raises:
            ArgumentError: k is less than 1.
        """
        if k < 1:
            raise ArgumentError(f"k is {k}; expected 1 or more")
        return tuple(sorted(self.probabilities.items(), key=lambda item: -item[1])[:k])

    def crop(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The pixels inside the box.

        Args:
            image: uint8 (H, W) or (H, W, C), the image that the face was found in; None takes the one that was kept.

        Returns:
            A copy, (h, w) or (h, w, C) in the image's own colour order, cut off at its border; never empty.

        Raises:
            ImageError: No image was kept and none is given.
            ArgumentError: The image does not hold the box.
        """
        image = self.image if image is None else image
        if image is None:
            raise ImageError("the image of this face was not kept; give it: face.crop(image)")
        height, width = image.shape[:2]
        x1, y1 = max(0, math.floor(self.box.x1)), max(0, math.floor(self.box.y1))
        x2, y2 = min(width, math.ceil(self.box.x2)), min(height, math.ceil(self.box.y2))
        if x1 >= x2 or y1 >= y2:
            raise ArgumentError(f"the box {self.box.xyxy} is outside of the image of {width} x {height} pixels")
        return image[y1:y2, x1:x2].copy()

    def to_dict(self) -> FaceDocument:
        """The face as JSON has it.

        Returns:
            `box` and `landmarks` rounded to a tenth of a pixel, probabilities and scores to four digits.
        """
        marks = self.landmarks
        document: FaceDocument = {
            "box": [round(v, 1) for v in self.box],
            "detection_score": round(self.detection_score, 4),
            "expression": self.expression,
            "confidence": round(self.confidence, 4),
            "probabilities": {name: round(p, 4) for name, p in self.probabilities.items()},
            "abstained": self.abstained,
            "landmarks": None if marks is None else [[round(x, 1), round(y, 1)] for x, y in marks],
        }
        if self.details is not None:
            document["details"] = self.details.to_dict()
        return document

    def __repr__(self) -> str:
        return f"Face({_answer(self)}, box=({', '.join(f'{v:.0f}' for v in self.box)}))"


def _answer(face: Face) -> str:
    unsure = " unsure" if face.abstained else ""
    return f"{face.expression} {face.confidence:.2f}{unsure}"


def faces_text(faces: tuple[Face, ...]) -> str:
    """The number of faces and their expressions in a few words: `29 faces: 17 happy, 12 neutral`."""
    if not faces:
        return "no faces"
    if len(faces) == 1:
        return f"1 face: {_answer(faces[0])}"
    names = [("unsure" if face.abstained else face.expression) for face in faces]
    counted = sorted(dict.fromkeys(names), key=lambda name: -names.count(name))
    return f"{len(faces)} faces: {', '.join(f'{names.count(name)} {name}' for name in counted)}"
