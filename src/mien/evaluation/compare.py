"""Compares finished training runs by their predictions for the validation faces, and recommends one."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.data.readers import read_dataset, require_split
from mien.data.samples import Samples
from mien.errors import DataError, ModelFileError
from mien.evaluation.evaluate import evaluate_samples
from mien.evaluation.frames import data_frame
from mien.evaluation.result import Evaluation, Truth
from mien.evaluation.speed import graph_macs
from mien.evaluation.validation import VALIDATION_FILE, HeadAnswers, read_answers
from mien.model_file import ModelFile

_log = logging.getLogger("mien")

if TYPE_CHECKING:
    import pandas as pd

History = tuple[dict[str, float], ...]

HEADS = ("label", "votes")
_CHANCE = 0.05
"""A difference with a p-value of at least this may be chance."""

_CHEAPER = 1.5
"""From how many times fewer multiply-adds a run that is as good within chance is pointed at."""


@dataclass(frozen=True, slots=True, eq=False)
class ComparedRun:
    """One run's figures on validation.

    name: its folder's. accuracy_95: Wilson interval. train_accuracy: on training faces, unaugmented; gap: how much that
    is above `accuracy`. macs: multiply-adds for one face; None without the package onnx. seconds: of training.
    history: a row per epoch, as in history.csv. evaluation: everything else.
    """

    name: str
    network: str
    epochs: int
    accuracy: float
    accuracy_95: tuple[float, float]
    train_accuracy: float | None
    gap: float | None
    macro_recall: float
    macro_f1: float
    parameters: int
    macs: int | None
    seconds: float | None
    history: History = field(repr=False)
    evaluation: Evaluation = field(repr=False)


@dataclass(frozen=True, slots=True)
class McNemar:
    """Two networks on the same faces (McNemar 1947): on how many only one of them is right, and the exact p-value.

    p_value: how often two equally good networks differ by this much or more: a two-sided binomial test.
    """

    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Runs from the best validation accuracy down, the test between the best two, and which one to keep.

    head: which of the runs' answers were compared. test: None for one run, or where the best two did not see the
    same faces. verdict: two sentences.
    """

    head: str
    runs: tuple[ComparedRun, ...]
    test: McNemar | None
    verdict: str

    def to_pandas(self) -> pd.DataFrame:
        """One row for each run, under `COLUMNS`. Raises MissingExtraError without pandas."""
        return data_frame(rows_of(self), COLUMNS)

    def to_dict(self) -> dict[str, object]:
        """As compare.json has it: plain figures, without histories and single predictions."""
        return {
            "head": self.head,
            "runs": [dict(zip(COLUMNS, row, strict=True)) for row in rows_of(self)],
            "mcnemar": None if self.test is None else {
                "only_first": self.test.only_first, "only_second": self.test.only_second, "p_value": self.test.p_value,
            },
            "verdict": self.verdict,
        }  # fmt: skip


COLUMNS = ("run", "network", "accuracy", "accuracy_low", "accuracy_high", "n", "train_accuracy", "gap", "macro_recall",
           "macro_f1", "parameters", "macs", "epochs", "seconds")  # fmt: skip


def compare(
    runs: Iterable[Any],
    out: str | Path | None = None,
    *,
    names: Sequence[str] = (),
    head: str = "",
    data: str | Path | None = None,
    warn: Callable[[str], None] | None = None,
) -> Comparison:
    """Compares finished training runs on the validation faces: which one to keep, and why.

    Args:
        runs: The runs' folders, or what `mien.train` returns.
        out: A folder for compare.html, .txt, .csv, .json and figures/; None writes nothing.
        names: The runs' names; empty takes those of the folders.
        head: `label` or `votes`; empty takes the first head that all runs have.
        data: Measure the model files on this data set's validation split. None: compare the predictions that each run
            kept of its own validation faces.
        warn: Receives one line for each record that could not be used; None logs a warning to the logger `mien`.

    Returns:
        Comparison: `runs`, the best first, `test` between the best two, `verdict`, and `to_pandas()`.

    Raises:
        DataError: A folder has no finished run, no head is in all of them, or the data can't be used.
        OutputError: The folder can't be written into.
        MissingExtraError: matplotlib is needed for `out`.

    Example:
        >>> import mien
        >>> print(mien.compare(["runs/a", "runs/b"]).verdict)  # doctest: +SKIP
    """
    comparison = _comparison(
        [Path(getattr(run, "folder", run)) for run in runs],
        names,
        head,
        None if data is None else Path(data),
        warn or _log.warning,
    )
    if out is not None:
        from mien.evaluation.compare_page import write_comparison

        write_comparison(comparison, Path(out))
    return comparison


