"""A training run, from recipe and data to a run folder.

The folder holds: recipe.toml (resolved, as used), asked.toml (the recipe as given, if few faces needed another batch),
environment.json, history.csv, timing.csv, confusions.json, curves.png, best.safetensors, last.safetensors,
checkpoint.safetensors, interpolated.safetensors and teachers/ (if the recipe has any), a model file per target,
validation.npz (their predictions for the validation faces) and run.html.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from mien.config import flat_items, to_toml, toml_value
from mien.data.dataset import Dataset
from mien.errors import OutputError, TrainingError
from mien.evaluation.calibration import fit_temperature
from mien.evaluation.operating_point import default_balance
from mien.evaluation.validation import VALIDATION_FILE, HeadAnswers, write_answers
from mien.files import make_folder, write_text
from mien.labels import FER2013
from mien.model_file import ModelInfo
from mien.reporting import warnings_to
from mien.training.batches import Faces
from mien.training.callbacks import Watcher
from mien.training.checkpoint import epochs_done, head_sizes, load_weights, save_weights
from mien.training.devices import pick_device
from mien.training.distill import with_teachers
from mien.training.export import write_model_file
from mien.training.folder_lock import hold
from mien.training.interpolate import interpolate_with_start
from mien.training.learning_data import LearningData, fit_to_faces, read_learning_data, training_mixes
from mien.training.loop import BEST, CHECKPOINT, LAST, TRAIN_SEEN, fit, network_on, predict_logits
from mien.training.networks import ExpressionNetwork, count_parameters
from mien.training.own_parts import NO_OWN, OwnParts
from mien.training.recipe import Recipe, load_recipe, same_training
from mien.training.run_page import write_curves, write_run_page
from mien.training.trackers import TrackedRun, check_trackers, tracked
from mien.training.workers import WorkerGroup, joined
from mien.version import __version__

USED, ASKED = "recipe.toml", "asked.toml"
"""The recipe as used; and as given, if it was fitted to few faces."""

ENVIRONMENT = "environment.json"

INTERPOLATED = "interpolated.safetensors"

LOCK = ".training.lock"
"""Held in the run's folder while a process trains there. The search has its own lock on the same folder."""

TAUGHT = "teachers"
"""The folder with each teacher's predictions for the training faces, kept for resumed runs."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished or paused run.

    Attributes:
        folder: The run folder.
        recipe: The recipe as used, fitted to the data.
        history: A row per epoch: learning rate, losses and accuracies.
        models: The model files, one per head; empty after a pause.
        own: The parts that `train` was given in place of the recipe's.
    """

    folder: Path
    recipe: Recipe
    history: list[dict[str, float]]
    models: tuple[Path, ...]
    own: OwnParts = NO_OWN

    def __repr__(self) -> str:
        models = ", ".join(path.name for path in self.models) or "paused"
        return f"Run({str(self.folder)!r}, recipe={self.recipe.name!r}, epochs={len(self.history)}, {models})"

    @property
    def model(self) -> Path:
        """The first model file: that of the votes if both heads are trained. Raises TrainingError after a pause."""
        if not self.models:
            raise TrainingError(f"{self.folder}: the run is paused and has no model file yet; resume it")
        return self.models[0]

    def to_torch(self) -> ExpressionNetwork:
        """The trained PyTorch module of the selected epoch, in evaluation mode on the CPU.

        Its input is float32 (N, C, H, W) of range 0-255; its output is a dict of logits (N, K) for each head.

        Raises:
            TrainingError: No epoch is finished yet.
        """
        place = self.folder / (INTERPOLATED if (self.folder / INTERPOLATED).is_file() else BEST)
        if not place.is_file():
            raise TrainingError(f"{self.folder}: no epoch is finished yet; resume the run")
        network = network_on(self.recipe, head_sizes(place), torch.device("cpu"), self.own)
        load_weights(network, place)
        return network.eval()


def train_run(
    recipe: Recipe,
    data: Path | Dataset,
    out: Path,
    *,
    resume: bool = False,
    stop_after: int = 0,
    stream: bool = False,
    given: Collection[str] = (),
    trackers: Sequence[str] = (),
    device: torch.device | None = None,
    watcher: Watcher | None = None,
    own: OwnParts = NO_OWN,
) -> Run:
    """Trains `recipe` on the training split of `data`, selects and calibrates on its validation split.

    As `mien.train`, which has the parameters. Under torchrun the processes train together; the first of them writes and
    reports, and the others return no model files.
    Raises DataError, RecipeError, OutputError, TrainingError; MissingExtraError for a tracker that is not installed.
    """
    check_trackers(trackers)
    device, recipe = device or pick_device(), own.in_recipe(recipe)
    _check_folder(recipe, own, out, resume)
    with ExitStack() as held:
        with joined(device) as workers:
            if not workers.is_first:
                watcher, trackers = None, ()
                held.enter_context(warnings_to(lambda _: None))
            watcher = watcher or Watcher()
            fit_recipe = partial(_fitted, out=out, workers=workers.count, given=given)
            lesson = read_learning_data(recipe, data, fit_recipe, stream=stream)
            if workers.is_first:
                make_folder(out)
                held.enter_context(_sole_trainer(out))
            lesson = _taught(lesson, out, workers, watcher)
            about = environment(device) | {"workers": workers.count} | ({"own": own.names()} if own.names() else {})
            if workers.is_first:
                if lesson.asked != lesson.recipe:
                    write_text(out / ASKED, to_toml(lesson.asked))
                else:
                    (out / ASKED).unlink(missing_ok=True)
                write_text(out / USED, to_toml(lesson.recipe))
                write_text(out / ENVIRONMENT, json.dumps(about, indent=2) + "\n")
            faces = Faces.on(device, lesson.train, lesson.targets)
            validation_faces = Faces.on(device, lesson.validation, lesson.held)
            with tracked(trackers, TrackedRun(lesson.recipe, out, about), watcher) as watching:
                history = fit(
                    lesson.recipe, faces, validation_faces, {t.head: t.weight for t in lesson.targets}, out,
                    resume=resume, watcher=watching, workers=workers, stop_after=stop_after, own=own,
                )  # fmt: skip
        if not workers.is_first or not (out / LAST).exists():
            return Run(out, lesson.recipe, history, (), own)
        return _finished(lesson, own, out, history, faces, validation_faces)


