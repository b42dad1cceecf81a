"""Video jobs on a real server: what comes of them, what is refused, cancelled, killed, and that nothing is left."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from places import ROOT

pytest.importorskip("fastapi", reason="needs the extra [web]")
pytest.importorskip("av", reason="needs the extra [video]")

import av
from PIL import Image, features
from test_serve_limits import connect, head, read_all, read_answer
from test_serve_process import program

from made_server import BOUNDARY, ask, form, metric, png, serving, until
from made_video import astronaut_clip, make_clip, noise
from mien.cli import main
from mien.errors import VideoError
from mien.recognition.recognizer import Recognizer
from mien.serving import video_work, videos
from mien.serving.private_folders import private_folder
from mien.serving.refusals import Refusal
from mien.serving.settings import ServeSettings
from mien.serving.video_work import Order, Report, looks_like_video
from tiny_models import make_model

NANO = ROOT / "src" / "mien" / "models" / "mien-nano.onnx"
ENDED = {"done", "incomplete", "failed"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """short.mp4: a second; long.mp4: more than anybody waits for; astronaut.mp4: a face that moves, with a tone."""
    folder = tmp_path_factory.mktemp("clips")
    make_clip(folder / "short.mp4", frames=25)
    make_clip(folder / "long.mp4", frames=6000)
    astronaut_clip(folder / "astronaut.mp4", frames=10, rate=10)
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where servers make their private folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def small_disk(temporary: Path) -> Iterator[Path]:
    """The folder for temporary files on a file system of 8 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "mien-test", str(temporary)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield temporary
    subprocess.run(["umount", "--lazy", str(temporary)], check=True)


def fill(file: Path) -> None:
    """Takes all that is left of a file system."""
    with suppress(OSError), file.open("ab", buffering=0) as out:
        while True:
            out.write(bytes(4096))


def folders_in(temporary: Path) -> list[Path]:
    """Folders of servers; other libraries have files of their own there."""
    return list(temporary.glob("mien-*"))


def left_in(folder: Path) -> list[Path]:
    """Folders of jobs."""
    return [place for place in folder.glob("mien-videos-*/*") if place.name != "lock"]


def send(port: int, video: bytes | Path, **headers: str) -> Any:
    return ask(port, "POST", "/v1/videos", video if isinstance(video, bytes) else video.read_bytes(), **headers)


def state_of(port: int, video: str, **headers: str) -> Any:
    return ask(port, "GET", f"/v1/videos/{video}", **headers).json


def ended(port: int, video: str) -> Any:
    until(lambda: state_of(port, video)["state"] in ENDED, 60)
    return state_of(port, video)


