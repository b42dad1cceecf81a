"""Video jobs and their routes: an upload is checked, queued, and processed by a separate process (`video_work`).

All workers of a server share one private temporary folder. Each job is a folder in it, with the upload, the results
and `state.json`, which every worker reads. Removing the folder removes the job: its worker notices within a second and
stops. The worker holds the folder's lock: a job that has not ended and is not locked has lost its worker.
"""

from __future__ import annotations

import asyncio
import hmac
import importlib.util
import json
import logging
import os
import pickle
import re
import secrets
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager, nullcontext, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.responses import FileResponse

from mien.errors import OutputError
from mien.files import write_text
from mien.serving import schemas
from mien.serving.engine import Engine
from mien.serving.memory import Places
from mien.serving.metrics import Metrics
from mien.serving.private_folders import held_bytes, is_locked, locked_folder, private_folder, remove
from mien.serving.receiving import Receiver, client_of, declared_bytes
from mien.serving.refusals import ClientGone, Refusal, busy, no_room, too_large
from mien.serving.schemas import DetectorName, ModelName, VideoShape
from mien.serving.settings import ServeSettings
from mien.serving.uploads import VideoFile, form_boundary
from mien.serving.video_work import FILES, STATE, UPLOAD, Order, Report

_ID = re.compile(r"[A-Za-z0-9_-]{32}")
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")
_CHECK_S = 20.0  # limit for opening a video; a file that takes longer is malicious
_SWEEP_EVERY_S = 0.5
_RETRY_S = 10
_PIECE, _FORM_BYTES = 256_000, 10_000  # bytes per write; what a form may have beside its file
_CRASHED = "the decoder crashed"

log = logging.getLogger("mien.serving")


class VideoState(VideoShape):
    """A job. owner: digest of the sender's token, empty without tokens. ended_at: seconds since 1970."""

    owner: str
    ended_at: float | None = None


def videos_offered(settings: ServeSettings) -> bool:
    """Whether videos are accepted: allowed by the settings, extra [video] installed, and a system with file locks."""
    return settings.videos and all(importlib.util.find_spec(name) is not None for name in ("av", "fcntl"))


