"""The web application: the API under /v1 (/v1/openapi.json), what a balancer and Prometheus ask, and the page."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from fastapi import FastAPI, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.media.draw import draw_faces, encode_image
from mien.media.sinks import CsvSink, JsonSink
from mien.results import ImageResult, ModelSummary
from mien.serving import schemas
from mien.serving.engine import WHOLE, Engine, Upload
from mien.serving.gate import Envelope, Gate
from mien.serving.jobs import VideoJobs, videos_offered
from mien.serving.metrics import CONTENT_TYPE, Metrics
from mien.serving.refusals import ClientGone, Refusal, busy
from mien.serving.settings import ServeSettings, read_tokens
from mien.serving.stream import Streams
from mien.serving.uploads import UploadMemory, pictures_of, read_body
from mien.serving.video_routes import add_video_routes
from mien.serving.web_export import WORKER_POLICY, check_export
from mien.version import __version__

T = TypeVar("T")
_DESCRIPTION = (
    "Apparent facial expressions in pictures, as human raters label them; not what a person feels. "
    "Pictures stay in memory and are gone when the answer is given; a video lies in a private temporary folder until "
    "it is removed."
)
_PICTURES = {"type": "string", "format": "binary"}
_BODY = {
    "requestBody": {
        "required": True,
        "description": (
            "Pictures: files of a form, the bytes of one, or JSON with base64 or data: URLs. What they are is seen "
            "from their content; paths and addresses are not opened."
        ),
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {"files": {"type": "array", "minItems": 1, "items": _PICTURES}},
                }
            },
            "image/*": {"schema": {**_PICTURES, "minLength": 1}},
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {"images": {"type": "array", "minItems": 1, "items": {"type": "string"}}},
                    "example": {"images": ["data:image/jpeg;base64,...", "<base64>"]},
                }
            },
        },
    }
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorShape, "description": text}
    for status, text in (
        (400, "the request can't be understood"),
        (401, "a token is needed"),
        (403, "a page of another site"),
        (408, "the upload took too long"),
        (413, "too large, or too many files"),
        (421, "another server's name"),
        (422, "a parameter is wrong, or the picture can't be read"),
        (503, "too much at once, or not ready yet"),
    )
}
_FEW: dict[int | str, dict[str, Any]] = {status: _ERRORS[status] for status in (401, 403, 421)}
_NOT_READY: dict[int | str, dict[str, Any]] = {503: _ERRORS[503]}
_CSV = {"text/csv": {"schema": {"type": "string"}}}
_ROWS: dict[int | str, dict[str, Any]] = {200: {"content": _CSV}}
_DRAWN: dict[int | str, dict[str, Any]] = {
    200: {"content": {**_CSV, "image/jpeg": {"schema": _PICTURES}, "image/png": {"schema": _PICTURES}}}
}
ModelName = Annotated[str | None, Query(description="one of those that GET /v1/models names")]
DetectorName = Annotated[str | None, Query(description="one of those that GET /v1/models names")]
Form = Annotated[Literal["json", "csv"], Query(alias="format", description="csv: a row for each face")]
Annotate = Annotated[bool, Query(description="the one picture with boxes and labels, instead of JSON")]


def create_app(settings: ServeSettings) -> FastAPI:
    """The application; its models are open, and warm soon after it starts.

    Raises ModelFileError, DetectorError, and ServingError for a token file that can't be used.
    """
    tokens = read_tokens(settings.token_file) if settings.token_file else ()
    metrics = Metrics()
    engine = Engine(settings, metrics)
    server = _Server(settings, engine, metrics)
    files = dict(zip(engine.models, settings.models, strict=True))
    jobs = VideoJobs(settings, files, metrics) if videos_offered(settings) else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(engine.warm_up())
        if jobs is not None:
            await jobs.start()
        yield
        if jobs is not None:
            await jobs.close()
        warming.cancel()
        engine.close()

    app = FastAPI(
        title="mien",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # these pages bring scripts from other servers
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    _add_routes(app, server)
    if jobs is not None:
        add_video_routes(app, jobs, choose=engine.choose, summary=engine.summary, errors=_ERRORS)
    routes = [route.path for route in app.routes if hasattr(route, "path")]
    app.router.default = _page_or(app.router.default, settings.on_device)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(RequestValidationError, _refuse_parameter)
    inner = [Middleware(Gate, settings=settings, tokens=tokens, protected=("/v1", "/metrics"))]
    if settings.allowed_origins:
        inner.insert(
            0,
            Middleware(
                CORSMiddleware,
                allow_origins=settings.allowed_origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["authorization", "content-type"],
            ),
        )
    app.user_middleware = [Middleware(Envelope, routes=routes, metrics=metrics), *inner]
    return app


def _page_or(not_found: ASGIApp, on_device: Path | None) -> ASGIApp:
    """The page's files where no route matches: mounted as a route it would hide which methods the others take.

    on_device: an exported folder; what lies below its `device` takes the place of the page's.
    """
    files = StaticFiles(directory=Path(str(resources.files("mien.serving"))) / "static", html=True)
    exported = _device_files(on_device) if on_device else None

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        is_for_page = scope["type"] == "http" and not scope["path"].startswith("/v1/")
        if exported and is_for_page and scope["path"].startswith("/device/"):
            await exported(scope, receive, send)
        else:
            await (files if is_for_page else not_found)(scope, receive, send)

    return page


def _device_files(folder: Path) -> ASGIApp:
    """An exported folder's files; what runs there may compile WebAssembly. Raises ExportError."""
    check_export(folder)
    files = StaticFiles(directory=folder / "device")

    async def device(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = WORKER_POLICY
                headers["cache-control"] = "no-cache"
            await send(message)

        below = {**scope, "root_path": f"{scope.get('root_path', '')}/device"}
        await files(below, receive, send_with_policy)

    return device


class _Server:
    """What the routes share."""

    def __init__(self, settings: ServeSettings, engine: Engine, metrics: Metrics) -> None:
        self.settings, self.engine, self.metrics = settings, engine, metrics
        self.videos = videos_offered(settings)
        self.memory = UploadMemory(settings.max_held_mb * 1_000_000, metrics)
        self.streams = Streams(engine, metrics, most=settings.max_streams, timeout_s=settings.stream_timeout_s)

    async def predict(
        self, request: Request, *, model: str | None, detector: str | None, annotate: bool, form: str
    ) -> Response:
        """Reads the pictures, has them recognised, and answers; stops where the client goes."""
        name, finder = self.engine.choose(model, detector)
        if not self.engine.ready:
            raise busy("the server is warming up")
        if self.engine.full:
            raise busy("the queue is full")  # before the upload is read
        body = await read_body(request, self.settings, self.memory)
        size = len(body)
        try:
            content_type = request.headers.get("content-type", "")
            uploads = await asyncio.to_thread(pictures_of, body, content_type, max_files=self.settings.max_files)
            del body
            if annotate and len(uploads) > 1:
                raise Refusal(HTTPStatus.BAD_REQUEST, "one_picture", "annotate takes one picture a request")
            with self.engine.places(len(uploads)):
                work = self.engine.recognize(uploads, model=name, detector=finder, keep_images=annotate)
                results = await _while_connected(request, work, self.settings.answer_timeout_s)
                if annotate:
                    return await asyncio.to_thread(_drawn, results[0], uploads[0])
            text = _document(self.engine.summary(name), results, form)
            return Response(text, media_type="text/csv" if form == "csv" else "application/json")
        finally:
            self.memory.give_back(size)


def _add_routes(app: FastAPI, server: _Server) -> None:
    engine, settings = server.engine, server.settings

    @app.post(
        "/v1/predict",
        responses={**_ERRORS, **_DRAWN},
        response_model=schemas.AnswerShape,
        openapi_extra=_BODY,
        summary="Recognise the expressions of the faces in pictures",
    )
    async def predict(
        request: Request,
        model: ModelName = None,
        detector: DetectorName = None,
        annotate: Annotate = False,
        form: Form = "json",
    ) -> Response:
        return await server.predict(request, model=model, detector=detector, annotate=annotate, form=form)

    @app.post(
        "/v1/predict/faces",
        responses={**_ERRORS, **_ROWS},
        response_model=schemas.AnswerShape,
        openapi_extra=_BODY,
        summary="Recognise the expressions of pictures that are face crops already",
    )
    async def predict_faces(request: Request, model: ModelName = None, form: Form = "json") -> Response:
        return await server.predict(request, model=model, detector=WHOLE, annotate=False, form=form)

    @app.get("/v1/models", responses=_FEW, response_model=schemas.ModelsShape, summary="What is served")
    async def models() -> schemas.ModelsShape:
        limits = schemas.LimitsShape(
            max_upload_mb=settings.max_upload_mb, max_pixels=settings.max_pixels, max_files=settings.max_files
        )
        shapes = [schemas.ModelShape(**{**engine.summary(n).to_dict(), "name": n}) for n in engine.models]
        return schemas.ModelsShape(
            models=shapes,
            detectors=list(engine.detectors),
            videos=server.videos,
            on_device=settings.on_device is not None,
            limits=limits,
        )

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket, model: ModelName = None, detector: DetectorName = None) -> None:
        name, finder = engine.choose(model, detector)
        if not engine.ready or server.streams.full:
            raise busy("too many streams" if engine.ready else "the server is warming up")
        await server.streams.run(socket, model=name, detector=finder)

    @app.get("/healthz", response_model=schemas.StateShape, summary="Whether the server runs")
    async def healthz() -> schemas.StateShape:
        return schemas.StateShape(status="ok")

    @app.get("/readyz", responses=_NOT_READY, response_model=schemas.StateShape, summary="Whether it can work")
    async def readyz() -> schemas.StateShape:
        if not engine.ready:
            raise busy("the server is warming up")
        return schemas.StateShape(status="ready")

    @app.get("/metrics", responses=_FEW, response_class=Response, summary="Counts and times, for Prometheus")
    async def metrics() -> Response:
        return Response(server.metrics.text(), headers={"content-type": CONTENT_TYPE})