def _taught(lesson: LearningData, out: Path, workers: WorkerGroup, watcher: Watcher) -> LearningData:
    """Mixes the teachers' probabilities into the targets, if the recipe has teachers and the run has steps left."""
    distill = lesson.recipe.distill
    if not distill.teachers or distill.each_view or _is_finished(lesson.recipe, out):
        return lesson
    kept, images = out / TAUGHT if workers.is_first else None, lesson.train.images
    targets = with_teachers(lesson.targets, images, distill, kept=kept, on_asking=watcher.on_asking)
    return replace(lesson, targets=targets)


def _finished(
    lesson: LearningData, own: OwnParts, out: Path, history: list[dict[str, float]], faces: Faces, validation: Faces
) -> Run:
    recipe = lesson.recipe
    write_curves(history, out / "curves.png", title=recipe.name)
    models = _export_heads(lesson, own, out, faces, validation)
    if models:
        write_run_page(recipe, out, lesson.validation.images)
    return Run(out, recipe, history, models, own)


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


def _is_finished(recipe: Recipe, out: Path) -> bool:
    """Whether the run in the folder has taken its last step: it needs no teachers any more."""
    done = epochs_done(out / CHECKPOINT)
    return done >= recipe.optimizer.epochs or (done > 0 and (out / LAST).exists())


def _check_folder(recipe: Recipe, own: OwnParts, out: Path, resume: bool) -> None:
    if not (out / CHECKPOINT).exists():
        return
    if not resume:
        raise OutputError(f"{out}: holds a run already; add --resume to resume it, or give another folder")
    before = asked_recipe(out)
    if not same_training(before, recipe):
        old = dict(flat_items(asdict(before)))
        changed = [f"{k} = {toml_value(v)}" for k, v in flat_items(asdict(recipe)) if v is not None and v != old[k]]
        raise TrainingError(f"{out}: holds a run of another recipe (now: {'; '.join(changed[:3])}); give another --out")
    parts = json.loads((out / ENVIRONMENT).read_text("utf-8")).get("own", {}) if (out / ENVIRONMENT).exists() else {}
    if parts != own.names():
        raise TrainingError(f"{out}: holds a run with other own parts ({parts or 'none'}); resume it with the same")


def asked_recipe(run: Path) -> Recipe:
    """The recipe that a run's folder was begun with, before it was fitted to the faces. Raises RecipeError."""
    return load_recipe(str(run / (ASKED if (run / ASKED).is_file() else USED)))


def _fitted(recipe: Recipe, faces: int, *, out: Path, workers: int, given: Collection[str]) -> Recipe:
    """The recipe fitted to the faces; for a resumed run, as fitted at its start."""
    if not (out / CHECKPOINT).exists():
        return fit_to_faces(recipe, faces, workers=workers, given=given)
    before = load_recipe(str(out / USED)).optimizer
    steps = replace(recipe.optimizer, batch_size=before.batch_size, accumulate=before.accumulate)
    return replace(recipe, optimizer=steps)


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
    lesson: LearningData, parts: OwnParts, out: Path, train_faces: Faces, faces: Faces
) -> tuple[Path, ...]:
    """Fits each head's temperature on validation and writes its model file, and the predictions for validation."""
    recipe, validation, targets = lesson.recipe, lesson.validation, lesson.held
    mixes = training_mixes(lesson.train, recipe.targets, source=lesson.name)
    network = network_on(recipe, {t.head: len(t.labels) for t in targets}, faces.images.device, parts)
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
        votes = target.head == "votes"
        wanted = target.distribution if votes else np.eye(len(target.labels), dtype=np.float32)[target.truth]
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
            data=f"{lesson.name}: {len(lesson.train)} faces to train on, {len(validation)} to validate",
            licence=recipe.licence,
            scores={
                "validation_accuracy": round(accuracy, 4),
                "validation_n": float(known.sum()),
                "share_of_new_weights": share,
            },
            recipe=to_toml(recipe),
            prior=mixes[target.head],  # its mean target over the training faces
            balance=default_balance(probabilities, mixes[target.head], truth),
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
    seen, hits = faces.some(min(validation_n, TRAIN_SEEN), seed=recipe.seed), {}
    for head, logits in predict_logits(recipe, network, seen.images).items():
        truth = seen.truth[head]
        hits[head] = (int((logits.argmax(1) == truth).sum()), int((truth >= 0).sum()))
    return hits
