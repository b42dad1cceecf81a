"""Writes an evaluation into a folder: report.html with its figures, metrics.json, report.txt, and every prediction."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mien.data.samples import Samples
from mien.errors import MissingExtraError
from mien.evaluation.extremes import Extremes
from mien.evaluation.page import write_page
from mien.evaluation.report import report_text
from mien.evaluation.result import Evaluation
from mien.evaluation.tables import CLASS_COLUMNS, class_figures, class_rows, write_tables
from mien.files import csv_text, make_folder, write_bytes, write_text

Table = Literal["csv", "parquet"]

CLASSES = "classes"
"""The table of the classes, as .md, .tex and .csv."""

METRICS_FILE, PREDICTIONS_FILE, REPORT_FILE = "metrics.json", "predictions.csv", "report.txt"


def write_folder(
    evaluation: Evaluation,
    out: Path,
    *,
    samples: Samples | None = None,
    extremes: Extremes | None = None,
    table: Table = "csv",
    vector: bool = False,
) -> tuple[Path, ...]:
    """Writes all files of an evaluation into the folder `out`; returns their paths, the page first.

    samples: the evaluated faces; without them the page shows none. extremes: explained faces, for the page. table:
    the format of the predictions. vector: figures also as SVG and PDF. A line is logged if matplotlib, and so files of
    charts, are missing. Raises OutputError, and MissingExtraError for Parquet without pyarrow.
    """
    out = Path(out)
    write_evaluation(evaluation, out, table=table)
    written = (out / METRICS_FILE, out / REPORT_FILE, (out / PREDICTIONS_FILE).with_suffix(f".{table}"))
    return write_page(evaluation, out, samples=samples, extremes=extremes, vector=vector), *written


def write_evaluation(evaluation: Evaluation, out: Path, *, table: Table = "csv") -> None:
    """Writes metrics.json, report.txt, the table of the classes and the predictions into the folder `out`, each whole.

    Raises OutputError, and MissingExtraError for Parquet without pyarrow.
    """
    data = _parquet(evaluation) if table == "parquet" else _csv(evaluation).encode()
    out = Path(out)
    make_folder(out)
    for kind in ("csv", "parquet"):
        place = (out / PREDICTIONS_FILE).with_suffix(f".{kind}")
        if kind == table:
            write_bytes(place, data)
        else:
            place.unlink(missing_ok=True)  # an earlier evaluation: its rows would contradict metrics.json
    write_text(out / REPORT_FILE, report_text(evaluation))
    write_tables(out, CLASSES, CLASS_COLUMNS, class_rows(evaluation), class_figures(evaluation))
    write_metrics(evaluation, out / METRICS_FILE)


def _columns(e: Evaluation) -> dict[str, list[Any]]:
    """The columns of the predictions file; None for what a face without a prediction lacks."""
    said = (e.predicted_index >= 0).tolist()

    def figures(values: NDArray[np.float64]) -> list[float | None]:
        return [value if known else None for value, known in zip(values.tolist(), said, strict=True)]

    columns: dict[str, list[Any]] = {
        "source": list(e.sources),
        "label": [e.labels[i] for i in e.truth_index],
        "expression": [e.labels[i] if i >= 0 else None for i in e.predicted_index],
    }
    if e.confidence is not None:
        columns["confidence"] = figures(e.confidence)
    if e.probabilities is not None:
        columns |= dict(zip(e.labels, map(figures, e.probabilities.T), strict=True))
    return columns


def _csv(evaluation: Evaluation) -> str:
    columns = _columns(evaluation)
    cells = [[f"{v:.6f}" if isinstance(v, float) else v or "" for v in column] for column in columns.values()]
    return csv_text([list(columns), *map(list, zip(*cells, strict=True))])


def _parquet(evaluation: Evaluation) -> bytes:
    """The same columns, figures as float32."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("data", "writing Parquet") from error
    texts = ("source", "label", "expression")
    columns = {
        name: pa.array(column, pa.string() if name in texts else pa.float32())
        for name, column in _columns(evaluation).items()
    }
    data = io.BytesIO()
    pq.write_table(pa.table(columns), data, compression="zstd")
    return data.getvalue()


def write_metrics(evaluation: Evaluation, path: Path) -> None:
    """Writes metrics.json alone, to a file of any name, atomically. Raises OutputError."""
    make_folder(Path(path).parent)
    write_text(Path(path), json.dumps(evaluation.to_dict(), indent=2, allow_nan=False) + "\n")
