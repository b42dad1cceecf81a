"""Measures video frames/s from file to results, per detector, model and size, beside a per-frame OpenCV loop.

    python benchmarks/video.py [--clip ../shared/media/one-face-pexels.mp4] [--frames 240]

The loop reads a frame with OpenCV, detects and crops its faces, and classifies each face alone. It uses the same
networks, each with all cores. `mien` is `Recognizer.watch` with its defaults, one thread per network.
Both alternate. The large clip is the small one, scaled to 1920 x 1080.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import av
import cv2
from page import SHARED, arguments, table, write_page

from mien.faces import make_detector
from mien.recognition.recognizer import Recognizer
from mien.recognition.watch import StageSeconds, WatchStats

SIZES = ((640, 360), (1920, 1080))


def scaled_clip(source: Path, place: Path, size_wh: tuple[int, int], frames: int) -> None:
    """The first frames of a video at another size, as H.264."""
    video = cv2.VideoCapture(str(source))
    if not video.isOpened():
        raise SystemExit(f"{source}: can't read it; this benchmark needs the folder `shared` beside the repository")
    with av.open(str(place), "w") as container:
        stream = container.add_stream(
            "libx264", rate=round(video.get(cv2.CAP_PROP_FPS)), options={"preset": "veryfast"}
        )
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        for _ in range(frames):
            read, image = video.read()
            if not read:
                break
            large = cv2.resize(image, size_wh, interpolation=cv2.INTER_CUBIC)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(large, format="bgr24")))
        container.mux(stream.encode())


def by_opencv(clip: Path, recognizer: Recognizer) -> tuple[float, int]:
    """Frames/s of the plain loop, and how many faces it saw."""
    video, frames, faces = cv2.VideoCapture(str(clip)), 0, 0
    started = time.perf_counter()
    while (read := video.read())[0]:
        image = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
        found = recognizer.steps.detect(image)
        for crops in zip(*recognizer.steps.crop(image, found), strict=True):
            recognizer.classifier.probabilities(tuple(crop[None] for crop in crops))
            faces += 1
        frames += 1
    return frames / (time.perf_counter() - started), faces


def by_mien(clip: Path, recognizer: Recognizer, every: int | None) -> WatchStats:
    watch = recognizer.watch(clip, every=every)
    for _ in watch:
        pass
    return watch.stats()


def shares(stages: StageSeconds) -> list[str]:
    """Each stage's share of the working time of all."""
    seconds = (stages.decode, stages.detect, stages.follow, stages.classify)
    return [f"{value / max(sum(seconds), 1e-9):.0%}" for value in seconds]


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--clip", type=Path, default=SHARED / "media/one-face-pexels.mp4")
    parser.add_argument("--frames", type=int, default=240, help="of the clip, from its start")
    parser.add_argument("--every", type=int, help="the detector runs on every Nth frame; default: mien's own")
    parser.add_argument("--detectors", nargs="+", default=["auto", "mtcnn"])
    parser.add_argument("--models", nargs="+", default=["mien-small", "mien-nano"])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size_wh in SIZES:
            clip = Path(folder) / f"{size_wh[1]}.mp4"
            scaled_clip(options.clip, clip, size_wh, options.frames)
            for name in options.detectors:
                for model in options.models:
                    plain, ours = (
                        Recognizer(
                            model,
                            detector=make_detector(name, threads=threads),
                            threads=threads,
                        )
                        for threads in (0, 1)
                    )
                    runs = [
                        (by_opencv(clip, plain), by_mien(clip, ours, options.every)) for _ in range(options.repeats)
                    ]
                    loop = statistics.median(rate for (rate, _), _ in runs)
                    mien = statistics.median(stats.frames_per_s for _, stats in runs)
                    times = statistics.median(stats.frames_per_s / rate for (rate, _), stats in runs)
                    last = runs[-1][1]
                    figures = (f"{loop:.1f}", f"{mien:.1f}", f"{times:.1f}", last.detect_every, *shares(last.stages))
                    rows.append((f"{size_wh[0]} x {size_wh[1]}", name, model, *figures, runs[-1][0][1], last.faces))
                    print(*rows[-1], flush=True)
    header = ("size", "detector", "model", "loop frames/s", "mien frames/s", "times", "detects every")
    header += ("decode", "detect", "follow", "classify", "faces by loop", "faces by mien")
    lines = [
        f"{options.clip.name}, {options.frames} frames; median of {options.repeats} runs, loop and mien in turns.",
        "Shares are of the working time of all stages, which run at the same time.",
        "",
        *table(header, rows),
    ]
    packages = ("onnxruntime", "opencv-python-headless", "av")
    write_page(options.results, "video", "Videos, end to end", lines, packages=packages)


if __name__ == "__main__":
    main()
