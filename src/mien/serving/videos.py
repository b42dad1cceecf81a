"""Video jobs: an upload is checked, queued, and processed by a separate process (`video_work`).

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
import math
import os
import pickle
import re
import secrets
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import ExitStack, aclosing, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request

from mien.errors import OutputError
from mien.files import write_text
from mien.results import ModelSummary
from mien.serving.memory import Places
from mien.serving.metrics import Metrics
from mien.serving.private_folders import held_bytes, is_locked, locked_folder, private_folder, remove
from mien.serving.receiving import Receiver, client_of, declared_bytes
from mien.serving.refusals import ClientGone, Refusal, busy, no_room, too_large
from mien.serving.schemas import VideoShape
from mien.serving.settings import ServeSettings
from mien.serving.uploads import VideoFile, form_boundary
from mien.serving.video_work import FILES, STATE, UPLOAD, Order, Report

_ID = re.compile(r"[A-Za-z0-9_-]{32}")
_CHECK_S = 20.0  # limit for opening a video; a file that takes longer is malicious
_SWEEP_EVERY_S = 0.5
_RETRY_S = 10
_PIECE, _FORM_BYTES = 256_000, 10_000  # bytes per write; what a form may have beside its file
_CHECK_ROOM_EVERY = 16 << 20  # bytes of an upload
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

    def __init__(self, settings: ServeSettings, models: dict[str, str], receiver: Receiver, metrics: Metrics) -> None:
        """models: served name -> file or name of a shipped model."""
        self._settings, self._models, self._receiver, self._metrics = settings, models, receiver, metrics
        self._folder = settings.video_folder
        self._own = ExitStack()  # removes the folder if this worker made it
        self._tasks: dict[str, asyncio.Task[None]] = {}
        most = settings.video_jobs + settings.video_queue
        self._share = math.ceil(most * settings.client_share)
        self._full = partial(busy, "there are too many videos", kind="videos", retry_after=_RETRY_S)
        self._places = Places(most, self._share, self._full)
        self._turns, self._checks = asyncio.Semaphore(settings.video_jobs), asyncio.Semaphore(2)

    async def __aenter__(self) -> None:
        """Without a given folder, makes one and removes those of killed servers."""
        if self._folder is None:
            self._folder = self._own.enter_context(private_folder())

    async def __aexit__(self, *_: object) -> None:
        """Stops all jobs of this worker, and removes the folder if this worker made it."""
        for task in (tasks := list(self._tasks.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._own.close()

    async def add(
        self, request: Request, *, model: str, summary: ModelSummary, detector: str, owner: str
    ) -> VideoState:
        """Receives the video of a request and queues it. Raises Refusal, ClientGone, after removing the upload."""
        client = client_of(request)
        self._places.check(client)  # here too, so that nobody sends a video in vain
        if sum((folder / STATE).exists() for folder in self._folders()) >= self._settings.max_videos:
            raise self._full()
        state = VideoState(id=secrets.token_urlsafe(24), owner=owner, model=model)
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
        order = Order(folder, self._root, self._settings, self._models[model], detector, summary)
        self._tasks[state.id] = task = asyncio.create_task(self._run(state, order))
        held.callback(self._tasks.pop, state.id)
        task.add_done_callback(lambda _: held.close())  # also if the task is cancelled before it starts
        return state

    async def _receive(self, request: Request, place: Path) -> None:
        """Writes the video of a request to `place`. Raises Refusal, ClientGone."""
        settings = self._settings
        most = settings.max_video_mb * 1_000_000
        over = too_large(f"the video has more than {settings.max_video_mb} MB; send a smaller one")
        deadline = time.monotonic() + settings.video_upload_timeout_s
        body = self._receiver.chunks(request, most + _FORM_BYTES, over, deadline, of_client=self._share)
        await asyncio.to_thread(self._check_room, min(declared_bytes(request), most))
        file = VideoFile(place, form_boundary(request.headers.get("content-type", "")))
        waiting: list[bytes] = []
        checked = 0
        try:
            async with aclosing(body) as chunks:
                async for chunk in chunks:
                    waiting.append(chunk)
                    if sum(map(len, waiting)) >= _PIECE:
                        await asyncio.to_thread(file.take, waiting)
                        waiting = []
                    if file.count - checked >= _CHECK_ROOM_EVERY:
                        checked = file.count
                        await asyncio.to_thread(self._check_room, 0)
            await asyncio.to_thread(file.end, waiting)
        finally:
            file.close()

    def get(self, video: str, owner: str) -> VideoState:
        """Returns a job by its id. Raises Refusal (404) if there is none, or if it has another owner."""
        state = self._load(self._root / video) if _ID.fullmatch(video) else None
        if state is None or not hmac.compare_digest(state.owner, owner):
            raise Refusal(HTTPStatus.NOT_FOUND, "no_video", "there is no such video, or it has expired")
        if state.state in ("done", "incomplete"):
            state.files = list(FILES)
        elif state.state != "failed":
            state.files = [UPLOAD]
        if state.ended_at is not None:
            state.removed_in_s = max(0.0, state.ended_at + self._settings.video_ttl_s - time.time())
        return state

    def result(self, video: str, owner: str, name: str) -> tuple[Path, os.stat_result]:
        """Returns a file, one of `FILES`. Raises Refusal."""
        state, place = self.get(video, owner), self._root / video / name
        with suppress(FileNotFoundError):
            if name in state.files:
                return place, place.stat()
        raise Refusal(HTTPStatus.CONFLICT, "no_result", state.error or "the video is not processed yet")

    async def remove(self, video: str, owner: str) -> None:
        """Cancels a job and removes its files; a job of another worker stops within a second. Raises Refusal."""
        self.get(video, owner)
        task = self._tasks.get(video)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(remove, self._root / video)

    @property
    def _root(self) -> Path:
        assert self._folder is not None  # start() was called
        return self._folder

    def _folders(self) -> list[Path]:
        with suppress(OSError):
            return [place for place in self._root.iterdir() if _ID.fullmatch(place.name)]
        return []

    def _check_room(self, incoming: int) -> None:
        if held_bytes(self._root) + incoming > self._settings.max_video_disk_mb * 1_000_000:
            raise no_room()

    async def _check(self, order: Order) -> None:
        """Raises Refusal unless the upload is a video within the limits."""
        async with self._checks:
            try:
                async with asyncio.timeout(_CHECK_S):
                    report = await _process(order)
            except TimeoutError:
                report = Report(error="it takes too long to open")
        if report.complete:
            return
        _log_bug(report)
        wrong_kind = report.refused == "unreadable_video"
        status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE if wrong_kind else HTTPStatus.UNPROCESSABLE_ENTITY
        raise Refusal(status, report.refused, _about_upload(report.error))

    async def _run(self, state: VideoState, order: Order) -> None:
        """Runs a job from the queue to its end; cancelled when the job is removed."""
        try:
            async with self._turns:
                state.state = "running"
                self._write(state)
                try:
                    async with asyncio.timeout(self._settings.video_work_s):
                        report = await _process(order)
                except TimeoutError:
                    report = Report(error="processing exceeds this server's time limit")
            self._end(state, report)
        except OutputError:  # the next sweep marks the job as failed
            log.warning("a video ended: it was removed, or the disk is full")

    def _end(self, state: VideoState, report: Report) -> None:
        """Writes the final state. Removes the files of a failed job, and the upload where the disk has no room."""
        _log_bug(report)
        state.state = "done" if report.complete else "incomplete" if report.summary else "failed"
        folder, failed = self._root / state.id, state.state == "failed"
        for left in FILES if failed else ():
            (folder / left).unlink(missing_ok=True)
        self._metrics.videos.labels("crashed" if report.error == _CRASHED else state.state).inc()
        state.frames, state.summary, state.progress, state.ended_at = report.frames, report.summary, 1.0, time.time()
        state.error = _about_upload(report.error) if failed else report.error
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
        state = _read(folder)
        if state is None or state.ended_at is not None or is_locked(folder):
            return state
        state = _read(folder)  # its worker may have ended it since the first read
        if state is not None and state.ended_at is None:
            state.state, state.ended_at = "failed", time.time()
            state.error = "the server process that ran it ended; send the video again"
            with suppress(OutputError):
                self._write(state)
        return state

    async def sweep(self) -> None:
        """Cancels removed jobs; removes expired jobs, and uploads whose worker was killed."""
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            for video, task in list(self._tasks.items()):
                if not (self._root / video).exists():
                    task.cancel()
            await asyncio.to_thread(self._clean)

    def _clean(self) -> None:
        for folder in self._folders():
            state = self._load(folder)
            if state is None:  # still uploaded, or its worker was killed meanwhile
                outdated = not is_locked(folder) and _read(folder) is None
            else:
                outdated = state.ended_at is not None and time.time() > state.ended_at + self._settings.video_ttl_s
            if outdated:
                remove(folder)


def _read(folder: Path) -> VideoState | None:
    try:
        return VideoState.model_validate_json((folder / STATE).read_bytes())
    except (OSError, ValueError):
        return None


async def _process(order: Order) -> Report:
    """Runs a process and returns its report. Cancelling kills the process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", "from mien.serving.video_work import run_order as run; run()",
        stdin=PIPE, stdout=PIPE, stderr=DEVNULL, process_group=0,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(pickle.dumps(order))  # and stays open: the process ends with it
        said = await process.stdout.read()
        crashed = Report(error=_CRASHED, bug="its process crashed or was killed")
        return Report(**json.loads(said)) if said.endswith(b"\n") else crashed
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _about_upload(reason: str | None) -> str:
    """Makes a sentence of a reason of `VideoError`, such as `is no video` or `no frame in it could be decoded`."""
    reason = reason or "it can't be processed"
    return f"the upload{'' if reason.startswith(('is ', 'has ')) else ':'} {reason}"


def _log_bug(report: Report) -> None:
    if report.bug is not None:
        details = {"error": report.bug.partition("\n")[0], "traceback": report.bug}
        log.error("a video failed: %s", report.bug, extra={"details": details})
