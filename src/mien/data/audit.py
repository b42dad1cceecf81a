"""Checks a data set and flags what may be wrong with it; removes nothing.

Counts, sizes, blank and low-contrast images, images without a face, copies inside and across splits, copies with
different labels, labels that raters' votes contradict, and labels that are likely wrong by a model's judgement; and
whether all labels look as if they were read in a wrong order.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mien.config import default_of
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
    suspect_flags,
    vote_flags,
)
from mien.data.flags import FLAGS, read_flags
from mien.data.judge import judge_labels, model_answers
from mien.data.plausibility import check_source
from mien.data.readers import as_dataset
from mien.data.settings import AuditSettings
from mien.errors import OutputError
from mien.faces import DetectorChoice
from mien.files import make_folder, write_text
from mien.model_file import load_model
from mien.reporting import Progress, log_warning
from mien.version import __version__

_JOB = "job.json"
_SCORES, _ANSWERS = "face-scores", "answers.npy"


def audit(
    data: Dataset | str | Path,
    out: str | Path | None = None,
    *,
    near: int = default_of(AuditSettings, "near"),
    suspects: bool = True,
    model: str = default_of(AuditSettings, "model"),
    folds: int = default_of(AuditSettings, "folds"),
    detector: str | DetectorChoice | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> AuditReport:
    """Flags what may be wrong with a data set: copies, leaks, blank images, likely wrong labels. Removes nothing.

    Args:
        data: Any data set that mien reads, or an opened one.
        out: The new folder for index.html, flags.csv, summary.json, and out-of-fold.npy with `suspects`; None writes
            none, and `AuditReport.save` can.
        near: Near copies differ in at most this many bits of a 64-bit hash, 0 to 16; -1 finds exact copies only.
        suspects: Look for likely wrong labels.
        model: The judge of the labels: the name or file of a model that was not trained on these faces. A head
            translates its expressions into the classes of the data.
        folds: Parts of the data, 2 or more; the head that judges one is fitted to the others.
        detector: Also flag images without a face, by this detector.
        resume: Resume a killed audit in `out`.
        progress: Receives the number of images that are done, and the total.

    Returns:
        AuditReport: the flags, and their number by kind and split in `summary`, with how good the judge is.

    Raises:
        DataError: The data can't be used.
        ModelFileError: There is no such model.
        OutputError: `out` exists or can't be written.
        MissingExtraError: An extra is not installed.

    Examples:
        >>> import tempfile, mien
        >>> from mien.data.toy import write_toy_folders
        >>> folder = tempfile.mkdtemp() + "/toy"
        >>> write_toy_folders(folder, train=14, validation=7, test=0)
        >>> report = mien.audit(folder, suspects=False)
        >>> report.summary.samples, report.to_pandas()["kind"].tolist()
        (21, [])
    """
    folder = None if out is None else Path(out)
    dataset = as_dataset(data, out=folder)
    choice = DetectorChoice(detector) if isinstance(detector, str) else detector
    report = audit_dataset(
        dataset, folder, AuditSettings(near, suspects, model, folds), detector=choice, resume=resume, progress=progress
    )
    judge = report.summary.judge
    if judge and not judge.can_judge:
        log_warning(judge.sentence())
    return report


def audit_dataset(
    dataset: Dataset,
    out: Path | None,
    settings: AuditSettings,
    *,
    detector: DetectorChoice | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> AuditReport:
    """`audit` for a parsed choice of settings."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="mien-") as folder:
            return _audit(dataset, Path(folder), settings, detector, progress)
    job: dict[str, Any] = {"command": "audit", "settings": asdict(settings), "version": __version__}
    job |= {"source": dataset.fingerprint, "detector": detector.identity() if detector else ""}
    if out.exists():
        return _finished(dataset, out, job, resume=resume)
    with resumable_folder(out, job, resume=resume) as part:
        report = _audit(dataset, part, settings, detector, progress)
        report.write(part)
        write_text(part / _JOB, json.dumps(job, indent=2) + "\n")
    return report


def _audit(
    dataset: Dataset, part: Path, settings: AuditSettings, detector: DetectorChoice | None, progress: Progress | None
) -> AuditReport:
    """All checks. part: a folder that keeps what is slow to compute."""
    work = part / JOURNAL
    contrast = contrasts(dataset, progress)
    exact = find_duplicates(dataset)
    near = None if settings.near < 0 else find_duplicates(dataset, near=settings.near)
    scores = None if detector is None else detection_scores(dataset, detector, work / _SCORES, progress)
    judged = None
    if settings.suspects:
        model = load_model(settings.model)
        make_folder(work)
        answers = kept_array(work / _ANSWERS, lambda: model_answers(dataset, model, progress))
        judged = judge_labels(dataset, answers, model, (near or exact).group, folds=settings.folds)
    suspects = None
    if judged and judged.judge.can_judge:
        suspects = find_suspects(dataset.labels, judged.probabilities, judged.own)
    flags = (
        *contrast_flags(contrast),
        *(() if scores is None else (face_flags(scores),)),
        *copy_flags(dataset, exact.group, None if near is None else near.group),
        *(() if dataset.votes is None else (vote_flags(dataset),)),
        *(() if suspects is None else (suspect_flags(dataset, suspects),)),
    )
    judge = judged.judge if judged else None
    summary = summarise(dataset, flags, exact, near, judge, check_source(dataset).sentence())
    return AuditReport(dataset, flags, summary, judged.probabilities if judged else None)


def _finished(dataset: Dataset, out: Path, job: dict[str, Any], *, resume: bool) -> AuditReport:
    try:
        same = resume and json.loads((out / _JOB).read_text("utf-8")) == json.loads(json.dumps(job))
    except (OSError, ValueError):
        same = False
    if not same:
        raise OutputError(f"{out}: exists already; give a new folder")
    place = out / PREDICTIONS
    probabilities = np.load(place, allow_pickle=False) if place.exists() else None
    summary = read_summary(json.loads((out / SUMMARY).read_text("utf-8")))
    return AuditReport(dataset, read_flags(out / FLAGS, dataset), summary, probabilities)
