"""Video jobs on a real server: queued, cancelled, owned, and of processes that die. Nothing is left of them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra [web]")
pytest.importorskip("av", reason="needs the extra [video]")

from test_serve_limits import connect, head, read_all
from test_serve_process import program

from made_server import ask, metric, png, serving, until
from mien.serving import videos
from mien.serving.private_folders import private_folder
from mien.serving.video_work import Order, Report
from video_jobs import ended, folders_in, left_in, send, state_of, working


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
def test_a_decoder_that_crashes_fails_its_video_only(tiny: Path, clips: Path) -> None:
    with serving(tiny) as port:
        job = send(port, clips / "long.mp4").json["id"]
        until(lambda: state_of(port, job)["frames"] > 0, 60)
        ((process, _),) = [found for found in working() if found[1] == os.getpid()]
        os.kill(process, signal.SIGSEGV)
        state = ended(port, job)
        assert (state["state"], state["error"], state["files"]) == ("failed", "the decoder crashed", [])
        assert metric(port, 'mien_videos_total{state="crashed"}') == 1
        assert ask(port, "POST", "/v1/predict", png()).status == 200


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
