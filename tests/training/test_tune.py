"""Tuning: killed and gone on with, given up early, settings that fail, several processes, and what is refused."""

import csv
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mien.data.toy import write_toy_folders
from mien.errors import DivergedError, RecipeError, TrainingError
from mien.evaluation.validation import VALIDATION_FILE, HeadAnswers, write_answers
from mien.pages.text import percent
from mien.training.loop import CHECKPOINT
from mien.training.recipe import load_recipe
from mien.training.tune import TuneSettings, TuneWatcher, run_trials

optuna = pytest.importorskip("optuna", reason="tuning needs the extra [tune]")

RECIPE = """
seed = 1
[input]
view = 40
[network]
stem = 4
widths = [8, 8]
[targets]
label_smoothing = 0.0
[optimizer]
kind = "adamw"
learning_rate = 0.005
batch_size = 32
epochs = 3
warmup_epochs = 0.0
ema = 0.9
[augment]
level = "none"
[search]
"optimizer.learning_rate" = { low = 1e-3, high = 3e-2, log = true }
"network.widths" = [[8, 8], [8, 16]]
"network.dropout" = { low = 0.0, high = 0.4, step = 0.1 }
"""

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
import mien.training.run
from mien.training.callbacks import Watcher
from mien.training.tune import TuneSettings, TuneWatcher, run_trials
mien.training.run._export_heads = lambda *_: ()
begun = []
def on_epoch(row):
    if len(begun) == 2 and row["epoch"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
watcher = TuneWatcher(on_begin=lambda number, _: begun.append(number), training=Watcher(on_epoch=on_epoch))
torch.set_num_threads(1)
run_trials(TuneSettings(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), trials=3), watcher=watcher)
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture
def scripted(monkeypatch):
    """Trials that do not train: each epoch's accuracy comes from a function of (learning rate, epoch)."""

    def install(accuracy):
        def fake(settings, _data, folder, *, watcher, **_):
            (folder / "recipe.toml").touch()
            history = []
            for epoch in range(1, settings.optimizer.epochs + 1):
                value = accuracy(settings.optimizer.learning_rate, epoch)
                history.append({"epoch": float(epoch), "label_accuracy": value})
                watcher.on_epoch(history[-1])
            right = np.arange(200) < 200 * max(row["label_accuracy"] for row in history)
            answers = np.stack([right, ~right], axis=1).astype(np.float32)
            own = HeadAnswers("label", ("happy", "sad"), np.zeros(200, np.int64), answers, tuple(map(str, range(200))))
            write_answers(folder / VALIDATION_FILE, [own])
            return SimpleNamespace(history=history)

        monkeypatch.setattr("mien.training.tune.train_run", fake)

    return install


@pytest.mark.slow
def test_tuning_that_is_killed_goes_on_with_the_same_trial_and_loses_none(recipe, tmp_path, monkeypatch, undrawn):
    write_toy_folders(tmp_path / "toy", train=70, validation=35, test=7, seed=1)
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, recipe, tmp_path / "toy", out], check=False)
    assert killed.returncode == -signal.SIGKILL
    history = (out / "trial-0001" / "history.csv").read_text().splitlines()
    assert len(history) == 3
    monkeypatch.setattr("mien.training.run._export_heads", lambda *_: ())
    begun = []
    watcher = TuneWatcher(on_begin=lambda number, taken: begun.append((number, taken)))
    found = run_trials(
        TuneSettings(recipe, tmp_path / "toy", out, trials=3), device=torch.device("cpu"), watcher=watcher
    )
    assert [number for number, _ in begun] == [1, 2]
    assert [t.number for t in found.trials] == [0, 1, 2]
    assert {t.state for t in found.trials} <= {"complete", "pruned"}
    assert (out / "trial-0001" / "history.csv").read_text().splitlines()[:3] == history  # from its checkpoint
    assert not (out / "trial-0001" / CHECKPOINT).exists()
    best = load_recipe(str(out / "best.toml"))
    assert best.name == "small-tuned"
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    assert len(rows) == 3
    again = run_trials(TuneSettings(recipe, tmp_path / "toy", out, trials=3))
    assert (again.number, again.score) == (found.number, found.score)


