"""Videos on a real server: what comes of them, what is refused, and that nothing is left."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from places import ROOT

pytest.importorskip("fastapi", reason="needs the extra [web]")
pytest.importorskip("av", reason="needs the extra [video]")

import av
from test_serve_limits import connect, head, read_answer

from made_server import BOUNDARY, ask, form, metric, png, serving, until
from made_video import animated, make_clip
from mien.cli import main
from video_jobs import ended, folders_in, left_in, send, state_of, working

NANO = ROOT / "src" / "mien" / "models" / "mien-nano.onnx"


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