def _comparison(
    folders: Sequence[Path], names: Sequence[str], head: str, data: Path | None, warn: Callable[[str], None]
) -> Comparison:
    if not folders:
        raise DataError("no run to compare; give the folders of one or more")
    answers = [{h.head: h for h in _answers(folder)} for folder in folders]
    common = [h for h in HEADS if all(h in own for own in answers)]
    if not common or (head and head not in common):
        held = "; ".join(f"{folder}: {', '.join(own)}" for folder, own in zip(folders, answers, strict=True))
        missing = f"no head '{head}' in all runs" if head else "the runs have no head in common"
        raise DataError(f"{missing} ({held})")
    chosen = head or common[0]
    models = [_model(folder, chosen) for folder in folders]
    samples = None if data is None else _validation(data, models, warn)
    names = list(names) or [folder.resolve().name for folder in folders]
    runs = [
        _compared(folder, name if names.count(name) == 1 else str(folder), own[chosen], model, samples)
        for folder, name, own, model in zip(folders, names, answers, models, strict=True)
    ]
    runs.sort(key=lambda run: (-run.accuracy, run.macs or math.inf, run.name))
    test = mcnemar(runs[0].evaluation, runs[1].evaluation) if len(runs) > 1 else None
    return Comparison(chosen, tuple(runs), test, _verdict(runs, test))


def mcnemar(first: Evaluation, second: Evaluation) -> McNemar | None:
    """The test between two evaluations; None where they did not measure the same faces by the same truth."""
    if first.sources != second.sources:
        return None
    truths = [[e.labels[i] for i in e.truth_index] for e in (first, second)]
    if truths[0] != truths[1]:
        return None
    one, other = (e.truth_index == e.predicted_index for e in (first, second))
    only_first, only_second = int((one & ~other).sum()), int((other & ~one).sum())
    return McNemar(only_first, only_second, exact_p_value(only_first, only_second))


def exact_p_value(only_first: int, only_second: int) -> float:
    """The two-sided exact p-value of McNemar's test: a fair coin, thrown for each face that one alone gets right."""
    thrown, rarer = only_first + only_second, min(only_first, only_second)
    if 2 * rarer >= thrown - 1:  # the middle of the distribution, or no throw at all
        return 1.0
    ways, term = 0, 1
    for k in range(rarer + 1):  # whole numbers: nothing is rounded until the division
        ways += term
        term = term * (thrown - k) // (k + 1)
    return float(min(1.0, 2 * ways / 2**thrown))


def read_history(folder: Path) -> History:
    """history.csv of a run: a row per epoch. Raises DataError."""
    return _number_rows(folder / "history.csv")


def comparison_csv(comparison: Comparison) -> str:
    """The table as CSV, all digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(["" if v is None else v for v in row] for row in rows_of(comparison))
    return text.getvalue()


def comparison_json(comparison: Comparison) -> str:
    """The table, the test and the verdict as JSON."""
    return json.dumps(comparison.to_dict(), indent=2) + "\n"


def comparison_text(comparison: Comparison) -> str:
    """The table in plain letters, and the verdict below."""
    table = [TEXT_COLUMNS, *text_rows(comparison)]
    widths = [max(len(row[i]) for row in table) for i in range(len(TEXT_COLUMNS))]
    left = 2  # the names stand left, numbers right
    lines = [
        "  ".join(c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in table
    ]
    return "\n".join((*(line.rstrip() for line in lines), "", comparison.verdict)) + "\n"


TEXT_COLUMNS = ("run", "network", "accuracy", "95 %", "train", "gap", "macro recall", "macro F1", "parameters", "MACs",
                "epochs", "time")  # fmt: skip


def text_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """The table's rows as people read them, under `TEXT_COLUMNS`."""
    return [
        (
            r.name, r.network, f"{r.accuracy:.4f}", f"{r.accuracy_95[0]:.3f} to {r.accuracy_95[1]:.3f}",
            _or_dash(r.train_accuracy, "{:.4f}"), _or_dash(r.gap, "{:+.4f}"), f"{r.macro_recall:.4f}",
            f"{r.macro_f1:.4f}", f"{r.parameters:,}", "-" if r.macs is None else f"{r.macs / 1e6:,.1f} M",
            str(r.epochs), "-" if r.seconds is None else spoken_time(r.seconds),
        )
        for r in comparison.runs
    ]  # fmt: skip


