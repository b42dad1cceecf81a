"""Progress of the commands that train: a bar or live curves, a line per epoch, and how to resume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mien.training.callbacks import Watcher
    from mien.training.curves_view import CurvesView
    from mien.training.recipe import Recipe


def training_view(recipe: Recipe, *, curves: bool, quiet: bool) -> TrainingProgress | CurvesView:
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

    def log(self, line: str) -> None:
        """A line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def watcher(self) -> Watcher:
        """What the loop reports to."""
        from mien.training.callbacks import Watcher
        from mien.training.curves_view import time_left

        def on_step(epoch: int, done: int, total: int, rate: float) -> None:
            left = time_left(((self._epochs - epoch) * total - done) / max(rate, 1e-9))
            self._show(f"epoch {epoch + 1}/{self._epochs}", done, total, rate, f"{left} left")

        def on_asking(done: int, total: int, rate: float) -> None:
            left = time_left((total - done) / max(rate, 1e-9))
            self._show("teachers' predictions", done, total, rate, f"{left} left before the first epoch")

        def on_epoch(row: dict[str, float]) -> None:
            self.log(epoch_line(row))

        return Watcher(on_step, on_epoch, on_asking=on_asking)

    def _show(self, stage: str, done: int, total: int, rate: float, left: str) -> None:
        if not self._bar.live.is_started:
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total, rate=rate, left=left, stage=stage)


def epoch_line(row: dict[str, float]) -> str:
    """A row of the history as a line."""
    figures = "  ".join(f"{k} {v:.4f}" for k, v in row.items() if k not in ("epoch", "learning_rate"))
    return f"{row['epoch']:3.0f}  {figures}"


def print_stopped() -> None:
    """After Ctrl-C, where the same command resumes."""
    typer.echo("mien: stopped; the same command resumes", err=True)


def print_how_to_resume(run: Path, how: str) -> None:
    """After Ctrl-C: what the run's folder holds, and how to resume."""
    from mien.training.checkpoint import epochs_done
    from mien.training.loop import CHECKPOINT

    done = epochs_done(run / CHECKPOINT)
    kept = f"{run} holds {done} finished epoch{'s' if done > 1 else ''}" if done else "no epoch was finished"
    typer.echo(f"mien: stopped; {kept}; {how}" if done else f"mien: stopped; {kept}", err=True)
