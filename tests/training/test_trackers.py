"""Trackers: what they wrote is read back with their own readers; going on, failing, and missing packages."""

import importlib.util
import json
import sys
from dataclasses import replace

import pytest
import torch

from mien.cli import main
from mien.data.toy import write_toy_folders
from mien.errors import MissingExtraError, TrainingError
from mien.reporting import warnings_to
from mien.training import trackers
from mien.training.callbacks import Watcher
from mien.training.checkpoint import epochs_done
from mien.training.loop import CHECKPOINT
from mien.training.recipe import load_recipe
from mien.training.run import train_run
from mien.training.trackers import TrackedRun, check_trackers, tracked

CPU = torch.device("cpu")
TINY = ["network.stem=4", "network.widths=[8]", "optimizer.batch_size=32", "optimizer.warmup_epochs=0", "input.view=40"]
RECIPE = load_recipe("toy", [*TINY, "optimizer.epochs=3"])
ROWS = [
    {"epoch": float(n), "learning_rate": 0.1, "train_loss": 1 / n, "label_loss": 0.5, "label_accuracy": 0.3 * n}
    for n in (1, 2, 3)
]


class Stopped(Exception):
    """Ends a run as a crash does."""


def stop_after(epoch):
    def on_epoch(row):
        if row["epoch"] == epoch:
            raise Stopped

    return Watcher(on_epoch=on_epoch)


@pytest.fixture(scope="module")
def toy_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    write_toy_folders(folder, train=70, validation=35, test=0, seed=1)
    return folder


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.chdir(tmp_path)  # to see that nothing lands there


def steps_in_tensorboard(folder, tag="label_accuracy"):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / trackers.TENSORBOARD)).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def run_in_mlflow(folder):
    from mlflow.tracking import MlflowClient

    about = json.loads((folder / trackers.MLFLOW_RUN).read_text())
    client = MlflowClient(tracking_uri=about["tracking_uri"])
    return client, client.get_run(about["run_id"])


def tell(names, out, rows, history=(), recipe=RECIPE):
    """A run that has `history` behind it when it begins, and then has `rows`; returns the warnings."""
    warned = []
    run = TrackedRun(recipe, out, {"packages": {"torch": "2.9"}, "threads": 2})
    out.mkdir(exist_ok=True)
    with warnings_to(warned.append), tracked(names, run, Watcher()) as watcher:
        watcher.on_start(tuple(history), ())
        for row in rows:
            watcher.on_epoch(row)
    return warned


def test_tensorboard_has_every_epoch_once_after_a_crash_and_a_resume(toy_folder, tmp_path, unexported):
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"
    with pytest.raises(Stopped):  # after the checkpoint, before the tracker is told
        train_run(RECIPE, toy_folder, out, trackers=["tensorboard"], device=CPU, watcher=stop_after(2))
    assert epochs_done(out / CHECKPOINT) == 2
    run = train_run(RECIPE, toy_folder, out, trackers=["tensorboard"], device=CPU, resume=True)
    train_run(RECIPE, toy_folder, out, trackers=["tensorboard"], device=CPU, resume=True)  # nothing left to do
    for tag in ("train_loss", "label_accuracy", "learning_rate"):
        found = steps_in_tensorboard(out, tag)
        assert [step for step, _ in found] == [1, 2, 3]
        assert [value for _, value in found] == pytest.approx([row[tag] for row in run.history], rel=1e-6)


def test_tensorboard_has_the_recipe_and_the_environment(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    assert tell(["tensorboard"], tmp_path / "run", ROWS) == []
    events = EventAccumulator(str(tmp_path / "run" / trackers.TENSORBOARD)).Reload()
    assert b"widths = [" in events.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0]
    assert b'"threads": 2' in events.Tensors("environment/text_summary")[0].tensor_proto.string_val[0]
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    found = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert found["optimizer.epochs"].string_value == "3"


def test_tensorboard_forgets_a_run_that_was_started_anew(tmp_path):
    out = tmp_path / "run"
    tell(["tensorboard"], out, ROWS)
    tell(["tensorboard"], out, ROWS[:1])
    assert [step for step, _ in steps_in_tensorboard(out)] == [1]


def test_tensorboard_outlives_a_file_that_a_kill_cut_off(tmp_path):
    out = tmp_path / "run"
    tell(["tensorboard"], out, ROWS[:2])
    (file,) = (out / trackers.TENSORBOARD).iterdir()
    file.write_bytes(file.read_bytes()[:-9])  # in the middle of the last record, epoch 2's
    assert tell(["tensorboard"], out, ROWS[2:], history=ROWS[:2]) == []
    assert [step for step, _ in steps_in_tensorboard(out, "train_loss")] == [1, 2, 3]