async def _while_connected(request: Request, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
    """What the work gives, unless the client goes or it takes too long. Raises ClientGone, Refusal."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if leaving.done():
            raise ClientGone
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too_slow", "the work takes too long", retry_after=5)
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _document(model: ModelSummary, results: list[ImageResult], form: str) -> bytes:
    """What `mien predict --format json` or `csv` writes."""
    text = io.StringIO()
    sink = CsvSink(text, model) if form == "csv" else JsonSink(text, model)
    for result in results:
        sink.write(result)
    sink.finish()
    return text.getvalue().encode("utf-8", errors="backslashreplace")


def _drawn(result: ImageResult, upload: Upload) -> Response:
    if result.image is None:
        reason = (result.error or "").removeprefix(f"{result.source}: ")
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "unreadable_picture", f"the picture {reason}")
    suffix = ".jpg" if upload.data.startswith(b"\xff\xd8\xff") else ".png"
    data = encode_image(draw_faces(result.image, result.faces), suffix)
    return Response(data, media_type="image/jpeg" if suffix == ".jpg" else "image/png")


async def _refuse_http(request: Request, error: Exception) -> Response:
    """The framework's own refusals: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "_")
    refusal = Refusal(status, code, f"{status.phrase}: /v1/openapi.json says what there is")
    return Response(refusal.body(), status, headers={**(error.headers or {}), **refusal.headers()})


async def _refuse_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    names = ", ".join(sorted({str(part["loc"][-1]) for part in error.errors() if part["loc"][0] == "query"}))
    refusal = Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "bad_parameter",
        f"these parameters can't be understood: {names}; /v1/openapi.json says what is expected",
    )
    return Response(refusal.body(), refusal.status, headers=refusal.headers())
