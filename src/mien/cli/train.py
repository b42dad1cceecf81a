"""`mien train`: trains a recipe on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.completion import complete_recipe
from mien.cli.exit_codes import INTERRUPTED
from mien.cli.training_options import (
    Changes,
    Device,
    Threads,
    Trackers,
    TrainingData,
    require_training,
)
from mien.cli.training_progress import say_how_to_go_on, training_view


def train(
    recipe: Annotated[
        str, typer.Argument(help="A shipped recipe's name, or a TOML file.", autocompletion=complete_recipe)
    ],
    data: TrainingData,
    out: Annotated[Path, typer.Option("--out", "-o", help="The run's folder.")],
    set_: Changes = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")] = False,
    stop_after: Annotated[
        int, typer.Option(min=0, metavar="EPOCH", help="Pause after this epoch; --resume continues. 0 = never.")
    ] = 0,
    stream: Annotated[
        bool, typer.Option("--stream", help="Leave the faces on disk, for data sets that `mien data import` wrote.")
    ] = False,
    device: Device = "auto",
    threads: Threads = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check recipe and data, print the recipe, and stop.")
    ] = False,
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
    from mien.training.recipe import load_recipe
    from mien.training.small_sets import given_keys

    changes = set_ or []
    if dry_run:
        _check(recipe, changes, data, stream=stream)
        return
    require_training("training")
    import mien
    from mien.training.workers import is_first_worker, leave_unless_first

    def say(line: str) -> None:
        if not quiet and is_first_worker():
            typer.echo(line, err=True)

    settings = load_recipe(recipe, changes, warn=say)
    try:
        with training_view(settings, curves=curves, quiet=quiet or not is_first_worker()) as progress:
            run = mien.train(
                settings,
                data,
                out,
                resume=resume,
                stop_after=stop_after,
                stream=stream,
                given=given_keys(changes),
                log=log or (),
                device=device,
                threads=threads,
                progress=progress.watcher(),
                warn=progress.say,
            )
    except KeyboardInterrupt:
        say_how_to_go_on(out, "the same command with --resume continues")
        raise typer.Exit(INTERRUPTED) from None
    leave_unless_first()
    if stop_after and not run.models:
        say_how_to_go_on(out, "the same command with --resume continues")
    for path in run.models:
        typer.echo(str(path))


def _check(recipe: str, changes: list[str], data: Path, *, stream: bool) -> None:
    """Prints the resolved recipe as TOML, and the number of faces on stderr; without PyTorch."""
    from mien.config import to_toml
    from mien.errors import MissingExtraError
    from mien.training.recipe import load_recipe
    from mien.training.small_sets import given_keys
    from mien.training.train import check_training

    def warn(line: str) -> None:
        typer.echo(line, err=True)

    settings = load_recipe(recipe, changes, warn=warn)
    found = check_training(settings, data, stream=stream, given=given_keys(changes), warn=warn)
    for split, counts in (("train", found.train), ("validation", found.validation)):
        labels = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        warn(f"{split}: {sum(counts.values()):,} faces ({labels})")
    try:
        typer.echo(to_toml(found.recipe), nl=False)
    except MissingExtraError as error:  # the check itself needs no extra
        warn(f"{settings.name}: the recipe is valid; {error}")
