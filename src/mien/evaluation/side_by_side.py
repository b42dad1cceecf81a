"""Several models measured on the same faces, each into a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.data.dataset import Dataset
from mien.evaluation.evaluate import evaluate
from mien.evaluation.paired import Difference, differences
from mien.evaluation.result import Evaluation, Truth
from mien.evaluation.tables import CLASS_COLUMNS, class_figures, class_rows, span, three, write_tables
from mien.model_file import load_model, split_models
from mien.reporting import log_warning


def evaluate_side_by_side(
    models: Sequence[str],
    data: str | Path | Dataset,
    split: str | None = None,
    truth: Truth | None = None,
    out: str | Path | None = None,
    **options: Any,
) -> dict[str, Evaluation]:
    """Measures each model on the same faces by the same ground truth; `A+B` is the mean of both models' probabilities.

    truth: None takes what the models were trained on, or the labels if they differ in that. out: a folder for one
    model, the parent of a folder each for several, and of the tables models, classes and differences. options: more of
    `mien.evaluate`, which raises the same errors.
    Returns model -> evaluation, in the order given.
    """
    parts = [split_models(model) for model in models]
    if truth is None and len(models) > 1 and options.get("protocol") is None:
        truth = _common_truth([name for names in parts for name in names])
    places: list[Path | None] = [None if out is None else Path(out)] * len(models)
    if out is not None and len(models) > 1:
        places = [Path(out, name) for name in _folder_names(parts)]
    found = {
        model: evaluate(names, data, split, truth, place, **options)
        for model, names, place in zip(models, parts, places, strict=True)
    }
    if out is not None and len(models) > 1:
        _write_tables(found, Path(out))
    return found


MODEL_COLUMNS = ("model", "n", "accuracy", "95 %", "macro recall", "95 %", "macro F1", "95 %", "NLL", "ECE")
DIFFERENCE_COLUMNS = ("first", "second", "accuracy", "95 %", "macro recall", "95 %", "only first", "only second",
                      "McNemar p", "Holm p")  # fmt: skip


def model_rows(found: Mapping[str, Evaluation]) -> list[tuple[str, ...]]:
    """A row for each model, under `MODEL_COLUMNS`."""
    return [
        (model, f"{e.n:,}", three(e.accuracy), span(e.accuracy_95), three(e.balanced_accuracy),
         span(e.bootstrap_95.balanced_accuracy), three(e.macro_f1), span(e.bootstrap_95.macro_f1), three(e.nll),
         three(e.ece))
        for model, e in found.items()
    ]  # fmt: skip


def difference_rows(pairs: Sequence[Difference]) -> list[tuple[str, ...]]:
    """A row for each pair, the first less the second, under `DIFFERENCE_COLUMNS`."""
    return [
        (d.first, d.second, f"{d.accuracy:+.4f}", signed(d.accuracy_95), f"{d.macro_recall:+.4f}",
         signed(d.macro_recall_95), str(d.mcnemar.only_first), str(d.mcnemar.only_second), f"{d.mcnemar.p_value:.3g}",
         f"{d.p_holm:.3g}")
        for d in pairs
    ]  # fmt: skip


def signed(interval: tuple[float, float]) -> str:
    """An interval of a difference."""
    return f"{interval[0]:+.4f} to {interval[1]:+.4f}"


def _write_tables(found: Mapping[str, Evaluation], out: Path) -> None:
    rows, pairs = model_rows(found), differences(dict(found))
    figures = ("n", "accuracy", "balanced_accuracy", "macro_f1", "nll", "ece")
    write_tables(out, "models", MODEL_COLUMNS, rows,
                 (("model", *figures), [(m, *(getattr(e, f) for f in figures)) for m, e in found.items()]))  # fmt: skip
    shown = difference_rows(pairs)
    write_tables(out, "differences", DIFFERENCE_COLUMNS, shown, (DIFFERENCE_COLUMNS, shown))
    rows_by_class = [(model, *row) for model, e in found.items() for row in class_rows(e)]
    exact = [(model, *row) for model, e in found.items() for row in class_figures(e)[1]]
    columns = class_figures(next(iter(found.values())))[0]
    write_tables(out, "classes", ("model", *CLASS_COLUMNS), rows_by_class, (("model", *columns), exact))


def _common_truth(models: Sequence[str]) -> Truth | None:
    """The labels, if the models were trained on different kinds of ground truth; None lets the evaluation choose."""
    if len({load_model(name).info.target == "votes" for name in models}) < 2:
        return None
    log_warning("the models were trained on votes and on labels: all are measured by --truth label")
    return "label"


def _folder_names(parts: Sequence[Sequence[str]]) -> list[str]:
    """A folder for each model: the name without path and suffix, numbered if it is taken."""
    names: list[str] = []
    for models in parts:
        stem = "+".join(Path(model).name.removesuffix(".onnx") for model in models)
        names.append(stem if stem not in names else f"{stem}-{len(names) + 1}")
    return names
