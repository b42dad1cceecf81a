"""Imports a data set of any layout: as arrays of mien, or as folders or Parquet for other programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mien.data.arrays import PROBLEMS, write_arrays
from mien.data.checks import apart
from mien.data.dataset import Dataset, Progress, Step
from mien.data.readers import open_dataset, open_source
from mien.errors import DataError, OutputError
from mien.files import cannot_write, write_bytes

FORMATS = ("arrays", "folders", "parquet")


def import_dataset(
    source: Path,
    out: Path,
    *,
    as_: str = "arrays",
    ferplus: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Writes a data set of any layout to the new folder `out`; returns it, its last step the import.

    as_: one of `FORMATS`. ferplus: fer2013new.csv, whose votes belong to the rows of a fer2013.csv. resume: go on where
    a killed import stopped. What could not be used stands in OUT/problems.csv and is counted in the last step. Raises
    DataError, OutputError where `out` is there already or touches the source, MissingExtraError without pyarrow.
    """
    source, out = Path(source), Path(out)
    if as_ not in FORMATS:
        raise DataError(f"--as {as_}: unknown; expected {', '.join(FORMATS)}")
    apart(source, out)
    opened = open_source(source, ferplus=ferplus)
    settings = {"source": source.resolve().name, "ferplus": ferplus.name if ferplus else None}
    if as_ == "arrays":
        return write_arrays(opened, out, command="import", settings=settings, resume=resume, progress=progress)

    from mien.data.export import ABOUT, export_dataset

    arrays = out.parent / f".{out.name}.arrays"  # finished arrays, from which the folder is made
    if out.exists() and not arrays.exists():
        before = _import_of(out / ABOUT) if resume else None
        if before and before.settings == settings:
            return open_dataset(out).with_step(before)
        raise OutputError(f"{out}: exists already; give a new folder")
    if arrays.exists() and not resume:
        raise OutputError(
            f"{out}: unfinished work is in {arrays}; add --resume to go on with it, or delete that folder"
        )
    dataset = write_arrays(opened, arrays, command="import", settings=settings, resume=resume, progress=progress)
    export_dataset(dataset, out, as_=as_, resume=resume, progress=progress)
    try:
        if (arrays / PROBLEMS).exists():
            write_bytes(out / PROBLEMS, (arrays / PROBLEMS).read_bytes())
        shutil.rmtree(arrays)
    except OSError as error:
        raise cannot_write(out, error) from error
    return dataset


def _import_of(about: Path) -> Step | None:
    """The import by which an exported folder was made; None where it was made otherwise."""
    try:
        step = Step(**json.loads(about.read_text("utf-8"))["steps"][-1])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    return step if step.command == "import" else None
