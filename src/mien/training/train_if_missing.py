"""Trains a model file that does not exist: `--train-if-missing` of the commands that use one.

MODEL-run/ beside MODEL.onnx has data/, the faces fitted to the network with their splits, as they were trained on;
and the run. A killed command resumes there; the model file is written last, atomically.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mien.config import toml_value
from mien.data.arrays import is_arrays, open_arrays, staging, write_arrays
from mien.data.dataset import Dataset, Selection, collect
from mien.data.readers import open_source
from mien.data.settings import SplitSettings
from mien.data.source import Fitted
from mien.data.splits import divide
from mien.errors import DataError, ModelFileError, OutputError, TrainingError
from mien.files import atomic_path, make_folder
from mien.reporting import log_warning
from mien.training.callbacks import Watcher
from mien.training.checkpoint import epochs_done
from mien.training.learning_data import fitting_batch, require_two_classes
from mien.training.loop import CHECKPOINT
from mien.training.model_places import DATA, run_folder
from mien.training.recipe import Recipe, given_keys, load_recipe, same_training
from mien.training.recipe_sections import InputSettings
from mien.training.run import asked_recipe, train_run

FEW_FACES = 5000
"""With fewer, training begins from weights that have seen faces, and a larger share is held out."""

_BASE = "mien-small"
_START = "mien-small"
_COMMAND = "train-if-missing"


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What is about to be trained. train, validation: faces; done: epochs that an earlier command finished."""

    model: Path
    data: Path
    folder: Path
    recipe: Recipe
    base: str
    labels: tuple[str, ...]
    train: int
    validation: int
    done: int

    def lines(self) -> tuple[str, ...]:
        """It in words, for people."""
        recipe = self.recipe
        start = f", starting from {recipe.network.weights}" if recipe.network.weights else ""
        done = f", {self.done} of them done" if self.done else ""
        return (
            f"{self.model}: does not exist; training it on {self.data}",
            f"  {self.train:,} faces to train on, {self.validation:,} to validate; {', '.join(self.labels)}",
            f"  recipe {self.base}{start}, {recipe.optimizer.epochs} epochs{done}; the run is in {self.folder}",
        )


def train_if_missing(
    model: Path,
    data: Path,
    *,
    recipe: str = "",
    overrides: Iterable[str] = (),
    device: torch.device | None = None,
    begin: Callable[[TrainingPlan], Watcher] | None = None,
) -> bool:
    """Where the file `model` (.onnx) does not exist, trains it on `data`; returns whether it did.

    data: any data set; without a validation split a part of each class is held out, seeded, duplicates kept together.
    recipe, overrides: as for `load_recipe`; without a recipe, `default_recipe`. begin: receives the plan and
    returns the callbacks. An unfinished run of an earlier command in the folder is resumed.
    Raises ModelFileError, DataError, RecipeError, OutputError, TrainingError.
    """
    model, data, overrides = Path(model), Path(data), tuple(overrides)
    if model.is_file():
        return False
    if model.suffix != ".onnx":
        raise ModelFileError(f"{model}: nothing to train there; give a model file to make, with a name ending in .onnx")
    folder = run_folder(model)
    settings = load_recipe(recipe or _BASE, overrides)
    make_folder(model.parent)
    faces = _divided(data, folder, settings.input)
    name = f"name={toml_value(model.stem)}"
    overrides = (*overrides, name)
    settings = load_recipe(recipe, overrides, warn=log_warning) if recipe else default_recipe(faces, overrides)
    done = epochs_done(folder / CHECKPOINT)
    if done and not same_training(asked_recipe(folder), settings):
        raise TrainingError(
            f"{folder}: holds an unfinished run of another recipe; give --recipe and --set as before, or remove it"
        )
    train, validation = (int((faces.splits == split).sum()) for split in ("train", "validation"))
    base = recipe or _BASE
    plan = TrainingPlan(model, data, folder, settings, base, faces.label_names, train, validation, done)
    watcher = begin(plan) if begin else None
    run = train_run(
        settings, folder / DATA, folder, resume=True, given=given_keys(overrides), device=device, watcher=watcher,
    )  # fmt: skip
    with atomic_path(model) as place:
        shutil.copyfile(run.models[0], place)
    return True


def default_recipe(faces: Dataset, overrides: Iterable[str] = ()) -> Recipe:
    """mien-small without teachers, fitted to the data: a head for votes where there are some; `overrides` come last.

    Under `FEW_FACES` training faces it starts from the shipped model's weights, because so few faces do not train
    a network from random weights, and takes smaller steps. Raises RecipeError.
    """
    count = int((faces.splits == "train").sum())
    own = ["distill.teachers=[]"] if faces.votes is not None else ["distill.teachers=[]", "targets.votes=0"]
    if count < FEW_FACES:
        own += [
            f"network.weights={toml_value(_START)}",
            f"optimizer.batch_size={fitting_batch(count, at_most=32)}",
            "optimizer.learning_rate=0.01",
            "optimizer.epochs=20",
            "optimizer.warmup_epochs=1",
            "optimizer.ema=0.98",
            "finetune.head_epochs=2",
            "finetune.layer_decay=0.7",
        ]
    return load_recipe(_BASE, overrides, defaults=own, warn=log_warning)


def _divided(data: Path, folder: Path, wanted: InputSettings) -> Dataset:
    """The faces of `data` with train and validation, kept in the run folder; a resumed run has the same ones."""
    place = folder / DATA
    if is_arrays(place):
        faces = open_arrays(place)
        before = str(faces.steps[-1].settings.get("source", "")) if faces.steps else ""
        if before != data.resolve().name:
            raise OutputError(f"{folder}: holds a run on {before}, not on {data}; remove it, or name another file")
        return faces

    faces = collect(Fitted(open_source(data), wanted.size, wanted.channels), name=str(data))
    labelled = faces.labels >= 0
    if not labelled.all():
        log_warning(f"left out: {int((~labelled).sum()):,} faces without a label")
        faces = faces.take(np.flatnonzero(labelled))
    if not (faces.splits == "validation").any():
        share = 0.2 if len(faces) < FEW_FACES else 0.1
        faces = divide(faces, SplitSettings(validation=share)).dataset
    require_two_classes(faces.labels[faces.splits == "train"], faces.label_names, str(data))
    if not (faces.splits == "validation").any():
        raise DataError(f"{data}: no face is left to validate on; give more faces, or a split of your own")
    make_folder(folder)
    shutil.rmtree(staging(place), ignore_errors=True)  # of a killed command; rewriting is faster than checking
    whole = Selection(faces, np.ones(len(faces), bool))
    settings = {"source": data.resolve().name, "size": wanted.size, "channels": wanted.channels}
    return write_arrays(whole, place, command=_COMMAND, settings=settings)
