"""`mien serve` as a program: its address and warnings, its log, signals, workers that are killed."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra [web]")

from made_server import ask, metric, png, post, until
from mien.cli import main

FUZZ_COUNT = int(os.environ.get("MIEN_FUZZ", "100"))


@contextmanager
def program(tiny: Path, log: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The running program and its port; it is killed where a test fails."""
    command = [sys.executable, "-m", "mien", "serve", "-m", str(tiny), "-d", "none", "--port", "0", *options]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, stdout=file)
    try:
        until(lambda: process.poll() is not None or "serves on" in log.read_text(), 60)
        found = re.search(r"serves on http://\S+:(\d+)", log.read_text())
        assert found is not None, log.read_text()
        port = int(found[1])
        until(lambda: _ready(port), 60)
        yield process, port
    finally:
        process.kill()
        process.wait()


def _ready(port: int) -> bool:
    try:
        return ask(port, "GET", "/readyz").status == 200
    except OSError:
        return False


def test_log_lines_tell_what_happened_and_nothing_about_the_images(tiny: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with program(tiny, log, "--log-format", "json") as (process, port):
        post(port, "/v1/predict?model=tiny", ("secret.png", png()))
        ask(port, "GET", "/secret/path?secret=1")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
    greeting, *lines = log.read_text().splitlines()
    assert greeting == f"mien serves on http://127.0.0.1:{port}"
    rows = [json.loads(line) for line in lines]
    (row,) = (row for row in rows if row.get("route") == "/v1/predict")
    assert set(row) == {"time", "level", "event", "route", "method", "status", "ms"}
    assert (row["method"], row["status"]) == ("POST", 200)
    assert "secret" not in log.read_text()


def test_a_warning_where_others_can_reach_it(tiny: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with program(tiny, log, "--host", "0.0.0.0", "--quiet") as (process, port):
        assert ask(port, "GET", "/v1/models", Host="any.name").status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)
    assert "WARNING: anyone who can reach this address" in log.read_text()
    assert len(log.read_text().splitlines()) == 2


def test_a_killed_worker_is_replaced_and_counts_are_of_all(tiny: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with program(tiny, log, "--workers", "2") as (process, port):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("needs Linux's /proc to find the workers")
        for _ in range(4):
            # The worker that takes the connection may still be warming up, and says so.
            until(lambda: post(port, "/v1/predict", ("a", png())).status == 200, 60)
        assert metric(port, "mien_faces_total") == 4
        until(lambda: len(_workers(children)) == 2, 60)  # one may have answered before the other was there
        killed = _workers(children)[-1]
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(found := _workers(children)) == 2 and killed not in found, 60)
        until(lambda: _ready(port), 60)
        assert metric(port, "mien_faces_total") == 4
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    assert f"Child process [{killed}] died" in log.read_text()


def _workers(children: Path) -> list[int]:
    found = []
    for pid in children.read_text().split():
        with suppress(OSError):  # it may just have ended
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found


@pytest.mark.parametrize(
    "options",
    [
        ["--token-file", "gone"],
        ["--allow-origin", "*"],
        ["-m", "gone.onnx"],
        ["-d", "eye"],
        ["-m", "a.onnx", "--workers", "2"],
    ],
)
def test_a_users_mistake_is_one_line(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mien", "serve", "--port", "0", *options])
    handlers = list(logging.getLogger("mien.serving").handlers)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert logging.getLogger("mien.serving").handlers == handlers  # the next server of this process logs as before
    printed = capsys.readouterr()
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)
    assert printed.err.startswith("mien: ")


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setattr(sys, "argv", ["mien", "serve"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "pip install 'mien[web]'" in capsys.readouterr().err


def test_schemathesis_finds_nothing(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="needs schemathesis")
    with program(tiny, tmp_path / "log", "--quiet") as (_, port):
        checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
        phases = "examples,coverage,fuzzing" if "MIEN_FUZZ" in os.environ else "examples,fuzzing"
        command = [
            *("schemathesis", "run", f"http://127.0.0.1:{port}/v1/openapi.json", "--checks", checks),
            *("--phases", phases, "--max-examples", str(max(5, FUZZ_COUNT // 10))),
            *("--seed", "1", "--generation-database", "none", "--no-color", "--suppress-health-check", "all"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    print(done.stdout[-3000:])  # how many cases there were, for those who ask for more
    assert done.returncode == 0
