"""What commands that use a model share to train it first where it does not exist: `--train-if-missing` and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mien.training.loop import Watcher
    from mien.training.train_if_missing import TrainingPlan

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
        "--recipe", metavar="RECIPE", help="With --train-if-missing: how. [default: mien-small, fitted to the data]"
    ),
]
RecipeChanges = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="With --train-if-missing: change a key of the recipe; repeatable."),
]


def train_missing_model(
    models: Sequence[str], data: Path | None, recipe: str, changes: Sequence[str] | None, *, quiet: bool
) -> None:
    """Trains the one model that is named where its file does not exist. Raises MienError where options don't fit."""
    from mien.errors import MissingExtraError, ModelFileError, RecipeError
    from mien.model_file import shipped_models

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
    from mien.cli.train import TrainingProgress, can_train, say_how_to_go_on

    if not can_train():
        raise MissingExtraError("train", "training")
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
            say_how_to_go_on(run_folder(Path(model)), "the same command goes on")
            raise typer.Exit(130) from None
        say(f"{model}: trained")
