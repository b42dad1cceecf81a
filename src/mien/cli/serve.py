"""`mien serve`: the API and the page, for this machine or for many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mien.cli.completion import complete_detector, complete_model
from mien.cli.detector_options import Cascade, Device, YunetWeights


def serve(
    host: Annotated[str, typer.Option(help="Where to listen; only this machine can reach the default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8000,
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            help="A shipped model's name or a file, or A+B for the mean of both; repeatable: requests choose one.",
            autocompletion=complete_model,
        ),
    ] = ["mien-small"],  # noqa: B006 (typer copies it)
    detector: Annotated[
        list[str],
        typer.Option(
            "--detector",
            "-d",
            help="mtcnn, yunet, haar or none; repeatable: requests choose one.",
            autocompletion=complete_detector,
        ),
    ] = ["mtcnn"],  # noqa: B006
    cascade: Cascade = None,
    yunet_weights: YunetWeights = None,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with its own models.")] = 1,
    threads: Annotated[
        int, typer.Option(min=0, help="Images in which a worker detects faces at once; 0: its share of the cores.")
    ] = 0,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Require a bearer token of this file, one a line.")
    ] = None,
    max_upload: Annotated[int, typer.Option(metavar="MB", min=1, help="The largest request.")] = 32,
    max_pixels: Annotated[
        int,
        typer.Option(
            metavar="MILLIONS",
            min=1,
            help="The largest image, in millions of pixels; larger JPEG is decoded smaller.",
        ),
    ] = 50,
    max_files: Annotated[int, typer.Option(min=1, help="Images in one request.")] = 32,
    max_connections: Annotated[int, typer.Option(min=1, help="Open at one moment, each worker.")] = 256,
    queue: Annotated[
        int, typer.Option(min=1, help="Images queued or in work; with more, requests are refused (503).")
    ] = 128,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="For an upload, and for the work on it.")
    ] = 60,
    allow_origin: Annotated[
        list[str],
        typer.Option(metavar="ORIGIN", help="A web site whose pages may use this server: https://example.org"),
    ] = [],  # noqa: B006
    videos: Annotated[bool, typer.Option("--videos/--no-videos", help="Take videos; needs the extra [video].")] = True,
    max_video: Annotated[int, typer.Option(metavar="MB", min=1, help="The largest video.")] = 512,
    max_video_seconds: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="The longest video.")] = 600,
    on_device: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder of `mien export web`: the page can then keep images on the device."),
    ] = None,
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="How the log is written, on standard error.")
    ] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings and errors only.")] = False,
) -> None:
    """Serve recognition over HTTP: an API under /v1, and a page for people.

    Images stay in this machine's memory until their response is sent; videos are in a private temporary folder for a
    quarter of an hour. Needs the extra [web].

    Examples:

    - `mien serve`

    - `mien serve --model mien-small --model mien-nano --port 9000 --workers 4`

    - `mien serve --host 0.0.0.0 --token-file tokens.txt --log-format json`
    """
    from mien.serving.run import serve as run_server
    from mien.serving.settings import ServeSettings

    settings = ServeSettings(
        host=host,
        port=port,
        models=tuple(model),
        detectors=tuple(detector),
        cascade=cascade,
        yunet_weights=yunet_weights,
        device=device,
        token_file=token_file,
        max_upload_mb=max_upload,
        max_held_mb=max(256, 2 * max_upload),
        max_pixels=max_pixels * 1_000_000,
        max_files=min(max_files, queue),
        max_connections=max_connections,
        queue_length=queue,
        upload_timeout_s=timeout,
        answer_timeout_s=timeout,
        threads=threads,
        allowed_origins=tuple(allow_origin),
        on_device=on_device,
        videos=videos,
        max_video_mb=max_video,
        max_video_disk_mb=max(4096, 2 * max_video),
        max_video_s=max_video_seconds,
        json_logs=log_format == "json",
        quiet=quiet,
    )
    run_server(settings, workers=workers, log_line=lambda line: typer.echo(line, err=True))
