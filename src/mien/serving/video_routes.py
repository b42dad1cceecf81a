"""The routes of video jobs: upload a video, get its progress, download results, remove it."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.responses import FileResponse

from mien.serving import schemas
from mien.serving.engine import Engine
from mien.serving.refusals import Refusal
from mien.serving.schemas import DetectorName, ModelName, VideoShape
from mien.serving.video_work import FILES
from mien.serving.videos import VideoJobs

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")


def add_video_routes(app: FastAPI, jobs: VideoJobs, engine: Engine) -> None:
    """Adds the routes of video jobs."""
    one = "/v1/videos/{video}"
    statuses = schemas.errors(400, 408, 413, 415, 422, 503)
    about = "Upload a video: starts a job that tracks its faces"

    @app.post("/v1/videos", status_code=202, responses=statuses, openapi_extra=schemas.VIDEO_BODY, summary=about)
    async def send_video(
        request: Request, response: Response, model: ModelName = None, detector: DetectorName = None
    ) -> VideoShape:
        """Returns the new job; its URL is in the header Location."""
        name, searcher = engine.choose(model, detector)
        summary, owner = engine.summary(name), _owner(request)
        state = await jobs.add(request, model=name, summary=summary, detector=searcher, owner=owner)
        response.headers["location"] = f"/v1/videos/{state.id}"
        return state

    @app.get(one, responses=schemas.errors(404), summary="State of a video job")
    async def get_video(request: Request, video: str) -> VideoShape:
        """Returns the job's state, with a summary once it has ended."""
        return jobs.get(video, _owner(request))

    @app.delete(one, status_code=204, responses=schemas.errors(404), summary="Cancel a video job and remove its files")
    async def remove_video(request: Request, video: str) -> Response:
        """Also works while the job is running."""
        await jobs.remove(video, _owner(request))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def get_file(request: Request, video: str) -> Response:
        """Takes a `Range` with one part; any other is ignored."""
        name = request.url.path.rpartition("/")[2]
        place, status = jobs.result(video, _owner(request), name)
        wanted = request.headers.get("range")
        part = _RANGE.fullmatch(wanted or "")
        if wanted is not None and (part is None or (part[1] and part[2] and int(part[1]) > int(part[2]))):
            request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
        elif part is not None and (int(part[1]) >= status.st_size if part[1] else int(part[3]) == 0):
            message = f"the file has {status.st_size} bytes"
            raise Refusal(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "no_such_part", message)
        return FileResponse(place, media_type=FILES[name], filename=f"mien-{name}", stat_result=status)

    for name, kind in FILES.items():
        content: dict[str, Any] = {"content": {kind.partition(";")[0]: {}}}
        whole, part = {**content, "description": "the file"}, {**content, "description": "the requested range"}
        app.get(
            f"{one}/{name}",
            operation_id=f"get_{re.sub('[^a-z0-9]', '_', name)}",
            responses={200: whole, 206: part, **schemas.errors(404, 409, 416)},
            response_class=FileResponse,
            summary=f"Result of a video: {name}",
        )(get_file)


def _owner(request: Request) -> str:
    """The caller found by `Gate`: the same for all requests with the same token."""
    return str(request.scope.get("mien.caller", ""))
