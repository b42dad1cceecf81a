"""The shapes of the answers, for the OpenAPI document. The texts themselves are made by `mien.media.sinks`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

Probability = Annotated[float, Field(ge=0, le=1)]


VideoStage = Literal["queued", "running", "done", "incomplete", "failed"]


class FaceShape(BaseModel):
    """One face and how it appears."""

    box: Annotated[list[float], Field(min_length=4, max_length=4, description="x1, y1, x2, y2, pixels of the picture")]
    detection_score: float
    expression: Annotated[str, Field(description="the likeliest label")]
    confidence: Annotated[Probability, Field(description="the likeliest label's probability")]
    probabilities: Annotated[dict[str, Probability], Field(description="label -> probability; they sum to 1")]
    abstained: bool
    landmarks: Annotated[
        list[Annotated[list[float], Field(min_length=2, max_length=2)]] | None,
        Field(description="x, y of both eyes, nose and mouth corners; null where the detector has none"),
    ]


class ImageShape(BaseModel):
    """One picture: its faces from left to right, or the reason why it could not be read."""

    source: Annotated[str, Field(description="the file's name as the client gave it, or its number")]
    width: Annotated[
        int,
        Field(ge=0, description="pixels, turned upright; of the reduced picture where it was too large; 0: not read"),
    ]
    height: Annotated[int, Field(ge=0)]
    faces: list[FaceShape]
    error: str | None


class ModelShape(BaseModel):
    """Which model answered."""

    name: str
    labels: list[str]
    target: Annotated[str, Field(description="votes: a probability is a share of raters; label: of data set labels")]
    sha256: list[str]


class AnswerShape(BaseModel):
    """What `mien predict --format json` writes."""

    model: ModelShape
    images: list[ImageShape]


class LimitsShape(BaseModel):
    """What a request may hold."""

    max_upload_mb: int
    max_pixels: int
    max_files: int


class ModelsShape(BaseModel):
    """What is served: the first model and the first detector are the defaults."""

    models: list[ModelShape]
    detectors: list[str]
    videos: Annotated[bool, Field(description="whether videos are taken")]
    on_device: Annotated[bool, Field(description="whether the page can recognise in the browser alone, below /device")]
    limits: LimitsShape


class VideoShape(BaseModel):
    """A video job."""

    id: Annotated[str, Field(description="who knows it, and has the same token, may fetch and remove the video")]
    state: Annotated[
        VideoStage,
        Field(description="incomplete: the video is damaged or too long; what came before that is there"),
    ]
    model: str
    progress: Annotated[Probability | None, Field(description="null: the video does not say how long it is")]
    seconds_left: float | None
    frames: Annotated[int, Field(ge=0, description="so far")]
    error: Annotated[str | None, Field(description="why it failed or is incomplete")]
    summary: Annotated[dict[str, Any] | None, Field(description="as `mien predict --format json` says it of a video")]
    files: Annotated[list[str], Field(description="what can be fetched, below this job's address")]
    removed_in_s: Annotated[float | None, Field(description="an ended job is removed after so many seconds")]


class StateShape(BaseModel):
    """How the server is."""

    status: str


class ErrorDetails(BaseModel):
    """Why not."""

    code: Annotated[str, Field(description="for programs")]
    message: Annotated[str, Field(description="for people")]


class ErrorShape(BaseModel):
    """Every error has this shape."""

    error: ErrorDetails
