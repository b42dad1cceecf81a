"""`mien watch` and `mien predict VIDEO` as users meet them: real clips, files, endings, exit codes."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from made_video import astronaut_clip, make_clip
from mien.images import read_image
from places import ASTRONAUT, SHARED

av = pytest.importorskip("av")

MEDIA = SHARED / "media"
CHROMIUM = Path("/usr/bin/chromium")

needs_clips = pytest.mark.skipif(not MEDIA.is_dir(), reason="the folder shared is absent")


def mien(*words, stdin=None, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "mien", *map(str, words)], capture_output=True, stdin=stdin, check=False
    )
    if check:
        assert done.returncode == 0, done.stderr.decode()
    return done


def watch(source, *words, check=True):
    return mien("watch", source, "-m", "mien-nano", "-d", "yunet", *words, check=check)


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@needs_clips
def test_one_face_is_one_track_through_all_frames(tmp_path):
    clip = MEDIA / "one-face-pexels.mp4"
    done = watch(clip, "--timeline", tmp_path / "t.csv", "--format", "json")
    rows = rows_of(tmp_path / "t.csv")
    assert [int(row["frame"]) for row in rows] == list(range(472))
    with av.open(str(clip)) as container:
        (stream,) = container.streams.video
        times = [frame.time for frame in container.decode(stream)]
    np.testing.assert_allclose([float(row["time_s"]) for row in rows], np.subtract(times, times[0]), atol=1e-5)
    assert {row["track"] for row in rows} <= {"1", ""}
    assert sum(row["track"] == "1" for row in rows) >= 0.95 * 472
    summary = json.loads(done.stdout)
    assert summary["ended"] == "end"
    assert [track["track"] for track in summary["tracks"]] == [1]


@needs_clips
def test_frames_without_a_face_are_rows(tmp_path):
    done = watch(MEDIA / "no-face.mp4", "--timeline", tmp_path / "t.csv")
    rows = rows_of(tmp_path / "t.csv")
    assert len(rows) == 98
    assert not any(row["track"] or row["expression"] for row in rows)
    assert b"0 with a face" in done.stdout


def test_everything_at_once_and_the_recording_has_the_sound(tmp_path):
    clip = astronaut_clip(tmp_path / "in.mp4")
    out = {name: tmp_path / f"out.{name}" for name in ("mp4", "jsonl", "png")}
    files = ["--record", out["mp4"], "--timeline", out["jsonl"], "--plot", out["png"]]
    done = mien("watch", clip, "-m", "mien-nano", *files, "--events", "--emoji", "--privacy", "blur")
    (event,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (event["track"], event["expression"]) == (1, "happy")
    rows = [json.loads(line) for line in out["jsonl"].read_text("utf-8").splitlines()]
    assert len(rows) == 30
    assert rows[-1]["smoothed_expression"] == "happy"
    assert read_image(out["png"]).shape[0] > 100
    with av.open(str(out["mp4"])) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 30
    assert mien("predict", "-", "-m", "mien-nano", "--format", "csv", stdin=subprocess.DEVNULL).returncode == 0


def test_a_truncated_file_keeps_its_rows_and_says_so(tmp_path):
    clip, rows = astronaut_clip(tmp_path / "in.mkv", frames=36), tmp_path / "rows.csv"
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    done = mien("watch", clip, "-m", "mien-nano", "--timeline", rows, "--format", "json", check=False)
    summary = json.loads(done.stdout)
    assert (done.returncode, summary["ended"], summary["end_verified"]) == (3, "truncated", None)
    assert b"truncated" in done.stderr
    assert 3 < len(rows_of(rows)) == summary["frames"] < 36
    headless = tmp_path / "headless.mp4"
    headless.write_bytes(astronaut_clip(tmp_path / "whole.mp4", frames=8).read_bytes()[:-50])
    done = mien("watch", headless, "-m", "mien-nano", "--format", "json", check=False)
    assert (done.returncode, json.loads(done.stdout)["ended"]) == (3, "truncated")


def test_an_end_that_can_not_be_checked_is_said(tmp_path):
    done = mien("watch", astronaut_clip(tmp_path / "in.ts", frames=8), "-m", "mien-nano", "--format", "json")
    assert json.loads(done.stdout)["end_verified"] is False
    assert b"states no length" in mien("watch", tmp_path / "in.ts", "-m", "mien-nano").stdout
    done = mien("watch", astronaut_clip(tmp_path / "in.mp4", frames=8), "-m", "mien-nano", "--format", "json")
    assert json.loads(done.stdout)["end_verified"] is True


def test_a_region_of_the_frame(tmp_path):
    clip, rows, drawn = astronaut_clip(tmp_path / "in.mp4", frames=8), tmp_path / "r.csv", tmp_path / "drawn.mp4"
    words = ["-m", "mien-nano", "--timeline", rows]
    mien("watch", clip, *words)
    whole = rows_of(rows)
    mien("watch", clip, *words, "--region", "30,0,226,256", "--record", drawn)
    part = rows_of(rows)
    assert abs(float(part[0]["x1"]) - float(whole[0]["x1"])) < 8
    with av.open(str(drawn)) as container:
        assert container.streams.video[0].width == 256
    mien("watch", clip, *words, "--region", "0,0.6,0.2,0.4")
    assert not any(row["track"] for row in rows_of(rows))
    done = mien("watch", clip, *words, "--region", "200,0,100,100", check=False)
    assert done.returncode == 2
    assert b"256 x 256" in done.stderr


def test_predict_names_the_command_for_videos(tmp_path):
    clip = astronaut_clip(tmp_path / "in.mp4", frames=2)
    for words in ((clip,), (clip, ASTRONAUT)):
        done = mien("predict", *words, "-m", "mien-nano", check=False)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
        assert f"mien watch {clip} --timeline FILE.csv".encode() in done.stderr


def test_a_truncated_file_ends_with_3_and_keeps_what_came(tmp_path):
    whole = make_clip(tmp_path / "in.mkv", frames=100, codec="mjpeg", pixels="yuvj420p").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    done = mien("watch", tmp_path / "cut.mkv", "-m", "mien-nano", "--timeline", tmp_path / "t.csv", check=False)
    assert done.returncode == 3, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert 20 <= len(rows_of(tmp_path / "t.csv")) < 60


@pytest.mark.parametrize("name", ["missing.mp4", "empty.mp4", "text.mp4"])
def test_what_is_no_video_is_one_line(tmp_path, name):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video")
    done = mien("watch", tmp_path / name, "-m", "mien-nano", check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert name.encode() in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_on_a_live_pipe_is_an_ordinary_end(tmp_path):
    """Frames come at 15 a second; all files are whole afterwards."""
    words = ["watch", "-", "--raw", "64x64:rgb24@15", "--live", "--no-browser", "-m", "mien-nano", "--record",
             str(tmp_path / "o.mp4"), "--timeline", str(tmp_path / "t.csv")]  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, "-m", "mien", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    stop = threading.Event()

    def feed():
        while not stop.is_set():
            try:
                running.stdin.write(os.urandom(64 * 64 * 3))
                running.stdin.flush()
            except BrokenPipeError:
                return
            time.sleep(1 / 15)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        ends = time.monotonic() + 60
        while not (tmp_path / "t.csv").exists() or len(rows_of(tmp_path / "t.csv")) < 10:
            assert time.monotonic() < ends
            assert running.poll() is None, running.stderr.read().decode()
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        code = running.wait(timeout=30)
    finally:
        stop.set()
        running.kill()
        feeder.join()
        errors = running.stderr.read().decode()
        for pipe in (running.stdin, running.stdout, running.stderr):
            pipe.close()
    assert code == 0, errors
    assert "live page: http://127.0.0.1:" in errors
    assert "Traceback" not in errors
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 5


@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is absent")
def test_a_browser_plays_the_recording_to_its_end(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    clip = astronaut_clip(tmp_path / "in.mp4")
    mien("watch", clip, "-m", "mien-nano", "--record", tmp_path / "out.mp4")
    (tmp_path / "index.html").write_text("<!doctype html><title>clip</title><video src=out.mp4 muted></video>")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
    try:
        with playwright.sync_playwright() as player:
            browser = player.chromium.launch(executable_path=str(CHROMIUM), args=flags)
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
            duration = page.evaluate(
                """() => new Promise((done, fail) => {
                    const video = document.querySelector("video");
                    video.onended = () => done([video.duration, video.currentTime]);
                    video.onerror = () => fail(new Error(video.error.message));
                    video.playbackRate = 2; video.play();
                })"""
            )
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
    assert duration == pytest.approx([2.0, 2.0], abs=1 / 15)


def test_outputs_that_are_open_are_closed_where_a_later_one_cannot_be_opened(tmp_path):
    clip, rows = tmp_path / "clip.mp4", tmp_path / "rows.parquet"
    astronaut_clip(clip, frames=3)
    done = mien("watch", clip, "--timeline", rows, "--record", tmp_path / "nowhere/drawn.mp4", check=False)
    assert done.returncode == 2
    assert b"nowhere" in done.stderr
    assert sorted(tmp_path.iterdir()) == [clip, rows]
