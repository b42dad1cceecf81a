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
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from mien.media.sinks import CsvSink, JsonSink
from mien.results import ImageResult, ModelSummary
from mien.results.draw import draw_faces, encode_image
from mien.serving import schemas
from mien.serving.engine import NO_DETECTOR, Engine, Upload
from mien.serving.gate import STATE, Connections, Envelope, Gate
from mien.serving.memory import Budget, settle_allocator
from mien.serving.metrics import Metrics
from mien.serving.page import page_or
from mien.serving.receiving import Receiver, client_of
from mien.serving.refusals import ClientGone, Refusal, busy, too_slow
from mien.serving.schemas import DetectorName, ModelName
from mien.serving.settings import ServeSettings, read_tokens
from mien.serving.stream import Streams
from mien.serving.turns import BODY, Turns
from mien.serving.uploads import memory_for, read_uploads
from mien.serving.videos import VideoJobs, videos_offered
from mien.version import __version__

T = TypeVar("T")
_KEEP_EVERY_S = 0.25
_ANSWER_FIRST_S = 1.0
_DESCRIPTION = (
    "Apparent facial expressions in images, as human raters label them; not what a person feels. "
    "Images stay in memory and are discarded after the response; a video is kept in a private temporary folder until "
    "it is removed."
)
Form = Annotated[Literal["json", "csv"], Query(alias="format", description="csv: one row per face")]
Annotate = Annotated[bool, Query(description="the image with boxes and labels instead of JSON; one image per request")]


