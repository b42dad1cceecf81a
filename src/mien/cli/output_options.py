"""Options that decide how results are written: `--format`, and the suffix of `--out`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

TableOrJson = Annotated[Literal["table", "json"], typer.Option("--format", "-f", help="What is printed.")]
Emoji = Annotated[bool, typer.Option("--emoji", help="Draw a badge of the expression beside each face.")]


def chosen_format(given: str | None, out: Path | None, suffixes: Mapping[str, str], *, default: str) -> str:
    """`--format` if given, else the format of the suffix of `--out`, else the default for standard output.

    suffixes: suffix -> format. Raises OutputError for a suffix that no format has.
    """
    if given is not None:
        return given
    if out is None or (out.exists() and not out.is_file()):  # standard output, a device, a pipe
        return default
    if (found := suffixes.get(out.suffix.lower())) is None:
        *names, last = suffixes
        wrong = f"the suffix {out.suffix} is of no format" if out.suffix else "has no suffix"
        from mien.errors import OutputError

        raise OutputError(f"{out}: {wrong}; expected {', '.join(names)} or {last}, or a format by --format")
    return found
