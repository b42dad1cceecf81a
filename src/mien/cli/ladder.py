"""`mien ladder`: twelve ways to fine-tune a backbone, compared, and the best one trained longer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.output_options import DryRun, Quiet, out_option, print_table, printer
from mien.cli.training_options import (
    Changes,
    NetworkOption,
    Threads,
    Trackers,
    TrainingData,
    TrainingDevice,
    epoch_line,
    interruptible,
)
from mien.reporting import warnings_to
from mien.training.before_torch import require_published_weights, require_training

if TYPE_CHECKING:
    from mien.training.callbacks import Watcher
    from mien.training.ladder_steps import LadderStep
    from mien.training.recipe import Recipe

_Weights = Annotated[
    str, typer.Option(help="What every step starts from: imagenet, faces, a safetensors file, or '' for nothing.")
]
_Labels = Annotated[str, typer.Option(metavar="A,B,..", help="Only faces of these labels. [default: all]")]
_Subset = Annotated[int, typer.Option(min=0, metavar="N", help="N training faces, stratified; 0 = all.")]
_Longer = Annotated[float, typer.Option(min=1, help="How many times as long the best step is trained.")]


def ladder(
    data: TrainingData,
    out: Annotated[Path, out_option("The folder of all runs and their results.")],
    backbone: NetworkOption = "efficientnet-lite0",
    weights: _Weights = "imagenet",
    labels: _Labels = "",
    subset: _Subset = 0,
    longer: _Longer = 2.0,
    set_: Changes = None,
    device: TrainingDevice = "auto",
    threads: Threads = 0,
    log: Trackers = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune a backbone in twelve steps, compare them, and train the best one for longer.

    Each step is a recipe, ladder-00 to ladder-11, and changes one thing of the step before; all start from the
    backbone's own weights. After a stop, the same command resumes and skips finished steps.

    Examples:

    - `mien ladder --backbone efficientnet-lite0 --data fer2013.csv --out runs/ladder`
    - `mien ladder --backbone timm:resnet18 --data fer2013.csv --out runs/ladder --subset 4000`
    - `mien ladder --backbone vgg16 --data faces/ --out runs/ladder --dry-run`
    """
    require_training("training")
    if not dry_run:
        require_published_weights(backbone, weights, out)
    from mien.training.devices import pick_device
    from mien.training.ladder import climb_ladder, plan_ladder
    from mien.training.recipe import given_keys

    log_line, changes = printer(quiet=quiet), set_ or ()
    wanted = tuple(name.strip() for name in labels.split(",") if name.strip())
    with warnings_to(log_line):
        plan = plan_ladder(backbone, weights=weights, labels=wanted, subset=subset, overrides=changes)
    if dry_run:
        _print_plan(plan)
        return
    with interruptible(), warnings_to(log_line):
        found = climb_ladder(
            plan, data, out, longer=longer, given=given_keys(changes), trackers=log or (),
            device=pick_device(device, threads=threads), progress=_progress(log_line),
        )  # fmt: skip
    log_line(f"\n{found.steps.verdict}\n\nLonger: {found.longer.verdict}\n")
    for path in (out / "compare" / "compare.html", found.weights, found.model):
        typer.echo(str(path))


def _progress(log: Callable[[str], None]) -> Callable[[Recipe, str, bool], Watcher]:
    """Logs each run as it begins, and each epoch."""
    from mien.training.callbacks import Watcher

    def begin(recipe: Recipe, _: str, finished: bool) -> Watcher:
        log(f"{recipe.name}: {recipe.description}{' (finished)' if finished else ''}")
        return Watcher(on_epoch=lambda row: log(f"  {epoch_line(row)}"))

    return begin


def _print_plan(plan: tuple[tuple[LadderStep, Recipe], ...]) -> None:
    from mien.training.diagram import recipe_facts

    rows = []
    for step, recipe in plan:
        facts = recipe_facts(recipe)
        how = f"{facts['optimizer']} {facts['rate']}, batch {facts['batch']}"
        rows.append((step.name, step.change, facts["learns"], how, facts["augmentation"], facts["epochs"]))
    print_table(("step", "what it changes", "learns", "optimizer", "augmentation", "epochs"), rows, left=5)
    first = plan[0][1]
    typer.echo(f"then the best one for longer; {first.network.kind} from {first.network.weights or 'random weights'}")
