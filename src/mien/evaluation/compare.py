"""Compares finished training runs by their predictions for the validation faces, and recommends one."""

from __future__ import annotations

import csv
import math
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from mien.data.fitted import read_dataset, require_split
from mien.data.samples import Samples
from mien.errors import DataError, ModelFileError
from mien.evaluation.compare_page import write_comparison
from mien.evaluation.comparison import (
    HEADS,
    RANKS,
    By,
    ComparedRun,
    Comparison,
    History,
    UnfinishedRun,
    chosen_epoch,
    verdict,
)
from mien.evaluation.evaluate import evaluate_samples
from mien.evaluation.paired import mcnemar
from mien.evaluation.result import Truth
from mien.evaluation.speed import graph_macs
from mien.evaluation.validation import VALIDATION_FILE, HeadAnswers, read_answers
from mien.model_file import ModelFile


def compare(
    runs: Iterable[Any],
    out: str | Path | None = None,
    *,
    names: Sequence[str] = (),
    head: Literal["", "label", "votes"] = "",
    by: By = "accuracy",
    data: str | Path | None = None,
) -> Comparison:
    """Compares training runs on the validation faces: which one to keep, and why. Unfinished ones are only listed.

    Args:
        runs: The runs' folders, or what `mien.train` returns.
        out: A folder for compare.html, .txt, .csv, .md, .tex, .json and figures/; None writes nothing.
        names: The runs' names; empty takes those of the folders.
        head: `label` or `votes`; empty takes the first head that all runs have.
        by: What the best is chosen by: `accuracy`, `macro` recall, or the smallest `gap` to training, of accuracy or,
            as `loss-gap`, of the loss.
        data: Measure the model files on this data set's validation split. None: compare the predictions that each run
            kept of its own validation faces.

    Returns:
        Comparison: `runs`, the best first, `test` between the best two, `verdict`, and `to_pandas()`.

    Raises:
        DataError: A folder has no run, none is finished, no head is in all of them, or the data can't be used.
        OutputError: The folder can't be written into.
        MissingExtraError: matplotlib is needed for `out`.

    Examples:
        >>> import mien
        >>> mien.compare(["runs/a", "runs/b"]).verdict
        "Keep a: it calls ..."
    """
    comparison = _comparison(
        [Path(getattr(run, "folder", run)) for run in runs],
        names,
        head,
        by,
        None if data is None else Path(data),
    )
    if out is not None:
        write_comparison(comparison, Path(out))
    return comparison


def _comparison(
    folders: Sequence[Path],
    names: Sequence[str],
    head: str,
    by: By,
    data: Path | None,
) -> Comparison:
    if by not in RANKS:
        raise DataError(f"by is {by!r}; expected {', '.join(RANKS)}")
    if not folders:
        raise DataError("no run to compare; give the folders of one or more")
    named = dict(zip(folders, names or [folder.resolve().name for folder in folders], strict=True))
    taken = list(named.values())
    named = {folder: name if taken.count(name) == 1 else str(folder) for folder, name in named.items()}
    done = [folder for folder in folders if _is_finished(folder)]
    unfinished = tuple(_unfinished(folder, named[folder], head) for folder in folders if folder not in done)
    if not done:
        raise DataError(f"{folders[0]}: its run is unfinished, as all are; resume it with  mien train ... --resume")
    answers = [{h.head: h for h in read_answers(folder / VALIDATION_FILE)} for folder in done]
    chosen = _common_head(done, answers, head)
    models = [_model(folder, chosen) for folder in done]
    samples = None if data is None else _validation(data, models)
    runs = [
        _compared(folder, named[folder], place, own[chosen], model, samples)
        for place, (folder, own, model) in enumerate(zip(done, answers, models, strict=True))
    ]
    if any(RANKS[by](run) is None for run in runs):
        lacking = next(run.name for run in runs if RANKS[by](run) is None)
        raise DataError(f"{lacking}: its history has no figures of training faces; rank by accuracy or macro")
    runs.sort(key=lambda run: (RANKS[by](run), -run.accuracy, run.macs or math.inf, run.name))
    test = mcnemar(runs[0].evaluation, runs[1].evaluation) if len(runs) > 1 else None
    return Comparison(chosen, by, tuple(runs), test, verdict(runs, test, by), unfinished)


