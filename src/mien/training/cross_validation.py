"""One recipe trained on every fold with every seed: `mien.cross_validate`, one table of means and deviations.

Each figure is that of the last epoch on the faces that were held out: nothing is selected by them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import Dataset
from mien.data.readers import load_dataset
from mien.data.settings import SplitSettings
from mien.data.source import text_column
from mien.data.splits import divide
from mien.errors import DataError, RecipeError, TrainingError
from mien.evaluation import metrics
from mien.evaluation.compare import read_history
from mien.evaluation.frames import data_frame
from mien.evaluation.tables import plain_table, write_tables
from mien.files import make_folder, write_text
from mien.reporting import each_warning_once
from mien.training.before_torch import require_published_weights, require_training
from mien.training.callbacks import CONFUSIONS, TRAIN_PREFIX
from mien.training.recipe import Recipe, recipe_with

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from mien.training.callbacks import Watcher

TABLE, PAGE_JSON, _JOB = "table", "results.json", "job.json"

FIGURES = ("accuracy", "macro_recall", "macro_f1", "train_accuracy", "gap")


@dataclass(frozen=True, slots=True)
class RepeatedRun:
    """A run on one fold with one seed; figures of one head at the last epoch, on the faces that were held out.

    fold: None where the data's own splits are trained on. gap: training accuracy less accuracy.
    """

    fold: int | None
    seed: int
    head: str
    n: int
    accuracy: float
    macro_recall: float
    macro_f1: float
    train_accuracy: float
    gap: float
    folder: Path


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """The runs of `mien.cross_validate`, in order, and their folder."""

    runs: tuple[RepeatedRun, ...]
    folder: Path

    def __repr__(self) -> str:
        return f"CrossValidation({str(self.folder)!r}, runs={len(self.runs)}: accuracy {self.mean():.4f})"

    def mean(self, figure: str = "accuracy", head: str = "") -> float:
        """The mean of a figure of `RepeatedRun` over all runs. head: the first one without it."""
        return float(self._values(figure, head).mean())

    def sd(self, figure: str = "accuracy", head: str = "") -> float | None:
        """The standard deviation of a figure over all runs (of a sample, n - 1); None for one run."""
        values = self._values(figure, head)
        return float(values.std(ddof=1)) if len(values) > 1 else None

    def to_pandas(self) -> pd.DataFrame:
        """A row for each run and head. Raises MissingExtraError without pandas."""
        return data_frame(*_exact(self)[::-1])

    def text(self) -> str:
        """The table and its summary in plain letters."""
        return plain_table(*_rounded(self))

    def _values(self, figure: str, head: str) -> NDArray[np.float64]:
        head = head or self.runs[0].head
        return np.array([getattr(run, figure) for run in self.runs if run.head == head], np.float64)


@each_warning_once()
def cross_validate(
    recipe: str | Path | Recipe,
    data: str | Path | Dataset,
    out: str | Path,
    *,
    folds: int = 5,
    seeds: int = 1,
    group_by: Sequence[str] = (),
    given: Collection[str] = (),
    device: str | torch.device = "auto",
    threads: int = 0,
    log: Sequence[str] = (),
    progress: Callable[[Recipe, str, bool], Watcher] | None = None,
    **settings: Any,
) -> CrossValidation:
    """Trains a recipe once for each fold and seed, and writes one table. The same call resumes a killed one.

    Each fold is held out once; the network is trained on the others. Faces of the split `test` are never read. Folds
    have the same shares of each class; exact copies stay together, as do equal values of `identity`.

    Args:
        recipe: As in `train`.
        data: As in `train`. A column `fold`, as `mien data split --folds K` writes, decides the folds.
        out: The folder of the runs and the table: table.md, table.tex, table.csv, results.json.
        folds: How many, 2 or more; 0 trains on the data's own splits.
        seeds: How many seeds: that of the recipe, and those after it.
        group_by: Columns of the data whose equal values stay in one fold.
        given: As in `train`.
        device: As in `train`.
        threads: As in `train`.
        log: As in `train`, for each run.
        progress: Called as a run begins (its recipe, name, whether it is finished); returns what the run reports to.
        **settings: Changes to the recipe, as in `train`.

    Returns:
        CrossValidation: `runs`, `mean()`, `sd()`, `text()`, `to_pandas()`.

    Raises:
        RecipeError: The recipe, or a number of folds or seeds, is not possible.
        DataError: The data can't be used, or have another number of folds.
        TrainingError: `out` holds runs of other data or folds, or a training failed.

    Examples:
        >>> import mien
        >>> found = mien.cross_validate("scratch-cnn2", "faces/", "runs/cv", folds=2, seeds=1, optimizer={"epochs": 1})
        >>> found.mean("accuracy"), found.sd("accuracy")
        (0..., 0...)
    """
    require_training("cross-validation")
    if folds == 1 or folds < 0 or seeds < 1:
        raise RecipeError(f"folds {folds}, seeds {seeds}: expected 2 folds or more (0 for none), and 1 seed or more")
    recipe, given = recipe_with(recipe, settings, given)
    require_published_weights(recipe.network.kind, recipe.network.weights, Path(out))
    from mien.training.devices import pick_device

    dataset = data if isinstance(data, Dataset) else load_dataset(Path(data))
    out, fold = Path(out), _folds(dataset, folds, group_by)
    _begin(out, dataset, fold)
    options = {"given": given, "trackers": log, "device": pick_device(device, threads=threads)}
    found = CrossValidation(tuple(_run_all(recipe, seeds, dataset, fold, out, progress, options)), out)
    return _written(found)


def _run_all(
    recipe: Recipe,
    seeds: int,
    dataset: Dataset,
    fold: NDArray[np.int64],
    out: Path,
    progress: Callable[[Recipe, str, bool], Watcher] | None,
    options: dict[str, Any],
) -> Iterator[RepeatedRun]:
    """Trains each fold with each seed; the data's own splits where no sample has a fold."""
    from mien.training.ladder import run_unless_finished

    for number in range(int(fold.max(initial=-1)) + 1) or (None,):
        divided = dataset
        if number is not None:
            splits = np.where(fold == number, "validation", np.where(fold >= 0, "train", "test"))
            divided = dataset.with_columns(split=text_column(splits.tolist()))
        for seed in range(recipe.seed, recipe.seed + seeds):
            name = f"seed-{seed}" if number is None else f"fold-{number}-seed-{seed}"
            run_unless_finished(replace(recipe, seed=seed), divided, out / name, progress, **options)
            yield from _figures(out / name, number, seed)


