"""`mien demo`: a first look at everything, offline and in about a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.output_options import Seed, out_option
from mien.training.before_torch import can_train

FACES = (1400, 350, 350)
"""Toy faces for training, validation and test."""


def demo(
    out: Annotated[Path, out_option("A new folder for what the demo makes.")] = Path("mien-demo"), seed: Seed = 0
) -> None:
    """Draw toy faces, train and evaluate on them, recognise a photograph; needs no network and no data.

    Examples:

    - `mien demo`
    - `mien demo --out /tmp/first-look --seed 7`
    """
    from mien.data.toy import write_toy_folders
    from mien.errors import MissingExtraError, OutputError

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: exists already; remove it or give another folder with --out")
    see = []
    faces = out / "faces"
    typer.echo(f"1. Drawing {sum(FACES):,} toy faces of seven expressions.")
    train, validation, test = FACES
    write_toy_folders(faces, train=train, validation=validation, test=test, seed=seed)
    see.append((faces / "test", "the toy faces, a folder per expression"))

    if can_train():
        see += _train_and_measure(faces, out)
    else:
        typer.echo("2. Training: skipped. " + str(MissingExtraError("train", "Training")) + ".")

    see.append((_recognise(out), "the photograph with what was recognised"))
    typer.echo("\nTo look at:")
    for path, what in see:
        typer.echo(f"  {path}  {what}")
    typer.echo("Next:  mien predict YOUR-PHOTO.jpg --annotate annotated")


def _train_and_measure(faces: Path, out: Path) -> list[tuple[Path, str]]:
    """Trains the recipe `toy`, evaluates the model on the test split; the files to look at."""
    import mien
    from mien.evaluation.folder import METRICS_FILE, PREDICTIONS_FILE
    from mien.evaluation.report import report_text
    from mien.training.callbacks import Watcher
    from mien.training.recipe import load_recipe

    recipe = load_recipe("toy")
    typer.echo(f"2. Training the recipe 'toy' on them for {recipe.optimizer.epochs} epochs.")

    def print_epoch(row: dict[str, float]) -> None:
        typer.echo(f"   epoch {row['epoch']:.0f}: validation accuracy {row['label_accuracy']:.3f}")

    folder, measured = out / "run", out / "evaluation"
    run = mien.train(recipe, faces, folder, progress=Watcher(on_epoch=print_epoch))
    typer.echo("3. Evaluating the new model on the test faces, which training did not use.")
    typer.echo(report_text(mien.evaluate(run.models[0], faces, out=measured)))
    return [
        (folder / "curves.png", "the learning curves"),
        (run.models[0], "the model file"),
        (measured / METRICS_FILE, "every figure of the evaluation"),
        (measured / PREDICTIONS_FILE, "every prediction"),
    ]


def _recognise(out: Path) -> Path:
    """Recognises the shipped photograph with the default model; the annotated image."""
    from importlib import resources

    import mien
    from mien.releases import DEFAULT_MODEL

    typer.echo(f"4. Recognising a photograph with {DEFAULT_MODEL}.")
    photo = Path(str(resources.files("mien.examples") / "astronaut.png"))
    result = mien.predict(photo)
    for face in result:
        typer.echo(f"   {photo.name}: {face.expression}, confidence {face.confidence:.2f}")
    annotated = out / "astronaut.png"
    result.save(annotated)
    return annotated
