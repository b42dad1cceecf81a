"""The routes of video jobs: upload a video, get its progress, download results, remove it."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from starlette.responses import FileResponse

from mien.results import ModelSummary
from mien.serving import schemas
from mien.serving.jobs import VideoJobs, VideoState
from mien.serving.refusals import Refusal
from mien.serving.video_work import FRAMES, RESULTS, TIMELINE_CSV, TIMELINE_LINES, VIDEO

_TYPES = {
    TIMELINE_CSV: "text/csv; charset=utf-8",
    TIMELINE_LINES: "application/jsonl",
    VIDEO: "video/mp4",
    FRAMES: "application/json",
}
_FILE = {"type": "string", "format": "binary"}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "A video: the only file of a form, or its bytes. The format is detected from the content.",
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "required": ["file"], "properties": {"file": _FILE}}},
            "video/*": {"schema": {**_FILE, "minLength": 1}},
        },
    }
}
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")
ModelName = Annotated[str | None, Query(description="one of GET /v1/models")]
DetectorName = Annotated[str | None, Query(description="one of GET /v1/models")]


def add_video_routes(
    app: FastAPI,
    jobs: VideoJobs,
    *,
    choose: Callable[[str | None, str | None], tuple[str, str]],
    summary: Callable[[str], ModelSummary],
    errors: dict[int | str, dict[str, Any]],
) -> None:
    """Adds the routes.

    choose: returns the requested model and detector; raises Refusal.
    errors: status -> response of the OpenAPI document.
    """

    def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
        more = {
            404: "there is no such video",
            409: "results are not available",
            415: "not a readable video",
            416: "the requested range is outside of the file",
        }
        own = {status: {"model": schemas.ErrorShape, "description": text} for status, text in more.items()}
        return {status: errors[status] if status in errors else own[status] for status in (401, 403, 421, *statuses)}

    def shape(state: VideoState) -> schemas.VideoShape:
        return schemas.VideoShape(
            id=state.id,
            state=state.state,
            model=state.model,
            progress=state.progress,
            seconds_left=state.seconds_left,
            frames=state.frames,
            error=state.error,
            summary=state.summary,
            files=list(RESULTS) if state.has_results else [],
            removed_in_s=jobs.removed_in_s(state),
        )

    @app.post(
        "/v1/videos",
        status_code=HTTPStatus.ACCEPTED,
        responses=responses(400, 408, 413, 415, 422, 503),
        openapi_extra=_BODY,
        summary="Upload a video: starts a job that tracks its faces",
    )
    async def send_video(
        request: Request, response: Response, model: ModelName = None, detector: DetectorName = None
    ) -> schemas.VideoShape:
        name, detector_name = choose(model, detector)
        state = await jobs.add(
            request, model=name, summary=summary(name), detector=detector_name, owner=_owner(request)
        )
        response.headers["location"] = f"/v1/videos/{state.id}"
        return shape(state)

    @app.get("/v1/videos/{video}", responses=responses(404), summary="State of a video job")
    async def get_video(request: Request, video: str) -> schemas.VideoShape:
        return shape(jobs.get(video, _owner(request)))

    @app.delete(
        "/v1/videos/{video}",
        status_code=HTTPStatus.NO_CONTENT,
        responses=responses(404),
        summary="Cancel a video job and remove its files",
    )
    async def remove_video(request: Request, video: str) -> Response:
        await jobs.remove(video, _owner(request))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    def add_file(name: str) -> None:
        kind = _TYPES[name].partition(";")[0]

        @app.get(
            f"/v1/videos/{{video}}/{name}",
            operation_id=f"get_{re.sub('[^a-z0-9]', '_', name)}",
            responses={
                200: {"content": {kind: {}}, "description": "the file"},
                206: {"content": {kind: {}}, "description": "the requested range"},
                **responses(404, 409, 416),
            },
            response_class=FileResponse,
            summary=f"Result of a video: {name}",
        )
        async def get_file(request: Request, video: str) -> Response:
            return _file(request, jobs, video, name)

    for name in RESULTS:
        add_file(name)


def _owner(request: Request) -> str:
    """The caller found by `Gate`: the same for all requests with the same token."""
    return str(request.scope.get("mien.caller", ""))


def _file(request: Request, jobs: VideoJobs, video: str, name: str) -> Response:
    """Returns the file, or its one part in `Range`; any other `Range` is ignored."""
    place = jobs.result(video, _owner(request), name)
    try:
        status = place.stat()
    except OSError:
        raise Refusal(HTTPStatus.NOT_FOUND, "no_video", "there is no such video, or it has expired") from None
    wanted = request.headers.get("range")
    part = _RANGE.fullmatch(wanted or "")
    if wanted is not None and (part is None or (part[1] and part[2] and int(part[1]) > int(part[2]))):
        request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
    elif part is not None and (int(part[1]) >= status.st_size if part[1] else int(part[3]) == 0):
        message = f"the file has {status.st_size} bytes"
        raise Refusal(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "no_such_part", message)
    return FileResponse(place, media_type=_TYPES[name], filename=f"mien-{name}", stat_result=status)
