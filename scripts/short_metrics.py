"""Metrics as a repository keeps them: without the points of the curves, which nobody reads there."""

from __future__ import annotations

import json
from pathlib import Path

from mien.evaluation.evaluate import write_metrics
from mien.evaluation.result import Evaluation


def write_short_metrics(found: Evaluation, place: Path) -> None:
    """metrics.json of an evaluation, but for its curves, which are most of the file."""
    write_metrics(found, place)
    metrics = json.loads(place.read_text("utf-8"))
    del metrics["curves"]
    place.write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
