"""Shortens metrics for the repository: removes the points of the curves."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from mien.evaluation.folder import write_metrics
from mien.evaluation.result import ClassScore, Evaluation


def write_short_metrics(found: Evaluation, place: Path) -> None:
    """Writes metrics.json of an evaluation without its curves, which are most of the file."""
    write_metrics(found, place)
    metrics = json.loads(place.read_text("utf-8"))
    del metrics["curves"]
    place.write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")


def read_short_metrics(place: Path) -> Evaluation:
    """Reads such a file: as much of an evaluation as a model card needs, in the digits of the file."""
    figures = json.loads(place.read_text("utf-8"))
    classes = [
        ClassScore(label, c["support"], c["recall"], c["precision"], c["f1"])
        for label, c in figures["per_class"].items()
    ]
    if (balance := figures.get("balance")) is not None:
        points = [SimpleNamespace(**point) for point in balance["points"]]
        figures["balance"] = SimpleNamespace(**(balance | {"points": points}))
    models = tuple(SimpleNamespace(**model) for model in figures["models"])
    return cast(Evaluation, SimpleNamespace(**(figures | {"per_class": classes, "models": models})))


def replace_checksum(place: Path, old: str, new: str) -> None:
    """Replaces a model's sha256 in such a file. Raises ValueError where the file is not about that model."""
    text = place.read_text("utf-8")
    if new in text:
        return  # a file that was completed, and has given its weights back
    if old not in text:
        raise ValueError(f"{place}: no sha256 {old}; measure the model again")
    place.write_text(text.replace(old, new), "utf-8")
