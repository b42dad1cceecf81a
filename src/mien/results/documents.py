"""The JSON of results, key by key: the types of what `to_dict` returns, and the schemas in the server's API document.

A text in an annotation describes the key. `Share` is a number from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, NotRequired, TypedDict

Share = Annotated[float, "0 to 1"]
Corners = Annotated[list[float], "x1, y1, x2, y2, pixels of the image"]
Marks = Annotated[
    list[list[float]] | None, "x, y of both eyes, nose and mouth corners; null if the detector gives none"
]


Degrees = Annotated[dict[str, float] | None, "yaw, pitch, roll: degrees, right-handed, in the camera's frame"]


class DetailsDocument(TypedDict):
    """What a face does; all null, with a reason in `error`, where it can't be seen well enough."""

    mesh: Annotated[list[list[float]] | None, "478 points: x, y in pixels of the image, depth on the same scale"]
    pose: Degrees
    gaze: Annotated[dict[str, float] | None, "yaw, pitch: degrees, with the signs of pose; null: eyes are closed"]
    eyes_open: Annotated[dict[str, Share] | None, "the person's left and right eye"]
    mouth_open: Annotated[Share | None, "the gap between the lips divided by the mouth's width"]
    blendshapes: Annotated[dict[str, Share] | None, "MediaPipe's name -> share"]
    error: Annotated[str | None, "why the others are null"]


class FaceDocument(TypedDict):
    """One face and its apparent expression."""

    box: Corners
    detection_score: float
    expression: Annotated[str, "the most likely label"]
    confidence: Annotated[Share, "the probability of the most likely label"]
    probabilities: Annotated[dict[str, Share], "label -> probability; they sum to 1"]
    abstained: bool
    landmarks: Marks
    details: NotRequired[Annotated[DetailsDocument, "only where requested"]]


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


def rounded(result: Any, **digits: int) -> dict[str, Any]:
    """The fields of a dataclass as JSON has them. digits: how many a number of that name keeps, where it is set."""
    values = {field.name: getattr(result, field.name) for field in fields(result)}
    return values | {name: round(values[name], n) for name, n in digits.items() if values[name] is not None}


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """The model of some results; it is the head of a JSON document and names the columns of a CSV.

    Attributes:
        name: Several models are joined by " + ".
        labels: In the order of the probabilities.
        target: `votes` if a probability is a share of raters at balance 0; `label` if it is that of a data set's label.
        sha256: Of each model file, in the same order.
        device: Where the networks run: `cpu`, `cuda`, ...
        balance: The balance of the probabilities, 0 to 1: see `Recognizer`.
        prior: The user's mix of expressions, label -> share; None for an even one.
        details: Whether the details of faces were requested.
    """

    name: str
    labels: tuple[str, ...]
    target: str
    sha256: tuple[str, ...] = ()
    device: str = "cpu"
    balance: float = 0.0
    prior: Mapping[str, float] | None = None
    details: bool = False

    def to_dict(self) -> ModelDocument:
        """The model as JSON has it, without the device, on which predictions do not depend."""
        return {
            "name": self.name,
            "labels": list(self.labels),
            "target": self.target,
            "sha256": list(self.sha256),
            "balance": self.balance,
            "prior": None if self.prior is None else dict(self.prior),
        }
