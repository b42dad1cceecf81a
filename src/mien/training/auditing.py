"""`mien.audit`: the checks of `mien.data.audit`, with likely wrong labels found by a quickly trained network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mien.config import to_toml
from mien.data.audit import audit_dataset
from mien.data.audit_report import AuditReport
from mien.data.audit_settings import DEFAULTS, RECIPE
from mien.data.dataset import Dataset, Progress
from mien.data.readers import as_dataset
from mien.errors import MissingExtraError
from mien.faces import DetectorChoice
from mien.training.recipe import load_recipe


def audit(
    data: Dataset | str | Path,
    out: str | Path | None = None,
    *,
    near: int | None = DEFAULTS.near,
    detector: DetectorChoice | str | None = None,
    suspects: bool = True,
    folds: int = DEFAULTS.folds,
    epochs: int | None = None,
    recipe: str = RECIPE,
    seed: int = 1,
    device: str = "auto",
    threads: int = 0,
    resume: bool = False,
    warn: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Flags what may be wrong with a data set: blank images, copies, leaks, likely wrong labels. Removes nothing.

    Args:
        data: A data set, or the path of one in any layout that mien reads.
        out: The new folder for the report; None writes none, and `AuditReport.save` can.
        near: The most bits of 64 in which the hashes of near copies differ, 0 to 16; None finds exact copies only.
        detector: Detects a face in every image: "mtcnn", "yunet" or "haar", or a `DetectorChoice`.
        suspects: Whether a small network is trained to find likely wrong labels. It needs the extra [train].
        folds: The parts of the data, 2 or more; each is predicted by a network of its own.
        epochs: The epochs of each network; None takes the recipe's.
        recipe: The network's recipe: a shipped name or a TOML file.
        seed: The seed of the folds and networks.
        device: "auto", "cpu", "cuda" or "cuda:N", for the training.
        threads: Processor threads of the training; 0 takes all.
        resume: Whether a killed audit of the same data and settings is resumed.
        warn: Called with a line for each record that cannot be read; None logs it to "mien".
        progress: Called with the number done and the total.

    Returns:
        The flags and counts.

    Raises:
        DataError: The data set cannot be read or used.
        OutputError: `out` is there already, or touches the data set.
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
    place = None if out is None else Path(out)
    dataset = as_dataset(data, out=place) if warn is None else as_dataset(data, out=place, warn=warn)
    settings, out_of_fold = replace(DEFAULTS, near=near, folds=folds), None
    if suspects:
        try:
            from mien.training.devices import pick_device
            from mien.training.folds import out_of_fold_by
        except ImportError as error:
            raise MissingExtraError("train", "finding likely wrong labels (there is suspects=False)") from error
        quick = load_recipe(recipe, [f"seed={seed}", *([f"optimizer.epochs={epochs}"] if epochs else [])])
        settings = replace(settings, recipe=to_toml(quick))
        out_of_fold = out_of_fold_by(quick, folds=folds, device=pick_device(device, threads=threads), progress=progress)
    choice = DetectorChoice(detector) if isinstance(detector, str) else detector
    return audit_dataset(
        dataset, place, settings, out_of_fold=out_of_fold, detector=choice, resume=resume, progress=progress
    )
