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
_SHARE = typing.get_args(Share)[1]


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
    if typing.is_typeddict(hint):
        return _shape_of(hint)
    if typing.get_origin(hint) is Annotated:
        inner, *notes = typing.get_args(hint)
        limits: Any = {"ge": 0, "le": 1} if _SHARE in notes else {}
        about = "".join(note for note in notes if note != _SHARE)
        return Annotated[_for_pydantic(inner), Field(description=about or None, **limits)]
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
    on_device: Annotated[bool, Field(description="whether the page can recognise with the files below /device")]
    limits: LimitsShape


class VideoShape(BaseModel):
    """A video job."""

    id: Annotated[str, Field(description="with the token that sent the video, it gives access to the video")]
    state: Annotated[
        Literal["queued", "running", "done", "incomplete", "failed"],
        Field(description="incomplete: the video is damaged or too long; results up to that point are available"),
    ] = "queued"
    model: str
    progress: Annotated[Probability | None, Field(description="null: the length of the video is unknown")] = 0
    seconds_left: float | None = None
    frames: Annotated[int, Field(ge=0, description="so far")] = 0
    error: Annotated[str | None, Field(description="why it failed or is incomplete")] = None
    summary: Annotated[dict[str, Any] | None, Field(description="as `mien predict --format json` has it")] = None
    latest: Annotated[dict[str, Any] | None, Field(description="last frame, as in `frames.json`, no details")] = None
    files: Annotated[list[str], Field(description="available files, relative to this job's URL")] = []
    removed_in_s: Annotated[float | None, Field(description="seconds until an ended job is removed")] = None


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


Responses = dict[int | str, dict[str, Any]]
"""Of an OpenAPI document, by status."""

BINARY = {"type": "string", "format": "binary"}


def body_of(about: str, field: str, schema: dict[str, Any], kinds: dict[str, Any]) -> dict[str, Any]:
    """A request's body: a form with a field of this schema, or one of the kinds."""
    form = {"type": "object", "required": [field], "properties": {field: schema}}
    schemas = {"multipart/form-data": form, **kinds}
    content = {kind: {"schema": each} for kind, each in schemas.items()}
    return {"requestBody": {"required": True, "description": about, "content": content}}


IMAGES_BODY = body_of(
    "Images: files of a form, the bytes of one image, or JSON with base64 or data: URLs. The format is detected from "
    "the content; paths and URLs are not opened.",
    "files",
    {"type": "array", "minItems": 1, "items": BINARY},
    {
        "image/*": {**BINARY, "minLength": 1},
        "application/json": {
            "type": "object",
            "required": ["images"],
            "properties": {"images": {"type": "array", "minItems": 1, "items": {"type": "string"}}},
            "example": {"images": ["data:image/jpeg;base64,...", "<base64>"]},
        },
    },
)
VIDEO_BODY = body_of(
    "A video: the only file of a form, or its bytes. The format is detected from the content.",
    "file",
    BINARY,
    {"video/*": {**BINARY, "minLength": 1}},
)
_ERRORS = {
    400: "the request is malformed",
    401: "a token is required",
    403: "the Origin is another site",
    404: "there is no such video",
    408: "the upload took too long",
    409: "results are not available",
    413: "too large, or too many files",
    415: "the body is compressed, or no readable video",
    416: "the requested range is outside of the file",
    421: "the Host is not this server",
    422: "a parameter is invalid, or the file is unreadable or exceeds a limit",
    503: "overloaded, or not ready yet",
}


def errors(*statuses: int) -> Responses:
    """Error responses with these statuses, and those of access."""
    return {status: {"model": ErrorShape, "description": _ERRORS[status]} for status in (401, 403, 421, *statuses)}


_CSV = {"text/csv": {"schema": {"type": "string"}}}
ROWS: Responses = {200: {"content": _CSV}, **errors(400, 408, 413, 415, 422, 503)}
DRAWN: Responses = {
    **ROWS, 200: {"content": {**_CSV, "image/jpeg": {"schema": BINARY}, "image/png": {"schema": BINARY}}}
}  # fmt: skip
