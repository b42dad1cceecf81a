"""Runs that are cut short: a loss that is no number, a full disk, Ctrl-C, a worker that dies. All can go on."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from mien.data.toy import write_toy_folders
from mien.errors import OutputError, TrainingError
from mien.training.callbacks import Watcher
from mien.training.checkpoint import epochs_done
from mien.training.loop import BEST, CHECKPOINT, LAST
from mien.training.recipe import load_recipe
from mien.training.run import train_run

CPU = torch.device("cpu")
TINY = ["network.stem=4", "network.widths=[8, 8]", "optimizer.batch_size=32", "input.view=40"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    write_toy_folders(folder, train=140, validation=70, test=7, seed=1)
    return folder


@pytest.fixture(autouse=True)
def _no_export(monkeypatch):
    monkeypatch.setattr("mien.training.run._export_heads", lambda *_: ())


def test_a_loss_that_is_no_number_leaves_the_last_good_epoch(toy, tmp_path, monkeypatch):
    recipe = load_recipe("toy", [*TINY, "optimizer.epochs=4"])
    rate = "mien.training.loop.learning_rate"
    monkeypatch.setattr(rate, lambda settings, step, *_: 1e-3 if step < 8 else float("inf"))  # 4 steps an epoch
    with pytest.raises(TrainingError) as caught:
        train_run(recipe, toy, tmp_path / "r", device=CPU)
    message = str(caught.value)
    assert "of epoch 3; lower optimizer.learning_rate" in message
    assert f"{CHECKPOINT} is that of epoch 2" in message
    assert f"network.weights={tmp_path / 'r' / BEST}" in message
    assert "\n" not in message
    assert epochs_done(tmp_path / "r" / CHECKPOINT) == 2


def test_what_is_wrong_only_after_the_last_step_is_not_kept(toy, tmp_path, monkeypatch):
    recipe = load_recipe("toy", [*TINY, "optimizer.epochs=2"])
    monkeypatch.setattr("mien.training.loop.learning_rate", lambda settings, step, *_: 1e-3 if step < 7 else 1e38)
    with pytest.raises(TrainingError, match="on validation after epoch 2"):
        train_run(recipe, toy, tmp_path / "r", device=CPU)
    assert epochs_done(tmp_path / "r" / CHECKPOINT) == 1


@contextmanager
def small_disk(place):
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if not sys.platform.startswith("linux") or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("may not mount a small disk here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_the_checkpoint_whole(toy, tmp_path):
    recipe = load_recipe("toy", [*TINY, "optimizer.epochs=3"])
    train_run(recipe, toy, tmp_path / "whole", device=CPU)
    with small_disk(tmp_path / "disk") as disk:
        filler = disk / "filler"

        def fill(row):
            if row["epoch"] == 1:
                with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))

        with pytest.raises(OutputError, match=r"safetensors: can't be written .*No space.* continue with --resume"):
            train_run(recipe, toy, disk / "r", device=CPU, watcher=Watcher(on_epoch=fill))
        assert epochs_done(disk / "r" / CHECKPOINT) == 1
        assert not list((disk / "r").glob(".*"))
        filler.unlink()
        train_run(recipe, toy, disk / "r", device=CPU, resume=True)
        for name in (CHECKPOINT, LAST, "history.csv", "confusions.json"):
            assert (disk / "r" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_confusions_are_kept_for_every_epoch(toy, tmp_path):
    recipe = load_recipe("toy", [*TINY, "optimizer.epochs=2"])
    history = train_run(recipe, toy, tmp_path / "r", device=CPU).history
    tables = json.loads((tmp_path / "r" / "confusions.json").read_text())
    assert [(t["epoch"], t["head"], len(t["labels"])) for t in tables] == [(1, "label", 7), (2, "label", 7)]
    for row, table in zip(history, tables, strict=True):
        counts = torch.tensor(table["counts"])
        assert counts.sum() == 70
        assert float(counts.diag().sum() / 70) == pytest.approx(row["label_accuracy"])


def test_a_run_that_stopped_early_is_finished(toy, tmp_path):
    recipe = load_recipe("toy", [*TINY, "optimizer.epochs=9", "optimizer.stop_after=1", "optimizer.learning_rate=1e-9"])
    history = train_run(recipe, toy, tmp_path / "r", device=CPU).history
    assert len(history) < 9
    assert train_run(recipe, toy, tmp_path / "r", device=CPU, resume=True).history == history


def command(toy, out, *given):
    settings = [part for s in (*TINY, *given) for part in ("--set", s)]
    return ["-m", "mien", "train", "toy", "--data", str(toy), "--out", str(out), "--device", "cpu", *settings]


def wait_for_epochs(out, count, process):
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "history.csv").exists() and len((out / "history.csv").read_text().splitlines()) > count:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {count} epochs: {process.communicate()}")


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(toy, tmp_path):
    out = tmp_path / "r"
    call = [sys.executable, *command(toy, out, "optimizer.epochs=400"), "--threads", "1"]
    running = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_epochs(out, 1, running)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=120)
    assert running.returncode == 130
    done = epochs_done(out / CHECKPOINT)
    assert done >= 1
    epochs = "epochs" if done > 1 else "epoch"
    assert told.splitlines()[-1] == (
        f"mien: stopped; {out} holds {done} finished {epochs}; the same command with --resume continues"
    )
    assert "Traceback" not in told


def worker_of(launcher, rank):
    """The process id of a worker that torchrun started."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == launcher and f"RANK={rank}\0".encode() in b"\0" + stat.with_name("environ").read_bytes():
                return int(stat.parent.name)
        except OSError:
            continue
    raise AssertionError(f"no worker {rank} of {launcher}")


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the workers in /proc")
def test_two_workers_learn_like_one_and_go_on_after_one_was_killed(toy, tmp_path):
    given = ["optimizer.epochs=6", "optimizer.learning_rate=0.01", "network.widths=[8, 16]"]
    alone = train_run(load_recipe("toy", [*TINY, *given]), toy, tmp_path / "alone", device=CPU).history
    out = tmp_path / "two"
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    call += command(toy, out, *given)
    running = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_epochs(out, 1, running)
    os.kill(worker_of(running.pid, 1), signal.SIGKILL)
    _, told = running.communicate(timeout=300)
    assert running.returncode != 0
    assert "mien: another worker ended early; continue with the same command and --resume" in told
    assert 1 <= epochs_done(out / CHECKPOINT) < 6
    ended = subprocess.run([*call, "--resume"], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count(".onnx") == 1  # the first worker alone prints
    lines = (out / "history.csv").read_text().splitlines()
    assert len(lines) == 1 + len(alone)
    accuracy = dict(zip(lines[0].split(","), map(float, lines[-1].split(",")), strict=True))["label_accuracy"]
    assert accuracy == pytest.approx(alone[-1]["label_accuracy"], abs=0.2)
    assert json.loads((out / "environment.json").read_text())["workers"] == 2
