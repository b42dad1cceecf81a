"""Writes results as a table, JSON, JSON lines or CSV, to standard output or into a file that appears whole."""

from __future__ import annotations

import csv
import io
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from mien.errors import OutputError
from mien.files import atomic_text, inert
from mien.labels import color_rgb
from mien.results import Face, ImageResult, ModelSummary
from mien.results.rows import columns

FORMATS = ("table", "json", "jsonl", "csv")


class Sink(ABC):
    """Takes results one by one and writes them to a text file."""

    def __init__(self, file: TextIO, model: ModelSummary) -> None:
        self._file, self._labels = file, model.labels

    @abstractmethod
    def write(self, result: ImageResult) -> None:
        """Takes one result."""

    def finish(self, skipped: Mapping[str, int] | None = None) -> None:  # noqa: B027 (most formats have no end)
        """Writes the end of the output.

        skipped: counts of files in folders that are no images, by kind.
        """


class JsonSink(Sink):
    """One document, `{"model": {...}, "images": [...]}`, written as results come: memory stays flat."""

    def __init__(self, file: TextIO, model: ModelSummary) -> None:
        super().__init__(file, model)
        self._separator = "\n"
        file.write(f'{{"model": {_json(model.to_dict())}, "images": [')

    def write(self, result: ImageResult) -> None:
        """Adds one image."""
        self._file.write(self._separator + _json(result.to_dict()))
        self._separator = ",\n"

    def finish(self, skipped: Mapping[str, int] | None = None) -> None:
        """Closes the document."""
        self._file.write("\n]" + (f', "skipped": {_json(dict(skipped))}' if skipped else "") + "}\n")


class JsonLinesSink(Sink):
    """One JSON object per line, one line per image."""

    def write(self, result: ImageResult) -> None:
        """Writes one line, at once: a reader at the other end of a pipe can follow."""
        self._file.write(_json(result.to_dict()) + "\n")
        self._file.flush()


class CsvSink(Sink):
    """The rows of `mien.results.rows`: one for each face, one for an image without faces or unreadable."""

    def __init__(self, file: TextIO, model: ModelSummary) -> None:
        super().__init__(file, model)
        self._rows = csv.writer(file, lineterminator="\n")
        self._details = model.details
        self._rows.writerow(map(inert, columns(model.labels, details=self._details)))

    def write(self, result: ImageResult) -> None:
        """Writes an image's rows."""
        rows = result.rows(self._labels, details=self._details)
        self._rows.writerows(map(inert, row) for row in rows)


class TableSink(Sink):
    """A table for people, one row a face. Its columns are as wide as their content, so it comes at the end."""

    def __init__(self, file: TextIO, model: ModelSummary) -> None:
        from rich.table import Table

        super().__init__(file, model)
        self._table = Table(box=None, pad_edge=False, header_style="bold")
        self._table.add_column("image", overflow="fold")
        for heading in ("face", "box", "found"):
            self._table.add_column(heading, justify="right", no_wrap=True)
        self._table.add_column("expression", overflow="fold")
        self._table.add_column("confidence", justify="right", no_wrap=True)
        self._table.add_column("next", overflow="fold")
        self._read = self._failed = self._faces = 0

    def write(self, result: ImageResult) -> None:
        """Adds an image's rows."""
        from rich.text import Text

        self._failed += result.error is not None
        self._read += result.error is None
        self._faces += len(result.faces)
        source = _one_line(result.source)
        if result.error is not None:
            reason = _one_line(result.error.removeprefix(f"{result.source}: "))
            self._table.add_row(Text(source), "", "", "", Text(f"not read: {reason}", style="red"))
        elif not result.faces:
            self._table.add_row(Text(source), "0", "", "", Text("no face found", style="dim"))
        for number, face in enumerate(result.faces, start=1):
            self._table.add_row(Text(source if number == 1 else ""), str(number), *_cells(face))

    def finish(self, skipped: Mapping[str, int] | None = None) -> None:
        """Prints the table, as wide as the terminal; without one, as wide as it needs to be."""
        from rich.console import Console

        terminal = self._file.isatty()
        console = Console(file=self._file, width=None if terminal else 10_000, highlight=False)
        console.print(self._table)
        summary = f"{_count(self._read, 'image')} read, {_count(self._faces, 'face')}"
        console.print(f"\n{summary}" + (f", {_count(self._failed, 'image')} not read" if self._failed else ""))


_SINKS: dict[str, Callable[[TextIO, ModelSummary], Sink]] = {
    "table": TableSink,
    "json": JsonSink,
    "jsonl": JsonLinesSink,
    "csv": CsvSink,
}


@contextmanager
def open_sink(
    format_name: str, model: ModelSummary, output: Path | None = None, *, skipped: Mapping[str, int] | None = None
) -> Iterator[Sink]:
    """A sink by the name of its format, into the file `output`, or standard output where there is none.

    skipped: counts of files that are no images, by kind; read when the block ends.
    The file appears when the block ends well. Raises OutputError at once where it can't be written.
    """
    if format_name not in _SINKS:
        raise OutputError(f"format '{format_name}' is unknown; choose one of {', '.join(FORMATS)}")
    with _standard_output() if output is None else atomic_text(output) as file:
        sink = _SINKS[format_name](file, model)
        yield sink
        sink.finish(skipped)
        file.flush()


@contextmanager
def _standard_output() -> Iterator[TextIO]:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    yield sys.stdout


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _cells(face: Face) -> tuple[Any, ...]:
    from rich.text import Text

    box = face.box
    ranked = face.top(2)[1:]
    runner_up = f"{ranked[0][0]} {ranked[0][1]:.2f}" if ranked else ""
    color = "#{:02x}{:02x}{:02x}".format(*color_rgb(face.expression))
    shown = Text(f"unsure ({face.expression})", "dim") if face.abstained else Text(face.expression, f"bold {color}")
    place = f"{box.x1:.0f},{box.y1:.0f} {box.width:.0f}x{box.height:.0f}"
    return place, f"{face.detection_score:.2f}", shown, f"{face.confidence:.2f}", Text(runner_up, "dim")


def _one_line(text: str) -> str:
    """Control characters and broken encodings in a file's name must not reach the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
