"""A training run, from recipe and data to a run folder.

The folder holds: recipe.toml (resolved, as used), asked.toml (the recipe as given, if few faces needed another batch),
environment.json, history.csv, timing.csv, confusions.json, curves.png, best.safetensors, last.safetensors,
checkpoint.safetensors, interpolated.safetensors and teachers/ (if the recipe has any), a model file per target,
validation.npz (their predictions for the validation faces) and run.html.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from mien.config import flat_items, to_toml, toml_value
from mien.errors import OutputError, TrainingError
from mien.evaluation.calibration import fit_temperature
from mien.evaluation.validation import VALIDATION_FILE, HeadAnswers, write_answers
from mien.files import make_folder, write_text
from mien.labels import FER2013
from mien.model_file import ModelInfo
from mien.training.batches import Faces
from mien.training.checkpoint import epochs_done, load_weights, save_weights
from mien.training.class_checks import check_classes
from mien.training.devices import pick_device
from mien.training.distill import with_teachers
from mien.training.export import write_model_file
from mien.training.folder_lock import hold
from mien.training.interpolate import interpolate_with_start
from mien.training.learning_data import Split, read_splits
from mien.training.loop import BEST, CHECKPOINT, LAST, Watcher, fit, network_on, predict_logits
from mien.training.networks import ExpressionNetwork, count_parameters
from mien.training.plots import plot_curves
from mien.training.recipe import Recipe, load_recipe, same_training
from mien.training.run_page import write_run_page
from mien.training.small_sets import fit_lines, fit_to_faces
from mien.training.targets import HeadTargets, head_targets
from mien.training.trackers import TrackedRun, check_trackers, tracked
from mien.training.train import log_warning
from mien.training.workers import joined
from mien.version import __version__

USED, ASKED = "recipe.toml", "asked.toml"
"""The recipe as used; and as given, if it was fitted to few faces."""

INTERPOLATED = "interpolated.safetensors"

LOCK = ".training.lock"
"""Held in the run's folder while a process trains there. The search has its own lock on the same folder."""

TAUGHT = "teachers"
"""The folder with each teacher's predictions for the training faces, kept for resumed runs."""

_TRAIN_SEEN = 4096
"""The most training faces on which training accuracy is measured."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished or paused run.

    Attributes:
        folder: The run folder.
        recipe: The recipe as used, fitted to the data.
        history: A row per epoch: learning rate, losses and accuracies.
        models: The model files, one per head; empty after a pause.
    """

    folder: Path
    recipe: Recipe
    history: list[dict[str, float]]
    models: tuple[Path, ...]

    @property
    def model(self) -> Path:
        """The first model file: that of the votes if both heads are trained. Raises TrainingError after a pause."""
        if not self.models:
            raise TrainingError(f"{self.folder}: the run is paused and has no model file yet; resume it")
        return self.models[0]


def train_run(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    stop_after: int = 0,
    stream: bool = False,
    given: Collection[str] = (),
    trackers: Sequence[str] = (),
    device: torch.device | None = None,
    watcher: Watcher | None = None,
    warn: Callable[[str], None] = log_warning,
) -> Run:
    """Trains `recipe` on the training split of `data`, selects and calibrates on its validation split.

    resume: resume from the checkpoint in `out`; without it a folder with a run is refused. stop_after: pause once
    this many epochs are done, with no model file yet; 0 for never. stream: leave the faces on disk, where `data` is a
    data set that mien wrote. given: the recipe's keys that the user set; of the others, the batch is fitted to few
    faces, and warn receives a line. trackers: some of `trackers.TRACKERS`, which also get each epoch's figures. Under
    torchrun the processes train together, and the first of them writes; to the others no model file is named, and
    nothing is reported.
    Raises DataError, RecipeError, OutputError, TrainingError; MissingExtraError for a tracker that is not installed.
    """
    check_trackers(trackers)
    device = device or pick_device()
    _check_folder(recipe, out, resume)
    with ExitStack() as held:
        with joined(device) as workers:
            if not workers.is_first:
                watcher, warn, trackers = None, _ignore, ()
            train, validation = read_splits(recipe, data, stream=stream, warn=warn)
            train_targets = head_targets(train, recipe.targets, source=str(data))
            validation_targets = head_targets(validation, recipe.targets, source=str(data))
            for line in check_classes(train_targets, validation_targets, str(data)):
                warn(line)
            asked, recipe = recipe, _fitted(recipe, out, len(train), workers.count, given)
            for line in fit_lines(asked, recipe, len(train)):
                warn(line)
            if workers.is_first:
                make_folder(out)
                held.enter_context(_sole_trainer(out))
            if recipe.distill.teachers and not _is_finished(recipe, out):
                kept = out / TAUGHT if workers.is_first else None
                tell = (watcher or Watcher()).on_asking
                train_targets = with_teachers(train_targets, train.images, recipe.distill, kept=kept, on_asking=tell)
            about = environment(device) | {"workers": workers.count}
            if workers.is_first:
                _write_recipes(asked, recipe, out)
                write_text(out / "environment.json", json.dumps(about, indent=2) + "\n")
            train_faces = Faces.on(device, train, train_targets)
            validation_faces = Faces.on(device, validation, validation_targets)
            with tracked(trackers, TrackedRun(recipe, out, about), watcher or Watcher(), warn=warn) as watching:
                history = fit(
                    recipe,
                    train_faces,
                    validation_faces,
                    {t.head: t.weight for t in train_targets},
                    out,
                    resume=resume,
                    watcher=watching,
                    workers=workers,
                    stop_after=stop_after,
                )
        if not workers.is_first or not (out / LAST).exists():
            return Run(out, recipe, history, ())
        plot_curves(history, out / "curves.png", title=recipe.name)
        about_data = f"{data.resolve().name}: {len(train)} faces to train on, {len(validation)} to validate"
        models = _export_heads(recipe, out, about_data, validation, train_faces, validation_faces, validation_targets)
        if models:
            write_run_page(recipe, out, validation.images)
        return Run(out, recipe, history, models)


