"""Video jobs and their routes: an upload is checked, queued, and processed by a separate process (`video_work`).

All workers of a server share one private temporary folder. Each job is a folder in it, with the upload, the results
and `state.json`. The worker that received the upload writes `state.json`; every worker reads it. Removing the folder
removes the job: its worker notices within a second and stops. A lock in each folder shows whether its worker runs.
"""

from __future__ import annotations

import asyncio
import hmac
import importlib.util
import json
import logging
import math
import os
import re
import secrets
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, aclosing, suppress
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.requests import Request

from mien.errors import OutputError
from mien.files import write_text
from mien.results import ModelSummary
from mien.serving.metrics import Metrics
from mien.serving.private_folders import Hold, held_bytes, is_held, private_folder, remove
from mien.serving.receiving import Receiver, client_of, declared_bytes
from mien.serving.refusals import ClientGone, Refusal, busy, too_large
from mien.serving.schemas import VideoStage
from mien.serving.settings import ServeSettings
from mien.serving.uploads import VideoFile, form_boundary, no_room
from mien.serving.video_work import RESULTS, UPLOAD, JobReport, Order

_ID = re.compile(r"[A-Za-z0-9_-]{32}")
_STATE = "state.json"
_CHECK_S = 20.0  # limit for opening a video; a file that takes longer is malicious
_SWEEP_EVERY_S = 0.5
_RETRY_S = 10
_PIECE, _FORM_BYTES = 256_000, 10_000  # bytes per write; what a form may have beside its file
_CHECK_ROOM_EVERY = 16 << 20  # bytes of an upload
_CRASHED = "the decoder crashed"
_LONGEST_LINE = 64 << 20  # bytes, of a process's output: a summary has a row per face

log = logging.getLogger("mien.serving")


