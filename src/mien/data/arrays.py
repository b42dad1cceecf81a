"""A data set on disk: `manifest.parquet`, `pixels.u8` (raw bytes, memory-mapped), and `problems.csv` if there were any.

A folder is written beside its place, chunk by chunk with a journal, and moved there when it is whole. A write that was
killed resumes from its last chunk and ends with the bytes of an undisturbed one.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import Dataset
from mien.data.source import PROBLEMS, Chunk, Problem, Source, Step, append_pixels, offsets_of
from mien.data.writing.shards import to_table
from mien.errors import DataError, OutputError, import_extra
from mien.files import cannot_write, csv_text, literal, make_folder, resumable_path, write_text
from mien.reporting import Progress
from mien.version import __version__

MANIFEST, PIXELS = "manifest.parquet", "pixels.u8"
FORMAT = 1

JOURNAL = ".journal"
"""The folder inside unfinished work that remembers how far it is."""

_KEY = b"mien"
_JOB = "job.json"
_PLACE = ("height", "width", "channels")  # manifest columns that are not the caller's


def is_arrays(path: Path) -> bool:
    """Whether a folder holds a data set of this kind."""
    return (path / MANIFEST).is_file() and (path / PIXELS).is_file()


def open_arrays(path: Path) -> Dataset:
    """Opens a folder that `write_arrays` made; pixels stay on disk until they are read.

    Raises DataError where the folder is no such data set or is damaged, MissingExtraError without pyarrow.
    """
    path = Path(path)
    if not is_arrays(path):
        raise DataError(f"{path}: no data set of arrays; expected a folder with {MANIFEST} and {PIXELS}")
    table = _read_table(path / MANIFEST)
    try:
        about = json.loads(table.schema.metadata[_KEY])
        columns = _from_table(table)
        shapes = np.stack([columns.pop(name) for name in _PLACE], 1).astype(np.int32)
        label_names = tuple(about["label_names"])
        steps = tuple(Step(**step) for step in about["steps"])
        labels = columns["label"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path / MANIFEST}: not a manifest of mien, or damaged ({error!r}); import it again"
        ) from error
    if about.get("format") != FORMAT:
        raise DataError(f"{path}: data set format {about.get('format')}; this mien reads format {FORMAT}")
    size = (path / PIXELS).stat().st_size
    expected = int(shapes.astype(np.int64).prod(1).sum())
    if size != expected:
        raise DataError(f"{path / PIXELS}: has {size:,} bytes; the manifest expects {expected:,}; import it again")
    if len(labels) and not -1 <= labels.min() <= labels.max() < len(label_names):
        raise DataError(
            f"{path / MANIFEST}: labels from {labels.min()} to {labels.max()}; expected -1 to {len(label_names) - 1}"
        )
    pixels: NDArray[np.uint8] = np.memmap(path / PIXELS, np.uint8, "r") if size else np.zeros(0, np.uint8)
    status = (path / MANIFEST).stat()
    fingerprint = f"{status.st_size}-{status.st_mtime_ns}"
    return Dataset(label_names, columns, pixels, offsets_of(shapes), shapes, steps, str(path), fingerprint)


def read_problems(path: Path) -> tuple[Problem, ...]:
    """The records that could not be used when the folder was written."""
    place = Path(path) / PROBLEMS
    if not place.exists():
        return ()
    with place.open(newline="", encoding="utf-8") as file:
        return tuple(Problem(literal(row["source"]), row["reason"]) for row in csv.DictReader(file))


def write_arrays(
    source: Source,
    out: Path,
    *,
    command: str,
    settings: Mapping[str, Any],
    resume: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Writes all of a source into the folder `out` and opens it.

    command, settings: what the manifest records as this step; settings hold what decides the outcome, as JSON can have
    it. resume: go on where a killed write of the same source and settings stopped; a finished one is opened as it is.
    Raises OutputError where `out` is there already, or unfinished work of another kind is; DataError where not one
    sample could be used.
    """
    out = Path(out)
    job = {"command": command, "settings": dict(settings), "version": __version__, "source": source.fingerprint}
    job = json.loads(json.dumps(job))  # as it will be read again
    if out.exists():
        return _finished(out, job, resume)
    with resumable_folder(out, job, resume=resume) as part:
        journal = sorted((part / JOURNAL).glob("rows-*.parquet"))
        done, samples, length, problems = _journal_state(journal)
        with (part / PIXELS).open("ab") as file:
            file.truncate(length)
            if source.total is None or done < source.total:
                for number, chunk in enumerate(source.chunks(done), start=len(journal)):
                    shapes = append_pixels(file, chunk.images)
                    file.flush()
                    journal.append(part / JOURNAL / f"rows-{number:06d}.parquet")
                    _write_journal(journal[-1], chunk, shapes)
                    done, samples = done + chunk.consumed, samples + len(chunk.images)
                    problems += len(chunk.problems)
                    if progress:
                        progress(done, source.total)
        if samples == 0:
            _refuse_empty(source, part, journal, out)
        step = Step(command, settings, __version__, done, samples, problems)
        _write_manifest(part, [_read_table(place) for place in journal], source.label_names, (*source.steps, step))
    return open_arrays(out)