def _common_head(folders: Sequence[Path], answers: Sequence[dict[str, HeadAnswers]], head: str) -> str:
    common = [h for h in HEADS if all(h in own for own in answers)]
    if common and (not head or head in common):
        return head or common[0]
    held = "; ".join(f"{folder}: {', '.join(own)}" for folder, own in zip(folders, answers, strict=True))
    missing = f"no head '{head}' in all runs" if head else "the runs have no head in common"
    raise DataError(f"{missing} ({held})")


def read_history(folder: Path) -> History:
    """history.csv of a run: a row per epoch. Raises DataError."""
    return _number_rows(folder / "history.csv")


def _is_finished(folder: Path) -> bool:
    if not (folder / "recipe.toml").is_file():
        raise DataError(f"{folder}: no folder of a training run; expected one that `mien train` wrote")
    return (folder / VALIDATION_FILE).is_file()


def _unfinished(folder: Path, name: str, head: str) -> UnfinishedRun:
    history = read_history(folder) if (folder / "history.csv").is_file() else ()
    heads = [h for h in HEADS if history and f"{h}_accuracy" in history[0] and head in ("", h)]
    accuracy = max((row[f"{heads[0]}_accuracy"] for row in history), default=None) if heads else None
    recipe = _recipe(folder)
    kind, planned = _network(recipe), recipe.get("optimizer", {}).get("epochs", 0)
    return UnfinishedRun(name, kind, len(history), int(planned), accuracy, history)


def _validation(data: Path, models: Sequence[ModelFile]) -> Samples:
    """The validation split, with faces of the largest model's size."""
    size, channels = max(m.info.size for m in models), max(m.info.channels for m in models)
    found = read_dataset(data, size=size, channels=channels, splits=("validation",))
    return require_split(found, "validation", data)


def _compared(
    folder: Path, name: str, place: int, own: HeadAnswers, model: ModelFile, samples: Samples | None
) -> ComparedRun:
    if samples is None:
        found = own.evaluation(data=str(folder))
    else:
        truth: Truth = "votes" if own.head == "votes" else "label"
        found = evaluate_samples([model], samples, truth=truth, data=name, split="validation")
    train = own.train_right / own.train_n if own.train_n else None
    history = read_history(folder)
    timing = _number_rows(folder / "timing.csv") if (folder / "timing.csv").is_file() else ()
    return ComparedRun(
        name=name,
        place=place,
        network=_network(_recipe(folder)),
        epochs=len(history),
        accuracy=found.accuracy,
        accuracy_95=found.accuracy_95,
        train_accuracy=train,
        gap=None if train is None else train - found.accuracy,
        loss_gap=_loss_gap(history, own.head),
        macro_recall=found.balanced_accuracy,
        macro_f1=found.macro_f1,
        parameters=model.info.parameters,
        macs=graph_macs(model.path),
        # A repeated epoch occurs twice: the last one counts.
        seconds=sum({row["epoch"]: row["seconds"] for row in timing}.values()) if timing else None,
        history=history,
        evaluation=found,
    )


def _model(folder: Path, head: str) -> ModelFile:
    """The run's model file for a head."""
    for path in sorted(folder.glob("*.onnx")):
        try:
            model = ModelFile(path)
        except ModelFileError:
            continue
        if model.info.target == head:
            return model
    raise DataError(f"{folder}: no model file for the head '{head}'; resume it with  mien train ... --resume")


def _loss_gap(history: History, head: str) -> float | None:
    """The loss on validation less that on training faces, at the epoch with the best accuracy, mean of the heads."""
    if not history or f"train_{head}_loss" not in history[-1]:
        return None
    known = [row for row in history if f"train_{head}_loss" in row]
    chosen = chosen_epoch(known)
    best = next((row for row in known if row["epoch"] == chosen), known[0])
    return best[f"{head}_loss"] - best[f"train_{head}_loss"]


def _recipe(folder: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / "recipe.toml").read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{folder / 'recipe.toml'}: can't be read ({error})") from error


def _network(recipe: dict[str, Any]) -> str:
    return str(recipe.get("network", {}).get("kind", "resnet"))


def _number_rows(path: Path) -> History:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple({k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: can't be read as a table of numbers ({error})") from error
