"""Checks a data set and flags what may be wrong with it; removes nothing.

Counts, sizes, blank and low-contrast images, images without a face, copies inside and across splits, copies with
different labels, labels that raters' votes contradict, and labels that are likely wrong by confident learning; and
whether all labels look as if they were read in a wrong order.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.arrays import JOURNAL, resumable_folder
from mien.data.audit_report import PREDICTIONS, SUMMARY, AuditReport, read_summary, summarise
from mien.data.dataset import Dataset
from mien.data.duplicates import find_duplicates
from mien.data.findings import (
    contrast_flags,
    contrasts,
    copy_flags,
    detection_scores,
    face_flags,
    find_suspects,
    kept_array,
    require_cleanlab,
    suspect_flags,
    vote_flags,
)
from mien.data.flags import FLAGS, read_flags
from mien.data.plausibility import check_source
from mien.data.settings import AuditSettings
from mien.errors import OutputError
from mien.faces import DetectorChoice
from mien.files import write_text
from mien.reporting import Progress
from mien.version import __version__

_JOB = "job.json"
_SCORES, _FOLDS = "face-scores", "folds"

OutOfFold = Callable[[Dataset, NDArray[np.int64], Path], NDArray[np.float32]]
"""A data set, groups of copies int64 (N,) with -1 for none, a folder to work in -> class probabilities float32 (N, K),
each from a network trained on neither the sample nor a copy of it; NaN where there is none. Unfinished work in the
folder is resumed."""


def audit_dataset(
    dataset: Dataset,
    out: Path | None,
    settings: AuditSettings,
    *,
    out_of_fold: OutOfFold | None = None,
    detector: DetectorChoice | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> AuditReport:
    """Audits a data set; writes the report into the folder `out`, where one is given, as `AuditReport.save` does.

    out_of_fold: makes the predictions by which labels are suspected, see `OutOfFold`. detector: detects faces in every
    image. resume: a killed audit of the same data and settings is resumed; a finished one is read.
    Raises OutputError where `out` is there already, or unfinished work of another kind is; DataError, DetectorError,
    MissingExtraError.
    """
    if out_of_fold is not None:
        require_cleanlab()
    if out is None:
        with tempfile.TemporaryDirectory(prefix="mien-") as folder:
            return _audit(dataset, Path(folder), settings, out_of_fold, detector, progress)
    job: dict[str, Any] = {"command": "audit", "settings": asdict(settings), "version": __version__}
    job |= {"source": dataset.fingerprint, "detector": detector.identity() if detector else ""}
    if out.exists():
        return _finished(dataset, out, job, settings, resume=resume)
    with resumable_folder(out, job, resume=resume) as part:
        report = _audit(dataset, part, settings, out_of_fold, detector, progress)
        report.write(part)
        write_text(part / _JOB, json.dumps(job, indent=2) + "\n")
    return report


def _audit(
    dataset: Dataset,
    part: Path,
    settings: AuditSettings,
    out_of_fold: OutOfFold | None,
    detector: DetectorChoice | None,
    progress: Progress | None,
) -> AuditReport:
    """All checks. part: a folder that keeps what is slow to compute."""
    work = part / JOURNAL
    contrast = contrasts(dataset, progress)
    exact = find_duplicates(dataset)
    near = None if settings.near is None else find_duplicates(dataset, near=settings.near)
    scores = None if detector is None else detection_scores(dataset, detector, work / _SCORES, progress)
    probabilities = None
    if out_of_fold is not None:
        group = (near or exact).group  # near groups hold the exact ones
        probabilities = kept_array(part / PREDICTIONS, lambda: out_of_fold(dataset, group, work / _FOLDS))
    suspects = None if probabilities is None else find_suspects(dataset.labels, probabilities)
    flags = (
        *contrast_flags(contrast, settings.low_contrast),
        *(() if scores is None else (face_flags(scores),)),
        *copy_flags(dataset, exact.group, None if near is None else near.group),
        *(() if dataset.votes is None else (vote_flags(dataset),)),
        *(() if suspects is None else (suspect_flags(dataset, suspects),)),
    )
    summary = summarise(dataset, flags, exact, near, probabilities, check_source(dataset).sentence())
    return AuditReport(dataset, flags, summary, settings.folds, probabilities)


def _finished(
    dataset: Dataset, out: Path, job: dict[str, Any], settings: AuditSettings, *, resume: bool
) -> AuditReport:
    try:
        same = resume and json.loads((out / _JOB).read_text("utf-8")) == json.loads(json.dumps(job))
    except (OSError, ValueError):
        same = False
    if not same:
        raise OutputError(f"{out}: exists already; give a new folder")
    place = out / PREDICTIONS
    probabilities = np.load(place, allow_pickle=False) if place.exists() else None
    summary = read_summary(json.loads((out / SUMMARY).read_text("utf-8")))
    return AuditReport(dataset, read_flags(out / FLAGS, dataset), summary, settings.folds, probabilities)