@contextmanager
def _sole_trainer(out: Path) -> Iterator[None]:
    """Locks the run's folder against a second training; the system releases the lock when the process is killed."""
    lock = hold(out / LOCK, wait=False)
    if lock is None:
        raise OutputError(f"{out}: another process trains in it; wait for its end, or give another folder")
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            (out / LOCK).unlink()  # while it is held: a process that opened it earlier finds it gone, and makes another
        lock.close()


def _ignore(_line: str) -> None:
    pass


def _is_finished(recipe: Recipe, out: Path) -> bool:
    """Whether the run in the folder has taken its last step: it needs no teachers any more."""
    done = epochs_done(out / CHECKPOINT)
    return done >= recipe.optimizer.epochs or (done > 0 and (out / LAST).exists())


def _check_folder(recipe: Recipe, out: Path, resume: bool) -> None:
    if not (out / CHECKPOINT).exists():
        return
    if not resume:
        raise OutputError(f"{out}: holds a run already; add --resume to resume it, or give another folder")
    before = asked_recipe(out)
    if not same_training(before, recipe):
        old = dict(flat_items(asdict(before)))
        changed = [f"{k} = {toml_value(v)}" for k, v in flat_items(asdict(recipe)) if v is not None and v != old[k]]
        raise TrainingError(f"{out}: holds a run of another recipe (now: {'; '.join(changed[:3])}); give another --out")


def asked_recipe(run: Path) -> Recipe:
    """The recipe that a run's folder was begun with, before it was fitted to the faces. Raises RecipeError."""
    return load_recipe(str(run / (ASKED if (run / ASKED).is_file() else USED)))


def _fitted(recipe: Recipe, out: Path, faces: int, workers: int, given: Collection[str]) -> Recipe:
    """The recipe fitted to the faces; for a resumed run, as fitted at its start."""
    if not (out / CHECKPOINT).exists():
        return fit_to_faces(recipe, faces, workers=workers, given=given)
    before = load_recipe(str(out / USED)).optimizer
    steps = replace(recipe.optimizer, batch_size=before.batch_size, accumulate=before.accumulate)
    return replace(recipe, optimizer=steps)


def _write_recipes(asked: Recipe, used: Recipe, out: Path) -> None:
    """Writes the recipe as used, and as given if that differs."""
    if asked != used:
        write_text(out / ASKED, to_toml(asked))
    else:
        (out / ASKED).unlink(missing_ok=True)
    write_text(out / USED, to_toml(used))


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
    validation: Split,
    train_faces: Faces,
    faces: Faces,
    targets: tuple[HeadTargets, ...],
) -> tuple[Path, ...]:
    """Fits each head's temperature on validation and writes its model file, and the predictions for validation."""
    network = network_on(recipe, {t.head: len(t.labels) for t in targets}, faces.images.device)
    load_weights(network, out / BEST)
    share = 1.0
    if recipe.network.interpolate:
        share = interpolate_with_start(recipe, network, faces)
        save_weights(network, out / INTERPOLATED)
    logits = predict_logits(recipe, network, faces.images)
    shared = count_parameters(network.trunk) + count_parameters(network.neck)
    paths, answers, seen = [], [], _train_hits(recipe, network, train_faces, len(validation))
    for target in targets:
        # Votes are calibrated to the share of raters, labels to how often the label is right.
        if target.head == "votes":
            wanted = target.distribution
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
            parameters=shared + count_parameters(network.heads[target.head]),
            data=data,
            licence=recipe.licence,
            scores={
                "validation_accuracy": round(accuracy, 4),
                "validation_n": float(known.sum()),
                "share_of_new_weights": share,
            },
            recipe=to_toml(recipe),
        )
        write_model_file(
            network, target.head, info, out / f"{name}.onnx", view=recipe.input.seen, check=validation.images[:512]
        )
        paths.append(out / f"{name}.onnx")
        right, n = seen[target.head]
        answers.append(HeadAnswers(target.head, target.labels, truth, probabilities, validation.sources, right, n))
    write_answers(out / VALIDATION_FILE, answers)
    return tuple(paths)


def _train_hits(
    recipe: Recipe, network: ExpressionNetwork, faces: Faces, validation_n: int
) -> dict[str, tuple[int, int]]:
    """Each head's right answers, and of how many, on as many training faces as there are to validate, unaugmented."""
    count = min(len(faces.images), validation_n, _TRAIN_SEEN)
    chosen = np.random.default_rng(recipe.seed).choice(len(faces.images), count, replace=False)
    rows = torch.from_numpy(np.sort(chosen)).to(faces.images.device)
    hits = {}
    for head, logits in predict_logits(recipe, network, faces.images[rows]).items():
        truth = faces.truth[head][rows]
        hits[head] = (int((logits.argmax(1) == truth).sum()), int((truth >= 0).sum()))
    return hits
