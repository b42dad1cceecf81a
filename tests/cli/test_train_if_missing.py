"""Training a model file that is missing: from which faces, going on after a kill, refusals."""

import importlib.util
import json
import shutil
import sys

import cv2
import numpy as np
import pytest
import torch

from mien.cli import main
from mien.cli.training_options import TrainIfMissing
from mien.data.arrays import open_arrays
from mien.data.toy import toy_faces
from mien.errors import DataError, MienError, ModelFileError, OutputError, RecipeError, TrainingError
from mien.model_file import ModelFile, load_model
from mien.training.augment import central
from mien.training.callbacks import Watcher
from mien.training.loop import CHECKPOINT, network_on
from mien.training.model_places import data_to_measure, run_folder
from mien.training.recipe import load_recipe
from mien.training.start_from_model import start_from_model
from mien.training.train_if_missing import default_recipe, train_if_missing

CPU = torch.device("cpu")
TINY = ("network.stem=4", "network.widths=[8]", "optimizer.batch_size=16", "optimizer.warmup_epochs=0", "input.view=40")
QUICK = (*TINY, "optimizer.epochs=2")


def write_class_folders(folder, count=90, *, seed=4, labels=None):
    """Drawn faces in class folders without splits."""
    faces = toy_faces(count, seed=seed)
    for i, (face, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        place = folder / (labels or faces.label_names)[label]
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{i:03d}.png"), face)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return write_class_folders(tmp_path_factory.mktemp("own") / "faces")


@pytest.fixture(scope="module")
def trained(own, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / "mine.onnx"
    assert train_if_missing(model, own, recipe="toy", overrides=QUICK, device=CPU)
    return model


def image_of(folder):
    return next(folder.rglob("*.png"))


def test_the_model_is_trained_on_what_is_not_held_out(own, trained):
    info = ModelFile(trained).info
    assert info.name == "mine"
    faces = open_arrays(run_folder(trained) / "data")
    assert len(faces) == 90
    assert set(faces.splits.tolist()) == {"train", "validation"}
    assert (faces.splits == "validation").sum() == pytest.approx(18, abs=3)
    counts = faces.counts()["validation"]
    assert all(counts[label] >= 1 for label in faces.label_names)
    assert info.scores["validation_n"] == (faces.splits == "validation").sum()


def test_what_exists_is_not_trained_again(own, trained):
    before = trained.read_bytes()

    def begin(_plan):
        raise AssertionError("it exists")

    assert not train_if_missing(trained, own / "not even there", begin=begin)
    assert trained.read_bytes() == before


@pytest.mark.long
def test_a_killed_command_goes_on_with_the_same_faces(own, tmp_path):
    data = tmp_path / "faces"
    shutil.copytree(own, data)

    class Killed(BaseException):
        pass

    def killed_after_the_first_epoch(_row):
        raise Killed

    plans = []

    def begin(plan):
        plans.append(plan)
        return Watcher(on_epoch=killed_after_the_first_epoch) if len(plans) == 1 else Watcher()

    model = tmp_path / "new" / "mine.onnx"
    settings = {"recipe": "toy", "overrides": QUICK, "device": CPU, "begin": begin}
    with pytest.raises(Killed):
        train_if_missing(model, data, **settings)
    assert not model.exists()
    image_of(data).unlink()  # what is in the folder now no longer matters
    assert train_if_missing(model, data, **settings)
    assert [plan.done for plan in plans] == [0, 1]
    assert (plans[0].train, plans[0].validation) == (plans[1].train, plans[1].validation)
    assert "1 of them done" in "\n".join(plans[1].lines())


def test_a_data_set_with_splits_keeps_them(tmp_path):
    for split, count, seed in (("train", 70, 1), ("validation", 21, 2), ("test", 14, 3)):
        write_class_folders(tmp_path / "faces" / split, count, seed=seed)
    model = tmp_path / "m.onnx"

    class Enough(BaseException):
        pass

    def begin(_plan):
        raise Enough

    with pytest.raises(Enough):
        train_if_missing(model, tmp_path / "faces", recipe="toy", overrides=QUICK, device=CPU, begin=begin)
    splits = open_arrays(run_folder(model) / "data").splits
    assert [int((splits == name).sum()) for name in ("train", "validation", "test")] == [70, 21, 14]


def test_default_recipe_goes_by_the_data(trained):
    few = open_arrays(run_folder(trained) / "data")
    recipe = default_recipe(few, ["optimizer.epochs=3"])
    assert (recipe.network.weights, recipe.input.least_contrast) == ("mien-small", 40.0)
    assert (recipe.targets.votes, recipe.optimizer.epochs) == (0.0, 3)
    assert recipe.optimizer.batch_size <= int((few.splits == "train").sum())
    rows = np.resize(np.flatnonzero(few.splits == "train"), 5000)
    many = few.take(rows)
    assert default_recipe(many).network.weights == ""
    rated = many.with_columns(votes=np.ones((5000, 8), np.float32))
    assert default_recipe(rated).targets.votes == 1.0


def views_of(faces, recipe):
    return central(torch.from_numpy(faces.transpose(0, 3, 1, 2).copy()), recipe.input.view).to(torch.float32)


@pytest.mark.parametrize("name", ["mien-small", "mien-nano"])
def test_a_shipped_model_is_a_start(name):
    shipped = load_model(name)
    recipe = load_recipe(name, ["network.dropout=0"])
    network = network_on(recipe, {"votes": 8}, CPU)
    faces = toy_faces(40, seed=3).images
    views = views_of(faces, recipe)
    start_from_model(network, name, views, {"votes": shipped.info.labels})
    expected = shipped.probabilities(faces)
    for training in (False, True):  # in training, batch norm goes by the batch: what it does must hold there too
        with torch.no_grad():
            logits = network.train(training)(views)["votes"]
        found = torch.softmax(logits / shipped.info.temperature, 1).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4 if training else 1e-5)


def test_a_start_of_two_heads_takes_both_files():
    recipe = load_recipe("mien-nano", ["network.dropout=0"])
    both = {head: load_model(name) for head, name in (("votes", "mien-nano"), ("label", "mien-nano-fer2013"))}
    labels = {head: model.info.labels for head, model in both.items()}
    network = network_on(recipe, {head: len(names) for head, names in labels.items()}, CPU)
    faces = toy_faces(40, seed=3).images
    views = views_of(faces, recipe)
    start_from_model(network, "mien-nano", views, labels)
    with torch.no_grad():
        found = network.eval()(views)
    for head, model in both.items():
        shares = torch.softmax(found[head] / model.info.temperature, 1).numpy()
        np.testing.assert_allclose(shares, model.probabilities(faces), atol=1e-4)


def test_a_start_takes_labels_over_by_name():
    recipe = load_recipe("mien-small", ["targets.votes=0"])
    network, fresh, whole = (network_on(recipe, {"label": 3}, CPU) for _ in range(3))
    views = views_of(toy_faces(4, seed=3).images, recipe)
    start_from_model(network, "mien-small", views, {"label": ("bored", "sad", "happy")})
    start_from_model(whole, "mien-small", views, {"label": ("happy", "sad", "neutral")})
    taken, own, other = (net.heads["label"].weight for net in (network, fresh, whole))
    assert torch.equal(taken[0], own[0])
    assert torch.equal(taken[1], other[1])
    assert torch.equal(taken[2], other[0])
    assert not torch.equal(taken[2], own[2])


def test_a_start_from_another_network_is_refused():
    recipe = load_recipe("toy", TINY)
    network = network_on(recipe, {"label": 7}, CPU)
    with pytest.raises(TrainingError, match="another network"):
        start_from_model(network, "mien-small", views_of(toy_faces(4, seed=3).images, recipe))


def test_refusals(own, tmp_path):
    def refused(error, words, model="m.onnx", data=own, **settings):
        with pytest.raises(error, match=words):
            train_if_missing(tmp_path / model, data, device=CPU, **settings)

    refused(ModelFileError, "ending in .onnx", model="mine")
    refused(DataError, "no such data set", data=tmp_path / "none")
    refused(RecipeError, "no recipe 'mien-tiny'", recipe="mien-tiny")
    refused(RecipeError, "unknown key", overrides=["optimizer.epoch=1"])
    refused(
        DataError,
        "two or more expressions are needed; all [0-9]+ faces to train on are happy",
        data=write_class_folders(tmp_path / "one", labels=["happy"] * 7),
    )
    refused(DataError, "no ferplus_votes", recipe="toy", overrides=[*QUICK, "targets.votes=1"])
    assert not list(tmp_path.glob("*.onnx"))


def test_another_recipe_or_data_set_in_the_run_folder_is_refused(own, trained, tmp_path):
    shutil.copytree(run_folder(trained), tmp_path / "mine-run")
    other = write_class_folders(tmp_path / "other")
    with pytest.raises(OutputError, match="holds a run on faces, not on"):
        train_if_missing(tmp_path / "mine.onnx", other, recipe="toy", overrides=QUICK, device=CPU)
    with pytest.raises(TrainingError, match="another recipe; give --recipe and --set as before"):
        train_if_missing(tmp_path / "mine.onnx", own, recipe="toy", overrides=[*QUICK, "seed=9"], device=CPU)
    (tmp_path / "mine-run" / CHECKPOINT).unlink()
    assert not (tmp_path / "mine.onnx").exists()


def test_data_to_measure_on(own, trained, tmp_path):
    divided = run_folder(trained) / "data"
    assert data_to_measure(trained, None, own) == divided
    assert data_to_measure(trained, own, own) == divided
    assert data_to_measure(trained, tmp_path, own) == tmp_path
    assert data_to_measure(tmp_path / "elsewhere.onnx", own, own) == own


# The commands


@pytest.fixture
def run(monkeypatch, capsys):
    def go(*arguments):
        monkeypatch.setattr(sys, "argv", ["mien", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return go


def changes(*settings):
    return [part for one in settings for part in ("--set", one)]


def test_predict_trains_first_and_then_not_again(run, own, tmp_path):
    model = tmp_path / "mine.onnx"
    command = ["predict", image_of(own), "-d", "none", "-f", "csv", "-m", model, "--train-if-missing", own]
    command += ["--recipe", "toy", *changes(*QUICK)]
    code, out, err = run(*command)
    assert code == 0, err
    assert len(out.splitlines()) == 2
    assert "does not exist; training it" in err
    assert "happy" in err
    again = run(*command)
    assert again[:2] == (0, out)
    assert "training" not in again[2]


def test_evaluate_measures_on_faces_that_were_held_out(run, own, trained, tmp_path):
    command = ["evaluate", trained, "--train-if-missing", own, "--no-speed", "--format", "json"]
    code, out, err = run(*command, "--data", own, "--out", tmp_path / "e")
    assert code == 0, err
    assert "held out, but they chose the epoch" in err
    held = int((open_arrays(run_folder(trained) / "data").splits == "validation").sum())
    assert json.loads(out)["n"] == held
    assert "other faces may give other figures" in run(*command, "--split", "train", "--out", tmp_path / "t")[2]


def test_options_that_do_not_fit(run, own, tmp_path):
    image = image_of(own)
    for arguments, words in (
        (["--recipe", "toy"], "give the data with  --train-if-missing DATA"),
        (["--set", "seed=1"], "give the data with  --train-if-missing DATA"),
        (["--train-if-missing", own], "mien-small comes with mien"),
        (["--train-if-missing", own, "-m", "a.onnx+b.onnx"], "2 are named"),
        (["--train-if-missing", own, "-m", tmp_path / "mine"], "ending in .onnx"),
    ):
        code, _, err = run("predict", image, "-d", "none", *arguments)
        assert code == 2, err
        assert len(err.splitlines()) == 1
        assert words in err
    assert not list(tmp_path.iterdir())


def test_without_the_extra(own, tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "torch" else real(name, *a))
    with pytest.raises(MienError, match=r"pip install 'mien\[train\]'"):
        TrainIfMissing(own).train([str(tmp_path / "m.onnx")], quiet=True)
