"""Writes a data set in a layout that other programs read: folders, NumPy, CSV, Parquet, WebDataset, YOLO, COCO.

A folder is written beside its place, file by file, and moved there when it is complete; a killed run resumes with
the files that are missing. The layouts themselves are in `writing`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from mien.data.arrays import JOURNAL, read_problems, resumable_folder, write_arrays
from mien.data.dataset import Dataset
from mien.data.flags import KINDS, check_kinds, read_flags
from mien.data.readers import as_dataset, open_dataset
from mien.data.reading.reading import EXPORTED
from mien.data.settings import ExportSettings, Layout
from mien.data.source import PROBLEMS, Problem, Source, Step
from mien.data.writing.detection import Hints, check_boxes, write_detection, write_review
from mien.data.writing.files import size_text, write_plain
from mien.data.writing.plain import check_csv, write_csv, write_folders, write_npy
from mien.data.writing.shards import write_parquet, write_webdataset
from mien.errors import DataError, OutputError
from mien.files import atomic_path, cannot_write, csv_text, require_apart, write_bytes
from mien.reporting import Progress
from mien.version import __version__

FORMATS = get_args(Layout)


def export_dataset(
    dataset: Dataset | str | Path,
    out: str | Path,
    *,
    as_: str,
    jpeg: int | None = None,
    photographs: Path | None = None,
    detector: str | None = None,
    cascade: Path | None = None,
    flags: Path | None = None,
    only: tuple[str, ...] = (),
    resume: bool = False,
    progress: Progress | None = None,
) -> tuple[Problem, ...]:
    """Writes a data set, or that at a path, to the folder `out`, or for csv to the file `out` where that ends in .csv.

    as_: one of `FORMATS`; the rest as in `ExportSettings`. resume: resume a killed export of this data and settings;
    a finished one is left as it is. Returns what could not be exported: photographs that can't be read, and images
    without a face (yolo and coco; also in OUT/problems.csv). Raises DataError where the layout can't hold the data,
    OutputError where `out` is there already or can't be written.
    """
    out = Path(out)
    dataset = as_dataset(dataset, out=out)
    settings = ExportSettings(cast(Layout, as_), jpeg, photographs, detector, cascade, flags, only)
    check_layout(dataset, settings)
    if photographs:
        require_apart(photographs, out)
    job = {"command": "export", "version": __version__, "source": dataset.fingerprint, "samples": len(dataset)}
    job |= {"as": as_, "jpeg": jpeg, "photographs": str(photographs) if photographs else None, "detector": detector}
    job |= {"cascade": str(cascade)} if cascade else {}
    hints = _hints(dataset, settings)
    job |= {"flagged": sorted(hints)} if flags else {}
    if resume and _finished(out, job):
        shutil.rmtree(out / JOURNAL, ignore_errors=True)  # killed after the last move
        return read_problems(out)
    as_file = as_ == "csv" and out.suffix.lower() == ".csv"
    for place in (out, _votes_file(out)) if as_file and not resume else (out,):
        if place.exists() or place.is_symlink():
            raise OutputError(f"{place}: exists already; give a new place")
    if as_file:
        _write_csv_file(dataset, out, progress)
        return ()
    with resumable_folder(out, job, resume=resume) as part:
        problems = _write(dataset, part, settings, hints, progress)
        if problems:
            write_plain(part / PROBLEMS, csv_text([("source", "reason"), *((p.source, p.reason) for p in problems)]))
        about = {"job": job, "label_names": dataset.label_names, "steps": [asdict(step) for step in dataset.steps]}
        write_plain(part / EXPORTED, json.dumps(about, indent=1))
    return problems


def check_layout(dataset: Dataset, settings: ExportSettings) -> None:
    """Raises DataError where the settings are impossible, or the layout can't hold this data set."""
    as_ = settings.as_
    if as_ not in FORMATS:
        raise DataError(f"unknown layout '{as_}'; known: {', '.join(FORMATS)}")
    if settings.jpeg is not None and not 1 <= settings.jpeg <= 100:
        raise DataError(f"--jpeg is {settings.jpeg}; expected a quality from 1 to 100")
    if settings.jpeg is not None and as_ in ("npy", "csv"):
        raise DataError(f"--jpeg: {as_} holds plain pixels; leave it out")
    if as_ not in ("yolo", "coco") and (settings.photographs or settings.detector):
        raise DataError(f"--photographs and --detector are for yolo and coco; {as_} has no boxes")
    if settings.flags and as_ not in ("label-studio", "fiftyone"):
        raise DataError(f"--flags: is for label-studio and fiftyone; {as_} holds no suggestions")
    if settings.cascade and settings.detector != "haar":
        raise DataError("--cascade is a file for --detector haar; leave it out")
    if not len(dataset):
        raise DataError(f"{dataset.name}: no samples to export")
    if as_ == "npy":
        odd = np.flatnonzero((dataset.shapes != dataset.shapes[0]).any(1))
        if len(odd):
            raise DataError(
                f"{dataset.name}: images of several sizes ({size_text(dataset, 0)}, {size_text(dataset, odd[0])}); "
                "an array holds one: make them alike with  mien data crop IN --out OUT --size 48 --channels 1"
            )
    if as_ == "csv":
        check_csv(dataset)
    if as_ in ("yolo", "coco"):
        check_boxes(dataset, settings.photographs, settings.detector)