def working() -> list[tuple[int, int]]:
    """Processes that work on a video, and their parents, as far as Linux's /proc tells."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if b"mien.serving.video_work" in (place / "cmdline").read_bytes():
                parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                found.append((int(place.name), parent))
        except OSError:
            continue
    return found


def order_for(folder: Path, model: Path | None = None, **settings: Any) -> Order:
    """With a model: for the work on `upload`; otherwise for its check."""
    (folder / "state.json").write_text("{}")
    summary = None if model is None else Recognizer(str(model), detector="none").summary()
    return Order(folder, folder, ServeSettings(**settings), str(model), "none", summary)


# What comes of a video


def test_results_are_those_of_mien_watch(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, wanted = clips / "astronaut.mp4", tmp_path / "wanted.csv"
    with serving(NANO, detectors=("auto",)) as port:
        body = form((r"..\..\etc/secret.exe", clip.read_bytes()))
        sent = send(port, body, Content_Type=f"multipart/form-data; boundary={BOUNDARY}")
        assert sent.status == 202
        place = sent.headers["location"]
        assert place == f"/v1/videos/{sent.json['id']}"
        assert set(state_of(port, sent.json["id"])) == set(sent.json)

        job = ended(port, sent.json["id"])
        assert (job["state"], job["error"], job["progress"], job["frames"]) == ("done", None, 1, 10)
        assert job["summary"]["tracks"][0]["expressions"][0]["expression"] == "happy"
        assert 800 < job["removed_in_s"] <= 900

        files = {name: ask(port, "GET", f"{place}/{name}") for name in job["files"]}
        types = {name: answer.headers["content-type"] for name, answer in files.items()}
        assert types == {
            "timeline.csv": "text/csv; charset=utf-8",
            "timeline.jsonl": "application/jsonl",
            "video.mp4": "video/mp4",
            "frames.json": "application/json",
            "upload": "application/octet-stream",
        }
        assert files["upload"].body == clip.read_bytes()
        for name, answer in files.items():
            assert answer.headers["content-disposition"] == f'attachment; filename="mien-{name}"'
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
        monkeypatch.setattr(sys, "argv", ["mien", "watch", str(clip), "-m", "mien-nano", "--timeline", str(wanted)])
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as done:
            main()
        signal.signal(signal.SIGTERM, before)
        assert not done.value.code
        assert files["timeline.csv"].body.decode().replace(",video,", f",{clip},") == wanted.read_text()
        rows = list(csv.DictReader(io.StringIO(wanted.read_text())))
        lines = [json.loads(line) for line in files["timeline.jsonl"].body.splitlines()]
        assert [line["happy"] for line in lines] == [float(row["happy"]) for row in rows]
        frames = files["frames.json"].json["frames"]
        assert [frame["faces"][0]["smoothed_expression"] for frame in frames] == ["happy"] * 10
        with av.open(io.BytesIO(files["video.mp4"].body)) as container:
            assert [stream.type for stream in container.streams] == ["video", "audio"]
            assert len(list(container.decode(video=0))) == 10

        whole = files["video.mp4"].body
        ranges = {"bytes=0-99": whole[:100], "bytes=100-": whole[100:], "bytes=-7": whole[-7:]}
        for wish, part in ranges.items():
            answer = ask(port, "GET", f"{place}/video.mp4", Range=wish)
            assert (answer.status, answer.body) == (206, part)
        assert ask(port, "GET", f"{place}/video.mp4", Range="bytes=5-8").headers["content-range"] == (
            f"bytes 5-8/{len(whole)}"
        )
        for wish in ("bytes=9-1", "bytes=a", "lines=1-2", "bytes=0-1,5-6"):  # what can't be understood is passed over
            assert ask(port, "GET", f"{place}/video.mp4", Range=wish).body == whole
        for wish in (f"bytes={len(whole)}-", "bytes=-0"):
            assert ask(port, "GET", f"{place}/video.mp4", Range=wish).code == "no_such_part"

        assert ask(port, "DELETE", place).status == 204
        for method, path in (("GET", place), ("GET", f"{place}/video.mp4"), ("DELETE", place)):
            assert ask(port, method, path).code == "no_video"
        assert metric(port, 'mien_videos_total{state="done"}') >= 1


def test_a_truncated_video_is_incomplete_and_says_why(tiny: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "whole.mkv", frames=150, options={"g": "10"})
    with serving(tiny) as port:
        sent = send(port, clip.read_bytes()[: clip.stat().st_size * 6 // 10])
        job = ended(port, sent.json["id"])
        assert job["state"] == "incomplete"
        assert job["error"].startswith(f"truncated or damaged, ends after {job['frames']} frames")
        assert 20 < job["frames"] < 140
        rows = ask(port, "GET", f"/v1/videos/{job['id']}/timeline.csv").body.splitlines()
        assert len(rows) == job["frames"] + 1


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


def test_an_upload_without_its_index_is_called_truncated(tiny: Path, tmp_path: Path) -> None:
    data = make_clip(tmp_path / "short.mp4", frames=20, image_of=noise).read_bytes()
    (tmp_path / "upload").write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match="truncated"):
        video_work.check_upload(order_for(tmp_path))


def test_a_video_that_does_not_say_its_length_ends_at_the_limit(tiny: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "raw.mjpeg", frames=60, codec="mjpeg", pixels="yuvj420p")
    with serving(tiny, max_video_s=1) as port:
        job = ended(port, send(port, clip).json["id"])
    assert (job["state"], job["error"]) == (
        "incomplete",
        "the video is longer than 1 seconds; results up to that point are kept",
    )
    assert 25 <= job["frames"] < 60


def test_a_server_that_takes_no_videos_says_so(tiny: Path, clips: Path) -> None:
    for wanted in (True, False):
        with serving(tiny, videos=wanted) as port:
            assert ask(port, "GET", "/v1/models").json["videos"] is wanted
            documented = [path for path in ask(port, "GET", "/v1/openapi.json").json["paths"] if "videos" in path]
            assert len(documented) == (7 if wanted else 0)
            if not wanted:
                assert send(port, clips / "short.mp4").code == "not_found"


# What is refused


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


def animated(kind: str, frames: int) -> bytes:
    """An animated image with a frame every 40 ms."""
    images = [Image.fromarray(noise(index)) for index in range(frames)]
    buffer = io.BytesIO()
    images[0].save(buffer, kind, save_all=True, append_images=images[1:], duration=40)
    return buffer.getvalue()


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
def test_a_file_that_names_others_is_no_video(text: str, clips: Path, tmp_path: Path) -> None:
    data = text.format(other=clips / "short.mp4").encode()
    (tmp_path / "upload").write_bytes(data)
    assert not looks_like_video(data)
    with pytest.raises(video_work.MienError, match="is no"):  # also by FFmpeg
        video_work.check_upload(order_for(tmp_path))


def test_what_is_no_video_is_refused_and_leaves_nothing(tiny: Path, tmp_path: Path, temporary: Path) -> None:
    sound = make_clip(tmp_path / "sound.mp4", frames=1, sound="aac", sound_s=1)
    with av.open(str(tmp_path / "only.mp4"), "w") as only, av.open(str(sound)) as both:
        track = only.add_stream_from_template(both.streams.audio[0])
        for packet in both.demux(both.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = track
                only.mux(packet)
    with serving(tiny) as port:
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        for body, headers, status, code in (
            (b"", {}, 400, "no_video"),
            (b"x" * 5000, {}, 415, "unreadable_video"),
            (png(), {"Content_Type": "video/mp4"}, 415, "unreadable_video"),
            (animated("GIF", 1), {}, 415, "unreadable_video"),
            ((tmp_path / "only.mp4").read_bytes(), {}, 415, "unreadable_video"),
            (b"\0\0\0\x20ftypisom" + os.urandom(3000), {}, 415, "unreadable_video"),
            (form(("a.mp4", b"")), {"Content_Type": kind}, 400, "no_video"),
            (form(("a", sound.read_bytes()), ("b", b"x")), {"Content_Type": kind}, 400, "one_video"),
            (form(("a", sound.read_bytes()))[:-9], {"Content_Type": kind}, 400, "bad_multipart"),
            (b"no form", {"Content_Type": kind}, 400, "bad_multipart"),
            (b"no form", {"Content_Type": "multipart/form-data"}, 400, "bad_multipart"),
        ):
            answer = send(port, body, **headers)
            assert (answer.status, answer.code) == (status, code), answer.body
            assert str(temporary).encode() not in answer.body
            if body[:3] == b"GIF":
                assert answer.json["error"]["message"] == "the upload is an image, not a video; send it to /v1/predict"
        for path in ("/v1/videos/x", f"/v1/videos/{'a' * 32}", "/v1/videos/%2e%2e", f"/v1/videos/{'a' * 32}/video.mp4"):
            assert ask(port, "GET", path).status == 404
        assert ask(port, "POST", "/v1/videos?model=gone", b"x").code == "unknown_model"
        assert left_in(temporary) == []
    assert folders_in(temporary) == []


def test_limits_of_length_frame_and_size(tiny: Path, clips: Path, tmp_path: Path, temporary: Path) -> None:
    limits = {"max_video_mb": 1, "max_video_disk_mb": 1, "max_video_s": 2, "max_video_pixels": 20_000}
    wide = make_clip(tmp_path / "wide.mp4", frames=2, size_wh=(320, 240))
    with serving(tiny, **limits) as port:
        too_long = send(port, clips / "long.mp4")
        assert (too_long.status, too_long.code) == (422, "too_long")
        assert "240 seconds long; this server takes 2" in too_long.json["error"]["message"]
        too_wide = send(port, wide)
        assert (too_wide.status, too_wide.code) == (422, "too_large_frames")
        with connect(port) as client:
            client.sendall(head("Content-Length: 3000000000").replace(b"predict", b"videos"))
            assert b"too_large" in read_answer(client)
        with connect(port) as client:
            client.sendall(head("Transfer-Encoding: chunked").replace(b"predict", b"videos"))
            beginning = b"\0\0\0\x20ftypisom"
            client.sendall(b"%x\r\n%b\r\n" % (len(beginning), beginning))
            for _ in range(11):
                client.sendall(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 413")
        until(lambda: left_in(temporary) == [])
        (folder,) = folders_in(temporary)
        (folder / "kept").write_bytes(b"x" * 999_000)
        full = send(port, clips / "short.mp4")
        assert (full.status, full.code, full.headers["retry-after"]) == (503, "busy", "30")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits of processes")
def test_the_process_of_a_video_has_a_limit_of_memory(tiny: Path, clips: Path, tmp_path: Path) -> None:
    """Twice --max-memory; frames that need more are refused."""

    def is_limited() -> bool:
        limits = [Path(f"/proc/{pid}/limits").read_text() for pid, parent in working() if parent == os.getpid()]
        return any(re.search(r"Max data size +640000000 +640000000", text) for text in limits)

    large = make_clip(tmp_path / "large.mp4", frames=2, size_wh=(2560, 1440))
    with serving(tiny, max_memory_mb=320) as port:
        refused = send(port, large)
        assert (refused.status, refused.code) == (422, "too_large_frames")
        assert "takes 0.529 million at most" in refused.json["error"]["message"]
        job = send(port, clips / "short.mp4").json["id"]
        until(is_limited)
        assert ended(port, job)["state"] == "done"


def test_a_full_disk_refuses_videos_and_says_so(tiny: Path, clips: Path, small_disk: Path) -> None:
    """On a file system of 8 MB."""
    short = clips / "short.mp4"
    with serving(tiny) as port:
        large = send(port, short.read_bytes()[:4000] + bytes(12_000_000))
        assert (large.status, large.code, large.headers["retry-after"]) == (503, "busy", "30")
        assert left_in(small_disk) == []
        assert metric(port, 'mien_refused_total{code="busy",kind="disk"}') == 1
        job = send(port, clips / "long.mp4").json["id"]
        until(lambda: state_of(port, job)["frames"] > 0, 60)
        fill(small_disk / "full")
        state = ended(port, job)
        assert (state["state"], state["error"]) == (
            "incomplete", "the server's disk is full; results up to that point are kept",
        )  # fmt: skip
        assert len(ask(port, "GET", f"/v1/videos/{job}/timeline.csv").body.splitlines()) > 1
        assert ask(port, "GET", f"/v1/videos/{job}/frames.json").json["frames"]
        fill(small_disk / "full")
        assert send(port, short).code == "busy"
        assert ask(port, "POST", "/v1/predict", png()).status == 200
        (small_disk / "full").unlink()
        assert ended(port, send(port, short).json["id"])["state"] == "done"


# Cancelling, queues, and whose videos they are


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Every upload is a video, and the work on each lasts until the event is set, and then has no results."""
    go_on = threading.Event()

    async def process(order: Order, *_: object) -> Report:
        while order.summary and not go_on.is_set():
            await asyncio.sleep(0.01)
        return Report(complete=True)

    monkeypatch.setattr(videos, "_process", process)
    yield go_on
    go_on.set()


