"""The shapes of the responses, for the OpenAPI document. Those of results are read from `mien.results.documents`."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, Field, create_model

from mien.results.documents import ModelDocument, PredictionsDocument, Share

ModelName = Annotated[str | None, Query(description="one of GET /v1/models")]
DetectorName = Annotated[str | None, Query(description="one of GET /v1/models")]
Probability = Annotated[float, Field(ge=0, le=1)]


VideoStage = Literal["queued", "running", "done", "incomplete", "failed"]


def _shape_of(document: type) -> type[BaseModel]:
    """A model with the keys of a typed dictionary of `mien.results.documents`."""
    hints = typing.get_type_hints(document, include_extras=True)
    fields: dict[str, Any] = {
        name: (_for_pydantic(typing.get_args(hint)[0]), None)
        if typing.get_origin(hint) is typing.NotRequired
        else (_for_pydantic(hint), ...)
        for name, hint in hints.items()
    }
    name = f"{document.__name__.removesuffix('Document')}Shape"
    return create_model(name, __doc__=document.__doc__, **fields)


def _for_pydantic(hint: Any) -> Any:
    """A type with its nested documents as models, its texts as descriptions and its ranges as constraints."""
    if hint == Share:
        return Probability
    if typing.is_typeddict(hint):
        return _shape_of(hint)
    if typing.get_origin(hint) is Annotated:
        inner, *notes = typing.get_args(hint)
        texts = [note for note in notes if note != typing.get_args(Share)[1]]
        inner = Probability if len(texts) < len(notes) else _for_pydantic(inner)
        return Annotated[inner, Field(description="".join(texts))]
    parts = tuple(_for_pydantic(part) for part in typing.get_args(hint))
    if isinstance(hint, types.UnionType):
        return typing.Union[parts]  # noqa: UP007
    return typing.get_origin(hint)[parts] if parts else hint


AnswerShape, ModelShape = _shape_of(PredictionsDocument), _shape_of(ModelDocument)


class LimitsShape(BaseModel):
    """Limits of a request."""

    max_upload_mb: int
    max_pixels: int
    max_files: int


class ModelsShape(BaseModel):
    """Served models and detectors; the first of each is the default."""

    models: list[ModelShape]  # type: ignore[valid-type]
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
