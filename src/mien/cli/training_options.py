"""Options of the commands that train, and `--train-if-missing`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.completion import complete_network, complete_recipe
from mien.cli.output_options import INTERRUPTED, printer
from mien.reporting import warnings_to
from mien.training.before_torch import require_training

if TYPE_CHECKING:
    from mien.training.callbacks import Watcher
    from mien.training.curves_view import CurvesView
    from mien.training.recipe import Recipe
    from mien.training.train_if_missing import TrainingPlan

RecipeArgument = Annotated[
    str, typer.Argument(help="A shipped recipe's name, or a TOML file.", autocompletion=complete_recipe)
]
NetworkOption = Annotated[
    str, typer.Option(help="A network of `mien networks`, or timm:NAME.", autocompletion=complete_network)
]
TrainingData = Annotated[
    Path, typer.Option("--data", help="Parquet file or folder of them, fer2013.csv, or class folders.")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; repeatable.")
]
TrainingDevice = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="Processor threads; 0 = all.")]
Trackers = Annotated[
    list[str] | None,
    typer.Option("--log", metavar="TRACKER", help="Also log figures with tensorboard, mlflow or wandb; repeatable."),
]


def print_stopped() -> None:
    """After Ctrl-C, where the same command resumes."""
    typer.echo("mien: stopped; the same command resumes", err=True)


@contextmanager
def interruptible(after: Callable[[], None] = print_stopped) -> Iterator[None]:
    """Ctrl-C ends the block with exit code 130, after `after` has printed how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        after()
        raise typer.Exit(INTERRUPTED) from None


@dataclass(frozen=True, slots=True)
class TrainIfMissing:
    """`--train-if-missing`, and how: `--recipe`, `--set`."""

    train_if_missing: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA", help="If the model file is missing, train it on this data set first; class folders suffice."
        ),
    ] = None
    recipe: Annotated[
        str,
        typer.Option(
            metavar="RECIPE",
            help="With --train-if-missing: how. [default: mien-small, fitted to the data]",
            autocompletion=complete_recipe,
        ),
    ] = ""
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="With --train-if-missing: change a key of the recipe; repeatable."
        ),
    ] = None

    def train(self, models: Sequence[str], *, quiet: bool) -> None:
        """Trains the one model that is named if its file is missing. Raises MienError if the options do not fit."""
        data, changes = self.train_if_missing, self.set_ or ()
        if data is None:
            self._refuse_changes()
            return
        model = self._one_new(models)
        if model.is_file():
            return
        require_training("training")
        from mien.training.model_places import run_folder
        from mien.training.train_if_missing import train_if_missing

        log = printer(quiet=quiet)
        with ExitStack() as stack:

            def begin(plan: TrainingPlan) -> Watcher:
                for line in plan.lines():
                    log(line)
                return stack.enter_context(TrainingProgress(plan.recipe, quiet=quiet)).watcher()

            def stopped() -> None:
                stack.close()
                print_how_to_resume(run_folder(model), "the same command resumes")

            with interruptible(stopped), warnings_to(log):
                train_if_missing(model, data, recipe=self.recipe, overrides=changes, begin=begin)
            log(f"{model}: trained")

    def _refuse_changes(self) -> None:
        from mien.errors import RecipeError

        if self.recipe or self.set_:
            option = "--recipe" if self.recipe else "--set"
            raise RecipeError(f"{option}: describes a training; give the data with  --train-if-missing DATA")

    def _one_new(self, models: Sequence[str]) -> Path:
        from mien.errors import ModelFileError
        from mien.releases import shipped_models

        if len(models) != 1:
            raise ModelFileError(f"--train-if-missing: trains one model; {len(models)} are named")
        if models[0] in shipped_models():
            raise ModelFileError(
                f"--train-if-missing: {models[0]} comes with mien; name a file to train, with  --model FILE.onnx"
            )
        return Path(models[0])


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


def print_how_to_resume(run: Path, how: str) -> None:
    """After Ctrl-C: what the run's folder holds, and how to resume."""
    from mien.training.checkpoint import epochs_done
    from mien.training.loop import CHECKPOINT

    done = epochs_done(run / CHECKPOINT)
    kept = f"{run} holds {done} finished epoch{'s' if done > 1 else ''}" if done else "no epoch was finished"
    typer.echo(f"mien: stopped; {kept}; {how}" if done else f"mien: stopped; {kept}", err=True)
