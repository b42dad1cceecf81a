"""`mien models`: the released models, which to pick, and whether the files here are theirs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mien.releases import Release

app = typer.Typer(
    name="models",
    invoke_without_command=True,
    rich_markup_mode="markdown",
)


@app.callback()
def models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with checksums and more figures.")] = False,
    time_: Annotated[bool, typer.Option("--time", help="Measure each on this machine.")] = False,
) -> None:
    """List the released models: how good by which ruler, how large, under what terms, how fast; verify and fetch them.

    Accuracy and macro recall are those on FER2013's PublicTest, one view; `mien card NAME` has all figures and limits.

    Examples:

    - `mien models --time`

    - `mien models show mien-small`

    - `mien models verify`
    """
    if context.invoked_subcommand is not None:
        return
    from mien.releases import releases

    found = list(releases().values())
    speeds = {release.name: _milliseconds(release.name) for release in found} if time_ else {}
    if as_json:
        rows = [asdict(release) | ({"ms_a_face": speeds[release.name]} if time_ else {}) for release in found]
        typer.echo(json.dumps(rows, indent=2))
    else:
        _print_table(found, speeds)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A model's name or file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a model file says of itself: labels, crop, data, recipe; its card is shown by `mien card`.

    Example: `mien models show mien-small`
    """
    from mien.model_file import open_model

    opened = open_model(name)
    facts = {"file": str(opened.path), "sha256": opened.sha256, "bytes": opened.path.stat().st_size}
    facts |= asdict(opened.info)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    recipe = facts.pop("recipe")
    for key, value in facts.items():
        if value not in ((), ""):
            typer.echo(f"{key:12} {', '.join(value) if isinstance(value, tuple) else value}")
    if recipe:
        typer.echo(f"recipe\n{recipe}")


@app.command("verify")
def verify(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Names or files. [default: all that are here]")
    ] = None,
) -> None:
    """Check that files are the released ones, by sha256. Exit code 2 where one is not; each is named.

    Example: `mien models verify mien-small copies/mien-nano.onnx`
    """
    from mien.errors import ModelFileError
    from mien.releases import check_model, fetched_models, releases, shipped_models

    names = models or [*(n for n in releases() if n in {*shipped_models(), *fetched_models()})]
    problems = []
    for name in names:
        try:
            place, found = check_model(name)
        except ModelFileError as error:
            problems.append(str(error))
        else:
            typer.echo(f"{place}: right, sha256 {found}")
    if problems:
        raise ModelFileError("\nmien: ".join(problems))


@app.command("fetch")
def fetch(
    what: Annotated[str, typer.Argument(metavar="NAME|URL", help="A released model, or a file's https:// address.")],
    sha256: Annotated[str, typer.Option(metavar="HEX", help="For an address: the checksum to expect.")] = "",
) -> None:
    """Fetch a model into the cache, checked by sha256; from then on its name stands for it, as in `-m NAME`.

    Example: `mien models fetch https://models.example.org/ours.onnx --sha256 9f86d0...`, then `mien predict -m ours .`
    """
    from mien.releases import fetch_model

    typer.echo(str(fetch_model(what, sha256=sha256)))


def _milliseconds(name: str) -> float:
    """Of a face, in a batch of 64: the median of nine calls."""
    import statistics
    import time

    import numpy as np

    from mien.model_file import open_model

    model = open_model(name)
    faces = np.zeros((64, model.info.size, model.info.size, model.info.channels), np.uint8)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        model.probabilities(faces)
        times.append((time.perf_counter() - began) / len(faces) * 1000)
    return round(statistics.median(times[1:]), 3)  # the first call warms up


def _print_table(found: list[Release], speeds: dict[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("for")
    for title in ("learnt", "M param.", "MB", *(["ms/face"] if speeds else [])):
        table.add_column(title, justify="right")
    for title in ("FER+ acc.", "recall", "label acc.", "recall", "disgust fear contempt"):
        table.add_column(title, justify="right")
    for release in found:
        own = release.votes if release.learnt == "votes" else release.label
        rare = " ".join(f"{value:.2f}" for value in own.rare_recall.values())
        table.add_row(
            release.name,
            release.about,
            release.learnt,
            f"{release.parameters / 1e6:.2f}",
            f"{release.bytes / 1e6:.1f}",
            *([f"{speeds[release.name]:.2f}"] if speeds else []),
            *(f"{v:.3f}" for r in (release.votes, release.label) for v in (r.accuracy, r.macro_recall)),
            rare,
        )
    console = Console(highlight=False)
    console.print(table)
    licences = sorted({release.licence for release in found})
    console.print(f"\nLicence: {'; '.join(licences)}. The last column is recall by what the model learnt.", style="dim")
