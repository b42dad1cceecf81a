"""`mien watch`: follows expressions through a video, a camera or a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.model_options import RecognizerOptions
from mien.cli.option_groups import grouped
from mien.cli.output_options import INTERRUPTED, NOT_ALL_READ, Emoji, Quiet, TableOrJson, progress_bar, warn
from mien.cli.training_options import TrainIfMissing
from mien.recognition.settings import WatchSettings

if TYPE_CHECKING:
    from mien.cli.output_options import Update
    from mien.media.video.frames import FrameSource
    from mien.recognition.outputs import FrameOutput, OutputSummary
    from mien.recognition.recognizer import Recognizer
    from mien.recognition.watch import Watch, WatchStats
    from mien.recognition.watch_files import WatchWriter
    from mien.results import FrameResult
    from mien.serving.live import LivePage

_Source = Annotated[
    str, typer.Argument(help="A video file, a camera's number, an rtsp:// or http:// address, a folder, or -.")
]


@dataclass(frozen=True, slots=True)
class WatchFiles:
    """The files that are written."""

    record: Annotated[Path | None, typer.Option(metavar="OUT.mp4", help="Record the drawn frames, with sound.")] = None
    timeline: Annotated[
        Path | None,
        typer.Option(metavar="OUT.csv", help="A row for each face and frame: .csv, .jsonl or .parquet; - prints."),
    ] = None
    plot: Annotated[Path | None, typer.Option(metavar="OUT.png", help="Draw the expressions over time.")] = None
    events: Annotated[
        bool, typer.Option("--events", help="Print each expression, and with --details each blink, as JSON lines.")
    ] = False
    emoji: Emoji = False
    privacy: Annotated[Literal["none", "blur", "box"], typer.Option(help="Hide faces in drawn frames.")] = "none"

    def add_to(self, writer: WatchWriter) -> None:
        """Opens the files. Raises OutputError, VideoError, MissingExtraError."""
        if self.timeline is not None:
            writer.add_timeline(self.timeline)
        if self.plot is not None:
            writer.add_plot(self.plot)
        if self.record is not None:
            writer.add_recording(self.record)
        if self.events:
            writer.add_events()


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How the source is read."""

    raw: Annotated[
        str, typer.Option(metavar="WxH:PIXELS@FPS", help="For -: bare frames, for example 640x360:rgb24@25.")
    ] = ""
    rate: Annotated[float | None, typer.Option(metavar="FPS", help="Frames a second of a folder of images.")] = None
    live: Annotated[
        bool | None, typer.Option("--live/--no-live", help="Whether frames may be dropped to keep up with the source.")
    ] = None

    def open(self, source: str) -> FrameSource:
        """The frames. Raises VideoError."""
        from mien.media.video.opening import RawFormat, open_video

        raw = RawFormat.parse(self.raw) if self.raw else None
        return open_video(source, raw=raw, rate=self.rate, live=self.live)


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """Where a live source is shown."""

    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of the live page. [default: 8642 or free]")] = None
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the live page in the browser.")] = True
    window: Annotated[bool, typer.Option("--window", help="Show a window; needs an OpenCV with windows.")] = False


@grouped
def watch(
    source: _Source,
    *,
    recognition: RecognizerOptions,
    files: WatchFiles,
    settings: WatchSettings,
    reading: SourceOptions,
    view: ViewOptions,
    missing: TrainIfMissing,
    format_: TableOrJson = "table",
    quiet: Quiet = False,
) -> None:
    """Follow apparent expressions through a video, a camera or a stream.

    A camera or stream is shown on a page in the browser, on this machine only (over SSH: forward its port). Ctrl-C
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

    from mien.recognition.shortcuts import network_threads
    from mien.recognition.watch_files import WatchWriter

    missing.train(recognition.models, quiet=quiet)
    recognizer = recognition.recognizer(threads=network_threads())
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # systemd's and Docker's way to end is Ctrl-C's
    with _truncated_as_json(format_ == "json"):
        opened = reading.open(source)
        shown = view.window or opened.live
        watched = recognizer.watch(
            opened, every=settings.every, smooth_s=settings.smooth_s, max_seconds=settings.max_seconds,
            keep_images=files.record is not None or files.plot is not None or shown, region=settings.region or None,
        )  # fmt: skip
        with WatchWriter(
            watched, recognizer.summary(), emoji=files.emoji, draw=recognition.draw or (), privacy=files.privacy
        ) as writer:
            files.add_to(writer)
            if shown:
                writer.add(_view(view, recognizer, watched), drawn=True)
            with progress_bar("watch", unit="frames", quiet=quiet or files.events) as update:
                done = writer.write(_frame_counter(opened, watched, update))
    to_stdout = str(files.timeline) == "-"
    _report(done, writer, as_json=format_ == "json", events=files.events, to_stdout=to_stdout)
    _exit(done, live=opened.live)


def _view(view: ViewOptions, recognizer: Recognizer, watched: Watch) -> FrameOutput:
    if not view.window:
        return _live_page(recognizer, watched, watched.source, view.port, browser=view.browser)
    from mien.media.window import Window

    return Window(watched.source.name, stop=watched.close)


def _exit(done: OutputSummary, *, live: bool) -> None:
    """Ends with the exit code of a truncated or lost source, or of a file that was interrupted."""
    from mien.recognition.outputs import Ending

    if done.error is not None:
        warn(f"mien: {done.error}")
        raise typer.Exit(NOT_ALL_READ)
    if done.ending is Ending.interrupted and not live:
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


def _report(done: OutputSummary, writer: WatchWriter, *, as_json: bool, events: bool, to_stdout: bool) -> None:
    """Prints the summary as JSON or a table; on standard error where rows went to standard output."""
    import json
    import shutil
    import sys

    from mien.media.timeline_summary import summary_text

    counts = writer.summary()
    if as_json:
        typer.echo(json.dumps(done.to_dict() | counts, indent=2), err=to_stdout or events)
        return
    out = sys.stderr if to_stdout or events else sys.stdout
    width = shutil.get_terminal_size().columns if out.isatty() else 100
    typer.echo(summary_text(writer.counter.summary(), width=width, colors=out.isatty()), nl=False, file=out)
    for track in counts.get("gestures", ()):
        blinks = f"blinks {track['blinks']} ({track['blinks_per_minute'] or 0:g} a minute)"
        typer.echo(f"track {track['track']}: {blinks}, nods {track['nods']}, shakes {track['shakes']}", file=out)
    if done.end_verified is False:
        typer.echo("its container states no length: whether the file is complete can't be checked", file=out)
    if done.written:
        typer.echo(f"written: {', '.join(done.written)}", file=out)


def _frame_counter(source: FrameSource, watched: Watch, update: Update) -> Callable[[FrameResult], None]:
    """Shows the frames that are done; for a live source also the latency and dropped frames."""
    done = 0

    def count(_result: FrameResult) -> None:
        nonlocal done
        done += 1
        if done % 8 == 0:  # percentiles are not free
            update(done, source.frames, _latency(watched.stats()) if source.live else "")

    return count


def _latency(stats: WatchStats) -> str:
    if stats.latency_p50_s is None or stats.latency_p95_s is None:
        return ""
    p50, p95 = 1000 * stats.latency_p50_s, 1000 * stats.latency_p95_s
    return f", latency p50 {p50:.0f} ms, p95 {p95:.0f} ms, {stats.dropped} dropped"
