"""The web application: the API under /v1 (/v1/openapi.json), health checks, metrics and the page."""

from __future__ import annotations

import asyncio
import io
import signal
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from types import FrameType
from typing import Annotated, Any, Literal, TypeVar

from fastapi import FastAPI, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from mien.media.sinks import CsvSink, JsonSink
from mien.results import ImageResult, ModelSummary
from mien.results.draw import draw_faces, encode_image
from mien.serving import schemas
from mien.serving.connections import STATE, Connections
from mien.serving.engine import NO_DETECTOR, Engine, Upload
from mien.serving.gate import Envelope, Gate
from mien.serving.memory import Budget, resident_bytes, return_free_memory, settle_allocator
from mien.serving.metrics import CONTENT_TYPE, Metrics
from mien.serving.page import page_or
from mien.serving.receiving import Receiver, client_of
from mien.serving.refusals import ClientGone, Refusal, busy, too_slow
from mien.serving.schemas import DetectorName, ModelName
from mien.serving.settings import ServeSettings, read_tokens
from mien.serving.stream import Streams
from mien.serving.turns import BODY, Turns
from mien.serving.uploads import memory_for, read_uploads
from mien.serving.video_routes import add_video_routes
from mien.serving.videos import VideoJobs, videos_offered
from mien.version import __version__

T = TypeVar("T")
_KEEP_EVERY_S, _KEPT_BYTES = 0.25, 50_000_000
_ANSWER_FIRST_S = 1.0
_DESCRIPTION = (
    "Apparent facial expressions in images, as human raters label them; not what a person feels. "
    "Images stay in memory and are discarded after the response; a video is kept in a private temporary folder until "
    "it is removed."
)
Form = Annotated[Literal["json", "csv"], Query(alias="format", description="csv: one row per face")]
Annotate = Annotated[
    bool, Query(description="return the image with boxes and labels instead of JSON; one image per request")
]


