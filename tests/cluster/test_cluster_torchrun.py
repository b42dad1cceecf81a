"""Training over two machines: two launchers of torchrun that meet at an address, each with a folder of its own."""

import json
import socket
import subprocess
import sys

import pytest
import torch

from mien.data.toy import write_toy_folders
from mien.training.recipe import load_recipe
from mien.training.run import train_run

TINY = ["network.stem=4", "network.widths=[8, 16]", "optimizer.batch_size=32", "input.view=40", "optimizer.epochs=3"]
CHANGES = [*TINY, "optimizer.learning_rate=0.01"]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.long
def test_two_machines_learn_like_one(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.training.run._export_heads", lambda *_: ())
    data = tmp_path / "toy"
    write_toy_folders(data, train=140, validation=70, test=7, seed=1)
    alone = train_run(load_recipe("toy", CHANGES), data, tmp_path / "alone", device=torch.device("cpu")).history
    meeting = f"127.0.0.1:{free_port()}"
    machines = []
    for number in range(2):
        out = tmp_path / f"machine-{number}" / "run"
        out.parent.mkdir()
        call = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        call += ["--rdzv-backend", "c10d", "--rdzv-id", "test", "--rdzv-endpoint", meeting]
        call += ["--local-addr", "127.0.0.1"]
        call += ["-m", "mien", "train", "toy", "--data", str(data), "--out", str(out), "--device", "cpu"]
        call += [part for change in CHANGES for part in ("--set", change)]
        machines.append(subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    told = [machine.communicate(timeout=300) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], told
    # Which of the two is first, the meeting decides; the first one alone writes.
    runs = [tmp_path / f"machine-{number}" / "run" for number in range(2)]
    (first,) = (run for run in runs if (run / "history.csv").exists())
    lines = (first / "history.csv").read_text().splitlines()
    assert len(lines) == 1 + len(alone)
    accuracy = dict(zip(lines[0].split(","), map(float, lines[-1].split(",")), strict=True))["label_accuracy"]
    assert accuracy == pytest.approx(alone[-1]["label_accuracy"], abs=0.2)
    assert json.loads((first / "environment.json").read_text())["workers"] == 2
    assert sum(".onnx" in out for out, _ in told) == 1
