"""The process of a video: which files it takes, and what comes of damaged ones. Without a server."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra [web]")
pytest.importorskip("av", reason="needs the extra [video]")

from PIL import features

from made_video import animated, make_clip, noise
from mien.errors import VideoError
from mien.recognition.recognizer import Recognizer
from mien.serving import video_work
from mien.serving.refusals import Refusal
from mien.serving.settings import ServeSettings
from mien.serving.video_work import Order, Report, looks_like_video


def order_for(folder: Path, model: Path | None = None, **settings: Any) -> Order:
    """With a model: for the work on `upload`; otherwise for its check."""
    (folder / "state.json").write_text("{}")
    summary = None if model is None else Recognizer(str(model), detector="none").summary()
    return Order(folder, folder, ServeSettings(**settings), str(model), "none", summary)


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".flv", ".ts"])
def test_short_videos_that_are_cut_are_incomplete_too(suffix: str, tiny: Path, tmp_path: Path) -> None:
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    data = make_clip(tmp_path / f"short{suffix}", frames=20, codec=codec, image_of=noise).read_bytes()
    order = order_for(tmp_path, tiny)
    (tmp_path / "upload").write_bytes(data)
    assert video_work.work(order).complete
    (tmp_path / "upload").write_bytes(data[: len(data) * 2 // 3 | 1])
    report = video_work.work(order)
    assert not report.complete
    assert report.error is not None
    assert "truncated" in report.error
    assert 0 < report.frames < 20


def test_a_full_disk_keeps_the_rows_that_are_written(tiny: Path, tmp_path: Path) -> None:
    import resource

    make_clip(tmp_path / "long.mp4", frames=200, image_of=noise).rename(tmp_path / "upload")
    order = order_for(tmp_path, tiny)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        report = video_work.work(order)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert (report.complete, report.error) == (False, "the server's disk is full; results up to that point are kept")
    assert report.summary is not None
    assert 10 < len(json.loads((tmp_path / "frames.json").read_text())["frames"]) < 200
    assert 10 < len(list(csv.DictReader(io.StringIO((tmp_path / "timeline.csv").read_text())))) < 200
    for line in (tmp_path / "timeline.jsonl").read_text().splitlines():
        json.loads(line)


def test_a_disk_that_is_full_from_the_start_is_told(tiny: Path, tmp_path: Path) -> None:
    import resource

    make_clip(tmp_path / "short.mp4").rename(tmp_path / "upload")
    order = order_for(tmp_path, tiny)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        report = video_work._run(order)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert report == Report(error="the server's disk is full; send the video again later")


def test_an_upload_without_its_index_is_called_truncated(tiny: Path, tmp_path: Path) -> None:
    data = make_clip(tmp_path / "short.mp4", frames=20, image_of=noise).read_bytes()
    (tmp_path / "upload").write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match="truncated"):
        video_work.check_upload(order_for(tmp_path))


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mov", "libx264", "yuv420p"), ("a.mkv", "libx264", "yuv420p"), ("a.webm", "libvpx", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"), ("a.ts", "libx264", "yuv420p"), ("a.m2ts", "libx264", "yuv420p"),
        ("a.mpg", "mpeg2video", "yuv420p"), ("a.wmv", "wmv2", "yuv420p"), ("a.flv", "flv1", "yuv420p"),
        ("a.ogv", "libvpx", "yuv420p"), ("a.y4m", "rawvideo", "yuv420p"), ("a.h264", "libx264", "yuv420p"),
        ("a.mjpeg", "mjpeg", "yuvj420p"), ("a.3gp", "mpeg4", "yuv420p"), ("a.gif", "gif", "rgb8"),
        ("a.apng", "apng", "rgb24"),
    ],
)  # fmt: skip
def test_the_usual_containers_are_taken_whatever_they_are_called(
    name: str, codec: str, pixels: str, tmp_path: Path
) -> None:
    make_clip(tmp_path / name, codec=codec, pixels=pixels).rename(tmp_path / "upload")
    assert looks_like_video((tmp_path / "upload").read_bytes()[:1024])
    video_work.check_upload(order_for(tmp_path))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_animated_images_are_videos_and_still_ones_are_not(kind: str, tiny: Path, tmp_path: Path) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow can't write AVIF")
    moving, still = animated(kind, 6), animated(kind, 1)
    assert looks_like_video(moving[:1024])
    upload = tmp_path / "upload"
    upload.write_bytes(moving)
    video_work.check_upload(order_for(tmp_path))
    with pytest.raises(Refusal, match="has frames of"):
        video_work.check_upload(order_for(tmp_path, max_video_pixels=100))
    report = video_work.work(order_for(tmp_path, tiny))
    assert (report.complete, report.frames, report.error) == (True, 6, None)
    times = [row["time_s"] for row in csv.DictReader(io.StringIO((tmp_path / "timeline.csv").read_text()))]
    assert [round(float(time), 2) for time in times] == [0, 0.04, 0.08, 0.12, 0.16, 0.2]

    assert looks_like_video(still[:1024]) is (kind == "GIF")  # the others are refused before they are sent
    upload.write_bytes(still)
    with pytest.raises(VideoError, match="is an image, not a video"):
        video_work.check_upload(order_for(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{other}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {other}\n",
        "ftyp",
    ],
)
def test_a_file_that_names_others_is_no_video(text: str, tmp_path: Path) -> None:
    data = text.format(other=tmp_path / "other.mp4").encode()
    (tmp_path / "upload").write_bytes(data)
    assert not looks_like_video(data)
    with pytest.raises(video_work.MienError, match="is no"):  # also by FFmpeg
        video_work.check_upload(order_for(tmp_path))