def create_app(settings: ServeSettings) -> FastAPI:
    """Returns the application. Opens the models; they are warmed up after it starts.

    Raises ModelFileError, DetectorError, and ServingError for an invalid token file.
    """
    tokens = read_tokens(settings.token_file) if settings.token_file else ()
    settle_allocator()
    metrics, stopping = Metrics(), threading.Event()
    api = _Api(settings, stopping, metrics)
    jobs = VideoJobs(settings, api.engine, api.receiver, metrics) if videos_offered(settings) else None
    connections = Connections(settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        answer_first(stopping)
        async with jobs.running() if jobs else nullcontext():
            running = [asyncio.create_task(each) for each in (api.engine.warm_up(), api.keep(connections))]
            yield {STATE: connections}
            for task in running:
                task.cancel()
        api.turns.close()
        api.engine.close()

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
    api.add_to(app)
    if jobs is not None:
        jobs.add_to(app)
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


class _Api:
    """The routes, and the state that they share. The docstrings of routes are in the API's document."""

    def __init__(self, settings: ServeSettings, stopping: threading.Event, metrics: Metrics) -> None:
        self._settings, self._stopping, self._metrics = settings, stopping, metrics
        self._budget = Budget(settings.max_memory_mb, settings.client_share, metrics)
        self.turns = Turns(settings, self._budget, metrics)
        self.engine = Engine(settings, self.turns, self._budget, metrics)
        self.receiver = Receiver(settings, self._budget)
        self._streams = Streams(self.engine, self._budget, settings, metrics)

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes, without those of videos."""
        images: Any = {"response_model": schemas.AnswerShape, "openapi_extra": schemas.IMAGES_BODY}
        about = "Recognise expressions of faces in images"
        app.post("/v1/predict", responses=schemas.DRAWN, summary=about, **images)(self.predict)
        about = "Recognise expressions of face crops"
        app.post("/v1/predict/faces", responses=schemas.ROWS, summary=about, **images)(self.predict_faces)
        app.websocket("/v1/stream")(self.stream)
        about = "Served models and detectors, and limits"
        app.get("/v1/models", responses=schemas.errors(), summary=about)(self.models)
        app.get("/healthz", summary="Liveness")(self.healthz)
        app.get("/readyz", responses=schemas.errors(503), summary="Readiness")(self.readyz)
        about = "Metrics for Prometheus"
        app.get("/metrics", responses=schemas.errors(), response_class=Response, summary=about)(self.get_metrics)

    async def predict(
        self,
        request: Request,
        model: ModelName = None,
        detector: DetectorName = None,
        annotate: Annotate = False,
        form: Form = "json",
    ) -> Response:
        """Returns a result for each image. The work stops if the client disconnects."""
        deadline = time.monotonic() + self._settings.timeout_s
        name, detector_name = self.engine.choose(model, detector)
        self._check_ready()
        client = client_of(request)
        async with self.receiver.in_memory(request, deadline) as body:

            async def work() -> Response:
                kind = request.headers.get("content-type", "")
                reading = partial(read_uploads, body, kind, self._settings)
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

    async def predict_faces(self, request: Request, model: ModelName = None, form: Form = "json") -> Response:
        """Returns a result for each image, which is a face."""
        return await self.predict(request, model, NO_DETECTOR, form=form)

    async def models(self) -> schemas.ModelsShape:
        """Returns what a request may choose."""
        engine, settings = self.engine, self._settings
        shapes = [schemas.ModelShape(**{**engine.summary(n).to_dict(), "name": n}) for n in engine.models]
        return schemas.ModelsShape(
            models=shapes, detectors=list(engine.detectors), videos=videos_offered(settings),
            on_device=settings.on_device is not None, limits=schemas.LimitsShape(**asdict(settings)),
        )  # fmt: skip

    async def stream(self, socket: WebSocket, model: ModelName = None, detector: DetectorName = None) -> None:
        """Returns a result for each frame."""
        name, detector_name = self.engine.choose(model, detector)
        self._check_ready()
        await self._streams.run(socket, model=name, detector=detector_name)

    async def healthz(self) -> schemas.StateShape:
        """Returns `ok`."""
        return schemas.StateShape(status="ok")

    async def readyz(self) -> schemas.StateShape:
        """Returns `ready` once the networks are warm."""
        self._check_ready()
        return schemas.StateShape(status="ready")

    async def get_metrics(self) -> Response:
        """Returns the text format."""
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})

    def _check_ready(self) -> None:
        """Raises Refusal (503) while the networks are warmed up, and when the server stops."""
        if self._stopping.is_set():
            raise busy("the server is stopping", kind="stopping")
        if not self.engine.ready:
            raise busy("the server is warming up", kind="warming_up")

    async def keep(self, connections: Connections) -> None:
        """Closes slow connections, and returns freed memory to the system when work has ended."""
        while True:
            await asyncio.sleep(_KEEP_EVERY_S)
            connections.check()
            if self.turns.idle:
                await self._budget.return_freed()


def answer_first(stopping: threading.Event) -> None:
    """On SIGTERM and SIGINT, goes on accepting for a moment, and ends connections with their responses.

    uvicorn then stops: it closes connections between two requests, where the client may just have sent the next.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()

    def on_signal(stop: Any, number: int, frame: FrameType | None) -> None:
        delay = 0.0 if stopping.is_set() else _ANSWER_FIRST_S
        stopping.set()
        loop.call_soon_threadsafe(loop.call_later, delay, stop, number, None)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, partial(on_signal, signal.getsignal(number)))


async def _while_connected(request: Request, work: Coroutine[Any, Any, T], deadline: float) -> T:
    """Awaits the work. Raises ClientGone if the client disconnects, Refusal if the work is not done in time."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((working, leaving), timeout=deadline - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone if leaving.done() else too_slow(retry_after=5)
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
    path = str(request.scope["path"])
    found = [route for route in request.app.routes if isinstance(route, Route) and route.path_regex.match(path)]
    status = HTTPStatus(error.status_code if found else HTTPStatus.NOT_FOUND)
    if status != HTTPStatus.METHOD_NOT_ALLOWED:
        raise Refusal(status, status.phrase.lower().replace(" ", "_"), f"{status.phrase}: see /v1/openapi.json")
    allow = ", ".join(sorted({method for route in found for method in route.methods or ()} | {"OPTIONS"}))
    if request.method == "OPTIONS":
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"allow": allow})
    raise Refusal(status, "method_not_allowed", f"this path takes {allow}; see /v1/openapi.json", allow=allow)


async def _raise_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    bad = ", ".join(sorted({str(part["loc"][-1]) for part in error.errors() if part["loc"][0] == "query"}))
    raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_parameter", f"invalid parameters: {bad}; see /v1/openapi.json")
