"""`mien export`: what mien recognises with, in forms for other places."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="export",
    help="Write what mien recognises with in forms for other places.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.callback()
def _group() -> None:
    pass  # with it a single command keeps its name


@app.command("web")
def web(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A shipped model's name or a file.")] = "mien-nano",
    onnxruntime_web: Annotated[
        Path | None,
        typer.Option(metavar="DIR|FILE.tgz", help="A copy of onnxruntime-web; without it npm fetches the right one."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an older export.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Write the page as a static folder: pictures and the camera are then looked at in the browser alone.

    Any web host can serve it; after the first visit it works without a network. npm must be installed, or a copy of
    onnxruntime-web at hand.

    Examples:

    - `mien export web site/`, then `python -m http.server --directory site` and http://localhost:8000

    - `mien export web site/ --model mien-small --force`

    - `mien serve --on-device site/`
    """
    from mien.serving.web_export import export_web

    export = export_web(out, model=model, onnxruntime_web=onnxruntime_web, force=force)
    if as_json:
        import json

        typer.echo(json.dumps(export.to_dict(), indent=1))
    elif not quiet:
        typer.echo(f"{out}: {len(export.files)} files, {export.bytes / 1e6:.1f} MB, with {export.model}")
        typer.echo(f"Try it:  python -m http.server --bind 127.0.0.1 --directory {out}")
