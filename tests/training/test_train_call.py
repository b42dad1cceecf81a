"""`mien.train` from Python: opened data, callbacks, own parts, and the network that comes back."""

import json
import runpy
import subprocess
import sys

import numpy as np
import pytest

import mien
from mien.data.toy import write_toy_folders
from mien.evaluation.validation import read_answers
from mien.training.gradcam import RunMaps
from places import ASTRONAUT, SHARED

torch = pytest.importorskip("torch", reason="needs the extra [train]")

EPOCHS = {"optimizer": {"epochs": 2}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    write_toy_folders(folder, train=140, validation=42, test=0, seed=3)
    return mien.load_dataset(folder)


class Heard(mien.Callback):
    def __init__(self):
        self.begun, self.steps, self.rows = None, [], []

    def on_start(self, history):
        self.begun = list(history)

    def on_step(self, epoch, done, total, images_per_s):
        self.steps.append((epoch, done, total))

    def on_epoch(self, row):
        self.rows.append(row)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    seen, heard = [], Heard()

    def darker(batch):
        seen.append((tuple(batch.shape[1:]), batch.dtype, 255.0 if 1 < float(batch.max()) <= 255 else 0.0))
        return batch * 0.5

    out = tmp_path_factory.mktemp("runs") / "a"
    run = mien.train("toy", data, out=out, augment=darker, callbacks=[heard], device="cpu", **EPOCHS)
    return run, heard, seen


def test_an_opened_data_set_is_trained_on(trained):
    run, _, _ = trained
    assert len(run.history) == 2 and run.model.is_file()
    assert repr(run) == f"Run({str(run.folder)!r}, recipe='toy', epochs=2, toy.onnx)"


def test_callbacks_hear_every_step_and_epoch(trained):
    run, heard, _ = trained
    assert heard.begun == [] and heard.rows == run.history
    assert {epoch for epoch, _, _ in heard.steps} == {0, 1}
    assert all(0 < done <= total for _, done, total in heard.steps)


def test_an_own_augmentation_gets_whole_faces_in_place_of_the_recipes(trained):
    run, heard, seen = trained
    assert len(seen) >= len(heard.steps)
    side = run.recipe.input.size
    assert set(seen) == {((1, side, side), torch.uint8, 255.0)}
    names = json.loads((run.folder / "environment.json").read_text())["own"]
    assert names == {"augment": "darker"}


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"augment": lambda batch: batch[..., 1:]}, "augment: returned shape .* expected a tensor of shape"),
        ({"augment": lambda batch: batch.missing}, "augment: AttributeError: .* it is given uint8 of shape"),
        ({"augment": lambda batch: batch / 255}, "augment: returned values up to 1; expected the range 0-255"),
        ({"loss": lambda logits, target: logits}, "loss: returned shape .* expected a mean"),
        ({"sampler": lambda labels: labels[:3]}, "sampler: gave 3 faces for an epoch; expected 1"),
        ({"network": lambda: 3}, r"network: expected a torch\.nn\.Module"),
        ({"network": torch.nn.Conv2d(3, 8, 3)}, r"network: Conv2d fails on faces of shape \(1, 44, 44\) .*channels"),
        ({"network": torch.nn.Flatten(0)}, r"network: Flatten gives \(3872,\) for 2 faces; expected features"),
    ],
)
def test_own_parts_that_do_not_fit_are_one_line(parts, says, data, tmp_path):
    with pytest.raises(mien.MienError, match=says):
        mien.train("toy", data, out=tmp_path / "b", **parts, **EPOCHS)


def test_an_own_network_that_can_not_be_exported_is_one_line_and_keeps_its_weights(data, tmp_path):
    class Branching(torch.nn.Module):
        def forward(self, faces):
            return faces.flatten(1) if float(faces.sum()) > 0 else faces.flatten(1) * 2

    with pytest.raises(mien.TrainingError, match=r"toy: PyTorch can't export .*the weights are in best\.safetensors"):
        mien.train("toy", data, tmp_path / "run", network=Branching, optimizer={"epochs": 1})
    assert (tmp_path / "run" / "best.safetensors").is_file()


def test_sections_are_still_settings(data, tmp_path):
    run = mien.train("toy", data, tmp_path / "c", augment={"level": "none"}, network={"dropout": 0.3}, stop_after=1)
    assert (run.recipe.augment.flip, run.recipe.network.dropout, run.own.names()) == (False, 0.3, {})


def test_callbacks_end_the_training_and_a_resumed_run_stays_ended(data, tmp_path, request):
    rows = []

    def enough(row):
        rows.append(row)
        return row["epoch"] == 2

    run = mien.train("toy", data, tmp_path / "d", callbacks=[enough])
    assert len(run.history) == len(rows) == 2 and run.model.is_file()
    request.getfixturevalue("unexported")
    again = mien.train("toy", data, tmp_path / "d", callbacks=[enough], resume=True)
    assert again.history == run.history and len(rows) == 2


