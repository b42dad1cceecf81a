"""The shapes of the responses, for the OpenAPI document. `mien.media.sinks` writes the JSON of images."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, Field

ModelName = Annotated[str | None, Query(description="one of GET /v1/models")]
DetectorName = Annotated[str | None, Query(description="one of GET /v1/models")]
Probability = Annotated[float, Field(ge=0, le=1)]


VideoStage = Literal["queued", "running", "done", "incomplete", "failed"]


class FaceShape(BaseModel):
    """One face and its apparent expression."""

    box: Annotated[list[float], Field(min_length=4, max_length=4, description="x1, y1, x2, y2, pixels of the image")]
    detection_score: float
    expression: Annotated[str, Field(description="the most likely label")]
    confidence: Annotated[Probability, Field(description="the probability of the most likely label")]
    probabilities: Annotated[dict[str, Probability], Field(description="label -> probability; they sum to 1")]
    abstained: bool
    landmarks: Annotated[
        list[Annotated[list[float], Field(min_length=2, max_length=2)]] | None,
        Field(description="x, y of both eyes, nose and mouth corners; null if the detector gives none"),
    ]


class ImageShape(BaseModel):
    """One image: its faces from left to right, or the reason why it is unreadable."""

    source: Annotated[str, Field(description="the file's name as the client gave it, or its number")]
    width: Annotated[
        int,
        Field(ge=0, description="pixels, after EXIF rotation; of the reduced image if it was too large; 0: unreadable"),
    ]
    height: Annotated[int, Field(ge=0)]
    faces: list[FaceShape]
    error: str | None


class ModelShape(BaseModel):
    """The model of the results."""

    name: str
    labels: list[str]
    target: Annotated[
        str, Field(description="votes: probabilities are shares of raters; label: of labels of the data set")
    ]
    sha256: list[str]


class AnswerShape(BaseModel):
    """The document that `mien predict --format json` writes."""

    model: ModelShape
    images: list[ImageShape]


class LimitsShape(BaseModel):
    """Limits of a request."""

    max_upload_mb: int
    max_pixels: int
    max_files: int


class ModelsShape(BaseModel):
    """Served models and detectors; the first of each is the default."""

    models: list[ModelShape]
    detectors: list[str]
    videos: Annotated[bool, Field(description="whether videos are accepted")]
    on_device: Annotated[
        bool, Field(description="whether the page can recognise in the browser, with the files below /device")
    ]
    limits: LimitsShape


class VideoShape(BaseModel):
    """A video job."""

    id: Annotated[str, Field(description="with the token that sent the video, it gives access to the video")]
    state: Annotated[
        VideoStage,
        Field(description="incomplete: the video is damaged or too long; results up to that point are available"),
    ]
    model: str
    progress: Annotated[Probability | None, Field(description="null: the length of the video is unknown")]
    seconds_left: float | None
    frames: Annotated[int, Field(ge=0, description="so far")]
    error: Annotated[str | None, Field(description="why it failed or is incomplete")]
    summary: Annotated[dict[str, Any] | None, Field(description="as in `mien predict --format json` for a video")]
    files: Annotated[list[str], Field(description="result files, relative to this job's URL")]
    removed_in_s: Annotated[float | None, Field(description="seconds until an ended job is removed")]


class StateShape(BaseModel):
    """State of the server."""

    status: str


class ErrorDetails(BaseModel):
    """The reason of an error."""

    code: Annotated[str, Field(description="for programs")]
    message: Annotated[str, Field(description="for people")]


class ErrorShape(BaseModel):
    """The shape of every error."""

    error: ErrorDetails
