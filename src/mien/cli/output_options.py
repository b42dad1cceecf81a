"""What commands have alike: `--out`, `--format`, `--quiet`, `--resume`, `--dry-run`, ..., progress, exit codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from mien.data.dataset import Dataset

TableOrJson = Annotated[Literal["table", "json"], typer.Option("--format", "-f", help="What is printed.")]
Emoji = Annotated[bool, typer.Option("--emoji", help="Draw a badge of the expression beside each face.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress; errors are still shown.")]
Resume = Annotated[bool, typer.Option("--resume", help="Resume a run that was stopped or killed.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, print what would be done, and stop.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an older export.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same result.")]
DataSet = Annotated[Path, typer.Argument(metavar="IN", help="Any data set that `mien data import` reads.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="A data set: class folders, fer2013.csv, Parquet, arrays.")
]
Labels = Annotated[
    str, typer.Option(metavar="NAMES", help="What the labels of --data mean, as in `mien data import --labels`.")
]
Split = Annotated[Literal["train", "validation", "test"], typer.Option(help="The split of --data.")]
NewName = Annotated[str, typer.Option("--name", help="The new model's name. [default: the file's]")]


def out_option(what: str, metavar: str | None = None) -> Any:
    """`--out` of a command; `what` is written there."""
    return typer.Option("--out", "-o", help=what, metavar=metavar)


NewData = Annotated[Path, out_option("The new data set.")]
NewModel = Annotated[Path, out_option("The model file to write.")]


def data_with(labels: str, data: Path) -> Dataset | Path:
    """A data set whose labels mean what `--labels` says; its path, where the option is not given."""
    if not labels:
        return data
    from mien.data.readers import load_dataset

    return load_dataset(data, labels=labels)


def warn(line: str) -> None:
    """Prints a line on standard error."""
    typer.echo(line, err=True)


def printer(*, quiet: bool) -> Callable[[str], None]:
    """Prints lines on standard error, unless `quiet`."""
    return (lambda _line: None) if quiet else warn


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


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "", *, left: int = 1, words: bool = False
) -> None:
    """Prints a table as wide as the terminal: the first `left` columns stand left, numbers right.

    Cells are texts as they are, or of rich. words: the last column is of words, and stands left too.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, title=title and Text(title), title_justify="left")
    for i, name in enumerate(columns):
        justify: Literal["left", "right"] = "left" if i < left or (words and i == len(columns) - 1) else "right"
        table.add_column(Text(name), justify=justify, no_wrap=i == 0, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    Console(highlight=False).print(table)


NOT_ALL_READ = 3
"""Done, but some images or records could not be used; each is named with its reason."""

INTERRUPTED = 130
"""Ctrl-C: 128 + SIGINT, as shells have it."""


Update = Callable[..., None]
"""Takes the number done, the total or None, and a note that follows the rate."""


@contextmanager
def progress_bar(what: str, *, unit: str, quiet: bool = False) -> Iterator[Update]:
    """A bar on standard error; call it with the number done and the total. It disappears when the block ends.

    what: a word for the work. unit: what is counted, in the plural. Where standard error is no terminal there is none.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, quiet=quiet)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(what, total=None, rate="")

        def update(done: int, total: int | None, note: str = "") -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:,.0f} {unit}/s" if speed else ""
            bar.update(task, completed=done, total=total, rate=rate + note)

        yield update
