"""Worker processes on Ray. Each loads its resources once; a lost one is replaced and its task repeated."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from mien.errors import ClusterError, import_extra

Task = TypeVar("Task")
Result = TypeVar("Result")

TRIES = 3
"""Default number of attempts at a task whose worker is lost."""

_OBJECT_STORE_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RaySettings:
    """address: of a running cluster (`auto`, HOST:PORT, ray://HOST:PORT); empty starts one on this machine.

    actors: number of worker processes; None: one per processor core of the cluster.
    """

    address: str = ""
    actors: int | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """The result of a task whose worker was lost every time. reason: what Ray reports, one line."""

    reason: str


class RayWorkers(Generic[Task, Result]):
    """Workers on a connected cluster, made by `ray_workers`."""

    def __init__(self, ray: Any, start: Callable[[], Callable[[Task], Result]], count: int | None) -> None:
        self._ray = ray
        cores = self._cores()
        if count is not None and count > cores:
            raise ClusterError(f"{count} actors were requested, but the cluster has {cores} cores; request fewer")
        self.count = count or cores
        self.machines = sum(1 for node in ray.nodes() if node["Alive"])
        # Restarts by Ray would hide which task was lost.
        self._make = ray.remote(_Actor).options(num_cpus=1, max_restarts=0, max_task_retries=0)
        self._start = start
        self._folder = os.getcwd()  # noqa: PTH109

    def work_off(self, tasks: Iterable[Task], *, tries: int = TRIES) -> Iterator[tuple[int, Task, Result | Lost]]:
        """Yields the position, task and result of each task as soon as it is finished.

        A worker gets its next task when it is free; at most one task per worker is taken ahead. tries: attempts at a
        task whose worker is lost. An error of a task stops all work and is raised.
        """
        waiting = enumerate(tasks)
        again: deque[tuple[int, Task, int]] = deque()  # position, task, attempts
        free: list[Any] = [self._new() for _ in range(self.count)]
        running: dict[Any, tuple[Any, int, Task, int]] = {}
        losses = 0  # since the last finished task
        try:
            while True:
                while free:
                    if again:
                        position, task, begun = again.popleft()
                    elif (item := next(waiting, None)) is not None:
                        position, task, begun = *item, 0
                    else:
                        break
                    actor = free.pop()
                    running[actor.work.remote(task)] = (actor, position, task, begun + 1)
                if not running:
                    return
                (done,), _ = self._ray.wait(list(running), num_returns=1)
                actor, position, task, begun = running.pop(done)
                result = self._result(done)
                if isinstance(result, Lost):
                    losses += 1
                    if losses > TRIES * (self.count + 2):
                        raise ClusterError(f"all workers were lost: {result.reason}")
                    self._ray.kill(actor)
                    free += self._replacement(len(running) + len(free), result)
                    if begun < tries:
                        again.append((position, task, begun))
                        continue
                else:
                    losses = 0
                    free.append(actor)
                yield position, task, result
        finally:
            for actor in [*free, *(entry[0] for entry in running.values())]:
                with suppress(Exception):  # the cluster may be gone
                    self._ray.kill(actor)

    def _new(self) -> Any:
        return self._make.remote(self._start, self._folder)

    def _replacement(self, alive: int, lost: Lost) -> list[Any]:
        """One worker, if the cluster still has a core for it: a lost machine takes its cores along."""
        if alive < self._cores():
            return [self._new()]
        if not alive:
            raise ClusterError(f"no worker is left: {lost.reason}; run the same command to resume")
        return []

    def _cores(self) -> int:
        return int(self._ray.cluster_resources().get("CPU", 0))

    def _result(self, done: Any) -> Result | Lost:
        from ray import exceptions

        lost = (
            exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.OutOfMemoryError,
            exceptions.NodeDiedError, exceptions.ObjectLostError,
        )  # fmt: skip
        try:
            return self._ray.get(done)  # type: ignore[no-any-return]
        except exceptions.RayTaskError as error:
            raise error.cause from None
        except lost as error:
            if getattr(error, "actor_init_failed", False):
                last = str(error).strip().splitlines()[-1]
                raise ClusterError(f"workers can't start ({last}); install the same mien on each machine") from error
            lines = [line.strip() for line in str(error).splitlines()]
            return Lost(next((line for line in lines if "exit" in line or "died" in line), type(error).__name__)[:300])
        except exceptions.RayError as error:
            first = str(error).strip().partition("\n")[0]
            raise ClusterError(f"Ray failed ({first}); run the same command to resume") from error


def in_order(results: Iterable[tuple[int, Task, Result]]) -> Iterator[Result]:
    """Results in the order of their tasks; early ones are held back."""
    early: dict[int, Result] = {}
    due = 0
    for position, _, result in results:
        early[position] = result
        while due in early:
            yield early.pop(due)
            due += 1


@contextmanager
def ray_workers(
    start: Callable[[], Callable[[Task], Result]], settings: RaySettings
) -> Iterator[RayWorkers[Task, Result]]:
    """Workers on Ray while the block runs. start: called once in each worker; returns the function of a task.

    Workers resolve relative paths as this process does. Raises MissingExtraError without Ray, ClusterError for a
    cluster that is not available or has too few cores.
    """
    with connected(settings) as ray:
        yield RayWorkers(ray, start, settings.actors)


@contextmanager
def connected(settings: RaySettings) -> Iterator[Any]:
    """Ray's module, connected while the block runs. An existing connection of this process is kept.

    A cluster started here listens on 127.0.0.1 only, requires a token, has no dashboard, sends no usage reports, and
    keeps its files in a private folder that is deleted with it. Raises MissingExtraError without Ray, ClusterError.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of machines without a GPU
    if not settings.address:
        # Ray's default on Windows and macOS: addresses of this machine only.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    ray = import_extra("ray", "cluster", "Ray")
    if ray.is_initialized():
        yield ray
        return
    with tempfile.TemporaryDirectory(prefix="mien-ray-", dir=_short_folder(), ignore_cleanup_errors=True) as scratch:
        try:
            _connect(ray, settings, scratch)
            yield ray
        finally:
            ray.shutdown()


def _connect(ray: Any, settings: RaySettings, scratch: str) -> None:
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if settings.address:
            ray.init(settings.address, **quiet)
            return
        # Ray requires a token; without this one it writes one to the user's home.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        ray.init(
            "local", num_cpus=settings.actors or os.cpu_count() or 1, object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False, _node_ip_address="127.0.0.1", _temp_dir=scratch, **quiet,
        )  # fmt: skip
    except Exception as error:  # Ray raises plain Exceptions where one of its processes does not start
        first = str(error).strip().partition("\n")[0]
        place = settings.address or "a cluster on this machine"
        hint = "; ray:// needs  pip install 'ray[client]'" if settings.address.startswith("ray://") else ""
        raise ClusterError(f"{place}: can't be reached or started ({first}){hint}") from error


class _Actor:
    """One worker process. Its resources are loaded with its first task, so that errors there are reported by name."""

    def __init__(self, start: Callable[[], Callable[[Any], Any]], folder: str) -> None:
        self._start = start
        self._work: Callable[[Any], Any] | None = None
        with suppress(OSError):  # another machine need not have it
            os.chdir(folder)

    def work(self, task: Any) -> Any:
        if self._work is None:
            import cv2

            cv2.setNumThreads(1)  # each worker has one core
            self._work = self._start()
        return self._work(task)


def _short_folder() -> str | None:
    """A parent for temporary folders with a short path: Ray's socket paths have at most 107 characters."""
    return "/tmp" if len(tempfile.gettempdir()) > 30 and Path("/tmp").is_dir() else None
