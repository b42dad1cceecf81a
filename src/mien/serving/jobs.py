"""Video jobs: an upload is checked, waits for its turn, and is worked on by a process of its own (`video_work`).

A job is a folder in a private temporary folder that all workers of a server share: the upload, the results, and
`state.json`, which the worker that took the upload writes and any of them reads. To remove a job is to remove its
folder; its worker sees that within a second and ends the work. A lock in each folder tells whether its worker lives.
"""

from __future__ import annotations

import asyncio
import hmac
import importlib.util
import json
import logging
import os
import re
import secrets
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable
from contextlib import ExitStack, suppress
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
from mien.serving.refusals import ClientGone, Refusal
from mien.serving.schemas import VideoStage
from mien.serving.settings import ServeSettings
from mien.serving.video_upload import no_room, receive_video
from mien.serving.video_work import RESULTS, UPLOAD, Order, Report

_ID = re.compile(r"[A-Za-z0-9_-]{32}")
_STATE = "state.json"
_CHECK_S = 20.0  # to open a video; what takes longer is made to
_LOOK_EVERY_S = 0.5
_RETRY_S = 10
_LONGEST_LINE = 64 << 20  # of a process: a summary has a row for each face

log = logging.getLogger("mien.serving")


@dataclass(frozen=True, slots=True)
class VideoState:
    """How a job is.

    owner: who sent it, empty where nobody is asked. state: queued, running, done, incomplete (the video is damaged or
    too long; what came before that is there) or failed. progress: 0 to 1, None: not known. error: why it failed or is
    incomplete. summary: as `TimelineSummary.to_dict`, at the end. ended_at: seconds since 1970.
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
        """Whether there are files to fetch."""
        return self.state in ("done", "incomplete")


def videos_offered(settings: ServeSettings) -> bool:
    """Whether videos are taken: the settings allow it, the extra [video] is there, and the system has file locks."""
    return settings.videos and all(importlib.util.find_spec(name) is not None for name in ("av", "fcntl"))


class VideoJobs:
    """The jobs that this worker takes and works on, and the view on those of all workers."""

    def __init__(self, settings: ServeSettings, models: dict[str, str], metrics: Metrics) -> None:
        """models: served name -> the file or shipped name to open."""
        self._settings, self._models, self._metrics = settings, models, metrics
        self._folder = settings.video_folder
        self._own = ExitStack()  # the folder, where it is this worker's alone
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._places = 0
        self._turns = asyncio.Semaphore(settings.video_jobs)
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to look after the folder; makes one, and removes what killed servers left, where none was given."""
        if self._folder is None:
            self._folder = self._own.enter_context(private_folder())
        self._sweeping = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Ends all work of this worker, and removes its folder where it is its own."""
        tasks = [*self._tasks.values(), *([self._sweeping] if self._sweeping else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._own.close()

    async def add(
        self, request: Request, *, model: str, summary: ModelSummary, detector: str, owner: str
    ) -> VideoState:
        """Takes the video of a request in, and queues it. Raises Refusal, ClientGone; then nothing is left of it."""
        settings = self._settings
        if self._places >= settings.video_jobs + settings.video_queue or self._kept() >= settings.max_videos:
            message = "too many videos at once; try again later"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "busy", message, retry_after=_RETRY_S)
        state = VideoState(secrets.token_urlsafe(24), owner, model)
        folder = self._root / state.id
        self._places += 1
        hold = None
        try:
            folder.mkdir(mode=0o700)
            hold = Hold(folder)
            await receive_video(request, folder / UPLOAD, settings, self._check_room)
            order = Order(
                check=True, folder=str(folder), root=str(self._root), model=self._models[model],
                sha256=summary.sha256[0], detector=detector, min_face=settings.min_face,
                most_seconds=settings.max_video_s, most_pixels=settings.max_video_pixels,
                most_bytes=settings.max_video_disk_mb * 1_000_000,
            )  # fmt: skip
            await self._check(order)
            if await request.is_disconnected():
                raise ClientGone
            self._write(state)
        except BaseException as error:
            self._places -= 1
            remove(folder)
            if hold is not None:
                hold.release()
            if isinstance(error, OSError | OutputError):
                raise no_room() from None
            raise
        task = asyncio.create_task(self._run(state, replace(order, check=False)))
        self._tasks[state.id] = task
        task.add_done_callback(lambda _: self._let_go(state.id, hold))  # also where it was cancelled before it began
        return state

    def get(self, video: str, owner: str) -> VideoState:
        """A job by its id. Raises Refusal (404) where there is none, or it is another's."""
        state = self._look(self._root / video) if _ID.fullmatch(video) else None
        if state is None or not hmac.compare_digest(state.owner, owner):
            raise Refusal(HTTPStatus.NOT_FOUND, "no_video", "there is no such video; perhaps its time was up")
        return state

    def result(self, video: str, owner: str, name: str) -> Path:
        """A finished job's file, by its name among `RESULTS`. Raises Refusal."""
        state = self.get(video, owner)
        place = self._root / video / name
        if name not in RESULTS or not state.has_results or not place.is_file():
            message = state.error or "the video is not worked on to its end yet"
            raise Refusal(HTTPStatus.CONFLICT, "no_result", message)
        return place

    async def remove(self, video: str, owner: str) -> None:
        """Cancels a job and removes all of it; one of another worker ends there within a second. Raises Refusal."""
        self.get(video, owner)
        task = self._tasks.get(video)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(remove, self._root / video)

    def removed_in_s(self, state: VideoState) -> float | None:
        """Seconds that an ended job is still kept."""
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

    def _kept(self) -> int:
        return len(self._folders())

    def _check_room(self, coming: int) -> None:
        if held_bytes(self._root) + coming > self._settings.max_video_disk_mb * 1_000_000:
            raise no_room()

    async def _check(self, order: Order) -> None:
        """Raises Refusal where the upload is not a video within the limits."""
        try:
            async with asyncio.timeout(_CHECK_S):
                report = await _process(order, lambda report: None)
        except TimeoutError:
            report = Report(refused="unreadable_video", error="it takes too long to open")
        if report.whole:
            return
        if report.mistake is not None:
            _log_mistake(report.mistake)
        wrong_kind = report.refused in (None, "unreadable_video")
        status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE if wrong_kind else HTTPStatus.UNPROCESSABLE_ENTITY
        raise Refusal(status, report.refused or "unreadable_video", _about_upload(report.error))

    def _let_go(self, video: str, hold: Hold) -> None:
        self._places -= 1
        del self._tasks[video]
        hold.release()

    async def _run(self, state: VideoState, order: Order) -> None:
        """A job from the queue to its end; cancelled where it is removed."""
        try:
            async with self._turns:
                state = replace(state, state="running")
                self._write(state)
                pace = _Pace()

                def tell(report: Report) -> None:
                    left = pace.seconds_left(report.progress)
                    self._write(replace(state, progress=report.progress, seconds_left=left, frames=report.frames))

                try:
                    async with asyncio.timeout(self._settings.video_work_s):
                        report = await _process(order, tell)
                except TimeoutError:
                    report = Report(error="it takes longer than this server works on a video")
            self._end(state, report)
        except OutputError:
            pass  # its folder was removed; or the disk is full, and the next look finds a job that nobody works on

    def _end(self, state: VideoState, report: Report) -> None:
        """The upload is needed no more; of a failed job nothing is but why."""
        if report.mistake is not None:
            _log_mistake(report.mistake)
        name: VideoStage = "done" if report.whole else "incomplete" if report.summary else "failed"
        error = _about_upload(report.error) if name == "failed" else report.error
        for left in (UPLOAD, *(RESULTS if name == "failed" else ())):
            (self._root / state.id / left).unlink(missing_ok=True)
        self._metrics.videos.labels(name).inc()
        ended = replace(state, state=name, frames=report.frames, summary=report.summary, error=error)
        self._write(replace(ended, progress=1.0, ended_at=time.time()))

    def _write(self, state: VideoState) -> None:
        """Raises OutputError where the job's folder is gone."""
        write_text(self._root / state.id / _STATE, json.dumps(asdict(state)))

    def _look(self, folder: Path) -> VideoState | None:
        """A job's state; one that its worker left behind has failed. None where there is no such job."""
        state = _read(folder)
        if state is None or state.ended_at is not None or is_held(folder):
            return state
        state = _read(folder)  # its worker may have ended it between the two looks
        if state is None or state.ended_at is not None:
            return state
        error = "the server process that worked on it ended; send the video again"
        state = replace(state, state="failed", error=error, ended_at=time.time())
        with suppress(OutputError):
            self._write(state)
        return state

    async def _sweep(self) -> None:
        """Ends work on what was removed; removes what is too old, and uploads whose worker was killed."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for video, task in list(self._tasks.items()):
                if not (self._root / video).exists():
                    task.cancel()
            await asyncio.to_thread(self._clean)

    def _clean(self) -> None:
        for folder in self._folders():
            state = self._look(folder)
            left_alone = state is None and not is_held(folder) and _read(folder) is None  # an upload of a killed worker
            if left_alone or (state is not None and self.removed_in_s(state) == 0):
                remove(folder)


class _Pace:
    """How long it will take, from how far it came since the first report: before that networks were loaded."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None

    def seconds_left(self, progress: float | None) -> float | None:
        """progress: 0 to 1. None where nothing can be said yet."""
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


async def _process(order: Order, tell: Callable[[Report], None]) -> Report:
    """Has a process follow the order; `tell` takes its reports but the last. It is killed where this is cancelled."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "mien.serving.video_work", stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)},
        process_group=0, limit=_LONGEST_LINE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(order.to_json().encode() + b"\n")
        async for line in process.stdout:
            report = Report.from_json(line)
            if report.ended:
                return report
            tell(report)
        return Report(error="its decoder broke down")
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _about_upload(reason: str | None) -> str:
    """The reasons of `VideoError` stand behind a name: `is no video`, or `no frame in it could be decoded`."""
    reason = reason or "it can't be worked on"
    return f"the upload{'' if reason.startswith(('is ', 'has ')) else ':'} {reason}"


def _log_mistake(text: str) -> None:
    log.error("a video failed: %s", text, extra={"details": {"error": text.partition("\n")[0], "traceback": text}})