@pytest.mark.long
def test_mlflow_goes_on_with_the_same_run(toy_folder, tmp_path):
    pytest.importorskip("mlflow")
    out = tmp_path / "run"
    with pytest.raises(Stopped):
        train_run(RECIPE, toy_folder, out, trackers=["mlflow"], device=CPU, watcher=stop_after(2))
    client, before = run_in_mlflow(out)
    assert before.info.status == "FAILED"
    run = train_run(RECIPE, toy_folder, out, trackers=["mlflow"], device=CPU, resume=True)
    _, after = run_in_mlflow(out)
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    found = client.get_metric_history(after.info.run_id, "label_accuracy")
    assert [(metric.step, metric.value) for metric in found] == [
        (round(row["epoch"]), row["label_accuracy"]) for row in run.history
    ]
    assert after.data.params["optimizer.epochs"] == "3"
    assert after.data.params["network.widths"] == "(8,)"
    assert after.data.tags["packages.torch"] == torch.__version__
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_mlflow_obeys_its_environment_and_keeps_runs_apart(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'all.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "faces")
    assert tell(["mlflow"], tmp_path / "a", ROWS) == []
    assert tell(["mlflow"], tmp_path / "b", ROWS[:1]) == []
    client, first = run_in_mlflow(tmp_path / "a")
    experiment = client.get_experiment_by_name("faces")
    assert {run.info.run_name for run in client.search_runs([experiment.experiment_id])} == {"a", "b"}
    tell(["mlflow"], tmp_path / "a", ROWS[:1])  # another training in the same folder is another run
    assert run_in_mlflow(tmp_path / "a")[1].info.run_id != first.info.run_id
    client.delete_run(run_in_mlflow(tmp_path / "b")[1].info.run_id)
    assert not (tmp_path / "a" / trackers.MLFLOW_DATABASE).exists()


@pytest.mark.long
def test_a_server_that_is_gone_costs_one_warning(toy_folder, tmp_path, monkeypatch, said):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    run = train_run(RECIPE, toy_folder, tmp_path / "run", trackers=["mlflow", "tensorboard"], device=CPU)
    assert len(run.history) == 3
    assert len(said) == 1
    assert said[0].startswith("mlflow: ")
    assert "training goes on" in said[0]
    assert len(steps_in_tensorboard(tmp_path / "run")) == 3
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    train_run(RECIPE, toy_folder, tmp_path / "run", trackers=["mlflow"], device=CPU, resume=True)
    client, filled = run_in_mlflow(tmp_path / "run")
    assert len(client.get_metric_history(filled.info.run_id, "train_loss")) == 3


def test_a_figure_that_is_none_is_left_out(tmp_path):
    pytest.importorskip("tensorboard")
    rows = [ROWS[0] | {"votes_accuracy": float("nan")}, ROWS[1] | {"votes_accuracy": 0.5}]
    assert tell(["tensorboard"], tmp_path / "run", rows) == []
    assert steps_in_tensorboard(tmp_path / "run", "votes_accuracy") == [(2, 0.5)]


def test_parameters_name_every_key_of_the_recipe(tmp_path):
    found = TrackedRun(replace(RECIPE, description="d"), tmp_path, {}).parameters()
    assert found["targets.label"] == "1.0"
    assert found["crop.margin"]
    assert "description" not in found


def test_a_tracker_that_is_not_there_is_told_before_anything_is_read(tmp_path, monkeypatch, capsys):
    real = importlib.util.find_spec
    monkeypatch.setattr("mien.errors.find_spec", lambda name: None if name == "tensorboard" else real(name))
    with pytest.raises(MissingExtraError, match=r"pip install 'mien\[tracking\]'"):
        train_run(RECIPE, tmp_path / "no data", tmp_path / "run", trackers=["tensorboard"], device=CPU)
    with pytest.raises(TrainingError, match="no such tracker; expected tensorboard, mlflow or wandb"):
        check_trackers(["aim"])
    command = ["mien", "train", "toy", "--data", "none", "--out", str(tmp_path / "run"), "--log", "tensorboard"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "mien[tracking]" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# W&B


def test_wandb_offline_keeps_every_epoch_and_a_resumed_run_is_the_same(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    logged, begun = [], []
    begin = wandb.init

    def init(**options):
        run = begin(**options)
        begun.append((options["mode"], options["id"], run.id))
        log = run.log
        monkeypatch.setattr(run, "log", lambda figures, step: (logged.append((step, figures)), log(figures, step=step)))
        return run

    monkeypatch.setattr(wandb, "init", init)
    rows = [{"epoch": float(e), "train_loss": 1.0 / e, "label_accuracy": 0.5} for e in (1, 2, 3)]
    run, warned = TrackedRun(load_recipe("toy"), tmp_path, {"device": "cpu"}), []
    for done, new in (([], rows[:2]), (rows[:2], rows[2:])):
        with warnings_to(warned.append), tracked(["wandb"], run, Watcher()) as watcher:
            watcher.on_start(done, [])
            for row in new:
                watcher.on_epoch(row)
    assert not warned
    assert [step for step, _ in logged] == [1, 2, 3]
    assert logged[0][1] == {"train_loss": 1.0, "label_accuracy": 0.5}
    (first, second) = begun
    assert first[:2] == ("offline", None) and second[1:] == (first[2],) * 2
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