def _write_manifest(part: Path, tables: list[Any], label_names: tuple[str, ...], steps: tuple[Step, ...]) -> None:
    import pyarrow as pa

    about = {"format": FORMAT, "label_names": label_names, "steps": [asdict(step) for step in steps]}
    whole = pa.concat_tables([t for t in tables if t.num_rows]).replace_schema_metadata({_KEY: json.dumps(about)})
    _write_table(whole, part / MANIFEST)
    found = [p for t in tables for p in json.loads(t.schema.metadata[b"problems"])]
    if found:
        write_text(part / PROBLEMS, csv_text([("source", "reason"), *found]))


def staging(out: Path) -> Path:
    """Where a folder is built before it is moved to `out`."""
    return out.parent / f".{out.name}.part"


@contextmanager
def resumable_folder(out: Path, job: Mapping[str, Any], *, resume: bool) -> Iterator[Path]:
    """The folder beside `out` in which a job is done, moved there when the block ends well; OSError -> OutputError.

    It stays when the block fails or is killed, and the same job finds it again with `resume`. Its folder `JOURNAL` is
    for what is needed until the end. Raises OutputError where unfinished work is there that may not be resumed.
    """
    part = staging(out)
    try:
        _begin_job(part, job, out=out, resume=resume)
        yield part
        part.replace(out)
        shutil.rmtree(out / JOURNAL)
    except OSError as error:
        raise cannot_write(out, error) from error


def _begin_job(part: Path, job: Mapping[str, Any], *, out: Path, resume: bool) -> None:
    job_file = part / JOURNAL / _JOB
    if part.exists() and not job_file.exists():
        shutil.rmtree(part)  # killed before it began
    if not part.exists():
        make_folder(part / JOURNAL)
        write_text(job_file, json.dumps(job))
        return
    if not resume:
        raise OutputError(f"{out}: unfinished work is in {part}; add --resume to resume it, or delete that folder")
    before = json.loads(job_file.read_text("utf-8"))
    if before != job:
        changed = [k for k in job if before.get(k) != job[k]]
        raise OutputError(
            f"{out}: the unfinished work in {part} is of another job ({', '.join(changed)} changed); "
            "run it as before, or delete that folder"
        )


def _finished(out: Path, job: Mapping[str, Any], resume: bool) -> Dataset:
    if resume and is_arrays(out):
        dataset = open_arrays(out)
        last = dataset.steps[-1]
        if {"command": last.command, "settings": last.settings} == {k: job[k] for k in ("command", "settings")}:
            shutil.rmtree(out / JOURNAL, ignore_errors=True)  # killed after the last move
            return dataset
    raise OutputError(f"{out}: exists already; give a new folder")


def _refuse_empty(source: Source, part: Path, journal: list[Path], out: Path) -> None:
    problems = [p for place in journal for p in json.loads(_read_table(place).schema.metadata[b"problems"])]
    shutil.rmtree(part)
    reason = f"; first: {problems[0][0]}: {problems[0][1]}" if problems else ""
    raise DataError(f"{out}: nothing to write: no sample was left of {source.total or 0}{reason}")


def _journal_state(journal: list[Path]) -> tuple[int, int, int, int]:
    """Records consumed, samples and bytes written, problems met, as far as the journal goes."""
    import pyarrow.parquet as pq

    done = samples = length = problems = 0
    for place in journal:
        schema = pq.read_schema(place)
        about = {k: json.loads(schema.metadata[k]) for k in (b"consumed", b"samples", b"bytes", b"problems")}
        done, samples = done + about[b"consumed"], samples + about[b"samples"]
        length, problems = length + about[b"bytes"], problems + len(about[b"problems"])
    return done, samples, length, problems


def _write_journal(place: Path, chunk: Chunk, shapes: NDArray[np.int32]) -> None:
    columns = {**chunk.columns, **{name: shapes[:, i] for i, name in enumerate(_PLACE)}}
    about = {
        "consumed": chunk.consumed,
        "samples": len(shapes),
        "bytes": int(shapes.astype(np.int64).prod(1).sum()),
        "problems": [(p.source, p.reason) for p in chunk.problems],
    }
    table = to_table(columns).replace_schema_metadata({k: json.dumps(v) for k, v in about.items()})
    _write_table(table, place)


# Columns of numpy and tables of Arrow


def _from_table(table: Any) -> dict[str, NDArray[Any]]:
    import pyarrow as pa

    columns = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # of no rows
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        if pa.types.is_fixed_size_list(column.type):
            columns[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)
        else:
            columns[name] = column.to_numpy(zero_copy_only=False)
    return columns


def _read_table(path: Path) -> Any:
    pa = _pyarrow()
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: can't read it as Parquet: {error}") from error


def _write_table(table: Any, place: Path) -> None:
    import pyarrow.parquet as pq

    with resumable_path(place) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _pyarrow() -> Any:
    return import_extra("pyarrow", "data", "keeping a data set as arrays")