def rows_of(comparison: Comparison) -> list[tuple[object, ...]]:
    """The table's rows with all digits, under `COLUMNS`."""
    return [
        (
            r.name, r.network, r.accuracy, *r.accuracy_95, r.evaluation.n, r.train_accuracy, r.gap, r.macro_recall,
            r.macro_f1, r.parameters, r.macs, r.epochs, r.seconds,
        )
        for r in comparison.runs
    ]  # fmt: skip


def spoken_time(seconds: float) -> str:
    """A duration in the unit that suits it: `45 s`, `12 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _answers(folder: Path) -> tuple[HeadAnswers, ...]:
    if not (folder / "recipe.toml").is_file():
        raise DataError(f"{folder}: no folder of a training run; expected one that `mien train` wrote")
    if not (folder / VALIDATION_FILE).is_file():
        raise DataError(
            f"{folder}: its run is unfinished, or of an older mien; resume it with  mien train ... --resume"
        )
    return read_answers(folder / VALIDATION_FILE)


def _validation(data: Path, models: Sequence[ModelFile], warn: Callable[[str], None]) -> Samples:
    """The validation split, with faces of the largest model's size."""
    size, channels = max(m.info.size for m in models), max(m.info.channels for m in models)
    found = read_dataset(data, size=size, channels=channels, splits=("validation",), warn=warn)
    return require_split(found, "validation", data)


def _compared(folder: Path, name: str, own: HeadAnswers, model: ModelFile, samples: Samples | None) -> ComparedRun:
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
        network=_network(folder),
        epochs=len(history),
        accuracy=found.accuracy,
        accuracy_95=found.accuracy_95,
        train_accuracy=train,
        gap=None if train is None else train - found.accuracy,
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


def _network(folder: Path) -> str:
    try:
        kind = tomllib.loads((folder / "recipe.toml").read_text("utf-8")).get("network", {}).get("kind", "resnet")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{folder / 'recipe.toml'}: can't be read ({error})") from error
    return str(kind)


def _number_rows(path: Path) -> History:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple({k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: can't be read as a table of numbers ({error})") from error


def _verdict(runs: Sequence[ComparedRun], test: McNemar | None) -> str:
    """Which one to keep, and why, in two sentences made of the figures."""
    best = runs[0]
    low, high = best.accuracy_95
    most = f", the most of {len(runs)} runs" if len(runs) > 1 else ""
    gap = "" if best.gap is None else f" and {abs(best.gap) * 100:.1f} points {_than(best.gap)} on training faces"
    first = (
        f"Keep {best.name}: it calls {best.accuracy:.1%} of {best.evaluation.n:,} validation faces right (95 %: "
        f"{low:.1%} to {high:.1%}){most}, at a macro recall of {best.macro_recall:.1%}{gap}."
    )
    if len(runs) == 1:
        return f"{first} It is the only run, so there is nothing to compare it with."
    second = runs[1]
    after = f"{second.name} comes next with {second.accuracy:.1%}"
    if test is None:
        return f"{first} {after}, on other faces, so the two can't be tested against each other."
    chance = test.p_value >= _CHANCE
    words = "may be chance" if chance else "is more than chance"
    after += (
        f": it alone is right on {test.only_second:,} faces, {best.name} alone on {test.only_first:,}, a difference "
        f"that {words} (McNemar's exact test, p = {_p(test.p_value)})"
    )
    if chance and best.macs and second.macs and best.macs >= _CHEAPER * second.macs:
        after += f", and it needs {best.macs / second.macs:.1f} times fewer multiply-adds: take it where time counts"
    return f"{first} {after}."


def _than(gap: float) -> str:
    return "more" if gap >= 0 else "fewer"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1g}"


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
