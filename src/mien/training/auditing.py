"""`mien.audit`: an audit of a data set with the quick network that finds likely wrong labels."""

# ruff: noqa: B008 (the values of default_of are immutable)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mien.config import default_of, to_toml
from mien.data.audit import audit as audit_dataset
from mien.data.dataset import Progress
from mien.data.readers import open_dataset
from mien.data.settings import AuditChoices, AuditSettings
from mien.errors import log_warning
from mien.faces import DetectorChoice
from mien.files import require_apart
from mien.training.recipe import Recipe, load_recipe
from mien.training.train import require_training

if TYPE_CHECKING:
    from mien.data.audit import OutOfFold
    from mien.data.audit_report import AuditSummary


def audit(
    data: str | Path,
    out: str | Path,
    *,
    near: int = default_of(AuditChoices, "near"),
    suspects: bool = True,
    folds: int = default_of(AuditChoices, "folds"),
    epochs: int | None = None,
    recipe: str | Recipe = default_of(AuditChoices, "recipe"),
    seed: int | None = None,
    detector: str | DetectorChoice | None = None,
    device: str = "auto",
    threads: int = 0,
    resume: bool = False,
    progress: Progress | None = None,
    warn: Callable[[str], None] = log_warning,
) -> AuditSummary:
    """Flags what may be wrong with a data set: copies, leaks, blank images, likely wrong labels. Removes nothing.

    Args:
        data: Any data set that mien reads.
        out: The new folder for index.html, flags.csv, summary.json, and out-of-fold.npy with `suspects`.
        near: Near copies differ in at most this many bits of a 64-bit hash, 0 to 16; -1 finds exact copies only.
        suspects: Train a small network to find likely wrong labels; needs the extra [train].
        folds: Parts of the data, 2 or more; each is predicted by a network that was trained on the others.
        epochs: Epochs of that network; None: the recipe's.
        recipe: Its recipe: a shipped name, a TOML file, or a `Recipe`, which `epochs` and `seed` do not change.
        seed: Its seed; None: the recipe's.
        detector: Also flag images without a face, by this detector.
        device: `auto`, `cpu`, `cuda` or `cuda:N`, for the training.
        threads: CPU threads of the training; 0: all.
        resume: Resume a killed audit in `out`.
        progress: Receives the number of images that are done, and the total.
        warn: Receives one line for each record that could not be read.

    Returns:
        AuditSummary: `samples`, and the number of flags by kind and split.

    Raises:
        DataError: The data can't be used.
        RecipeError: The recipe can't be used.
        OutputError: `out` exists or can't be written.
        MissingExtraError: An extra is not installed.

    Example:
        >>> import mien
        >>> mien.audit("fer2013.csv", "audit", suspects=False).samples  # doctest: +SKIP
    """
    source, folder = Path(data), Path(out)
    require_apart(source, folder)
    out_of_fold, quick = None, ""
    if suspects:
        network = _quick_network(recipe, seed, epochs)
        out_of_fold, quick = _predictions(network, folds, device, threads, progress), to_toml(network)
    return audit_dataset(
        open_dataset(source, warn=warn),
        folder,
        AuditSettings(near, recipe=quick, folds=folds),
        out_of_fold=out_of_fold,
        detector=DetectorChoice(detector) if isinstance(detector, str) else detector,
        resume=resume,
        progress=progress,
    )


def _quick_network(recipe: str | Recipe, seed: int | None, epochs: int | None) -> Recipe:
    require_training("finding likely wrong labels (there is --no-suspects)")
    if isinstance(recipe, Recipe):
        return recipe
    changes = {"seed": seed, "optimizer.epochs": epochs}
    return load_recipe(recipe, [f"{key}={value}" for key, value in changes.items() if value is not None])


def _predictions(network: Recipe, folds: int, device: str, threads: int, progress: Progress | None) -> OutOfFold:
    from mien.training.devices import pick_device
    from mien.training.folds import out_of_fold_by

    return out_of_fold_by(network, folds=folds, device=pick_device(device, threads=threads), progress=progress)