class VideoJobs:
    """Accepts and runs jobs of this worker, and reads those of all workers."""

    def __init__(self, settings: ServeSettings, engine: Engine, receiver: Receiver, metrics: Metrics) -> None:
        self._settings, self._engine, self._receiver, self._metrics = settings, engine, receiver, metrics
        self._models = dict(zip(engine.models, settings.models, strict=True))
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._full = partial(busy, "there are too many videos", kind="videos", retry_after=_RETRY_S)
        self._places = Places(settings.video_jobs + settings.video_queue, settings.client_share, self._full)
        self._turns, self._checks = asyncio.Semaphore(settings.video_jobs), asyncio.Semaphore(2)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs jobs while the block runs, in the given folder, or in one that is made and removed."""
        given = self._settings.video_folder
        with nullcontext(given) if given else private_folder() as self._root:
            sweeping = asyncio.create_task(self._sweep())
            try:
                yield
            finally:
                for task in (tasks := [sweeping, *self._tasks.values()]):
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes, whose docstrings are in the API's document."""
        one, responses = "/v1/videos/{video}", schemas.errors(404)
        sent: Any = {"responses": schemas.errors(400, 408, 413, 415, 422, 503), "openapi_extra": schemas.VIDEO_BODY}
        about = "Upload a video: starts a job that tracks its faces"
        app.post("/v1/videos", status_code=202, summary=about, **sent)(self.send_video)
        app.get(one, responses=responses, summary="State of a video job")(self.get_video)
        about = "Cancel a video job and remove its files"
        app.delete(one, status_code=204, responses=responses, summary=about)(self.remove_video)
        for name, kind in FILES.items():
            content: dict[str, Any] = {"content": {kind.partition(";")[0]: {}}}
            whole, part = {**content, "description": "the file"}, {**content, "description": "the requested range"}
            app.get(
                f"{one}/{name}",
                operation_id=f"get_{re.sub('[^a-z0-9]', '_', name)}",
                responses={200: whole, 206: part, **schemas.errors(404, 409, 416)},
                response_class=FileResponse,
                summary=f"Result of a video: {name}",
            )(self.get_file)

    async def send_video(
        self, request: Request, response: Response, model: ModelName = None, detector: DetectorName = None
    ) -> VideoShape:
        """Returns the new job; its URL is in the header Location."""
        name, detector_name = self._engine.choose(model, detector)
        client = client_of(request)
        self._places.check(client)  # here too, so that nobody sends a video in vain
        if sum((folder / STATE).exists() for folder in self._folders()) >= self._settings.max_videos:
            raise self._full()
        state = VideoState(id=secrets.token_urlsafe(24), owner=_owner(request), model=name)
        folder, held = self._root / state.id, ExitStack()
        try:
            held.callback(os.close, locked_folder(folder))
            await self._receive(request, folder / UPLOAD)
            held.enter_context(self._places.taken(client))
            await self._check(Order(folder, self._root, self._settings))
            if await request.is_disconnected():
                raise ClientGone
            self._write(state)
        except BaseException as error:
            remove(folder)
            held.close()
            if isinstance(error, OSError | OutputError):
                raise no_room() from None
            raise
        summary = self._engine.summary(name)
        order = Order(folder, self._root, self._settings, self._models[name], detector_name, summary)
        self._tasks[state.id] = task = asyncio.create_task(self._run(state, order))
        held.callback(self._tasks.pop, state.id)
        task.add_done_callback(lambda _: held.close())  # also if the task is cancelled before it starts
        response.headers["location"] = f"/v1/videos/{state.id}"
        return state

    async def get_video(self, request: Request, video: str) -> VideoShape:
        """Returns the job's state, with a summary once it has ended."""
        return self._get(request, video)

    async def remove_video(self, request: Request, video: str) -> None:
        """Also works while the job is running; a job of another worker stops within a second."""
        self._get(request, video)
        if (task := self._tasks.get(video)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(remove, self._root / video)

    def _get(self, request: Request, video: str) -> VideoState:
        """Raises Refusal (404) if there is no such job, or if it has another owner."""
        state = self._load(self._root / video) if _ID.fullmatch(video) else None
        if state is None or not hmac.compare_digest(state.owner, _owner(request)):
            raise Refusal(HTTPStatus.NOT_FOUND, "no_video", "there is no such video, or it has expired")
        if state.state in ("done", "incomplete"):
            state.files = list(FILES)
        elif state.state != "failed":
            state.files = [UPLOAD]
        if state.ended_at is not None:
            state.removed_in_s = max(0.0, state.ended_at + self._settings.video_ttl_s - time.time())
        return state

    async def get_file(self, request: Request, video: str) -> Response:
        """Takes a `Range` with one part; any other is ignored."""
        name = request.url.path.rpartition("/")[2]
        state, place = self._get(request, video), self._root / video / name
        status = None
        with suppress(FileNotFoundError):
            status = place.stat() if name in state.files else None
        if status is None:
            raise Refusal(HTTPStatus.CONFLICT, "no_result", state.error or "the video is not processed yet")
        wanted = request.headers.get("range")
        part = _RANGE.fullmatch(wanted or "")
        if wanted is not None and (part is None or (part[1] and part[2] and int(part[1]) > int(part[2]))):
            request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
        elif part is not None and (int(part[1]) >= status.st_size if part[1] else int(part[3]) == 0):
            message = f"the file has {status.st_size} bytes"
            raise Refusal(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "no_such_part", message)
        return FileResponse(place, media_type=FILES[name], filename=f"mien-{name}", stat_result=status)

    async def _receive(self, request: Request, place: Path) -> None:
        """Writes the video of a request to `place`. Raises Refusal, ClientGone."""
        settings = self._settings
        most = settings.max_video_mb * 1_000_000
        over = too_large(f"the video has more than {settings.max_video_mb} MB; send a smaller one")
        deadline = time.monotonic() + settings.video_upload_timeout_s
        body = self._receiver.chunks(request, most + _FORM_BYTES, over, deadline, of_client=self._places.share)
        await asyncio.to_thread(self._check_room, min(declared_bytes(request), most))
        file = VideoFile(place, form_boundary(request.headers.get("content-type", "")))
        waiting: list[bytes] = []
        try:
            async with aclosing(body) as chunks:
                async for chunk in chunks:
                    waiting.append(chunk)
                    if sum(map(len, waiting)) >= _PIECE:
                        await asyncio.to_thread(self._check_room)
                        await asyncio.to_thread(file.take, waiting, last=False)
                        waiting = []
            await asyncio.to_thread(file.take, waiting, last=True)
        finally:
            file.close()

    def _check_room(self, incoming: int = 0) -> None:
        if held_bytes(self._root) + incoming > self._settings.max_video_disk_mb * 1_000_000:
            raise no_room()

    async def _check(self, order: Order) -> None:
        """Raises Refusal unless the upload is a video within the limits."""
        async with self._checks:
            report = await _process(order, _CHECK_S, "the upload takes too long to open")
        if not report.complete:
            raise Refusal(HTTPStatus(report.status), report.code, report.error or "")

    async def _run(self, state: VideoState, order: Order) -> None:
        """Runs a job from the queue to its end; cancelled when the job is removed."""
        try:
            async with self._turns:
                state.state = "running"
                self._write(state)
                too_long = "processing exceeds this server's time limit"
                report = await _process(order, self._settings.video_work_s, too_long)
            self._end(state, report)
        except OutputError:  # the next sweep marks the job as failed
            log.warning("a video ended: it was removed, or the disk is full")

    def _end(self, state: VideoState, report: Report) -> None:
        """Writes the final state. Removes the files of a failed job, and the upload where the disk has no room."""
        state.state = "done" if report.complete else "incomplete" if report.summary else "failed"
        folder = self._root / state.id
        for left in FILES if state.state == "failed" else ():
            (folder / left).unlink(missing_ok=True)
        self._metrics.videos.labels("crashed" if report.error == _CRASHED else state.state).inc()
        state.frames, state.summary, state.error = report.frames, report.summary, report.error
        state.progress, state.ended_at = 1.0, time.time()
        try:
            self._write(state)
        except OutputError:
            (folder / UPLOAD).unlink(missing_ok=True)
            self._write(state)

    def _write(self, state: VideoState) -> None:
        """Writes the state. Raises OutputError if the job's folder was removed."""
        write_text(self._root / state.id / STATE, state.model_dump_json())

    def _load(self, folder: Path) -> VideoState | None:
        """Reads a job's state; a job whose worker died has failed. None if there is no such job."""
        lost = not is_locked(folder)  # asked first: a worker writes how its job ended before it unlocks
        try:
            state = VideoState.model_validate_json((folder / STATE).read_bytes())
        except (OSError, ValueError):
            return None
        if lost and state.ended_at is None:
            state.state, state.ended_at = "failed", time.time()
            state.error = "the server process that ran it ended; send the video again"
            with suppress(OutputError):
                self._write(state)
        return state

    def _folders(self) -> list[Path]:
        with suppress(OSError):
            return [place for place in self._root.iterdir() if _ID.fullmatch(place.name)]
        return []

    async def _sweep(self) -> None:
        """Cancels removed jobs; removes expired jobs, and uploads whose worker was killed."""
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            for video, task in list(self._tasks.items()):
                if not (self._root / video).exists():
                    task.cancel()
            await asyncio.to_thread(self._clean)

    def _clean(self) -> None:
        for folder in self._folders():
            lost, state = not is_locked(folder), self._load(folder)
            since = state.ended_at if state else 0.0 if lost else None  # 0: its worker was killed during the upload
            if since is not None and time.time() > since + self._settings.video_ttl_s:
                remove(folder)


def _owner(request: Request) -> str:
    """The caller found by `Gate`: the same for all requests with the same token."""
    return str(request.scope.get("mien.caller", ""))


async def _process(order: Order, limit_s: float, too_long: str) -> Report:
    """Runs a process until its time limit and returns its report. Cancelling kills the process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", "from mien.serving.video_work import run_order as run; run()",
        stdin=PIPE, stdout=PIPE, stderr=DEVNULL, process_group=0,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)},
    )  # fmt: skip
    assert process.stdin and process.stdout
    try:
        process.stdin.write(pickle.dumps(order))  # and stays open: the process ends with it
        async with asyncio.timeout(limit_s):
            said = await process.stdout.read()
    except TimeoutError:
        return Report(error=too_long)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    crashed = Report(error=_CRASHED, bug="its process crashed or was killed")
    report = Report(**json.loads(said)) if said.endswith(b"\n") else crashed
    if report.bug is not None:
        details = {"error": report.bug.partition("\n")[0], "traceback": report.bug}
        log.error("a video failed: %s", report.bug, extra={"details": details})
    return report
