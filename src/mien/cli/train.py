"""`mien train`: trains a recipe on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.exit_codes import INTERRUPTED
from mien.cli.training_options import (
    Changes,
    Device,
    Threads,
    Trackers,
    TrainingData,
    epoch_line,
    require_training,
    say_how_to_go_on,
)

if TYPE_CHECKING:
    from mien.training.curves_view import CurvesView
    from mien.training.loop import Watcher
    from mien.training.recipe import Recipe


def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a TOML file.")],
    data: TrainingData,
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    set_: Changes = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    stop_after: Annotated[
        int, typer.Option(min=0, metavar="EPOCH", help="Pause after this epoch; --resume goes on. 0 = never.")
    ] = 0,
    stream: Annotated[
        bool, typer.Option("--stream", help="Leave the faces on disk: for data that `mien data import` wrote.")
    ] = False,
    device: Device = "auto",
    threads: Threads = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the resolved recipe and stop.")] = False,
    log: Trackers = None,
    curves: Annotated[bool, typer.Option("--curves", help="Show live curves, where the terminal can.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Train a recipe; select and calibrate on validation; leave a model file.

    Examples:

    `mien train mien-small --data fer2013.csv --out runs/small --set targets.votes=0`

    `mien train my.toml --data faces/ --out runs/mine --set optimizer.epochs=20`

    `mien train mien-small --data fer2013/ --out runs/small --resume`

    `mien train mien-small --data fer2013/ --out runs/small --stop-after 10`

    `mien train mien-small --data fer2013/ --out runs/small --curves --log tensorboard --log mlflow`

    `torchrun --nproc-per-node 2 -m mien train mien-small --data fer2013/ --out runs/small`
    """
    require_training("training")
    from mien.config import to_toml
    from mien.training.loop import pick_device
    from mien.training.recipe import load_recipe
    from mien.training.run import train_run
    from mien.training.workers import is_first_worker

    settings = load_recipe(recipe, set_ or [])
    if dry_run:
        typer.echo(to_toml(settings), nl=False)
        return
    chosen = pick_device(device, threads=threads)
    try:
        with _view(settings, curves=curves, quiet=quiet or not is_first_worker()) as progress:
            run = train_run(
                settings,
                data,
                out,
                resume=resume,
                stop_after=stop_after,
                stream=stream,
                trackers=log or (),
                device=chosen,
                watcher=progress.watcher(),
                warn=progress.say,
            )
    except KeyboardInterrupt:
        say_how_to_go_on(out, "the same command with --resume goes on")
        raise typer.Exit(INTERRUPTED) from None
    if stop_after and not run.models and is_first_worker():
        say_how_to_go_on(out, "the same command with --resume goes on")
    for path in run.models:
        typer.echo(str(path))


def _view(recipe: Recipe, *, curves: bool, quiet: bool) -> TrainingProgress | CurvesView:
    """Live curves where they are wanted and the terminal can show them, else a bar and lines."""
    if curves and not quiet:
        from rich.console import Console

        from mien.training.curves_view import CurvesView, can_show_curves

        console = Console(stderr=True)
        if can_show_curves(console):
            return CurvesView(recipe, console)
    return TrainingProgress(recipe, quiet=quiet)


class TrainingProgress:
    """A bar for the epoch with images/s and the time left of the whole run; a line per epoch."""

    def __init__(self, recipe: Recipe, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._quiet, self._epochs = quiet, recipe.optimizer.epochs
        self._console = Console(stderr=True, quiet=quiet)
        self._bar = Progress(
            TextColumn("{task.fields[stage]}"),
            BarColumn(),
            TextColumn("{task.fields[rate]:.0f} images/s, {task.fields[left]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("", stage="", rate=0.0, left="?")

    def __enter__(self) -> TrainingProgress:
        return self  # the bar starts with the first step: a refusal stays one line

    def __exit__(self, *_: object) -> None:
        if self._bar.live.is_started:
            self._bar.stop()

    def say(self, line: str) -> None:
        """A line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def watcher(self) -> Watcher:
        """What the loop reports to."""
        from mien.training.curves_view import time_left
        from mien.training.loop import Watcher

        def on_step(epoch: int, done: int, total: int, rate: float) -> None:
            left = time_left(((self._epochs - epoch) * total - done) / max(rate, 1e-9))
            self._show(f"epoch {epoch + 1}/{self._epochs}", done, total, rate, f"{left} left")

        def on_asking(done: int, total: int, rate: float) -> None:
            left = time_left((total - done) / max(rate, 1e-9))
            self._show("asking the teachers", done, total, rate, f"{left} left before the first epoch")

        def on_epoch(row: dict[str, float]) -> None:
            self.say(epoch_line(row))

        return Watcher(on_step, on_epoch, on_asking=on_asking)

    def _show(self, stage: str, done: int, total: int, rate: float, left: str) -> None:
        if not self._bar.live.is_started:
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total, rate=rate, left=left, stage=stage)