def test_a_full_queue_refuses_and_removed_videos_free_their_places(
    tiny: Path, clips: Path, held: threading.Event, temporary: Path
) -> None:
    clip = clips / "short.mp4"
    with serving(tiny, video_queue=1) as port:
        first, second = (send(port, clip).json["id"] for _ in range(2))
        until(lambda: state_of(port, first)["state"] == "running")
        assert state_of(port, second)["state"] == "queued"
        assert ask(port, "GET", f"/v1/videos/{first}/video.mp4").code == "no_result"
        full = send(port, clip)
        assert (full.status, full.code, full.headers["retry-after"]) == (503, "busy", "10")
        assert ask(port, "DELETE", f"/v1/videos/{second}").status == 204
        third = send(port, clip).json["id"]
        assert ask(port, "DELETE", f"/v1/videos/{first}").status == 204
        until(lambda: state_of(port, third)["state"] == "running", 2)
        held.set()
        assert ended(port, third)["state"] == "done"
        assert [place.name for place in left_in(temporary)] == [third]


def test_kept_videos_are_bounded_and_removed_after_their_time(
    tiny: Path, clips: Path, held: threading.Event, temporary: Path
) -> None:
    held.set()
    with serving(tiny, max_videos=1, video_ttl_s=1.5) as port:
        job = send(port, clips / "short.mp4").json["id"]
        assert ended(port, job)["state"] == "done"
        assert send(port, clips / "short.mp4").code == "busy"
        until(lambda: left_in(temporary) == [], 10)
        assert ask(port, "GET", f"/v1/videos/{job}").code == "no_video"
        assert send(port, clips / "short.mp4").status == 202


