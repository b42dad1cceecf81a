"""`mien run` and `mien init`: a pipeline in one file."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.output_options import NOT_ALL_READ, DryRun, Quiet, out_option, printer, progress_bar, warn
from mien.reporting import Progress

if TYPE_CHECKING:
    from mien.pipeline import Listener, PipelineResult, StageResult


def run(
    file: Annotated[Path, typer.Argument(help="The stages and their settings; see `mien init`.")] = Path("mien.toml"),
    only: Annotated[
        str | None, typer.Option(metavar="STAGE", help="Run this stage alone; the others stay as they are.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="STAGE", help="Begin with this stage; those before it stay as they are."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run stages even if nothing has changed.")] = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Run a pipeline from one file: import, clean, split, train, compare, evaluate, export.

    Stages whose settings and inputs have not changed are skipped; a killed run is resumed. At
    the end OUT/index.html links every report. STAGE is a table of the file; `train` means all runs, `train/NAME`
    one. All stages: toy, import, crop, screen, dedupe, audit, drop, split, explore, train, compare, ensemble,
    evaluate, export, card.

    Exit code: 0 done, 3 done, but some records could not be used, 2 wrong usage or data.

    Examples:

    - `mien init --for toy && mien run`
    - `mien run mien.toml --dry-run`
    - `mien run mien.toml --only train/small`
    - `mien run mien.toml --from evaluate --force`
    """
    from mien.pipeline import run_pipeline

    with ExitStack() as bar:
        listener = _listener(bar, quiet=quiet)
        result = run_pipeline(file, only=only, start=from_, dry_run=dry_run, force=force, listener=listener)
    _end(result)


def init(
    out: Annotated[Path, out_option("The file to write.")] = Path("mien.toml"),
    for_: Annotated[
        Literal["fer2013", "folders", "toy"],
        typer.Option("--for", help="FER2013's CSV; images in a folder per expression; or drawn faces, to try it."),
    ] = "fer2013",
) -> None:
    """Write a commented mien.toml to begin with, for `mien run`.

    Examples:

    - `mien init --for toy`
    - `mien init --for folders --out smiles.toml`
    """
    from mien.pipeline.run import write_starter

    write_starter(out, kind=for_)
    typer.echo(f"{out}: check it, then  mien run {out}")


def _listener(bar: ExitStack, *, quiet: bool) -> Listener:
    """Prints a line for each stage, and shows a bar while it runs."""
    from mien.pipeline import Listener

    log = printer(quiet=quiet)
    update: Progress | None = None

    def on_begin(name: str, reason: str) -> None:
        nonlocal update
        log(f"{name}: {reason}")
        update = bar.enter_context(progress_bar(name, unit="images", quiet=quiet))

    def on_end(result: StageResult) -> None:
        bar.close()
        log(_line(result))

    def progress(done: int, total: int | None) -> None:
        if update:
            update(done, total)

    return Listener(on_begin, on_end, progress, log)


def _line(result: StageResult) -> str:
    record = result.record
    if result.state == "would run":
        needs = f"; needs {', '.join(result.needs)}" if result.needs else ""
        return f"{result.name}: would run ({result.reason}){needs}"
    if result.state == "left" or record is None:
        return f"{result.name}: left as it is{f' ({result.reason})' if result.reason else ''}"
    if result.state == "done":
        return f"{result.name}: done before"
    outcome = record.outcome
    counts = [f"{n:,}" for n in (outcome.samples_in, outcome.samples_out) if n is not None]
    parts = [" -> ".join(counts), outcome.note, f"{outcome.problems:,} could not be used" if outcome.problems else ""]
    return f"{result.name}: done in {record.seconds:.1f} s{''.join(f'; {part}' for part in parts if part)}"


def _end(result: PipelineResult) -> None:
    if result.page is None:
        return
    typer.echo(str(result.page))
    if result.problems:
        for stage in result.stages:
            if stage.record and stage.record.outcome.problems:
                count = stage.record.outcome.problems
                warn(f"{stage.name}: {count:,} records could not be used; see {result.out / stage.name}")
        raise typer.Exit(NOT_ALL_READ)
