"""`mien train`: trains a recipe on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.output_options import DryRun, Labels, Quiet, data_with, out_option, printer, warn
from mien.cli.training_options import (
    Changes,
    RecipeArgument,
    Threads,
    Trackers,
    TrainingData,
    TrainingDevice,
    epoch_line,
    interruptible,
    print_how_to_resume,
    training_view,
)
from mien.reporting import warnings_to
from mien.training.before_torch import is_first_worker, require_training

if TYPE_CHECKING:
    from mien.data.dataset import Dataset
    from mien.training.recipe import Recipe

_Resume = Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")]
_StopAfter = Annotated[
    int, typer.Option(min=0, metavar="EPOCH", help="Pause after this epoch; --resume continues. 0 = never.")
]
_Stream = Annotated[bool, typer.Option("--stream", help="Leave the faces on disk, for data larger than memory.")]
_Folds = Annotated[
    int, typer.Option(min=0, metavar="K", help="Train once for each of K folds, and write one table. 0 = no folds.")
]
_Seeds = Annotated[int, typer.Option(min=1, metavar="N", help="Train with N seeds, and write one table.")]
_Curves = Annotated[bool, typer.Option("--curves", help="Show live curves, where the terminal can.")]


def train(
    recipe: RecipeArgument,
    data: TrainingData,
    out: Annotated[Path, out_option("The run's folder.")],
    set_: Changes = None,
    labels: Labels = "",
    resume: _Resume = False,
    stop_after: _StopAfter = 0,
    stream: _Stream = False,
    device: TrainingDevice = "auto",
    threads: Threads = 0,
    dry_run: DryRun = False,
    log: Trackers = None,
    curves: _Curves = False,
    folds: _Folds = 0,
    seeds: _Seeds = 1,
    quiet: Quiet = False,
) -> None:
    """Train a recipe; select and calibrate on validation; write a model file.

    With --folds and --seeds: a run in --out for each fold and seed, and table.md, .tex, .csv with mean and standard
    deviation of the last epoch. The same command resumes.

    Examples:

    - `mien train mien-small --data fer2013.csv --out runs/small --set targets.votes=0`
    - `mien train mien-nano --data folders-0-to-6/ --labels fer2013 --out runs/nano --set 'distill.teachers=[]'`
    - `mien train my.toml --data faces/ --out runs/mine --set optimizer.epochs=20`
    - `mien train mien-small --data fer2013/ --out runs/small --resume`
    - `mien train mien-small --data fer2013/ --out runs/small --stop-after 10`
    - `mien train mien-small --data fer2013/ --out runs/small --curves --log tensorboard --log mlflow`
    - `mien train scratch-cnn2 --data faces/ --folds 5 --seeds 3 --out runs/folds`
    - `torchrun --nproc-per-node 2 -m mien train mien-small --data fer2013/ --out runs/small`
    """
    from mien.training.recipe import given_keys, load_recipe

    changes = set_ or []
    if dry_run:
        _check(recipe, changes, data_with(labels, data), stream=stream)
        return
    require_training("training")
    quiet = quiet or not is_first_worker()
    settings = load_recipe(recipe, changes, warn=printer(quiet=quiet))

    if folds or seeds > 1:
        _repeat(settings, data, out, folds=folds, seeds=seeds, device=device, threads=threads, quiet=quiet,
                given=given_keys(changes), log=log or ())  # fmt: skip
        return

    _once(settings, data_with(labels, data), out, curves=curves, quiet=quiet, resume=resume, stop_after=stop_after,
          stream=stream, given=given_keys(changes), log=log or (), device=device, threads=threads)  # fmt: skip


def _once(
    recipe: Recipe, data: Dataset | Path, out: Path, *, curves: bool, quiet: bool, stop_after: int, **options: Any
) -> None:
    """Trains one run, and prints its model files."""
    import mien

    def print_resume() -> None:
        print_how_to_resume(out, "the same command with --resume continues")

    with (
        interruptible(print_resume),
        training_view(recipe, curves=curves, quiet=quiet) as view,
        warnings_to(view.log),
    ):
        run = mien.train(recipe, data, out, stop_after=stop_after, progress=view.watcher(), **options)
    from mien.training.workers import leave_unless_first

    leave_unless_first()
    if stop_after and not run.models:
        print_resume()
    for path in run.models:
        typer.echo(str(path))


def _repeat(recipe: Recipe, data: Path, out: Path, *, quiet: bool, **options: Any) -> None:
    """Trains every fold and seed, and prints the table."""
    import mien
    from mien.training.callbacks import Watcher

    log = printer(quiet=quiet)

    def begin(_: Recipe, name: str, done: bool) -> Watcher:
        log(f"{name}: finished" if done else name)
        return Watcher(on_epoch=lambda row: log(f"  {epoch_line(row)}"))

    with interruptible(), warnings_to(log):
        found = mien.cross_validate(recipe, data, out, progress=begin, **options)
    typer.echo(found.text(), nl=False)
    typer.echo(str(found.folder / "table.md"))


def _check(recipe: str, changes: Sequence[str], data: Dataset | Path, *, stream: bool) -> None:
    """Prints the resolved recipe as TOML, and the number of faces on stderr; without PyTorch."""
    from mien.config import to_toml
    from mien.errors import MissingExtraError
    from mien.training.learning_data import fit_to_faces, read_learning_data
    from mien.training.recipe import given_keys, load_recipe

    settings = load_recipe(recipe, changes, warn=warn)
    found = read_learning_data(settings, data, partial(fit_to_faces, given=given_keys(changes)), stream=stream)
    for split, faces in (("train", found.train), ("validation", found.validation)):
        labels = ", ".join(f"{name} {(faces.labels == i).sum():,}" for i, name in enumerate(faces.label_names))
        warn(f"{split}: {len(faces):,} faces ({labels})")
    try:
        typer.echo(to_toml(found.recipe), nl=False)
    except MissingExtraError as error:  # the check itself needs no extra
        warn(f"{settings.name}: the recipe is valid; {error}")