def test_a_video_belongs_to_its_token(tiny: Path, clips: Path, held: threading.Event, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("a" * 32 + "\n" + "b" * 32)
    mine, other = ({"Authorization": f"Bearer {letter * 32}"} for letter in "ab")
    with serving(tiny, token_file=tmp_path / "tokens") as port:
        assert send(port, clips / "short.mp4").status == 401
        place = send(port, clips / "short.mp4", **mine).headers["location"]
        for method in ("GET", "DELETE"):
            assert ask(port, method, place, **other).code == "no_video"
        assert ask(port, "GET", place, **mine).status == 200


def test_a_client_gone_in_mid_upload_and_a_silent_one_leave_nothing(tiny: Path, clips: Path, temporary: Path) -> None:
    data = (clips / "long.mp4").read_bytes()
    request = head(f"Content-Length: {len(data)}").replace(b"predict", b"videos")
    with serving(tiny, head_timeout_s=1, video_queue=1) as port:
        for _ in range(3):  # more than there are places
            with connect(port) as client:
                client.sendall(request + data[: len(data) // 2])
                until(lambda: left_in(temporary) != [])
            until(lambda: left_in(temporary) == [], 2)
        with connect(port) as client:
            client.sendall(request + data[: len(data) // 2])
            assert b"upload_timeout" in read_all(client)
        assert left_in(temporary) == []


def test_a_client_gone_when_its_upload_was_read_leaves_nothing(
    tiny: Path, clips: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checking, go_on = threading.Event(), threading.Event()

    async def check(*_: object) -> Report:
        checking.set()
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        return Report(complete=True)

    monkeypatch.setattr(videos, "_process", check)
    data = (clips / "short.mp4").read_bytes()
    with serving(tiny) as port:
        with connect(port) as client:
            client.sendall(head(f"Content-Length: {len(data)}").replace(b"predict", b"videos") + data)
            assert checking.wait(10)
        go_on.set()
        until(lambda: left_in(temporary) == [], 5)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc to see processes")
def test_cancelling_ends_the_work_at_once(tiny: Path, clips: Path, temporary: Path) -> None:
    with serving(tiny) as port:
        job = send(port, clips / "long.mp4").json["id"]
        until(lambda: state_of(port, job)["frames"] > 0, 60)
        assert 0 < state_of(port, job)["progress"] < 1
        assert os.getpid() in [parent for _, parent in working()]
        assert ask(port, "DELETE", f"/v1/videos/{job}").status == 204
        assert os.getpid() not in [parent for _, parent in working()]
        assert left_in(temporary) == []
        send(port, clips / "long.mp4")
    # What ran at the end of the server is gone too.
    assert os.getpid() not in [parent for _, parent in working()]
    assert folders_in(temporary) == []


# Processes that die


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc to see processes")
def test_workers_share_the_videos_and_one_that_is_killed_fails_its_own(
    tiny: Path, clips: Path, tmp_path: Path, temporary: Path
) -> None:
    with program(tiny, tmp_path / "log", "--workers", "2") as (process, port):
        job = send(port, clips / "long.mp4").json["id"]
        assert {state_of(port, job)["state"] for _ in range(8)} <= {"queued", "running"}  # by either worker
        until(lambda: state_of(port, job)["state"] == "running")
        until(lambda: working_for(process.pid) != [])
        ((child, worker),) = working_for(process.pid)
        os.kill(worker, signal.SIGKILL)
        until(lambda: child not in [found for found, _ in working()])  # its work ends with it
        until(lambda: ended(port, job)["state"] == "failed")
        assert "send the video again" in state_of(port, job)["error"]

        second = send(port, clips / "long.mp4").json["id"]
        (place,) = [place for place in left_in(temporary) if place.name == second]
        until(lambda: ask(port, "DELETE", f"/v1/videos/{second}").status == 204, 2)  # by either worker
        until(lambda: working_for(process.pid) == [], 5)
        assert not place.exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    assert folders_in(temporary) == []


def working_for(server: int) -> list[tuple[int, int]]:
    """Those of a server with several workers."""
    workers = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return [(child, parent) for child, parent in working() if str(parent) in workers]


def test_the_next_server_removes_what_a_killed_one_left_and_nothing_else(
    tiny: Path, clips: Path, tmp_path: Path, temporary: Path
) -> None:
    with program(tiny, tmp_path / "log") as (process, port):
        send(port, clips / "long.mp4")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    (left,) = folders_in(temporary)
    assert left_in(temporary)
    stranger = temporary / "mien-videos"
    stranger.mkdir()
    (temporary / "mien-videos-gone.1").mkdir()  # of one that was killed while it removed
    with private_folder() as living:
        assert not left.exists()
        with private_folder() as other:
            assert sorted(folders_in(temporary)) == sorted([stranger, living, other])
    assert folders_in(temporary) == [stranger]
