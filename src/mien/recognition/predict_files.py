"""Predict into files: predictions of any number of images as a table, JSON or CSV, drawn images, a sheet of faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.errors import OutputError, VideoError
from mien.media.addresses import scheme_of
from mien.media.grid import FaceGrid
from mien.media.sinks import open_sink
from mien.media.sources import SkippedFiles, expand_sources, is_video_file
from mien.recognition.recognizer import Recognizer
from mien.reporting import Progress
from mien.results.draw import AnnotatedFolder


@dataclass(frozen=True, slots=True)
class PredictedFiles:
    """How many images were read and how many were not. skipped: a line on files in folders that are no images."""

    images: int
    failed: int
    skipped: str


def predict_files(
    recognizer: Recognizer,
    sources: Sequence[str],
    out: Path | None = None,
    *,
    format: str = "table",
    annotate: Path | None = None,
    grid: Path | None = None,
    emoji: bool = False,
    draw: Sequence[str] = (),
    progress: Progress = lambda *_: None,
) -> PredictedFiles:
    """Writes the predictions of all images that `sources` stand for (see `expand_sources`), in order.

    out: None for standard output. format: one of `mien.media.sinks.FORMATS`. annotate: a folder for drawn images. grid:
    an image file for all faces. emoji: draw a badge beside each face. draw: `mesh`, `pose`, `gaze`, where faces have
    details. progress: receives the number of finished images and of all, which is None for a list on standard input.

    Raises ImageError, VideoError, OutputError. An image that can't be read is a row with its reason.
    """
    outputs = [path for path in (annotate, out, grid) if path is not None]
    if emoji and annotate is None and grid is None:
        raise OutputError("--emoji: nothing is drawn; add  --annotate DIR  or  --grid FILE.png")
    if draw and annotate is None:
        raise OutputError("--draw: no image is drawn; add  --annotate DIR")
    refuse_videos(sources)
    skipped = SkippedFiles()
    images = expand_sources(sources, exclude=outputs, skipped=skipped)
    sheet = FaceGrid(grid, emoji=emoji) if grid is not None else None
    folder = AnnotatedFolder(annotate) if annotate is not None else None
    total, done, failed = None, 0, 0
    with open_sink(format, recognizer.summary(), out, skipped=skipped.counts) as sink:
        if "-" not in sources:
            images = iter(listed := list(images))
            total = len(listed)
        for result in recognizer.stream(images, keep_images=bool(folder or sheet)):
            sink.write(result)
            if folder and result.error is None:
                folder.write(result.source, result.plot(emoji=emoji, draw=draw))
            if sheet:
                sheet.write(result)
            done, failed = done + 1, failed + (result.error is not None)
            progress(done, total)
    if sheet is not None:
        sheet.finish()
    return PredictedFiles(done, failed, skipped.line())


def check_sources(sources: Sequence[str]) -> None:
    """Raises ImageError or VideoError for sources that can't be expanded to images. Reads none of them."""
    refuse_videos(sources)
    expand_sources(sources)


def refuse_videos(sources: Sequence[str]) -> None:
    """Raises VideoError for a source that is a video file by its name."""
    for source in sources:
        if scheme_of(source) != "data" and is_video_file(source):
            raise VideoError(f"{source}: is a video; use  mien watch {source} --timeline FILE.csv")
