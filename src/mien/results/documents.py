"""The JSON of results, key by key: the types of what `to_dict` returns, and the schemas in the server's API document.

A text in an annotation describes the key. `Share` is a number from 0 to 1.
"""

from __future__ import annotations

from typing import Annotated, TypedDict

Share = Annotated[float, "0 to 1"]
Corners = Annotated[list[float], "x1, y1, x2, y2, pixels of the image"]
Marks = Annotated[
    list[list[float]] | None, "x, y of both eyes, nose and mouth corners; null if the detector gives none"
]


class FaceDocument(TypedDict):
    """One face and its apparent expression."""

    box: Corners
    detection_score: float
    expression: Annotated[str, "the most likely label"]
    confidence: Annotated[Share, "the probability of the most likely label"]
    probabilities: Annotated[dict[str, Share], "label -> probability; they sum to 1"]
    abstained: bool
    landmarks: Marks


class ImageDocument(TypedDict):
    """One image: its faces from left to right, or the reason why it is unreadable."""

    source: Annotated[str, "the file's name as the client gave it, or its number"]
    width: Annotated[int, "pixels, after EXIF rotation; of the reduced image if it was too large; 0: unreadable"]
    height: int
    faces: list[FaceDocument]
    error: str | None


class ModelDocument(TypedDict):
    """The model of the results."""

    name: str
    labels: list[str]
    target: Annotated[str, "at balance 0: votes: probabilities are shares of raters; label: of labels of the data set"]
    sha256: list[str]
    balance: Annotated[Share, "how far the training mix of expressions is evened out; 0: not at all"]
    prior: Annotated[dict[str, Share] | None, "the user's mix of expressions, label -> share; null: an even one"]


class PredictionsDocument(TypedDict):
    """The document that `mien predict --format json` writes."""

    model: ModelDocument
    images: list[ImageDocument]
