"""`mien.train`: the one public call that trains a recipe. It imports PyTorch only when it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.config import flat_items, toml_value
from mien.errors import MissingExtraError, RecipeError
from mien.training.class_checks import check_classes
from mien.training.learning_data import read_splits
from mien.training.recipe import Recipe, load_recipe
from mien.training.small_sets import fit_lines, fit_to_faces, given_keys
from mien.training.targets import head_targets

if TYPE_CHECKING:
    import torch

    from mien.training.loop import Watcher
    from mien.training.run import Run

log_warning = logging.getLogger("mien").warning

_PACKAGES = ("torch", "safetensors", "onnx", "onnxscript", "matplotlib")


def train(
    recipe: str | Path | Recipe,
    data: str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    stop_after: int = 0,
    stream: bool = False,
    device: str | torch.device = "auto",
    threads: int = 0,
    log: Sequence[str] = (),
    given: Collection[str] = (),
    progress: Watcher | None = None,
    warn: Callable[[str], None] = log_warning,
    **settings: Any,
) -> Run:
    """Trains a recipe on a data set and writes a run folder with a model file for each head.

    The run trains on the split `train`; it selects the epoch and calibrates on `validation`. Nothing is printed.

        run = mien.train("toy", "faces/", out="runs/toy", seed=3, optimizer={"epochs": 5})
        run.history, run.model

    Args:
        recipe: A shipped recipe's name, the path of a TOML file, or a `Recipe`.
        data: A data set: class folders, fer2013.csv, Parquet, or what `mien data import` wrote.
        out: The run folder.
        resume: Resume the run in `out`. Without it, a folder that holds a run is refused.
        stop_after: Pause after this epoch, without a model file; 0 trains to the end.
        stream: Leave the faces on disk, for data that `mien data import` wrote.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or a torch.device.
        threads: CPU threads; 0 keeps PyTorch's choice.
        log: `tensorboard`, `mlflow` or both.
        given: Keys of a `Recipe` that the user set. They are not fitted to small data sets.
        progress: Callbacks for steps and epochs.
        warn: Called with each warning, one line. The default logs to the logger `mien`.
        **settings: Changes to the recipe: `seed=3`, or a section with some of its keys, `optimizer={"epochs": 5}`.

    Returns:
        The run, with `folder`, `recipe`, `history` (a dict per epoch), `models` and `model`.

    Raises:
        RecipeError: The recipe or a setting is not possible.
        DataError: The data can't be used.
        OutputError: `out` can't be written, or already holds a run.
        TrainingError: The device is not available, or the training failed.
        MissingExtraError: The extra [train], or a tracker, is not installed.
    """
    require_training("training")
    from mien.training.devices import pick_device
    from mien.training.run import train_run

    if not isinstance(recipe, Recipe):
        changes = [f"{key}={toml_value(value)}" for key, value in flat_items(settings)]
        recipe, given = load_recipe(str(recipe), changes, warn=warn), [*given, *given_keys(changes)]
    elif settings:
        raise RecipeError(f"{next(iter(settings))}: settings need a recipe's name or file; use dataclasses.replace")
    return train_run(
        recipe,
        Path(data),
        Path(out),
        resume=resume,
        stop_after=stop_after,
        stream=stream,
        given=given,
        trackers=log,
        device=pick_device(device, threads=threads) if isinstance(device, str) else device,
        watcher=progress,
        warn=warn,
    )


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a run would train on: the recipe, fitted to the faces, and the counts of each label.

    train, validation: label -> number of faces.
    """

    recipe: Recipe
    train: Mapping[str, int]
    validation: Mapping[str, int]


def check_training(
    recipe: Recipe,
    data: Path,
    *,
    stream: bool = False,
    given: Collection[str] = (),
    warn: Callable[[str], None] = log_warning,
) -> Preparation:
    """Checks a recipe and its data without training, and without PyTorch. Raises DataError, RecipeError."""
    train_split, validation_split = read_splits(recipe, data, stream=stream, warn=warn)
    targets = head_targets(train_split, recipe.targets, source=str(data))
    held = head_targets(validation_split, recipe.targets, source=str(data))
    fitted = fit_to_faces(recipe, len(train_split), given=given)
    for line in (*check_classes(targets, held, str(data)), *fit_lines(recipe, fitted, len(train_split))):
        warn(line)
    counts = [
        {name: int((split.labels == number).sum()) for number, name in enumerate(split.label_names)}
        for split in (train_split, validation_split)
    ]
    return Preparation(fitted, *counts)


def can_train() -> bool:
    """Whether the extra [train] is installed. Its packages are not imported."""
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in _PACKAGES)


def require_training(needs: str) -> None:
    """Raises MissingExtraError for what `needs` the extra [train] if it is not installed."""
    if not can_train():
        raise MissingExtraError("train", needs)
