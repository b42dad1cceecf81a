"""Where results go: a table, JSON, JSON lines or CSV on standard output or in a file, and drawn images.

A file is written beside its place and moved there when it is whole: nobody finds half of it.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from mien.errors import OutputError
from mien.files import atomic_text, write_bytes
from mien.labels import color_rgb
from mien.results import Face, ImageResult, ModelSummary
from mien.results.rows import columns, image_rows

FORMATS = ("table", "json", "jsonl", "csv")


class Sink(Protocol):
    """Takes results one by one."""

    def write(self, result: ImageResult) -> None:
        """Takes one result."""
        ...

    def finish(self, skipped: Mapping[str, int] | None = None) -> None:
        """Writes what stands after the last result.

        skipped: how many files of folders were no images, by what they are.
        """
        ...


class JsonSink:
    """One document, `{"model": {...}, "images": [...]}`, written as results come: memory stays flat."""

    def __init__(self, file: TextIO, model: ModelSummary) -> None:
        self._file = file
        self._separator = "\n"
        file.write(f'{{"model": {_json(model.to_dict())}, "images": [')

    def write(self, result: ImageResult) -> None:
        """Adds one image."""
        self._file.write(self._separator + _json(result.to_dict()))
        self._separator = ",\n"

    def finish(self, skipped: Mapping[str, int] | None = None) -> None:
        """Closes the document."""
        self._file.write("\n]" + (f', "skipped": {_json(dict(skipped))}' if skipped else "") + "}\n")


class JsonLinesSink:
    """One JSON object a line, one line an image."""

    def __init__(self, file: TextIO, model: ModelSummary) -> None:
        self._file = file

    def write(self, result: ImageResult) -> None:
        """Writes one line, at once: a reader at the other end of a pipe can follow."""
        self._file.write(_json(result.to_dict()) + "\n")
        self._file.flush()

    def finish(self, skipped: Mapping[str, int] | None = None) -> None:
        """Nothing more to write."""


class CsvSink:
    """The rows of `mien.results.rows`: one for each face, one for an image without faces or unreadable."""

    def __init__(self, file: TextIO, model: ModelSummary) -> None:
        self._labels = model.labels
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(columns(model.labels))

    def write(self, result: ImageResult) -> None:
        """Writes an image's rows."""
        self._rows.writerows(image_rows(result, self._labels))

    def finish(self, skipped: Mapping[str, int] | None = None) -> None:
        """Nothing more to write."""


class TableSink:
    """A table for people, one row a face. Its columns are as wide as their content, so it comes at the end."""

    def __init__(self, file: TextIO, model: ModelSummary) -> None:
        from rich.table import Table

        self._file = file
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

    skipped: how many files were no images, by what they are; looked at when the block ends.
    The file appears when the block ends well. Raises OutputError at once where it can't be written.
    """
    if format_name not in _SINKS:
        raise OutputError(f"format '{format_name}' is unknown; choose one of {', '.join(FORMATS)}")
    with _standard_output() if output is None else atomic_text(output) as file:
        sink = _SINKS[format_name](file, model)
        yield sink
        sink.finish(skipped)
        file.flush()


class AnnotatedFolder:
    """Writes drawn images into a folder: NAME-annotated.jpg for JPEG sources, otherwise .png.

    Images of equal name from different folders are numbered (NAME-annotated-2.jpg) in the order in which they come.
    """

    def __init__(self, folder: Path, *, emoji: bool = False) -> None:
        """Makes the folder where it is missing. Raises OutputError where nothing can be written into it.

        emoji: also draws a badge of the expression beside each face.
        """
        self.folder, self._emoji = folder, emoji
        self._taken: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise OutputError(f"{folder}: can't write into this folder ({error.strerror}); choose another") from error

    def write(self, result: ImageResult) -> Path | None:
        """Draws one result; None for an image that could not be read. Raises ImageError where it is not at hand."""
        if result.error is not None:
            return None
        from mien.media.draw import draw_result, encode_image

        drawn = draw_result(result, emoji=self._emoji)
        source = Path(result.source if not result.source.startswith("data URL (") else "data-url")
        suffix = ".jpg" if source.suffix.lower() in {".jpg", ".jpeg", ".jfif"} else ".png"
        path = self.folder / self._unique(source.stem, suffix)
        write_bytes(path, encode_image(drawn, suffix))
        return path

    def _unique(self, stem: str, suffix: str) -> str:
        name, number = f"{stem}-annotated{suffix}", 2
        while name.casefold() in self._taken:  # some file systems do not tell A.jpg from a.jpg
            name, number = f"{stem}-annotated-{number}{suffix}", number + 1
        self._taken.add(name.casefold())
        return name


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
    answer = Text(f"unsure ({face.expression})", "dim") if face.abstained else Text(face.expression, f"bold {color}")
    place = f"{box.x1:.0f},{box.y1:.0f} {box.width:.0f}x{box.height:.0f}"
    return place, f"{face.detection_score:.2f}", answer, f"{face.confidence:.2f}", Text(runner_up, "dim")


def _one_line(text: str) -> str:
    """Control characters and broken encodings in a file's name must not reach the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
