"""Timelines: one row for each face and frame of a video, as CSV, JSON lines or Parquet; events as JSON lines.

Unlike other outputs, these files grow under their own names: a camera may run for days, and rows must survive a crash
or kill -9. Lines are flushed frame by frame. Parquet can't be read before its footer is written, so it is first written
in parts (`ParquetTimeline`). A new run replaces a file of the same name.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TextIO

from mien.errors import OutputError, import_extra
from mien.files import ClosedAtExit, atomic_path, cannot_write, csv_text, make_folder
from mien.results import ExpressionEvent, FrameResult, GestureEvent, ModelSummary
from mien.results.rows import Row, frame_columns, frame_rows, parquet_table

TIMELINE_SUFFIXES = (".csv", ".jsonl", ".parquet")

_PART_ROWS, _PART_SECONDS = 20_000, 5.0  # what a killed run may lose of a Parquet file
_GROUP_ROWS = 65_536


class Timeline(ClosedAtExit, ABC):
    """Takes the frames of a video one by one, as a context manager or until `close`; what it took stays.

    Columns: frame, time_s, track, those of images (`mien.results.rows`: source, width, height, face, the box, ...), and
    smoothed_expression. One row for each face and frame; a frame without a face is a row without a track.
    """

    @abstractmethod
    def write(self, result: FrameResult) -> None:
        """Adds the rows of a frame. Raises OutputError, and BrokenPipeError if the reader of a pipe has gone."""

    @abstractmethod
    def close(self) -> None:
        """Writes the remaining rows and closes the file; once is enough."""


def open_timeline(path: Path | None, model: ModelSummary, *, source: str = "") -> Timeline:
    """A timeline in the format that the file's suffix names; None or `-`: CSV on standard output.

    model: names the columns of labels. source: what the video is called, in each row.
    Raises OutputError for another suffix and where nothing can be written;
    MissingExtraError for Parquet without pyarrow.
    """
    if path is None or str(path) == "-":
        return LinesTimeline(None, model, source=source)
    match path.suffix.lower():
        case ".csv":
            return LinesTimeline(path, model, source=source)
        case ".jsonl":
            return LinesTimeline(path, model, source=source, form="jsonl")
        case ".parquet":
            return ParquetTimeline(path, model, source=source)
    raise OutputError(f"{path}: a timeline can't be written as '{path.suffix}'; use {', '.join(TIMELINE_SUFFIXES)}")


class LinesTimeline(Timeline):
    """Rows as lines of text, UTF-8, each written at once: CSV with a head, or JSON objects in which empty is null."""

    def __init__(
        self, path: Path | None, model: ModelSummary, *, source: str = "", form: Literal["csv", "jsonl"] = "csv"
    ) -> None:
        """path: None for standard output, which stays open. Raises OutputError where it can't be written."""
        self._model, self._source, self._form = model, source, form
        self._columns = frame_columns(model.labels, details=model.details)
        self._lines = TextLines(path)
        if form == "csv":
            self._lines.write(csv_text([self._columns]))

    def write(self, result: FrameResult) -> None:
        """Writes a frame's rows at once: a reader at the other end of a pipe can follow."""
        rows = frame_rows(result, self._model.labels, self._source, details=self._model.details)
        if self._form == "csv":
            self._lines.write(csv_text(rows))
        else:
            self._lines.write("".join(_json_line(dict(zip(self._columns, row, strict=True))) for row in rows))

    def close(self) -> None:
        """Closes the file; standard output stays open."""
        self._lines.close()


