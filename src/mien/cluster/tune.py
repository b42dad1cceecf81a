"""`mien tune --engine ray`: the trials of a study as tasks on Ray, which share the study's database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mien.cluster.ray_workers import TRIES, Lost, RaySettings, ray_workers
from mien.errors import ClusterError
from mien.reporting import log_warning
from mien.training.trackers import check_trackers
from mien.training.tune import TuneSettings, conclude_tuning, open_study, train_next_trial
from mien.training.tuned import Tried, Tuned


def tune_on_ray(
    settings: TuneSettings,
    *,
    ray: RaySettings,
    on_end: Callable[[Tried], None] = lambda _: None,
) -> Tuned:
    """Runs `tune` with several trials at once. A trial whose worker is lost is resumed from its checkpoint.

    All machines must reach the database: study.db in `out` serves one machine; several need a `storage`. Trials are
    sampled from the results of finished ones, so the order in which parallel trials end changes the next ones.
    on_end: called with each finished trial. Raises what `tune` raises; ClusterError.
    """
    check_trackers(settings.trackers)
    open_study(settings)
    with ray_workers(partial(_start, settings), ray) as workers:
        if workers.machines > 1 and not settings.storage:
            raise ClusterError(
                "--storage: trials on several machines need a database that all machines reach; give its URL "
                "(postgresql+psycopg://USER@HOST/NAME)"
            )
        for _, _, tried in workers.work_off(range(settings.trials)):
            if isinstance(tried, Lost):
                log_warning(f"a trial's worker was lost {TRIES} times ({tried.reason}); the same command resumes it")
            elif tried is not None:
                on_end(tried)
    return conclude_tuning(settings)


def _start(settings: TuneSettings) -> Callable[[int], Tried | None]:
    """Returns a function that runs one trial, killed or new. It returns None once there are enough."""
    from mien.training.devices import pick_device

    device = pick_device(settings.device, threads=1)
    return lambda _: train_next_trial(settings, device=device)
