"""`mien serve`: the API and the page, for this machine or for many."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mien.cli.option_groups import grouped
from mien.cli.output_options import Quiet, warn
from mien.serving.settings import ServeSettings

_Workers = Annotated[int, typer.Option(min=1, help="Processes, each with its own models.")]
_LogFormat = Annotated[Literal["text", "json"], typer.Option(help="How the log is written, on standard error.")]


@grouped
def serve(
    *, settings: ServeSettings, workers: _Workers = 1, log_format: _LogFormat = "text", quiet: Quiet = False
) -> None:
    """Serve recognition over HTTP: an API under /v1, and a page for people.

    Images stay in this machine's memory until their response is sent; videos are in a private temporary folder for a
    quarter of an hour. Needs the extra [web].

    Examples:

    - `mien serve`
    - `mien serve --model mien-small --model mien-nano --port 9000 --workers 4`
    - `mien serve --host 0.0.0.0 --token-file tokens.txt --log-format json`
    """
    from dataclasses import replace

    from mien.serving.run import serve as run_server

    run_server(replace(settings, json_logs=log_format == "json", quiet=quiet), workers=workers, log_line=warn)
