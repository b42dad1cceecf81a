"""`mien tune --engine ray`: the trials of one study, each a task on Ray, shared through the study's database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mien.cluster.ray_workers import TRIES, Lost, RaySettings, ray_workers
from mien.errors import ClusterError
from mien.training.trackers import check_trackers
from mien.training.tune import conclude_tuning, open_study, train_next_trial
from mien.training.tuned import Tried, Tuned


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """What is tuned; as the arguments of `mien.training.tune.tune`. device: by name, picked on each machine."""

    recipe: str
    data: Path
    out: Path
    trials: int
    overrides: tuple[str, ...] = ()
    storage: str = ""
    trackers: tuple[str, ...] = ()
    device: str = "auto"


def tune_on_ray(
    settings: TuneSettings,
    *,
    ray: RaySettings,
    on_end: Callable[[Tried], None] = lambda _: None,
    warn: Callable[[str], None] = print,
) -> Tuned:
    """As `tune`, several trials at once. A trial whose worker is lost goes on from its checkpoint, as after a kill.

    The database must be reached by all machines: study.db in `out` is for one machine, with several give a `storage`.
    Trials draw what they try from those that have ended, so with several at once another order gives other trials.
    on_end: is told each trial that has ended. Raises what `tune` does; ClusterError.
    """
    check_trackers(settings.trackers)
    open_study(settings.recipe, settings.out, overrides=settings.overrides, storage=settings.storage)
    with ray_workers(partial(_start, settings), ray) as workers:
        if workers.machines > 1 and not settings.storage:
            raise ClusterError(
                "--storage: trials on several machines share a database that all reach; give its URL "
                "(postgresql+psycopg://USER@HOST/NAME)"
            )
        for _, _, tried in workers.work_off(range(settings.trials)):
            if isinstance(tried, Lost):
                warn(f"a trial's worker was lost {TRIES} times ({tried.reason}); the same command goes on with it")
            elif tried is not None:
                on_end(tried)
    return conclude_tuning(settings.recipe, settings.out, overrides=settings.overrides, storage=settings.storage)


def _start(settings: TuneSettings) -> Callable[[int], Tried | None]:
    """Works on one trial: one that was killed, or a new one; None where there are enough."""
    from mien.training.loop import pick_device

    device = pick_device(settings.device, threads=1)

    def work(_: int) -> Tried | None:
        return train_next_trial(
            settings.recipe,
            settings.data,
            settings.out,
            trials=settings.trials,
            overrides=settings.overrides,
            storage=settings.storage,
            trackers=settings.trackers,
            device=device,
        )

    return work
