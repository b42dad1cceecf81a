"""Writes a source in the layout that was chosen: as arrays, or by way of them in one that other programs read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.data.arrays import PROBLEMS, write_arrays
from mien.data.dataset import Dataset, Source, Step
from mien.data.export import ABOUT, export_dataset
from mien.data.readers import open_dataset
from mien.errors import OutputError
from mien.files import cannot_write, write_bytes
from mien.reporting import Progress


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
        before = _last_step(out / ABOUT) if resume else None
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
