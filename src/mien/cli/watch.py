"""`mien watch`: follows expressions through a video, a camera or a stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.detector_options import AbstainBelow, Cascade, Detector, Device, MinFace, YunetWeights
from mien.cli.exit_codes import INTERRUPTED, NOT_ALL_READ
from mien.cli.model_options import Model, one_model
from mien.cli.output_options import Emoji, TableOrJson
from mien.cli.training_options import RecipeChanges, TrainIfMissing, TrainingRecipe, train_missing_model

if TYPE_CHECKING:
    from mien.media.timeline_summary import TimelineCounter
    from mien.media.video.frames import FrameSource
    from mien.recognition.outputs import OutputSummary
    from mien.recognition.recognizer import Recognizer
    from mien.recognition.watch import Watch
    from mien.results import FrameResult
    from mien.serving.live import LivePage


def watch(
    source: Annotated[
        str, typer.Argument(help="A video file, a camera's number, an rtsp:// or http:// address, a folder, or -.")
    ],
    model: Model = ["mien-small"],  # noqa: B006 (typer copies it)
    detector: Detector = "mtcnn",
    cascade: Cascade = None,
    yunet_weights: YunetWeights = None,
    device: Device = "auto",
    record: Annotated[Path | None, typer.Option(metavar="OUT.mp4", help="Record the drawn frames, with sound.")] = None,
    timeline: Annotated[
        Path | None, typer.Option(metavar="OUT.csv", help="A row for each face and frame: .csv, .jsonl or .parquet.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="OUT.png", help="Draw the expressions over time.")] = None,
    events: Annotated[
        bool, typer.Option("--events", help="Print each expression with start, end and peak, as JSON lines.")
    ] = False,
    emoji: Emoji = False,
    privacy: Annotated[Literal["none", "blur", "box"], typer.Option(help="Hide faces in drawn frames.")] = "none",
    every: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Detect faces in every Nth frame, and track them in between.")
    ] = None,
    smooth: Annotated[
        float, typer.Option(metavar="S", min=0.0, help="Time constant of the smoothing, seconds; 0 = none.")
    ] = 0.5,
    region: Annotated[
        str,
        typer.Option(metavar="X,Y,W,H", help="Use this part of the frame alone: pixels, or fractions if all are <= 1."),
    ] = "",
    min_face: MinFace = 20,
    abstain_below: AbstainBelow = 0.0,
    max_seconds: Annotated[float | None, typer.Option(metavar="T", help="Stop after T seconds.")] = None,
    raw: Annotated[
        str, typer.Option(metavar="WxH:PIXELS@FPS", help="For -: bare frames, for example 640x360:rgb24@25.")
    ] = "",
    rate: Annotated[float | None, typer.Option(metavar="FPS", help="Frames a second of a folder of images.")] = None,
    live: Annotated[
        bool | None, typer.Option("--live/--no-live", help="Whether frames may be dropped to keep up with the source.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of the live page. [default: 8642 or free]")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the live page in the browser.")] = True,
    window: Annotated[bool, typer.Option("--window", help="Show a window; needs an OpenCV with windows.")] = False,
    train_if_missing: TrainIfMissing = None,
    recipe: TrainingRecipe = "",
    set_: RecipeChanges = None,
    format_: TableOrJson = "table",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Follow apparent expressions through a video, a camera or a stream.

    A camera or stream is shown on a page in the browser, on this machine alone (over SSH: forward its port). Ctrl-C
    ends it, and leaves all files complete.

    Exit code: 0 done, 2 wrong usage, 3 the file is truncated or the source was lost (what came before is saved), 130 a
    file was interrupted.

    Examples:

    - `mien watch talk.mp4 --record drawn.mp4 --timeline faces.csv --plot faces.png`

    - `mien watch 0`

    - `mien watch rtsp://camera/stream --timeline day.parquet --privacy blur --record day.mp4`

    - `ffmpeg -i film.mkv -f rawvideo -pix_fmt rgb24 -s 640x360 - | mien watch - --raw 640x360:rgb24@25 --events`
    """
    import signal

    from mien.faces import make_detector
    from mien.media.video.opening import RawFormat, open_video
    from mien.recognition.outputs import Ending, EventOutput
    from mien.recognition.recognizer import Recognizer
    from mien.recognition.shortcuts import network_threads
    from mien.recognition.watch_files import WatchWriter

    models = one_model(model)
    train_missing_model(models, train_if_missing, recipe, set_, quiet=quiet)
    threads = network_threads()
    recognizer = Recognizer(
        models,
        detector=make_detector(
            detector,
            min_face=min_face,
            cascade=cascade,
            yunet_weights=yunet_weights,
            threads=threads,
            device=device,
        ),
        device=device,
        min_face=min_face,
        abstain_below=abstain_below,
        threads=threads,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # systemd's and Docker's way to end is Ctrl-C's
    with _truncated_as_json(format_ == "json"):
        opened = open_video(source, raw=RawFormat.parse(raw) if raw else None, rate=rate, live=live)
        page = opened.live and not window
        watched = recognizer.watch(
            opened,
            every=every,
            smooth_s=smooth,
            keep_images=record is not None or plot is not None or page or window,
            max_seconds=max_seconds,
            region=region or None,
        )
        with WatchWriter(watched, recognizer.summary(), emoji=emoji, privacy=privacy) as writer:
            if timeline is not None:
                writer.add_timeline(timeline)
            if plot is not None:
                writer.add_plot(plot)
            if record is not None:
                writer.add_recording(record)
            if events:
                writer.add(EventOutput())
            if window:
                from mien.media.window import Window

                writer.add(Window(opened.name, stop=watched.close), drawn=True)
            if page:
                writer.add(_live_page(recognizer, watched, opened, port, browser=browser), drawn=True)
            with _Progress(opened, watched, quiet=quiet or events) as progress:
                done = writer.write(progress.show)
    _report(done, writer.counter, as_json=format_ == "json", events=events, to_stdout=str(timeline) == "-")
    if done.error is not None:
        typer.echo(f"mien: {done.error}", err=True)
        raise typer.Exit(NOT_ALL_READ)
    if done.ending is Ending.interrupted and not opened.live:
        raise typer.Exit(INTERRUPTED)


@contextmanager
def _truncated_as_json(wanted: bool) -> Iterator[None]:
    """Prints JSON, where it is wanted, also for a file that is truncated before its first frame."""
    import json

    from mien.errors import TruncatedVideoError

    try:
        yield
    except TruncatedVideoError as error:
        if wanted:
            typer.echo(json.dumps({"frames": 0, "written": [], "ended": "truncated", "error": str(error)}, indent=2))
        raise


def follow_video(
    recognizer: Recognizer, video: str, format_name: str, output: Path | None, *, quiet: bool
) -> str | None:
    """Writes what `mien predict` writes of a video; returns why it ended early, or None.

    csv, jsonl: the frames' rows. json: the tracks. table: the tracks, for people. Into `output` or standard output.
    """
    import json
    import sys

    from mien.files import write_text
    from mien.media.timeline import LinesTimeline
    from mien.media.timeline_summary import summary_text
    from mien.media.video.opening import open_video
    from mien.recognition.outputs import Ending
    from mien.recognition.watch_files import WatchWriter

    opened = open_video(video)
    watched = recognizer.watch(opened)
    with WatchWriter(watched, recognizer.summary()) as writer:
        if format_name in {"csv", "jsonl"}:
            form: Literal["csv", "jsonl"] = "csv" if format_name == "csv" else "jsonl"
            rows = LinesTimeline(output, recognizer.labels, source=opened.name, form=form)
            writer.add(rows, name=str(output or ""))
        with _Progress(opened, watched, quiet=quiet or (output is None and format_name != "table")) as progress:
            done = writer.write(progress.show)
    summary = writer.counter.summary()
    if format_name in {"table", "json"}:
        text = summary_text(summary, colors=output is None and sys.stdout.isatty())
        if format_name == "json":
            about = {"model": recognizer.summary().to_dict(), "source": video}
            text = json.dumps(about | summary.to_dict(), indent=2) + "\n"
        if output is None:
            typer.echo(text, nl=False)
        else:
            write_text(output, text)
    if done.ending is Ending.interrupted:
        raise typer.Exit(INTERRUPTED)
    return done.error


def _live_page(
    recognizer: Recognizer, watched: Watch, source: FrameSource, port: int | None, *, browser: bool
) -> LivePage:
    """Starts the page, prints its address, and opens it."""
    from mien.serving.live import LivePage

    page = LivePage(recognizer.labels, stats=watched.stats, source=source.name, port=port)
    typer.echo(f"live page: {page.address}  (over SSH: ssh -L {page.port}:127.0.0.1:{page.port} HOST)", err=True)
    if browser:
        import webbrowser

        webbrowser.open(page.address)
    return page


def _report(done: OutputSummary, counter: TimelineCounter, *, as_json: bool, events: bool, to_stdout: bool) -> None:
    """Prints the summary as JSON or a table; on standard error where rows went to standard output."""
    import json
    import shutil
    import sys

    from mien.media.timeline_summary import summary_text

    summary = counter.summary()
    if as_json:
        typer.echo(json.dumps(done.to_dict() | summary.to_dict(), indent=2), err=to_stdout or events)
        return
    out = sys.stderr if to_stdout or events else sys.stdout
    width = shutil.get_terminal_size().columns if out.isatty() else 100
    typer.echo(summary_text(summary, width=width, colors=out.isatty()), nl=False, file=out)
    if done.end_verified is False:
        typer.echo("its container states no length: whether the file is complete can't be checked", file=out)
    if done.written:
        typer.echo(f"written: {', '.join(done.written)}", file=out)


class _Progress:
    """A bar with frames/s and time left for a file; for a live source a line with fps, latency and dropped frames."""

    def __init__(self, source: FrameSource, watched: Watch, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

        self._watched, self._live = watched, source.live
        console = Console(stderr=True)
        self._shown = console.is_terminal and not quiet
        columns: list[ProgressColumn] = [TextColumn("{task.fields[line]}")]
        if source.frames:
            columns = [BarColumn(), *columns, TimeRemainingColumn()]
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", total=source.frames, line="")

    def __enter__(self) -> _Progress:
        if self._shown:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._bar.stop()

    def show(self, _result: FrameResult) -> None:
        """One more frame."""
        if not self._shown:
            return
        if self._bar.tasks[0].completed % 8 == 0:  # percentiles are not free
            stats = self._watched.stats()
            line = f"{stats.frames_per_s:.0f} frames/s"
            if self._live and stats.latency_p50_s is not None and stats.latency_p95_s is not None:
                line += (
                    f", latency p50 {1000 * stats.latency_p50_s:.0f} ms, p95 {1000 * stats.latency_p95_s:.0f} ms, "
                    f"{stats.dropped} dropped"
                )
            self._bar.update(self._task, line=line)
        self._bar.advance(self._task)
