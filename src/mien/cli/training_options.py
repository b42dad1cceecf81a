"""Options of the commands that train, and `--train-if-missing`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.completion import complete_recipe
from mien.cli.exit_codes import INTERRUPTED
from mien.cli.training_progress import TrainingProgress, say_how_to_go_on

if TYPE_CHECKING:
    from mien.training.callbacks import Watcher
    from mien.training.train_if_missing import TrainingPlan

TrainingData = Annotated[
    Path, typer.Option("--data", help="Parquet file or folder of them, fer2013.csv, or class folders.")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; repeatable.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[int, typer.Option(min=0, help="Processor threads; 0 = all.")]
Trackers = Annotated[
    list[str] | None,
    typer.Option("--log", metavar="TRACKER", help="Also log figures with tensorboard or mlflow; repeatable."),
]

TrainIfMissing = Annotated[
    Path | None,
    typer.Option(
        "--train-if-missing",
        metavar="DATA",
        help="Where the model file does not exist, train it on this data set first; class folders are enough.",
    ),
]
TrainingRecipe = Annotated[
    str,
    typer.Option(
        "--recipe",
        metavar="RECIPE",
        help="With --train-if-missing: how. [default: mien-small, fitted to the data]",
        autocompletion=complete_recipe,
    ),
]
RecipeChanges = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="With --train-if-missing: change a key of the recipe; repeatable."),
]


def can_train() -> bool:
    """Whether the extra [train] is installed."""
    from mien.training.train import can_train

    return can_train()


def require_training(needs: str) -> None:
    """Raises MissingExtraError for what `needs` the extra [train] where it is not installed."""
    from mien.errors import MissingExtraError

    if not can_train():
        raise MissingExtraError("train", needs)


def train_missing_model(
    models: Sequence[str], data: Path | None, recipe: str, changes: Sequence[str] | None, *, quiet: bool
) -> None:
    """Trains the one model that is named where its file does not exist. Raises MienError where options don't fit."""
    from mien.errors import ModelFileError, RecipeError
    from mien.releases import shipped_models

    if data is None:
        if recipe or changes:
            option = "--recipe" if recipe else "--set"
            raise RecipeError(f"{option}: says how to train; give the data with  --train-if-missing DATA")
        return
    if len(models) != 1:
        raise ModelFileError(f"--train-if-missing: trains one model; {len(models)} are named")
    model = models[0]
    if model in shipped_models():
        raise ModelFileError(
            f"--train-if-missing: {model} comes with mien; name a file to make, with  --model FILE.onnx"
        )
    if Path(model).is_file():
        return
    require_training("training")
    from mien.training.model_places import run_folder
    from mien.training.train_if_missing import train_if_missing

    with ExitStack() as stack:

        def say(line: str) -> None:
            if not quiet:
                typer.echo(line, err=True)

        def begin(plan: TrainingPlan) -> Watcher:
            for line in plan.lines():
                say(line)
            return stack.enter_context(TrainingProgress(plan.recipe, quiet=quiet)).watcher()

        try:
            train_if_missing(Path(model), data, recipe=recipe, overrides=changes or (), begin=begin, warn=say)
        except KeyboardInterrupt:
            stack.close()
            say_how_to_go_on(run_folder(Path(model)), "the same command resumes")
            raise typer.Exit(INTERRUPTED) from None
        say(f"{model}: trained")