def test_training_figures_are_measured_on_unaugmented_faces(trained):
    run, _, _ = trained
    last = run.history[-1]
    assert {"train_label_loss", "train_label_accuracy"} <= set(last)
    head = read_answers(run.folder / "validation.npz")[0]
    best = max(run.history, key=lambda row: row["label_accuracy"])
    assert head.train_n == 42
    assert best["train_label_accuracy"] == pytest.approx(head.train_right / 42)


def test_samplers_of_torch_order_the_faces(data, tmp_path, unexported):
    drawn = []

    def rare_first(labels):
        weights = 1 / torch.bincount(labels)[labels].double()
        drawn.append(labels)
        return torch.utils.data.WeightedRandomSampler(weights, len(labels))

    run = mien.train("toy", data, tmp_path / "e", sampler=rare_first, **EPOCHS)
    assert len(drawn) == 2 and len(drawn[0]) == 140 and len(run.history) == 2
    with pytest.raises(mien.TrainingError, match="holds a run with other own parts"):
        mien.train("toy", data, tmp_path / "e", resume=True, **EPOCHS)


OWN = """\
import sys
import torch
from torch import nn
import mien

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())

    def forward(self, x):
        return self.b(self.a(x))

def flip(faces):
    return torch.where(torch.rand(len(faces), 1, 1, 1) < 0.5, faces.flip(3), faces)

loss = nn.CrossEntropyLoss(label_smoothing=0.1)
run = mien.train("toy", sys.argv[1], sys.argv[2], resume=True, network=Net, augment=flip, loss=loss, device="cpu",
                 threads=1, optimizer={"epochs": 4}, callbacks=[lambda row: print(row, flush=True)])
print(mien.Recognizer(run.model, detector="none").predict(sys.argv[3]), run.to_torch().trunk.net.a)
"""


def test_own_network_augmentation_and_loss_survive_a_kill(tmp_path, monkeypatch, capsys):
    """Under 25 lines; the model file is in use; a run killed after its second epoch ends with an undisturbed one's."""
    assert OWN.count("\n") < 25
    write_toy_folders(tmp_path / "faces", train=140, validation=42, test=0, seed=3)
    (tmp_path / "own.py").write_text(OWN)

    def words(out):
        return [str(place) for place in (tmp_path / "own.py", tmp_path / "faces", tmp_path / out, ASTRONAUT)]

    with subprocess.Popen([sys.executable, *words("killed")], stdout=subprocess.PIPE, text=True) as killed:
        for _ in range(2):
            killed.stdout.readline()
        killed.kill()
    assert not (tmp_path / "killed" / "toy.onnx").exists()
    for out in ("killed", "whole"):
        monkeypatch.setattr(sys, "argv", words(out))
        runpy.run_path(str(tmp_path / "own.py"))
        output = capsys.readouterr().out
        assert "1 face" in output and "Conv2d(1, 8" in output
    for name in ("toy.onnx", "best.safetensors", "last.safetensors", "checkpoint.safetensors", "history.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    with pytest.raises(mien.RecipeError, match=r"'own:Net': give that module to  mien\.train\(network=\.\.\.\)"):
        RunMaps(tmp_path / "whole")


def test_the_network_of_a_run_gives_the_answers_of_its_model_file(trained, data):
    run, _, _ = trained
    model = mien.ModelFile(run.model)
    faces = data["validation"].faces(size=model.info.size, channels=1)
    side = run.recipe.input.seen
    start = (model.info.size - side) // 2
    batch = torch.from_numpy(faces.copy()).permute(0, 3, 1, 2).float()[..., start : start + side, start : start + side]
    with torch.no_grad():
        logits = run.to_torch()(batch)["label"]
    own = torch.softmax(logits / model.info.temperature, 1).numpy()
    np.testing.assert_allclose(own, model.probabilities(faces), atol=2e-3)


def test_a_run_that_is_paused_says_so(data, tmp_path):
    run = mien.train("toy", data, out=tmp_path / "c", stop_after=1, **EPOCHS)
    assert "paused" in repr(run)
    with pytest.raises(mien.TrainingError, match="paused and has no model file yet"):
        _ = run.model
    assert sum(p.numel() for p in run.to_torch().parameters()) > 0


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs FER2013 in the folder shared")
def test_early_stopping_ends_a_run_on_real_faces(tmp_path):
    faces = mien.load_dataset(SHARED / "data/fer2013-public.parquet")
    some = faces.take(np.arange(400))
    some = some.with_columns(split=np.array(["train"] * 300 + ["validation"] * 100, object))
    optimizer = {"epochs": 60, "learning_rate": 0.004, "stop_after": 3, "ema": 0.9}
    run = mien.train("scratch-cnn2", some, tmp_path / "run", optimizer=optimizer, augment={"level": "none"})
    accuracy = [row["label_accuracy"] for row in run.history]
    assert len(accuracy) < 60
    assert len(accuracy) - 1 - accuracy.index(max(accuracy)) == 3
    last = run.history[-1]
    assert last["train_label_accuracy"] > last["label_accuracy"]  # it stopped as it began to learn by heart
