"""Options of the commands that train, and `--train-if-missing`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.completion import complete_network, complete_recipe
from mien.cli.exit_codes import INTERRUPTED
from mien.cli.output_options import printer
from mien.cli.training_progress import TrainingProgress, print_how_to_resume, print_stopped
from mien.reporting import warnings_to
from mien.training.installed import require_training

if TYPE_CHECKING:
    from mien.training.callbacks import Watcher
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
