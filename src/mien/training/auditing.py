"""`mien.audit`: an audit of a data set with the quick network that finds likely wrong labels."""

# ruff: noqa: B008 (the values of default_of are immutable)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mien.config import default_of, to_toml
from mien.data.audit import audit_dataset
from mien.data.audit_report import AuditReport
from mien.data.dataset import Dataset
from mien.data.readers import as_dataset
from mien.data.settings import AuditChoices, AuditSettings
from mien.faces import DetectorChoice
from mien.reporting import Progress, log_warning
from mien.training.installed import require_training
from mien.training.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from mien.data.audit import OutOfFold


def audit(
    data: Dataset | str | Path,
    out: str | Path | None = None,
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
) -> AuditReport:
    """Flags what may be wrong with a data set: copies, leaks, blank images, likely wrong labels. Removes nothing.

    Args:
        data: Any data set that mien reads, or an opened one.
        out: The new folder for index.html, flags.csv, summary.json, and out-of-fold.npy with `suspects`; None writes
            none, and `AuditReport.save` can.
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
        AuditReport: the flags, and their number by kind and split in `summary`.

    Raises:
        DataError: The data can't be used.
        RecipeError: The recipe can't be used.
        OutputError: `out` exists or can't be written.
        MissingExtraError: An extra is not installed.

    Example:
        >>> import tempfile, mien
        >>> from mien.data.toy import write_toy_folders
        >>> folder = tempfile.mkdtemp() + "/toy"
        >>> write_toy_folders(folder, train=14, validation=7, test=0)
        >>> report = mien.audit(folder, suspects=False)
        >>> report.summary.samples, report.to_pandas()["kind"].tolist()
        (21, [])
    """
    folder = None if out is None else Path(out)
    dataset = as_dataset(data, out=folder, warn=warn)
    out_of_fold, quick = None, ""
    if suspects:
        network = _quick_network(recipe, seed, epochs)
        out_of_fold, quick = _predictions(network, folds, device, threads, progress), to_toml(network)
    return audit_dataset(
        dataset,
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
