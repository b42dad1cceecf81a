"""Imports a data set of any layout: as arrays of mien, or as folders or Parquet for other programs."""

from __future__ import annotations

from pathlib import Path

from mien.data.checks import apart
from mien.data.dataset import Dataset, Progress
from mien.data.export import write_source
from mien.data.readers import open_source
from mien.errors import DataError

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
    return write_source(opened, out, as_=as_, command="import", settings=settings, resume=resume, progress=progress)