def _written(found: CrossValidation) -> CrossValidation:
    """The same, with its table and figures in the folder."""
    exact = _exact(found)
    write_tables(found.folder, TABLE, *_rounded(found), exact)
    summary = {f: {"mean": found.mean(f), "sd": found.sd(f)} for f in FIGURES}
    rows = [dict(zip(exact[0], row, strict=True)) for row in exact[1]]
    write_text(found.folder / PAGE_JSON, json.dumps({"summary": summary, "runs": rows}, indent=2) + "\n")
    return found


def _folds(dataset: Dataset, folds: int, group_by: Sequence[str]) -> NDArray[np.int64]:
    """The fold of each sample, int64 (N,), -1 for those of test; the data's own where they have a column `fold`."""
    if not folds:
        return np.full(len(dataset), -1, np.int64)
    own = dataset.columns.get("fold")
    if own is None:
        own = divide(dataset, SplitSettings(folds=folds, group_by=tuple(group_by))).dataset.columns["fold"]
    elif group_by:
        raise DataError(f"{dataset.name}: has a column 'fold' already; leave group_by out, or split again")
    fold: NDArray[np.int64] = own.astype(np.int64)
    if int(fold.max()) + 1 != folds:
        raise DataError(f"{dataset.name}: its column 'fold' has {int(fold.max()) + 1} folds; expected {folds}")
    return np.where(dataset.labels < 0, -1, fold)


def _begin(out: Path, dataset: Dataset, fold: NDArray[np.int64]) -> None:
    """Claims the folder for these folds of these data."""
    job = {"data": dataset.fingerprint, "folds": hashlib.sha256(fold.tobytes()).hexdigest()}
    if (out / _JOB).exists() and json.loads((out / _JOB).read_text("utf-8")) != job:
        raise TrainingError(f"{out}: holds runs of other data or folds; give another folder")
    make_folder(out)
    write_text(out / _JOB, json.dumps(job) + "\n")


def _figures(folder: Path, fold: int | None, seed: int) -> list[RepeatedRun]:
    last = read_history(folder)[-1]
    found = []
    for one in json.loads((folder / CONFUSIONS).read_text("utf-8")):
        counts = np.array(one["counts"], np.int64)
        if one["epoch"] != last["epoch"] or not counts.sum():
            continue
        accuracy, train = metrics.accuracy(counts), last[f"{TRAIN_PREFIX}{one['head']}_accuracy"]
        recall, f1 = metrics.balanced_accuracy(counts), metrics.macro_f1(counts)
        n = int(counts.sum())
        found.append(RepeatedRun(fold, seed, one["head"], n, accuracy, recall, f1, train, train - accuracy, folder))
    return found


def _exact(found: CrossValidation) -> tuple[list[str], list[list[object]]]:
    columns = ["fold", "seed", "head", "n", *FIGURES]
    return columns, [[getattr(run, column) for column in columns] for run in found.runs]


def _rounded(found: CrossValidation) -> tuple[list[str], list[list[str]]]:
    """A row for each run, and below mean +- sd for each head; with folds and seeds, also how each of them spreads."""
    columns = ["fold", "seed", "head", "n", *(figure.replace("_", " ") for figure in FIGURES)]
    rows = [
        ["-" if run.fold is None else str(run.fold), str(run.seed), run.head, f"{run.n:,}"]
        + [f"{getattr(run, figure):{'+' if figure == 'gap' else ''}.4f}" for figure in FIGURES]
        for run in found.runs
    ]
    for head in dict.fromkeys(run.head for run in found.runs):
        n = sum(run.head == head for run in found.runs)
        cells = []
        for figure in FIGURES:
            sd = found.sd(figure, head)
            cells.append(f"{found.mean(figure, head):.4f}" + ("" if sd is None else f" ± {sd:.4f}"))
        rows.append(["mean ± sd", f"{n} runs", head, "", *cells])
    return columns, rows
