"""`mien tune`: searches the best settings of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.cluster_options import RayOptions
from mien.cli.option_groups import grouped
from mien.cli.output_options import Quiet, TableOrJson, out_option, printer
from mien.cli.training_options import (
    Changes,
    RecipeArgument,
    Threads,
    Trackers,
    TrainingData,
    TrainingDevice,
    epoch_line,
    interruptible,
)
from mien.reporting import warnings_to
from mien.training.before_torch import require_training

if TYPE_CHECKING:
    from mien.training.tune import TuneWatcher
    from mien.training.tuned import Tried, Tuned

_Trials = Annotated[int, typer.Option(min=1, help="Trials in all, with those that are finished.")]
_Storage = Annotated[
    str, typer.Option(metavar="URL", help="A database that several machines share. [default: OUT/study.db]")
]


@grouped
def tune(
    recipe: RecipeArgument,
    *,
    data: TrainingData,
    out: Annotated[Path, out_option("The folder of all trials and their results.")],
    trials: _Trials = 20,
    storage: _Storage = "",
    set_: Changes = None,
    device: TrainingDevice = "auto",
    threads: Threads = 0,
    log: Trackers = None,
    ray: RayOptions,
    format_: TableOrJson = "table",
    quiet: Quiet = False,
) -> None:
    """Search the settings of a recipe that score best on validation, with Optuna, over its table [search].

    After a stop or a kill, the same command resumes, and with it the trial that was training. Several commands at once
    with the same --out share the work; on several machines, give them one --storage.

    Examples:

    - `mien tune scratch-cnn4 --data fer2013.csv --trials 20 --out runs/tuned`
    - `mien tune my.toml --data faces/ --trials 100 --out runs/tuned --storage postgresql+psycopg://me@host/mien`
    - `mien tune my.toml --data faces/ --trials 100 --out runs/tuned --engine ray --actors 4`
    - `mien train runs/tuned/best.toml --data fer2013.csv --out runs/best`
    """
    require_training("training")
    from mien.cluster.tune import tune_on_ray
    from mien.training.devices import pick_device
    from mien.training.tune import TuneSettings, run_trials

    log_line = printer(quiet=quiet)
    watcher, workers = _watcher(log_line), ray.settings()
    wanted = TuneSettings(recipe, data, out, trials, tuple(set_ or ()), storage, tuple(log or ()), device)
    with interruptible(), warnings_to(log_line):
        if workers is not None:
            found = tune_on_ray(wanted, ray=workers, on_end=watcher.on_end)
        else:
            found = run_trials(wanted, device=pick_device(device, threads=threads), watcher=watcher)
    if format_ == "json":
        _print_json(found)
    else:
        _print(found, out, log_line)


def _watcher(log: Callable[[str], None]) -> TuneWatcher:
    """Logs each trial as it begins and ends, and each epoch."""
    from mien.training.callbacks import Watcher
    from mien.training.tune import TuneWatcher

    def end(tried: Tried) -> None:
        score = "" if tried.score is None else f", {tried.score:.4f}"
        log(f"trial {tried.number}: {tried.state}{score} after {tried.epochs} epochs {tried.problem}".rstrip())

    return TuneWatcher(
        on_begin=lambda number, taken: log(f"trial {number}: {'  '.join(taken)}"),
        on_end=end,
        training=Watcher(on_epoch=lambda row: log(f"  {epoch_line(row)}")),
    )


def _print_json(found: Tuned) -> None:
    import json

    figures = {"best_trial": found.number, "score": found.score, "trials": len(found.trials)}
    settings = next(dict(t.changes) for t in found.trials if t.number == found.number)
    typer.echo(json.dumps(figures | {"settings": settings, "importances": dict(found.importances)}, indent=2))


def _print(found: Tuned, out: Path, log: Callable[[str], None]) -> None:
    from mien.training.tuned import BEST_FILE, PAGE_FILE

    running = [str(t.number) for t in found.trials if t.state == "running"]
    if running:
        log(f"still training elsewhere: trial {', '.join(running)}; if stopped, the same command there resumes it")
    log(f"the best of {len(found.trials)} trials is {found.number}: {found.score:.4f} on validation")
    typer.echo(str(out / BEST_FILE))
    typer.echo(str(out / PAGE_FILE))