class ParquetTimeline(Timeline):
    """The same rows as Parquet.

    During the run, rows go into the folder `PATH.parts`, a small Parquet file every five seconds or 20,000 rows;
    `close` joins them into PATH and removes the folder. A killed run leaves the folder: it is a data set that
    every Parquet reader takes as it is (`pandas.read_parquet("PATH.parts")`), and `recover_timeline` joins it.
    """

    def __init__(self, path: Path, model: ModelSummary, *, source: str = "") -> None:
        """Raises OutputError at once where PATH can't be written, MissingExtraError without pyarrow."""
        _parquet()
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: Parquet needs an ordinary file; expected the name of one")
        self._path, self._model, self._source = path, model, source
        self._columns = frame_columns(model.labels, details=model.details)
        self._parts = _parts_folder(path)
        make_folder(self._parts)
        for part in _part_files(self._parts):  # of a run that was killed; this one takes its name
            part.unlink()
        self._rows: list[Row] = []
        self._count = 0
        self._open = True
        self._part_began = time.monotonic()

    def write(self, result: FrameResult) -> None:
        """Adds a frame's rows to the part that is next to be written."""
        self._rows.extend(frame_rows(result, self._model.labels, self._source, details=self._model.details))
        if len(self._rows) >= _PART_ROWS or time.monotonic() - self._part_began >= _PART_SECONDS:
            self._write_part()

    def close(self) -> None:
        """Writes the last part and joins them all into PATH."""
        if not self._open:
            return
        self._open = False
        if self._rows or not self._count:  # a timeline without a row still has its columns
            self._write_part()
        recover_timeline(self._path)

    def _write_part(self) -> None:
        _, pq = _parquet()
        with atomic_path(self._parts / f"{self._count:06d}.parquet") as place:
            pq.write_table(parquet_table(self._rows, self._columns), place)
        self._rows.clear()
        self._count += 1
        self._part_began = time.monotonic()


def recover_timeline(path: Path) -> Path:
    """Joins the parts that a killed run has left beside PATH (a .parquet timeline) into PATH, and removes them.

    Returns PATH. Memory stays flat. Raises OutputError where there are none; MissingExtraError without pyarrow.
    """
    pa, pq = _parquet()
    folder = _parts_folder(path)
    parts = _part_files(folder)
    if not parts:
        raise OutputError(f"{folder}: holds no parts of a timeline; nothing to recover")
    with atomic_path(path) as place, pq.ParquetWriter(place, pq.read_schema(parts[0])) as file:
        waiting: list[Any] = []
        for part in parts:
            with pq.ParquetFile(part) as rows:
                waiting.append(rows.read())
            if sum(table.num_rows for table in waiting) >= _GROUP_ROWS or part == parts[-1]:
                file.write_table(pa.concat_tables(waiting), row_group_size=2 * _GROUP_ROWS)
                waiting = []
    # Renamed first: a run that is killed while it removes them must not leave some of the parts to be recovered.
    try:
        doomed = tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:100]}.joined.")
        shutil.rmtree(folder.rename(Path(doomed, folder.name)).parent)
    except OSError as error:
        raise OutputError(f"{folder}: can't be removed ({error.strerror}); {path} is whole, so remove it") from error
    return path


class EventLines(ClosedAtExit):
    """Events as JSON lines, one as each ends, into a file; None or `-`: standard output. A context manager."""

    def __init__(self, path: Path | None) -> None:
        """Raises OutputError where the file can't be written."""
        self._lines = TextLines(None if str(path) == "-" else path)

    def write(self, event: ExpressionEvent | GestureEvent) -> None:
        """Writes one line at once."""
        self._lines.write(_json_line(event.to_dict()))

    def close(self) -> None:
        """Closes the file; standard output stays open."""
        self._lines.close()


class TextLines:
    """A text file or standard output that is flushed at every write and, once it fails, left alone.

    What a full disk has cut is removed, so that a file ends with a whole write.
    """

    def __init__(self, path: Path | None) -> None:
        """path: None for standard output. Raises OutputError."""
        self._path = path
        self._file: TextIO | None
        if path is None:
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
            self._file = sys.stdout
            return
        try:
            self._file = path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        except OSError as error:
            raise cannot_write(path, error) from error

    def write(self, text: str) -> None:
        """Writes lines. Raises OutputError, and BrokenPipeError if the reader of a pipe has gone."""
        if self._file is None:
            return
        whole = self._path.stat().st_size if self._path else 0
        try:
            self._file.write(text)
            self._file.flush()
        except BrokenPipeError:
            self._file = None
            raise
        except OSError as error:
            self.close()
            if self._path and self._path.is_file():
                os.truncate(self._path, whole)
            name = self._path or "standard output"
            raise OutputError(f"{name}: can't be written on ({error.strerror}); earlier rows are kept") from error

    def close(self) -> None:
        """Closes the file; standard output stays open."""
        file, self._file = self._file, None
        if file is None or self._path is None:
            return
        with suppress(OSError):  # every line was flushed when it came, or its error was raised then
            file.close()


def _json_line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _parts_folder(path: Path) -> Path:
    return path.with_name(path.name + ".parts")


def _part_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.parquet"))


def _parquet() -> tuple[Any, Any]:
    pa = import_extra("pyarrow", "data", "a timeline as Parquet")
    import pyarrow.parquet as pq

    return pa, pq