def create_app(settings: ServeSettings) -> FastAPI:
    """Returns the application. Opens the models; they are warmed up after it starts.

    Raises ModelFileError, DetectorError, and ServingError for an invalid token file.
    """
    tokens = read_tokens(settings.token_file) if settings.token_file else ()
    settle_allocator()
    metrics, stopping = Metrics(), threading.Event()
    server = _Server(settings, stopping, metrics)
    engine = server.engine
    files = dict(zip(engine.models, settings.models, strict=True))
    jobs = VideoJobs(settings, files, server.receiver, metrics) if videos_offered(settings) else None
    connections = Connections(settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        answer_first(stopping)
        async with jobs or nullcontext():
            work = [engine.warm_up(), server.keep(connections), *([jobs.sweep()] if jobs else [])]
            running = [asyncio.create_task(each) for each in work]
            yield {STATE: connections}
            for task in running:
                task.cancel()
        server.turns.close()
        engine.close()

    app = FastAPI(
        title="mien",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # its pages load scripts from other servers
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    _add_routes(app, server)
    _add_health_routes(app, server)
    if jobs is not None:
        add_video_routes(app, jobs, engine)
    app.router.default = page_or(app.router.default, settings.on_device)
    app.add_exception_handler(HTTPException, _raise_refusal)
    app.add_exception_handler(RequestValidationError, _raise_parameter)
    app.add_middleware(Gate, settings=settings, tokens=tokens)
    if settings.allowed_origins:
        methods, headers = ("GET", "POST", "DELETE"), ("authorization", "content-type")
        origins = settings.allowed_origins
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=methods, allow_headers=headers)
    app.add_middleware(Envelope, routes=app.routes, stopping=stopping, metrics=metrics)
    return app


class _Server:
    """State shared by the routes."""

    def __init__(self, settings: ServeSettings, stopping: threading.Event, metrics: Metrics) -> None:
        self.settings, self.stopping, self.metrics = settings, stopping, metrics
        self.budget = Budget(settings.max_memory_mb, settings.client_share, metrics)
        self.turns = Turns(settings, self.budget, metrics)
        self.engine = Engine(settings, self.turns, self.budget, metrics)
        self.receiver = Receiver(settings, self.budget)
        self.streams = Streams(self.engine, self.budget, settings, metrics)

    async def predict(
        self, request: Request, *, model: str | None, detector: str | None, annotate: bool, form: str
    ) -> Response:
        """Reads the images, recognises them and returns the response. Stops if the client disconnects."""
        deadline = time.monotonic() + self.settings.timeout_s
        name, detector_name = self.engine.choose(model, detector)
        self.check_ready()
        client = client_of(request)
        async with self.receiver.in_memory(request, deadline) as body:

            async def work() -> Response:
                kind = request.headers.get("content-type", "")
                reading = partial(read_uploads, body, kind, self.settings)
                uploads = await self.turns.run(client, reading, memory=memory_for(body, kind), kind=BODY)
                if annotate and len(uploads) > 1:
                    raise Refusal(HTTPStatus.BAD_REQUEST, "one_image", "annotate takes one image per request")
                with self.turns.places(client, [upload.pixels for upload in uploads], deadline):
                    results = await self.engine.recognize(
                        uploads, client=client, model=name, detector=detector_name, keep_images=annotate
                    )
                    if not annotate:
                        return _document(self.engine.summary(name), results, form)
                    drawing, memory = partial(_drawn, results[0], uploads[0]), 9 * uploads[0].pixels
                    return await self.turns.run(client, drawing, pixels=uploads[0].pixels, memory=memory)

            return await _while_connected(request, work(), deadline)

    def check_ready(self) -> None:
        """Raises Refusal (503) while the networks are warmed up, and when the server stops."""
        if self.stopping.is_set():
            raise busy("the server is stopping", kind="stopping")
        if not self.engine.ready:
            raise busy("the server is warming up", kind="warming_up")

    async def keep(self, connections: Connections) -> None:
        """Closes slow connections, and returns freed memory to the system when work has ended."""
        least, returned = 0, True
        while True:
            await asyncio.sleep(_KEEP_EVERY_S)
            connections.check()
            if not self.turns.idle:
                returned = False
            elif not returned and resident_bytes() > least + _KEPT_BYTES:
                returned = True
                await asyncio.to_thread(return_free_memory)
                least = resident_bytes()


def answer_first(stopping: threading.Event) -> None:
    """On SIGTERM and SIGINT, goes on accepting for a moment, and ends connections with their responses.

    uvicorn then stops: it closes connections between two requests, where the client may just have sent the next.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        stop = signal.getsignal(number)

        def on_signal(number: int, frame: FrameType | None, stop: Any = stop) -> None:
            delay = 0.0 if stopping.is_set() else _ANSWER_FIRST_S
            stopping.set()
            loop.call_soon_threadsafe(loop.call_later, delay, stop, number, None)

        signal.signal(number, on_signal)


def _add_routes(app: FastAPI, server: _Server) -> None:
    engine, settings = server.engine, server.settings

    @app.post(
        "/v1/predict",
        responses=schemas.DRAWN,
        response_model=schemas.AnswerShape,
        openapi_extra=schemas.IMAGES_BODY,
        summary="Recognise expressions of faces in images",
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
        responses=schemas.ROWS,
        response_model=schemas.AnswerShape,
        openapi_extra=schemas.IMAGES_BODY,
        summary="Recognise expressions of face crops",
    )
    async def predict_faces(request: Request, model: ModelName = None, form: Form = "json") -> Response:
        return await server.predict(request, model=model, detector=NO_DETECTOR, annotate=False, form=form)

    @app.get(
        "/v1/models",
        responses=schemas.errors(),
        response_model=schemas.ModelsShape,
        summary="Served models and detectors, and limits",
    )
    async def models() -> schemas.ModelsShape:
        shapes = [schemas.ModelShape(**{**engine.summary(n).to_dict(), "name": n}) for n in engine.models]
        return schemas.ModelsShape(
            models=shapes, detectors=list(engine.detectors), videos=videos_offered(settings),
            on_device=settings.on_device is not None, limits=schemas.LimitsShape(**asdict(settings)),
        )  # fmt: skip

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket, model: ModelName = None, detector: DetectorName = None) -> None:
        name, detector_name = engine.choose(model, detector)
        server.check_ready()
        await server.streams.run(socket, model=name, detector=detector_name)


def _add_health_routes(app: FastAPI, server: _Server) -> None:
    @app.get("/healthz", response_model=schemas.StateShape, summary="Liveness")
    async def healthz() -> schemas.StateShape:
        return schemas.StateShape(status="ok")

    @app.get("/readyz", responses=schemas.errors(503), response_model=schemas.StateShape, summary="Readiness")
    async def readyz() -> schemas.StateShape:
        server.check_ready()
        return schemas.StateShape(status="ready")

    @app.get("/metrics", responses=schemas.errors(), response_class=Response, summary="Metrics for Prometheus")
    async def get_metrics() -> Response:
        return Response(server.metrics.text(), headers={"content-type": CONTENT_TYPE})


async def _while_connected(request: Request, work: Coroutine[Any, Any, T], deadline: float) -> T:
    """Awaits the work. Raises ClientGone if the client disconnects, Refusal if the work is not done in time."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((working, leaving), timeout=deadline - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if leaving.done():
            raise ClientGone
        raise too_slow(retry_after=5)
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _document(model: ModelSummary, results: list[ImageResult], form: str) -> Response:
    """The text that `mien predict --format json` or `csv` writes."""
    text = io.StringIO()
    sink = CsvSink(text, model) if form == "csv" else JsonSink(text, model)
    for result in results:
        sink.write(result)
    sink.finish()
    body = text.getvalue().encode("utf-8", errors="backslashreplace")
    return Response(body, media_type="text/csv" if form == "csv" else "application/json")


def _drawn(result: ImageResult, upload: Upload) -> Response:
    if result.image is None:
        reason = (result.error or "").removeprefix(f"{result.source}: ")
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "unreadable_image", f"the image {reason}")
    suffix = ".jpg" if upload.data.startswith(b"\xff\xd8\xff") else ".png"
    data = encode_image(draw_faces(result.image, result.faces), suffix)
    return Response(data, media_type="image/jpeg" if suffix == ".jpg" else "image/png")


async def _raise_refusal(request: Request, error: Exception) -> Response:
    """Refusals of the framework: unknown paths and methods. OPTIONS returns the methods of a path."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    if status != HTTPStatus.METHOD_NOT_ALLOWED:
        raise Refusal(status, status.phrase.lower().replace(" ", "_"), f"{status.phrase}: see /v1/openapi.json")
    path = str(request.scope["path"])
    found = [route for route in request.app.routes if isinstance(route, Route) and route.path_regex.match(path)]
    allow = ", ".join(sorted({method for route in found for method in route.methods or ()} | {"OPTIONS"}))
    if request.method == "OPTIONS" and found:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"allow": allow})
    raise Refusal(status, "method_not_allowed", f"this path takes {allow}; see /v1/openapi.json", allow=allow)


async def _raise_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    names = ", ".join(sorted({str(part["loc"][-1]) for part in error.errors() if part["loc"][0] == "query"}))
    message = f"invalid parameters: {names}; see /v1/openapi.json"
    raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_parameter", message)
