"""`mien models`: lists the released models; shows, verifies and fetches model files, and writes their cards."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.completion import complete_released
from mien.cli.model_options import InstalledModels, ModelArgument
from mien.cli.output_options import Split, TableOrJson, out_option, print_table

if TYPE_CHECKING:
    from mien.releases import Release

app = typer.Typer(name="models", invoke_without_command=True, rich_markup_mode="markdown")


@app.callback()
def models(
    context: typer.Context,
    format_: TableOrJson = "table",
    time_: Annotated[bool, typer.Option("--time", help="Measure each on this machine.")] = False,
) -> None:
    """List the released models with accuracy, size, speed and licence; show, verify and fetch model files.

    Accuracy and macro recall are measured on FER2013's PublicTest, one view. `mien models show NAME` has all figures
    and limits; `--format json` has checksums, too.

    Examples:

    - `mien models --time`
    - `mien models show mien-small`
    - `mien models verify`
    """
    if context.invoked_subcommand is not None:
        return
    from mien.releases import releases

    found, speeds = list(releases().values()), {}
    if time_:
        from mien.evaluation.speed import milliseconds_a_face

        speeds = {release.name: milliseconds_a_face(release.name) for release in found}
    if format_ == "json":
        rows = [asdict(release) | ({"ms_a_face": speeds[release.name]} if time_ else {}) for release in found]
        typer.echo(json.dumps(rows, indent=2))
    else:
        _print_table(found, speeds)


@app.command("show")
def show(model: ModelArgument, format_: TableOrJson = "table") -> None:
    """Show a model file: its labels, crop, training data and recipe, then its model card.

    The card states what the probabilities mean, the measured figures, the limits, and uses that are ruled out.

    Example: `mien models show mien-small`
    """
    from mien.model_file import load_model

    opened = load_model(model)
    facts = {"file": str(opened.path), "sha256": opened.sha256, "bytes": opened.path.stat().st_size}
    facts |= asdict(opened.info)
    if format_ == "json":
        typer.echo(json.dumps(facts | {"card": opened.card}, indent=2))
        return
    recipe = facts.pop("recipe")
    for key, value in facts.items():
        if value not in ((), ""):
            typer.echo(f"{key:12} {', '.join(map(str, value)) if isinstance(value, tuple) else value}")
    if recipe:
        typer.echo(f"recipe\n{recipe}")
    advice = f"no card; write one:  mien models card {model} --data DATA --out FILE"
    typer.echo(f"\n{opened.card or advice}")


@app.command("card")
def card(
    model: ModelArgument,
    data: Annotated[Path, typer.Option(help="The data set to measure on.")],
    out: Annotated[Path, out_option("The model file to write, with the card inside; a .md appears beside it.")],
    split: Split = "validation",
) -> None:
    """Measure a model and write a copy of its file with a model card inside. `mien models show` prints the card.

    Every figure of the card is measured now, against labels and against votes where the data set has both.

    Example: `mien models card runs/mine/mine.onnx --data my-faces/ --split test --out mine.onnx`
    """
    from mien.evaluation.card import evaluate_for_card, write_card
    from mien.model_file import load_model

    opened = load_model(model)
    figures = evaluate_for_card(opened, data, split)
    for path in write_card(opened, figures, out):
        typer.echo(str(path))


@app.command("verify")
def verify(models: InstalledModels = None) -> None:
    """Check by sha256 that files are the released ones. Exit code 2 if one is not; each is named.

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
            typer.echo(f"{place}: as released, sha256 {found}")
    if problems:
        raise ModelFileError("\nmien: ".join(problems))


@app.command("fetch")
def fetch(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME|URL", help="A released model, or a file's https:// address.", autocompletion=complete_released
        ),
    ],
    sha256: Annotated[str, typer.Option(metavar="HEX", help="For an address: the checksum to expect.")] = "",
) -> None:
    """Fetch a model into the cache, checked by sha256. It is then known by name.

    Examples:

    - `mien models fetch mien-base`
    - `mien models fetch https://models.example.org/ours.onnx --sha256 9f86d0...`, then `mien predict -m ours .`
    """
    from mien.releases import fetch_model

    typer.echo(str(fetch_model(what, sha256=sha256)))


@app.command("push")
def push(
    model: ModelArgument,
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository on the Hugging Face Hub.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Upload a model file to the Hugging Face Hub, with its model card as README. Needs `hf auth login` or HF_TOKEN.

    Example: `mien models push runs/mine/mine.onnx me/faces`
    """
    import mien

    typer.echo(mien.push_model(model, repo, private=private))


@app.command("pull")
def pull(
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME[/FILE.onnx]", help="The repository on the hub.")],
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit. [default: the newest]")] = None,
) -> None:
    """Download a model file from the Hugging Face Hub into the cache. It is then known by name.

    Example: `mien models pull me/faces`, then `mien predict -m mine photo.jpg`
    """
    import mien

    typer.echo(str(mien.pull_model(repo, revision=revision)))


def _print_table(found: list[Release], speeds: dict[str, float]) -> None:
    times = ["ms/face"] if speeds else []
    rows = [
        (
            r.name, r.target, f"{r.parameters / 1e6:.2f} M", f"{r.bytes / 1e6:.1f}",
            *([f"{speeds[r.name]:.2f}"] if speeds else []),
            *(f"{by.accuracy:.3f}/{by.macro_recall:.3f}" for by in (r.votes, r.label)),
            r.about,
        )
        for r in found
    ]  # fmt: skip
    print_table(("model", "target", "params", "MB", *times, "FER+", "label", "for"), rows, left=2, words=True)
    typer.echo("\nAccuracy/macro recall on PublicTest, by the majority of FER+'s raters and by the original label.")
    typer.echo(f"Licence: {'; '.join(sorted({release.licence for release in found}))}.")
