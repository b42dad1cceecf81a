"""Users' mistakes on the command line: one line that says what to do, exit code 2, nothing half-written."""

import numpy as np
import pytest
from PIL import Image

from tiny_models import make_model


def refused(result, *words):
    code, _, err = result
    assert code == 2, err
    assert len(err.strip().splitlines()) == 1, err
    assert err.startswith("mien: ")
    for word in words:
        assert word in err


@pytest.fixture
def faces(tmp_path):
    for split in ("train", "validation"):
        for label in ("happy", "sad"):
            folder = tmp_path / "faces" / split / label
            folder.mkdir(parents=True)
            Image.fromarray(np.full((48, 48), 90, np.uint8)).save(folder / "a.png")
    return tmp_path / "faces"


def test_version_and_help(run):
    assert run("--version")[0] == 0
    code, out, _ = run("--help")
    assert code == 0
    assert all(command in out for command in ("predict", "train", "evaluate", "models", "demo"))


def test_train(run, faces, tmp_path):
    out = tmp_path / "run"
    refused(run("train", "mien-tiny", "--data", faces, "--out", out), "no recipe 'mien-tiny'", "mien-small")
    wrong = ("train", "toy", "--data", faces, "--out", out, "--set", "optimizer.batch_size=2", "--set")
    refused(run(*wrong, "optimizer.epoch=1"), "unknown key 'optimizer.epoch'", "did you mean")
    refused(run(*wrong, "optimizer.learning_rate=-1"), "optimizer.learning_rate is -1")
    refused(run(*wrong, "targets.votes=1"), "no ferplus_votes")
    refused(run("train", "toy", "--data", tmp_path / "none", "--out", out), "no such data set")
    refused(run("train", "toy", "--data", faces, "--out", out, "--device", "tpu9"), "device 'tpu9'")
    for file in (faces / "validation").rglob("*.png"):
        file.unlink()
    refused(run("train", "toy", "--data", faces, "--out", out), "no split 'validation'")
    assert not out.exists()


def test_dry_run_writes_nothing(run, faces, tmp_path):
    code, out, _ = run("train", "toy", "--data", faces, "--out", tmp_path / "run", "--dry-run", "--set", "seed=9")
    assert code == 0
    assert "seed = 9" in out
    assert not (tmp_path / "run").exists()


def test_evaluate(run, faces, tmp_path):
    other = make_model(tmp_path / "other.onnx", ("cat", "dog"))
    fits = make_model(tmp_path / "fits.onnx", ("happy", "sad"))
    refused(run("evaluate", other, "--data", faces, "--out", tmp_path / "e"), "share nothing")
    refused(run("evaluate", fits, "--data", faces, "--out", tmp_path / "e", "--split", "test"), "no split 'test'")
    refused(run("evaluate", tmp_path / "no.onnx", "--data", faces, "--out", tmp_path / "e"), "no such model file")
    refused(run("evaluate", fits, "--data", faces, "--out", tmp_path / "e", "--truth", "votes"), "no ferplus_votes")
    (tmp_path / "file").touch()
    refused(run("evaluate", fits, "--data", faces, "--out", tmp_path / "file" / "e"), "can't be written")
    assert not (tmp_path / "e").exists()


def test_demo_keeps_what_is_there(run, tmp_path):
    (tmp_path / "mine").touch()
    refused(run("demo", "--out", tmp_path), "exists already")


def test_without_the_extra(run, faces, tmp_path, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "torch" else real(name, *a))
    refused(run("train", "toy", "--data", faces, "--out", tmp_path / "r"), "pip install 'mien[train]'")