def test_the_best_settings_become_a_recipe_and_the_page_says_what_matters(recipe, scripted, tmp_path, request):
    scripted(lambda rate, epoch: 0.9 - abs(rate - 0.01) * 10 - 0.1 / epoch)
    found = run_trials(TuneSettings(recipe, tmp_path, tmp_path / "out", trials=16))
    assert len(found.trials) == 16
    best = load_recipe(str(tmp_path / "out" / "best.toml"))
    assert abs(best.optimizer.learning_rate - 0.01) < 0.005
    assert found.importances[0][0] == "optimizer.learning_rate"
    assert sum(value for _, value in found.importances) == pytest.approx(1)
    assert "pruned" in {t.state for t in found.trials}
    page = (tmp_path / "out" / "tune.html").read_text()
    assert "What matters" in page
    low, high = found.score_95
    assert low < found.score < high
    number, score, test = found.second
    assert score == max(t.score for t in found.trials if t.state == "complete" and t.number != found.number)
    assert f"Trial {number} comes next with {percent(score)}, a difference that may be chance" in page
    assert test.may_be_chance
    assert {p.name for p in (tmp_path / "out" / "figures").glob("*.png")} == {
        "history.png", "importance.png", "keys.png", "parallel.png",
    }  # fmt: skip
    request.getfixturevalue("undrawn")
    more = run_trials(TuneSettings(recipe, tmp_path, tmp_path / "out", trials=18))
    assert [t.changes for t in more.trials[:16]] == [t.changes for t in found.trials]
    assert len({t.changes for t in more.trials}) > 14  # going on draws anew, not the same again


def test_settings_that_diverge_are_failed_trials_and_other_errors_end_the_command(recipe, scripted, tmp_path, undrawn):
    def accuracy(rate, _epoch):
        if rate > 0.01:
            raise DivergedError("the loss is no number")
        return rate

    scripted(accuracy)
    found = run_trials(TuneSettings(recipe, tmp_path, tmp_path / "out", trials=8))
    states = [t.state for t in found.trials]
    assert "failed" in states
    assert len(states) == 8
    assert found.best.optimizer.learning_rate <= 0.01

    def broken(*_):
        raise TrainingError("the device is gone")

    scripted(broken)
    with pytest.raises(TrainingError, match="device is gone"):
        run_trials(TuneSettings(recipe, tmp_path, tmp_path / "out", trials=9))
    scripted(accuracy)
    assert [t.number for t in run_trials(TuneSettings(recipe, tmp_path, tmp_path / "out", trials=9)).trials] == list(
        range(9)
    )

    def never(*_):
        raise DivergedError("the loss is no number")

    scripted(never)
    with pytest.raises(TrainingError, match="none of 2 trials came to its end; trial 0: the loss is no number"):
        run_trials(TuneSettings(recipe, tmp_path, tmp_path / "never", trials=2))


def test_a_trial_that_trains_in_another_process_is_left_to_it(recipe, scripted, tmp_path, undrawn):
    scripted(lambda rate, _epoch: rate)
    out = tmp_path / "out"
    run_trials(TuneSettings(recipe, tmp_path, out, trials=2))
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{out / 'study.db'}")
    study.ask()
    holding = subprocess.Popen(
        [sys.executable, "-c", "import fcntl,os,sys\nos.makedirs(sys.argv[1])\nf=open(sys.argv[1]+'/.lock','w')\n"
         "fcntl.flock(f,2)\nprint('held',flush=True)\nsys.stdin.read()", str(out / "trial-0002")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with holding:
        holding.stdout.readline()
        found = run_trials(TuneSettings(recipe, tmp_path, out, trials=3))
        assert [t.state for t in found.trials] == ["complete", "complete", "running"]
        os.kill(holding.pid, signal.SIGKILL)
    assert [t.state for t in run_trials(TuneSettings(recipe, tmp_path, out, trials=3)).trials] == ["complete"] * 3


def test_refusals(recipe, scripted, tmp_path):
    scripted(lambda rate, _epoch: rate)
    run_trials(TuneSettings(recipe, tmp_path, tmp_path / "out", trials=1))
    with pytest.raises(TrainingError, match="holds trials of another recipe or search called 'small'"):
        run_trials(TuneSettings(recipe, tmp_path, tmp_path / "out", trials=2, overrides=("seed=2",)))
    (tmp_path / "none.toml").write_text("seed = 1\n")
    with pytest.raises(RecipeError, match=r"no \[search\] table"):
        run_trials(TuneSettings(str(tmp_path / "none.toml"), tmp_path, tmp_path / "none", trials=1))
    with pytest.raises(TrainingError, match="can't be used as a database of trials"):
        run_trials(
            TuneSettings(
                recipe, tmp_path, tmp_path / "out", trials=1, storage=f"sqlite:///{tmp_path}/no/such/folder.db"
            )
        )
    with pytest.raises(TrainingError, match=r"^postgresql\+psycopg://127\.0\.0\.1/x: ") as refused:
        run_trials(
            TuneSettings(
                recipe, tmp_path, tmp_path / "out", trials=1, storage="postgresql+psycopg://me:secret@127.0.0.1:1/x"
            )
        )
    assert "secret" not in str(refused.value)