@dataclass(frozen=True, slots=True)
class VideoState:
    """State of a job.

    owner: digest of the sender's token, empty without tokens. state: queued, running, done, incomplete (the video is
    damaged or too long; results up to that point are available) or failed. progress: 0 to 1, None: unknown. error: why
    it failed or is incomplete. summary: as `TimelineSummary.to_dict`, when it has ended. ended_at: seconds since 1970.
    """

    id: str
    owner: str
    model: str
    state: VideoStage = "queued"
    progress: float | None = 0.0
    seconds_left: float | None = None
    frames: int = 0
    error: str | None = None
    summary: dict[str, Any] | None = None
    ended_at: float | None = None

    @property
    def has_results(self) -> bool:
        """Whether result files are available."""
        return self.state in ("done", "incomplete")


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
        self._most = settings.video_jobs + settings.video_queue
        self._share = math.ceil(self._most * settings.client_share)
        self._places: Counter[str] = Counter()
        self._turns, self._checks = asyncio.Semaphore(settings.video_jobs), asyncio.Semaphore(2)
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts sweeping the folder. Without a given folder, makes one and removes those of killed servers."""
        if self._folder is None:
            self._folder = self._own.enter_context(private_folder())
        self._sweeping = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Stops all jobs of this worker, and removes the folder if this worker made it."""
        tasks = [*self._tasks.values(), *([self._sweeping] if self._sweeping else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._own.close()

    async def add(
        self, request: Request, *, model: str, summary: ModelSummary, detector: str, owner: str
    ) -> VideoState:
        """Receives the video of a request and queues it. Raises Refusal, ClientGone, after removing the upload."""
        client = client_of(request)
        self._check_places(client)  # here too, so that nobody sends a video in vain
        state = VideoState(secrets.token_urlsafe(24), owner, model)
        folder = self._root / state.id
        hold, place = None, False
        try:
            folder.mkdir(mode=0o700)
            hold = Hold(folder)
            await self._receive(request, folder / UPLOAD)
            self._check_places(client)
            self._places[client] += 1
            place = True
            order = self._order(folder, model, summary, detector)
            async with self._checks:
                await self._check(order)
            if await request.is_disconnected():
                raise ClientGone
            self._write(state)
        except BaseException as error:
            self._places[client] -= place
            remove(folder)
            if hold is not None:
                hold.release()
            if isinstance(error, OSError | OutputError):
                raise no_room() from None
            raise
        task = asyncio.create_task(self._run(state, replace(order, check=False)))
        self._tasks[state.id] = task
        # Runs even if the task is cancelled before it starts.
        task.add_done_callback(lambda _: self._release(state.id, client, hold))
        return state

    def _order(self, folder: Path, model: str, summary: ModelSummary, detector: str) -> Order:
        settings = self._settings
        return Order(
            check=True, folder=str(folder), root=str(self._root), model=self._models[model],
            sha256=",".join(summary.sha256), detector=detector, min_face=settings.min_face,
            most_seconds=settings.max_video_s, most_pixels=settings.max_video_pixels,
            most_bytes=settings.max_video_disk_mb * 1_000_000,
            cascade=str(settings.cascade or ""), balance=summary.balance, details=settings.details,
            prior=None if summary.prior is None else dict(summary.prior),
        )  # fmt: skip

    def _check_places(self, client: str) -> None:
        kept = sum((folder / _STATE).exists() for folder in self._folders())
        full = self._places.total() >= self._most or self._places[client] >= self._share
        if full or kept >= self._settings.max_videos:
            raise busy("there are too many videos", kind="videos", retry_after=_RETRY_S)

    async def _receive(self, request: Request, place: Path) -> None:
        """Writes the video of a request to `place`. Raises Refusal, ClientGone."""
        settings = self._settings
        most = settings.max_video_mb * 1_000_000
        over = too_large(f"the video has more than {settings.max_video_mb} MB; send a smaller one")
        await asyncio.to_thread(self._check_room, min(declared_bytes(request), most))
        file = VideoFile(place, form_boundary(request.headers.get("content-type", "")))
        deadline = time.monotonic() + settings.video_upload_timeout_s
        waiting: list[bytes] = []
        checked = 0
        try:
            async with aclosing(
                self._receiver.chunks(request, most + _FORM_BYTES, over, deadline, of_client=self._share)
            ) as chunks:
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
        return state

    def result(self, video: str, owner: str, name: str) -> Path:
        """Returns the path of a result file, one of `RESULTS`. Raises Refusal."""
        state = self.get(video, owner)
        place = self._root / video / name
        if name not in RESULTS or not state.has_results or not place.is_file():
            message = state.error or "the video is not processed yet"
            raise Refusal(HTTPStatus.CONFLICT, "no_result", message)
        return place

    async def remove(self, video: str, owner: str) -> None:
        """Cancels a job and removes its files; a job of another worker stops within a second. Raises Refusal."""
        self.get(video, owner)
        task = self._tasks.get(video)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(remove, self._root / video)

    def removed_in_s(self, state: VideoState) -> float | None:
        """Seconds until an ended job is removed; None while it runs."""
        if state.ended_at is None:
            return None
        return max(0.0, state.ended_at + self._settings.video_ttl_s - time.time())

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
        try:
            async with asyncio.timeout(_CHECK_S):
                report = await _process(order, lambda report: None)
        except TimeoutError:
            report = JobReport(refused="unreadable_video", error="it takes too long to open")
        if report.complete:
            return
        if report.bug is not None:
            _log_bug(report.bug)
        wrong_kind = report.refused in (None, "unreadable_video")
        status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE if wrong_kind else HTTPStatus.UNPROCESSABLE_ENTITY
        raise Refusal(status, report.refused or "unreadable_video", _about_upload(report.error))

    def _release(self, video: str, client: str, hold: Hold) -> None:
        self._places[client] -= 1
        del self._tasks[video]
        hold.release()

    async def _run(self, state: VideoState, order: Order) -> None:
        """Runs a job from the queue to its end; cancelled when the job is removed."""
        try:
            async with self._turns:
                state = replace(state, state="running")
                self._write(state)
                pace = _Pace()

                def on_report(report: JobReport) -> None:
                    left = pace.seconds_left(report.progress)
                    self._write(replace(state, progress=report.progress, seconds_left=left, frames=report.frames))

                try:
                    async with asyncio.timeout(self._settings.video_work_s):
                        report = await _process(order, on_report)
                except TimeoutError:
                    report = JobReport(error="processing exceeds this server's time limit")
            self._end(state, report)
        except OutputError:  # the next sweep marks the job as failed
            log.warning("a video ended: it was removed, or the disk is full")

    def _end(self, state: VideoState, report: JobReport) -> None:
        """Writes the final state. Removes the upload, and the results of a failed job."""
        if report.bug is not None:
            _log_bug(report.bug)
        name: VideoStage = "done" if report.complete else "incomplete" if report.summary else "failed"
        error = _about_upload(report.error) if name == "failed" else report.error
        for left in (UPLOAD, *(RESULTS if name == "failed" else ())):
            (self._root / state.id / left).unlink(missing_ok=True)
        self._metrics.videos.labels("crashed" if report.error == _CRASHED else name).inc()
        ended = replace(state, state=name, frames=report.frames, summary=report.summary, error=error)
        self._write(replace(ended, progress=1.0, ended_at=time.time()))

    def _write(self, state: VideoState) -> None:
        """Writes the state. Raises OutputError if the job's folder was removed."""
        write_text(self._root / state.id / _STATE, json.dumps(asdict(state)))

    def _load(self, folder: Path) -> VideoState | None:
        """Reads a job's state; a job whose worker died has failed. None if there is no such job."""
        state = _read(folder)
        if state is None or state.ended_at is not None or is_held(folder):
            return state
        state = _read(folder)  # its worker may have ended it since the first read
        if state is None or state.ended_at is not None:
            return state
        error = "the server process that ran it ended; send the video again"
        state = replace(state, state="failed", error=error, ended_at=time.time())
        with suppress(OutputError):
            self._write(state)
        return state

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
            state = self._load(folder)
            # An upload whose worker was killed.
            abandoned = state is None and not is_held(folder) and _read(folder) is None
            if abandoned or (state is not None and self.removed_in_s(state) == 0):
                remove(folder)


class _Pace:
    """Estimates the remaining time from the progress since the first report, which excludes loading the networks."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None

    def seconds_left(self, progress: float | None) -> float | None:
        """progress: 0 to 1. Returns None if there is no estimate yet."""
        if progress is None:
            return None
        now = time.monotonic()
        if self._began is None:
            self._began = (now, progress)
        began, start = self._began
        return round((now - began) / (progress - start) * (1 - progress), 1) if progress > start else None


def _read(folder: Path) -> VideoState | None:
    try:
        return VideoState(**json.loads((folder / _STATE).read_text("utf-8")))
    except (OSError, ValueError):
        return None


async def _process(order: Order, on_report: Callable[[JobReport], None]) -> JobReport:
    """Runs a process and returns its last report; `on_report` gets the others. Cancelling kills the process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "mien.serving.video_work", stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)},
        process_group=0, limit=_LONGEST_LINE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        async for line in process.stdout:
            report = JobReport(**json.loads(line))
            if report.ended:
                return report
            on_report(report)
        return JobReport(error=_CRASHED, bug="its process crashed or was killed")
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _about_upload(reason: str | None) -> str:
    """Makes a sentence of a reason of `VideoError`, such as `is no video` or `no frame in it could be decoded`."""
    reason = reason or "it can't be processed"
    return f"the upload{'' if reason.startswith(('is ', 'has ')) else ':'} {reason}"


def _log_bug(text: str) -> None:
    log.error("a video failed: %s", text, extra={"details": {"error": text.partition("\n")[0], "traceback": text}})
