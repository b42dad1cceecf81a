"""Writes an evaluation into a folder: report.html with its figures, metrics.json, report.txt, and every prediction."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from mien.data.samples import Samples
from mien.errors import MissingExtraError
from mien.evaluation.evaluate import METRICS_FILE, PREDICTIONS_FILE, REPORT_FILE, write_evaluation
from mien.evaluation.extremes import Extremes
from mien.evaluation.page import PAGE_FILE, write_page
from mien.evaluation.result import Evaluation

_log = logging.getLogger("mien")

Table = Literal["csv", "parquet"]


def write_folder(
    evaluation: Evaluation,
    out: Path,
    *,
    samples: Samples | None = None,
    extremes: Extremes | None = None,
    table: Table = "csv",
    warn: Callable[[str], None] = _log.warning,
) -> tuple[Path, ...]:
    """Writes all files of an evaluation into the folder `out`; returns their paths, the page first.

    samples: the evaluated faces; without them the page shows none. extremes: explained faces, for the page. table:
    the format of the predictions. warn: receives one line if there is no page because matplotlib is not installed.
    Raises OutputError, and MissingExtraError for Parquet without pyarrow.
    """
    out = Path(out)
    write_evaluation(evaluation, out, table=table)
    written = (out / METRICS_FILE, out / REPORT_FILE, (out / PREDICTIONS_FILE).with_suffix(f".{table}"))
    try:
        return write_page(evaluation, out, samples=samples, extremes=extremes), *written
    except MissingExtraError as error:
        warn(f"no {PAGE_FILE}: {error}")
        return written
