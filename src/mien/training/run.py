"""A training run from recipe and data to a folder with everything that came of it.

The folder holds: recipe.toml (resolved), environment.json, history.csv, timing.csv, curves.png, best.safetensors,
last.safetensors, checkpoint.safetensors, interpolated.safetensors (where the recipe asks), and a model file per target.
"""

from __future__ import annotations

import csv
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from mien.config import to_toml
from mien.data.readers import read_dataset, require_split
from mien.data.samples import Samples, vote_shares
from mien.errors import DataError, OutputError, TrainingError
from mien.evaluation.calibration import fit_temperature
from mien.files import make_folder, write_text
from mien.labels import FER2013
from mien.model_file import ModelInfo
from mien.training.checkpoint import epochs_done, load_weights, save_weights
from mien.training.distill import with_teachers
from mien.training.export import export_model
from mien.training.interpolate import interpolate_with_start
from mien.training.loop import BEST, CHECKPOINT, Faces, Watcher, build_network, fit, pick_device, predict_logits
from mien.training.networks import count_parameters
from mien.training.plots import plot_curves
from mien.training.recipe import Recipe, load_recipe, same_training
from mien.training.targets import HeadTargets, make_targets
from mien.version import __version__

INTERPOLATED = "interpolated.safetensors"


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: its folder, its history (a row per epoch) and the model files that it wrote."""

    folder: Path
    history: list[dict[str, float]]
    models: tuple[Path, ...]


def train_run(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    device: torch.device | None = None,
    watcher: Watcher | None = None,
    warn: Callable[[str], None] = print,
) -> Run:
    """Trains `recipe` on the training split of `data`, selects and calibrates on its validation split.

    resume: go on from the checkpoint in `out`; without it a folder that holds a run is refused.
    Raises DataError, RecipeError, OutputError, TrainingError.
    """
    watcher, device = watcher or Watcher(), device or pick_device()
    _check_folder(recipe, out, resume)
    dataset = read_dataset(
        data, size=recipe.input.size, channels=recipe.input.channels, splits=("train", "validation"), warn=warn
    )
    train, validation = require_split(dataset, "train", data), require_split(dataset, "validation", data)
    if train.label_names != validation.label_names:
        raise DataError(f"{data}: train has {train.label_names}, validation has {validation.label_names}")
    if len(train) < recipe.optimizer.batch_size:
        raise DataError(
            f"{data}: {len(train)} faces to train on; optimizer.batch_size is {recipe.optimizer.batch_size}"
        )
    train_targets = make_targets(train, recipe.targets, source=str(data))
    validation_targets = make_targets(validation, recipe.targets, source=str(data))
    if recipe.distill.teachers and epochs_done(out / CHECKPOINT) < recipe.optimizer.epochs:
        train_targets = with_teachers(train_targets, train.images, recipe.distill)

    make_folder(out)
    write_text(out / "recipe.toml", to_toml(recipe))
    write_text(out / "environment.json", json.dumps(environment(device), indent=2) + "\n")
    history = fit(
        recipe,
        Faces.on(device, train, train_targets),
        validation_faces := Faces.on(device, validation, validation_targets),
        {t.head: t.weight for t in train_targets},
        out,
        resume=resume,
        watcher=_recording(watcher, out),
    )
    plot_curves(history, out / "curves.png", title=recipe.name)
    about = f"{data.resolve().name}: {len(train)} faces to train on, {len(validation)} to validate"
    models = _export_heads(recipe, out, about, validation, validation_faces, validation_targets)
    return Run(out, history, models)


def _check_folder(recipe: Recipe, out: Path, resume: bool) -> None:
    if not (out / CHECKPOINT).exists():
        return
    if not resume:
        raise OutputError(f"{out}: holds a run already; add --resume to go on with it, or give another folder")
    before = load_recipe(str(out / "recipe.toml"))
    if not same_training(before, recipe):
        changed = [
            n for n, o in zip(to_toml(recipe).splitlines(), to_toml(before).splitlines(), strict=False) if n != o
        ]
        raise TrainingError(f"{out}: holds a run of another recipe (now: {'; '.join(changed[:3])}); give another --out")


def _recording(watcher: Watcher, out: Path) -> Watcher:
    """Keeps history.csv whole after every epoch; wall times go to a file of their own, so that histories compare."""
    rows: list[dict[str, float]] = []
    if (out / "history.csv").exists() and (out / CHECKPOINT).exists():
        with (out / "history.csv").open(newline="", encoding="utf-8") as file:
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    started = time.monotonic()

    def on_epoch(row: dict[str, float]) -> None:
        nonlocal started, rows
        rows = [r for r in rows if r["epoch"] < row["epoch"]] + [row]
        lines = [",".join(row), *(",".join(repr(v) for v in r.values()) for r in rows)]
        write_text(out / "history.csv", "\n".join(lines) + "\n")
        with (out / "timing.csv").open("a", encoding="utf-8") as file:
            if file.tell() == 0:
                file.write("epoch,seconds\n")
            file.write(f"{row['epoch']:.0f},{time.monotonic() - started:.2f}\n")
        started = time.monotonic()
        watcher.on_epoch(row)

    return Watcher(watcher.on_step, on_epoch)


def environment(device: torch.device) -> dict[str, object]:
    """What the run ran on: versions, processor, device, threads."""
    packages = ("torch", "numpy", "opencv-python-headless", "onnx", "onnxruntime")
    return {
        "mien": __version__,
        "python": platform.python_version(),
        "packages": {p: metadata.version(p) for p in packages},
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }


def _export_heads(
    recipe: Recipe,
    out: Path,
    data: str,
    validation: Samples,
    faces: Faces,
    targets: tuple[HeadTargets, ...],
) -> tuple[Path, ...]:
    """Fits each head's temperature on validation and writes its model file."""
    network = build_network(recipe, {t.head: len(t.labels) for t in targets}, faces.images.device)
    load_weights(network, out / BEST)
    share = 1.0
    if recipe.network.interpolate:
        share = interpolate_with_start(recipe, network, faces)
        save_weights(network, out / INTERPOLATED)
    logits = predict_logits(recipe, network, faces.images)
    networks_parameters = count_parameters(network.stem) + count_parameters(network.blocks)
    paths = []
    for target in targets:
        # Votes are calibrated to the share of raters, labels to how often the label is right.
        if target.head == "votes" and validation.votes is not None:
            wanted = vote_shares(validation.votes)
        else:
            wanted = np.eye(len(target.labels), dtype=np.float32)[target.truth]
        use = wanted.sum(1) > 0
        own = logits[target.head].cpu()
        temperature = fit_temperature(own.numpy()[use], wanted[use])
        name = recipe.name
        if len(targets) > 1 and target.head == "label":
            name += "-fer2013" if target.labels == FER2013 else "-label"
        truth, known = target.truth, target.truth >= 0
        probabilities = F.softmax(own / temperature, 1).numpy()
        accuracy = float((probabilities.argmax(1) == truth)[known].mean()) if known.any() else 0.0
        info = ModelInfo(
            name=name,
            labels=target.labels,
            size=recipe.input.size,
            channels=recipe.input.channels,
            crop=recipe.crop,
            target=target.head,
            temperature=temperature,
            parameters=networks_parameters + count_parameters(network.heads[target.head]),
            data=data,
            licence="MIT; trained on data for research use",
            scores={
                "validation_accuracy": round(accuracy, 4),
                "validation_n": float(known.sum()),
                "share_of_new_weights": share,
            },
            recipe=to_toml(recipe),
        )
        export_model(
            network, target.head, info, out / f"{name}.onnx", view=recipe.input.view, check=validation.images[:512]
        )
        paths.append(out / f"{name}.onnx")
    return tuple(paths)