def _hints(dataset: Dataset, settings: ExportSettings) -> Hints:
    """The suggestions of the flags; of several flags of a sample, the first that suggests a label."""
    if not settings.flags:
        return {}
    flags = read_flags(settings.flags, dataset)
    check_kinds(settings.only)
    hints: dict[int, tuple[str, str]] = {}
    for each in flags:
        if each.kind in (settings.only or KINDS):
            for row, suggested, reason in zip(each.rows.tolist(), each.suggested, each.reasons, strict=True):
                if not hints.get(row, ("", ""))[0]:
                    hints[row] = (suggested, reason)
    if not hints:
        raise DataError(
            f"{settings.flags}: has no flag of {', '.join(settings.only or KINDS)}; there is nothing to export"
        )
    return hints


def _write(
    dataset: Dataset, folder: Path, settings: ExportSettings, hints: Hints, progress: Progress | None
) -> tuple[Problem, ...]:
    match settings.as_:
        case "folders":
            write_folders(dataset, folder, settings.jpeg, progress)
        case "npy":
            write_npy(dataset, folder, progress)
        case "csv":
            write_csv(dataset, folder / "fer2013.csv", folder / "fer2013new.csv", progress)
        case "parquet":
            write_parquet(dataset, folder, settings.jpeg, progress)
        case "webdataset":
            write_webdataset(dataset, folder, settings.jpeg, progress)
        case "label-studio" | "fiftyone":
            write_review(dataset, folder, settings, hints, progress)
        case _:
            return write_detection(dataset, folder, settings, progress)
    return ()


def _write_csv_file(dataset: Dataset, out: Path, progress: Progress | None) -> None:
    """The table, and before it the file of votes, where there are any."""
    with atomic_path(out) as table:
        if dataset.votes is None:
            write_csv(dataset, table, None, progress)
        else:
            with atomic_path(_votes_file(out)) as votes:
                write_csv(dataset, table, votes, progress)


def _finished(out: Path, job: dict[str, object]) -> bool:
    try:
        return bool(json.loads((out / EXPORTED).read_text("utf-8"))["job"] == job)
    except (OSError, ValueError, KeyError, TypeError):  # not there, or nothing of ours
        return False


def _votes_file(out: Path) -> Path:
    """fer2013.csv -> fer2013new.csv, as FER+ calls it."""
    return out.with_name(f"{out.stem}new{out.suffix}")


def write_source(
    source: Source,
    out: Path,
    *,
    as_: str,
    command: str,
    settings: Mapping[str, Any],
    resume: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Writes a source to the new folder `out`: as `arrays`, or by way of them as one of `FORMATS`.

    Records that cannot be used are rows of OUT/problems.csv. Otherwise as `write_arrays`; the data set that comes back
    has the step as its last.
    """
    if as_ == "arrays":
        return write_arrays(source, out, command=command, settings=settings, resume=resume, progress=progress)
    between = out.parent / f".{out.name}.arrays"
    if out.exists() and not between.exists():
        before = _last_step(out / EXPORTED) if resume else None
        if before and (before.command, before.settings) == (command, dict(settings)):
            return open_dataset(out).with_step(before)
        raise OutputError(f"{out}: exists already; give a new folder")
    if between.exists() and not resume:
        raise OutputError(f"{out}: unfinished work is in {between}; add --resume to resume it, or delete that folder")
    dataset = write_arrays(source, between, command=command, settings=settings, resume=resume, progress=progress)
    export_dataset(dataset, out, as_=as_, resume=resume, progress=progress)
    try:
        if (between / PROBLEMS).exists():
            write_bytes(out / PROBLEMS, (between / PROBLEMS).read_bytes())
        shutil.rmtree(between)
    except OSError as error:
        raise cannot_write(out, error) from error
    return dataset


def _last_step(about: Path) -> Step | None:
    """The last step of an exported folder's data; None where mien did not write it."""
    try:
        return Step(**json.loads(about.read_text("utf-8"))["steps"][-1])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
