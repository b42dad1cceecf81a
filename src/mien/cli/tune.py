"""`mien tune`: searches the best settings of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.cluster_options import Actors, Address, Engine, ray_settings
from mien.cli.completion import complete_recipe
from mien.cli.exit_codes import INTERRUPTED
from mien.cli.output_options import TableOrJson
from mien.cli.training_options import Changes, Device, Threads, Trackers, TrainingData, require_training
from mien.cli.training_progress import epoch_line, say_stopped

if TYPE_CHECKING:
    from mien.training.tuned import Tried


def tune(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A shipped recipe's name, or a TOML file, with a table [search].", autocompletion=complete_recipe
        ),
    ],
    data: TrainingData,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of all trials and their results.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, with those that are finished.")] = 20,
    storage: Annotated[
        str, typer.Option(metavar="URL", help="A database that several machines share. [default: OUT/study.db]")
    ] = "",
    set_: Changes = None,
    device: Device = "auto",
    threads: Threads = 0,
    log: Trackers = None,
    engine: Engine = "local",
    address: Address = "",
    actors: Actors = None,
    format_: TableOrJson = "table",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Search the settings of a recipe that score best on validation, with Optuna, over its table [search].

    After a stop or a kill, the same command resumes, and with it the trial that was training. Several commands at once
    with the same --out share the work; on several machines, give them one --storage.

    Examples:

    `mien tune scratch-cnn4 --data fer2013.csv --trials 20 --out runs/tuned`

    `mien tune my.toml --data faces/ --trials 100 --out runs/tuned --storage postgresql+psycopg://me@host/mien`

    `mien tune my.toml --data faces/ --trials 100 --out runs/tuned --engine ray --actors 4`

    `mien train runs/tuned/best.toml --data fer2013.csv --out runs/best`
    """
    import json

    require_training("training")
    from mien.training.callbacks import Watcher
    from mien.training.devices import pick_device
    from mien.training.tune import TuneWatcher, run_trials
    from mien.training.tuned import BEST_FILE, PAGE_FILE

    def say(line: str) -> None:
        if not quiet:
            typer.echo(line, err=True)

    def ended(tried: Tried) -> None:
        score = "" if tried.score is None else f", {tried.score:.4f}"
        say(f"trial {tried.number}: {tried.state}{score} after {tried.epochs} epochs {tried.problem}".rstrip())

    watcher = TuneWatcher(
        on_begin=lambda number, taken: say(f"trial {number}: {'  '.join(taken)}"),
        on_end=ended,
        training=Watcher(on_epoch=lambda row: say(f"  {epoch_line(row)}")),
    )
    ray = ray_settings(engine, address, actors)
    try:
        if ray is not None:
            from mien.cluster.tune import TuneSettings, tune_on_ray

            wanted = TuneSettings(recipe, data, out, trials, tuple(set_ or ()), storage, tuple(log or ()), device)
            found = tune_on_ray(wanted, ray=ray, on_end=ended, warn=say)
        else:
            found = run_trials(
                recipe,
                data,
                out,
                trials=trials,
                overrides=tuple(set_ or ()),
                storage=storage,
                trackers=log or (),
                device=pick_device(device, threads=threads),
                watcher=watcher,
                warn=say,
            )
    except KeyboardInterrupt:
        say_stopped()
        raise typer.Exit(INTERRUPTED) from None
    if format_ == "json":
        figures = {"best_trial": found.number, "score": found.score, "trials": len(found.trials)}
        settings = next(dict(t.changes) for t in found.trials if t.number == found.number)
        typer.echo(json.dumps(figures | {"settings": settings, "importances": dict(found.importances)}, indent=2))
        return
    running = [str(t.number) for t in found.trials if t.state == "running"]
    if running:
        say(f"still training elsewhere: trial {', '.join(running)}; if stopped, the same command there resumes it")
    say(f"the best of {len(found.trials)} trials is {found.number}: {found.score:.4f} on validation")
    typer.echo(str(out / BEST_FILE))
    typer.echo(str(out / PAGE_FILE))
