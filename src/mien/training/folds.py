"""Out-of-fold predictions: the network that predicts a face was not trained on it, nor on a copy of it.

These networks are trained on the labels alone. Votes, teachers or weights that have seen the data would leak a label
into its own prediction. Each fold has its own run folder with a checkpoint per epoch, so a killed run can be resumed.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mien.config import to_toml
from mien.data.audit import OutOfFold
from mien.data.dataset import Dataset
from mien.data.samples import Samples
from mien.errors import DataError, OutputError, RecipeError, TrainingError
from mien.files import make_folder, write_bytes, write_text
from mien.reporting import Progress
from mien.training.batches import Faces
from mien.training.callbacks import Watcher
from mien.training.checkpoint import load_weights
from mien.training.devices import pick_device
from mien.training.loop import LAST, fit, network_on, predict_logits
from mien.training.recipe import Recipe
from mien.training.targets import head_targets

PROBABILITIES = "probabilities.npy"
_JOB = "folds.json"
_SHOWN = 512  # held-out faces whose accuracy is reported after each epoch


def out_of_fold_by(
    recipe: Recipe,
    *,
    folds: int,
    device: torch.device,
    progress: Progress | None = None,
) -> OutOfFold:
    """What an audit asks for predictions: `out_of_fold` by this recipe."""

    def predict(dataset: Dataset, groups: NDArray[np.int64], folder: Path) -> NDArray[np.float32]:
        # The audit's own folder records whether there is work to resume, and that it is the same.
        return out_of_fold(
            dataset, recipe, folder, folds=folds, groups=groups, device=device, progress=progress, resume=True
        )

    return predict


def out_of_fold(
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    folds: int = 4,
    groups: NDArray[np.int64] | None = None,
    device: torch.device | None = None,
    progress: Progress | None = None,
    resume: bool = False,
) -> NDArray[np.float32]:
    """Class probabilities float32 (N, K) of every labelled sample, all splits pooled; NaN for those without a label.

    For each of `folds` parts the recipe's network is trained on the others for the recipe's epochs, and its last
    weights (their moving average) predict that part: nothing is selected by it. groups: int64 (N,), samples of one
    group stay in one part; -1 is no group. out: the folder of the runs, `fold-0`, `fold-1`, ... progress: receives
    the faces trained on, and the total. resume: resume in `out`.

    Raises DataError for too few labelled samples, RecipeError for a recipe that uses more than the labels,
    OutputError or TrainingError where `out` holds such work already, or work of another kind.
    """
    _check_recipe(recipe)
    rows = np.flatnonzero(dataset.labels >= 0)
    if folds < 2 or len(rows) < folds:
        raise DataError(f"{dataset.name}: {len(rows)} labelled samples in {folds} folds; expected 2 folds or more")
    labels = dataset.labels[rows]
    fold = assign_folds(labels, None if groups is None else groups[rows], folds=folds, seed=recipe.seed)
    _begin(out, recipe, dataset, fold, resume=resume)
    samples = Samples(
        dataset.faces(rows, size=recipe.input.size, channels=recipe.input.channels),
        labels,
        dataset.label_names,
        tuple(dataset.sources[rows].tolist()),
    )
    watch = _FoldProgress(recipe, fold, folds, progress)
    probabilities = np.full((len(dataset), len(dataset.label_names)), np.nan, np.float32)
    for number in range(folds):
        held = fold == number
        probabilities[rows[held]] = _predict_fold(
            recipe, samples, held, out / f"fold-{number}", device or pick_device(), watch.watcher(number), dataset.name
        )
    return probabilities


def assign_folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64] | None, *, folds: int, seed: int
) -> NDArray[np.int64]:
    """Deals samples into `folds` parts, int64 (N,): classes spread evenly, groups whole, the order by `seed`.

    A group counts for the label of its first sample; within a label, the largest groups are dealt first.
    """
    single = np.arange(len(labels)) if groups is None else np.where(groups < 0, -1 - np.arange(len(labels)), groups)
    _, first, member, sizes = np.unique(single, return_index=True, return_inverse=True, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(len(first))
    order = np.lexsort((shuffled, -sizes, labels[first]))
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(first)) % folds
    return fold[member.reshape(-1)]


def _check_recipe(recipe: Recipe) -> None:
    for wrong, key in (
        (recipe.targets.votes > 0, "targets.votes"),
        (recipe.targets.label_blend > 0, "targets.label_blend"),
        (bool(recipe.distill.teachers), "distill.teachers"),
        (bool(recipe.network.weights), "network.weights"),
    ):
        if wrong:
            raise RecipeError(f"{recipe.name}: {key} is set; out-of-fold predictions may learn from the labels alone")


def _begin(out: Path, recipe: Recipe, dataset: Dataset, fold: NDArray[np.int64], *, resume: bool) -> None:
    """Claims the folder for this work, or checks that the work in it is the same."""
    digest = hashlib.sha256(fold.tobytes() + dataset.labels.tobytes()).hexdigest()
    job = {"recipe": to_toml(recipe), "folds": digest, "data": dataset.fingerprint}
    if (out / _JOB).exists():
        if not resume:
            raise OutputError(f"{out}: holds predictions already; add --resume, or give another folder")
        if json.loads((out / _JOB).read_text("utf-8")) != job:
            raise TrainingError(f"{out}: holds predictions of other data or another recipe; give another folder")
        return
    make_folder(out)
    write_text(out / _JOB, json.dumps(job))


def _predict_fold(
    recipe: Recipe,
    samples: Samples,
    held: NDArray[np.bool_],
    folder: Path,
    device: torch.device,
    watcher: Watcher,
    name: str,
) -> NDArray[np.float32]:
    """Trains on the faces that are not held, and predicts those that are; what was finished before is read."""
    if (folder / PROBABILITIES).exists():
        before: NDArray[np.float32] = np.load(folder / PROBABILITIES, allow_pickle=False)
        return before
    make_folder(folder)
    train, rest = _part(samples, ~held), _part(samples, held)
    shown = _part(rest, np.arange(len(rest)) < _SHOWN)
    targets = head_targets(train, recipe.targets, source=name)
    fit(
        recipe,
        Faces.on(device, train, targets),
        Faces.on(device, shown, head_targets(shown, recipe.targets, source=name)),  # fit's `best` is never read
        {t.head: t.weight for t in targets},
        folder,
        resume=True,
        watcher=watcher,
    )
    network = network_on(recipe, {t.head: len(t.labels) for t in targets}, device)
    load_weights(network, folder / LAST)
    images = torch.from_numpy(np.ascontiguousarray(rest.images.transpose(0, 3, 1, 2))).to(device)
    logits = predict_logits(recipe, network, images)["label"]
    if recipe.augment.flip:
        logits = (logits + predict_logits(recipe, network, images.flip(3))["label"]) / 2
    probabilities: NDArray[np.float32] = torch.softmax(logits, 1).cpu().numpy()
    data = io.BytesIO()
    np.save(data, probabilities)
    write_bytes(folder / PROBABILITIES, data.getvalue())
    return probabilities


def _part(samples: Samples, chosen: NDArray[np.bool_]) -> Samples:
    sources = tuple(np.array(samples.sources, object)[chosen].tolist())
    return replace(samples, images=samples.images[chosen], labels=samples.labels[chosen], sources=sources)


class _FoldProgress:
    """Adds up the steps of all folds and epochs for one progress bar."""

    def __init__(self, recipe: Recipe, fold: NDArray[np.int64], folds: int, progress: Progress | None) -> None:
        size = recipe.optimizer.batch_size * recipe.optimizer.accumulate
        sizes = len(fold) - np.bincount(fold, minlength=folds)
        self._work = (np.maximum(1, sizes // size) * size * recipe.optimizer.epochs).tolist()
        self._progress = progress

    def watcher(self, number: int) -> Watcher:
        if self._progress is None:
            return Watcher()
        report, before, total = self._progress, sum(self._work[:number]), sum(self._work)

        def on_step(epoch: int, done: int, in_epoch: int, _rate: float) -> None:
            report(before + epoch * in_epoch + done, total)

        return Watcher(on_step)
