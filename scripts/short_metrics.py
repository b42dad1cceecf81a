"""Metrics as a repository keeps them: without the points of the curves, which nobody reads there."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from mien.evaluation.evaluate import write_metrics
from mien.evaluation.result import Evaluation


def write_short_metrics(found: Evaluation, place: Path) -> None:
    """metrics.json of an evaluation, but for its curves, which are most of the file."""
    write_metrics(found, place)
    metrics = json.loads(place.read_text("utf-8"))
    del metrics["curves"]
    place.write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")


def read_short_metrics(place: Path) -> Evaluation:
    """What such a file says of an evaluation, in its digits: as much of one as a model card takes."""
    figures = json.loads(place.read_text("utf-8"))
    classes = [SimpleNamespace(label=label, **c) for label, c in figures["per_class"].items()]
    return cast(Evaluation, SimpleNamespace(**(figures | {"per_class": classes})))
