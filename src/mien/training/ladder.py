"""Climbs the ladder: twelve ways to fine-tune one backbone, compared; the best one is then trained for longer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mien.config import toml_value
from mien.data.dataset import Dataset
from mien.errors import RecipeError
from mien.evaluation.compare import compare
from mien.evaluation.compare_page import write_comparison
from mien.evaluation.comparison import Comparison
from mien.evaluation.validation import VALIDATION_FILE
from mien.files import atomic_path, make_folder
from mien.reporting import each_warning_once, log_warning
from mien.training.callbacks import Watcher
from mien.training.ladder_steps import LADDER, LadderStep
from mien.training.learning_data import fit_to_faces
from mien.training.loop import BEST
from mien.training.recipe import Recipe, given_keys, load_recipe, same_training
from mien.training.run import asked_recipe, train_run

LONGER, COMPARED = "longer", "compare"


@dataclass(frozen=True, slots=True, eq=False)
class Ladder:
    """The results of the ladder. steps: the comparison of the twelve; longer: of their best and its longer run.

    best: the run that is kept, by validation accuracy; weights, model: its copies in the output folder.
    """

    steps: Comparison
    longer: Comparison
    best: str
    weights: Path
    model: Path


@each_warning_once()
def plan_ladder(
    backbone: str,
    *,
    weights: str = "imagenet",
    labels: Iterable[str] = (),
    subset: int = 0,
    overrides: Iterable[str] = (),
) -> tuple[tuple[LadderStep, Recipe], ...]:
    """The twelve steps for a backbone, each with its recipe. weights: what every step starts from, as network.weights.

    labels, subset: as in a recipe's [data]. overrides: `key=value` for all steps.
    Raises RecipeError.
    """
    # A backbone has its own batch norm and size of input: these settings hold for all steps.
    own = [f"network.kind={toml_value(backbone)}", f"network.weights={toml_value(weights)}"]
    if labels := tuple(labels):
        own.append(f"data.labels={toml_value(labels)}")
    if subset:
        own.append(f"data.subset={subset}")
    overrides = tuple(overrides)
    plan = tuple((step, load_recipe(step.name, [*own, *overrides], warn=log_warning)) for step in LADDER)
    for step, recipe in plan:  # better now than after ten steps
        if recipe.data.subset:
            try:
                fit_to_faces(recipe, recipe.data.subset, given=given_keys(overrides))
            except RecipeError as error:
                raise RecipeError(f"{step.name}: data.subset is {recipe.data.subset}: {error}") from error
    return plan


@each_warning_once()
def climb_ladder(
    plan: tuple[tuple[LadderStep, Recipe], ...],
    data: Path,
    out: Path,
    *,
    longer: float = 2.0,
    given: Collection[str] = (),
    trackers: Sequence[str] = (),
    device: torch.device | None = None,
    progress: Callable[[Recipe, str, bool], Watcher] | None = None,
) -> Ladder:
    """Trains every step in its own folder below `out`, compares them, and trains the best `longer` times as long.

    given, trackers: as in `train_run`, for each run. progress: as in `run_unless_finished`. Finished runs are skipped,
    and a killed one is resumed.
    Every step starts from the backbone's own weights.
    Leaves compare/ (the twelve), longer/ (the run) and longer/compare/, best.safetensors and the best model file.
    Raises RecipeError, DataError, OutputError, TrainingError.
    """
    if longer < 1:
        raise RecipeError(f"longer is {longer:g}; expected how many times as long the best step is trained, 1 or more")
    make_folder(out)
    options = {"given": given, "trackers": trackers, "device": device}
    for step, recipe in plan:
        run_unless_finished(recipe, data, out / step.name, progress, **options)
    steps = compare([out / step.name for step, _ in plan])
    write_comparison(steps, out / COMPARED)
    winner = steps.runs[0].name
    recipe = next(recipe for step, recipe in plan if step.name == winner)
    epochs = round(recipe.optimizer.epochs * longer)
    longest = replace(
        recipe,
        name=f"{winner}-longer",
        description=f"{recipe.description}; {epochs} epochs instead of {recipe.optimizer.epochs}",
        optimizer=replace(recipe.optimizer, epochs=epochs),
    )
    run_unless_finished(longest, data, out / LONGER, progress, **options)
    both = compare([out / winner, out / LONGER])
    write_comparison(both, out / LONGER / COMPARED)
    best = both.runs[0].name
    (model,) = (out / best).glob("*.onnx")
    for source, target in ((out / best / BEST, out / BEST), (model, out / "best.onnx")):
        with atomic_path(target) as place:
            shutil.copyfile(source, place)
    return Ladder(steps, both, best, out / BEST, out / "best.onnx")


def run_unless_finished(
    recipe: Recipe,
    data: Path | Dataset,
    folder: Path,
    progress: Callable[[Recipe, str, bool], Watcher] | None,
    **options: Any,
) -> None:
    """Trains or resumes a run, unless the folder holds it whole.

    progress: called with the recipe, the folder's name and whether it is finished; returns what the run reports to.
    options: of `train_run`.
    """
    finished = is_finished(recipe, folder)
    watcher = progress(recipe, folder.name, finished) if progress else None
    if not finished:
        train_run(recipe, data, folder, resume=True, watcher=watcher, **options)


def is_finished(recipe: Recipe, folder: Path) -> bool:
    """Whether the folder holds this recipe's run, trained and exported."""
    if not (folder / VALIDATION_FILE).is_file():
        return False
    return same_training(asked_recipe(folder), recipe)
