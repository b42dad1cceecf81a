"""Several models measured on the same faces, each into a folder of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mien.data.dataset import Dataset
from mien.evaluation.evaluate import evaluate
from mien.evaluation.result import Evaluation, Truth
from mien.model_file import load_model, split_models


def evaluate_side_by_side(
    models: Sequence[str],
    data: str | Path | Dataset,
    split: str | None = None,
    truth: Truth | None = None,
    out: str | Path | None = None,
    *,
    warn: Callable[[str], None] | None = None,
    **options: Any,
) -> dict[str, Evaluation]:
    """Measures each model on the same faces by the same ground truth; `A+B` is the mean of both models' probabilities.

    truth: None takes what the models were trained on, or the labels if they differ in that. out: a folder for one
    model, the parent of a folder each for several. options: more of `mien.evaluate`, which raises the same errors.
    Returns model -> evaluation, in the order given.
    """
    parts = [split_models(model) for model in models]
    if truth is None and len(models) > 1:
        truth = _common_truth([name for names in parts for name in names], warn)
    places: list[Path | None] = [None if out is None else Path(out)] * len(models)
    if out is not None and len(models) > 1:
        places = [Path(out, name) for name in _folder_names(parts)]
    return {
        model: evaluate(names, data, split, truth, place, warn=warn, **options)
        for model, names, place in zip(models, parts, places, strict=True)
    }


def _common_truth(models: Sequence[str], warn: Callable[[str], None] | None) -> Truth | None:
    """The labels, if the models were trained on different kinds of ground truth; None lets the evaluation choose."""
    if len({load_model(name).info.target == "votes" for name in models}) < 2:
        return None
    log = warn or logging.getLogger("mien").warning
    log("the models were trained on votes and on labels: all are measured by --truth label")
    return "label"


def _folder_names(parts: Sequence[Sequence[str]]) -> list[str]:
    """A folder for each model: the name without path and suffix, numbered if it is taken."""
    names: list[str] = []
    for models in parts:
        stem = "+".join(Path(model).name.removesuffix(".onnx") for model in models)
        names.append(stem if stem not in names else f"{stem}-{len(names) + 1}")
    return names
