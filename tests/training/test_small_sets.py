"""Few faces and few epochs: the recipe is fitted and says so, what the user set stays, and classes are told of."""

import shutil
import sys

import numpy as np
import pytest
import torch

from made_data import tree
from mien.cli import main
from mien.data.toy import write_toy_folders
from mien.errors import DataError, RecipeError
from mien.training.learning_data import HeadTargets, check_classes, face_sizes, fit_to_faces, fit_to_size, fitting_batch
from mien.training.loop import BEST, CHECKPOINT, LAST
from mien.training.recipe import load_recipe
from mien.training.run import ASKED, asked_recipe, train_run

CPU = torch.device("cpu")
TINY = ["network.stem=4", "network.widths=[8, 8]", "optimizer.epochs=2", "input.view=40"]


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Class folders of 21 faces to train on."""
    folder = tmp_path_factory.mktemp("few") / "faces"
    write_toy_folders(folder, train=21, validation=14, test=0, seed=1)
    return folder


@pytest.fixture
def mien(monkeypatch, capsys):
    def go(*arguments):
        monkeypatch.setattr(sys, "argv", ["mien", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code or 0, *capsys.readouterr()

    return go


def without(folder, split, *names):
    for name in names:
        shutil.rmtree(folder / split / name)
    return folder


# The batch


@pytest.mark.parametrize(
    ("faces", "workers", "batch"), [(20, 1, 5), (3, 1, 2), (127, 1, 31), (5000, 1, 32), (20, 2, 4), (30, 4, 8)]
)
def test_a_batch_that_fits(faces, workers, batch):
    assert fitting_batch(faces, at_most=32, workers=workers) == batch


def test_a_batch_that_the_faces_fill_stays():
    recipe = load_recipe("mien-small")
    assert fit_to_faces(recipe, recipe.optimizer.batch_size) is recipe


def test_accumulated_batches_are_fitted_together():
    recipe = load_recipe("toy", ["optimizer.accumulate=4"])
    free, kept = fit_to_faces(recipe, 20), fit_to_faces(recipe, 20, given=["optimizer.accumulate"])
    assert (free.optimizer.batch_size, free.optimizer.accumulate) == (5, 1)
    assert (kept.optimizer.batch_size, kept.optimizer.accumulate) == (2, 4)
    batch_kept = fit_to_faces(load_recipe("toy", ["optimizer.accumulate=4"]), 70, given=["optimizer.batch_size"])
    assert (batch_kept.optimizer.batch_size, batch_kept.optimizer.accumulate) == (32, 2)


@pytest.mark.parametrize(
    ("given", "faces", "says"),
    [
        (["optimizer.batch_size"], 20, "batch_size is 32, and there are 20 faces.*--set optimizer.batch_size=5$"),
        (["optimizer.batch_size", "optimizer.accumulate"], 40, "32 x optimizer.accumulate 4.*optimizer.accumulate=1"),
        ([], 1, "1 face to train on; expected 2 or more"),
    ],
)
def test_what_the_user_set_and_can_not_hold_is_refused(given, faces, says):
    accumulate = 4 if len(given) == 2 else 1
    with pytest.raises(RecipeError, match=says):
        fit_to_faces(load_recipe("toy", [f"optimizer.accumulate={accumulate}"]), faces, given=given)


def test_the_readmes_recipe_trains_on_few_faces(mien, few, tmp_path):
    command = ["train", "mien-nano", "--data", few, "--out", tmp_path / "r", "--set", "targets.votes=0"]
    code, out, err = mien(*command, "--set", "distill.teachers=[]", "--set", "optimizer.epochs=1")
    assert code == 0, err
    assert "optimizer.batch_size 128 -> 5: 21 faces to train on" in err
    assert "optimizer.warmup_epochs 3 -> 0.1: 1 epoch in all" in err
    assert out.strip().endswith("mien-nano.onnx")
    assert "batch_size = 5" in (tmp_path / "r" / "recipe.toml").read_text()
    assert asked_recipe(tmp_path / "r").optimizer.batch_size == 128


def test_a_fitted_run_goes_on_to_the_same_bytes_whatever_became_of_the_data(few, tmp_path, said):
    recipe = load_recipe("toy", TINY)
    train_run(recipe, few, tmp_path / "whole", device=CPU)
    assert [line for line in said if "batch" in line] == ["optimizer.batch_size 32 -> 5: 21 faces to train on"]
    train_run(recipe, few, tmp_path / "parts", device=CPU, stop_after=1)
    train_run(recipe, few, tmp_path / "parts", device=CPU, resume=True)
    whole, parts = tree(tmp_path / "whole"), tree(tmp_path / "parts")
    for name in (BEST, LAST, CHECKPOINT, ASKED, "recipe.toml", "history.csv", "toy.onnx"):
        assert whole[name] == parts[name], name


# Epochs


def told(recipe, *overrides, **settings):
    lines = []
    return load_recipe(recipe, overrides, warn=lines.append, **settings), lines


def test_one_epoch_is_enough_for_every_recipe():
    from mien.training.recipe import recipe_names

    for name in recipe_names():
        recipe = load_recipe(name, ["optimizer.epochs=1"])
        assert recipe.optimizer.warmup_epochs < 1
        assert recipe.finetune.head_epochs < 1 or recipe.finetune.stages == 0, name


def test_warm_up_keeps_its_share():
    recipe, lines = told("mien-nano", "optimizer.epochs=2")
    assert recipe.optimizer.warmup_epochs == pytest.approx(2 * 3 / 30, abs=1e-3)
    assert lines == ["optimizer.warmup_epochs 3 -> 0.2: 2 epochs in all"]
    assert told("mien-nano", "optimizer.epochs=4")[1] == []


def test_a_frozen_trunk_learns_for_some_epochs_all_the_same():
    recipe, lines = told("toy", "optimizer.epochs=4", defaults=["finetune.head_epochs=5", "optimizer.epochs=10"])
    assert recipe.finetune.head_epochs == 2
    assert lines == ["finetune.head_epochs 5 -> 2: 4 epochs in all"]


def test_a_recipe_that_leaves_the_warm_up_out_is_fitted(tmp_path):
    (tmp_path / "own.toml").write_text("[optimizer]\nepochs = 2\n")
    assert told(str(tmp_path / "own.toml"))[0].optimizer.warmup_epochs < 2


@pytest.mark.parametrize(
    "overrides", [["optimizer.epochs=1", "optimizer.warmup_epochs=3"], ["optimizer.warmup_epochs=50"]]
)
def test_a_warm_up_that_the_user_set_is_refused_where_it_does_not_fit(overrides):
    with pytest.raises(RecipeError, match=r"warmup_epochs is [0-9.]+; expected 0 to epochs \([0-9]+\): lower it"):
        load_recipe("mien-nano", overrides)


def test_a_recipe_that_contradicts_itself_is_refused(tmp_path):
    (tmp_path / "own.toml").write_text("[optimizer]\nepochs = 2\nwarmup_epochs = 3\n")
    with pytest.raises(RecipeError, match="expected 0 to epochs"):
        load_recipe(str(tmp_path / "own.toml"))


# Classes


def head(labels, truth, name="label"):
    truth = np.asarray(truth, np.int64)
    return HeadTargets(name, labels, 1.0, np.eye(len(labels), dtype=np.float32)[truth], truth)


def test_one_class_is_refused(mien, few, tmp_path):
    data = tmp_path / "faces"
    shutil.copytree(few, data)
    for split in ("train", "validation"):
        without(data, split, *(p.name for p in (data / split).iterdir() if p.name != "happy"))
    code, _, err = mien("train", "toy", "--data", data, "--out", tmp_path / "r")
    assert code == 2
    assert err.count("\n") == 1
    assert "two or more expressions are needed; all 3 faces to train on are happy" in err
    assert not (tmp_path / "r").exists()


def test_votes_for_one_class_are_refused_though_the_labels_differ():
    with pytest.raises(DataError, match="are happy"):
        check_classes([head(("sad", "happy"), [1, 1], "votes")], [head(("sad", "happy"), [0, 1], "votes")], "faces")


def test_classes_without_faces_are_named():
    labels = ("angry", "fear", "happy", "sad", "bored")
    train = head(labels, [2] * 12 + [3] * 3 + [0] * 11)
    assert check_classes([train], [head(labels, [1, 1, 2, 3])], "faces") == [
        "no face of 'bored' in train or validation: the model can't learn it",
        "no face of 'fear' in train: the model can't learn it; in validation count as wrong: fear 2",
        "no face of 'angry' in validation: nothing tells how well the model recognises it; to train on: angry 11",
        "few faces in train: sad 3; with fewer than 10 a class is hardly learned",
    ]


def test_nothing_is_said_of_classes_with_enough_faces():
    many = head(("happy", "sad"), [0, 1] * 10)
    assert check_classes([many], [many], "faces") == []


def test_a_class_in_validation_alone_is_said_once_before_training(few, tmp_path, said):
    data = without(shutil.copytree(few, tmp_path / "faces"), "train", "fear")
    train_run(load_recipe("toy", TINY), data, tmp_path / "r", device=CPU)
    assert [line for line in said if "'fear'" in line] == [
        "no face of 'fear' in train: the model can't learn it; in validation count as wrong: fear 2"
    ]


# Faces of another size


@pytest.mark.parametrize(
    ("recipe", "sizes", "channels", "expected"),
    [
        ("scratch-cnn3-avg", (128, 128), 3, (128, 128, 3, 0)),
        ("scratch-cnn3-avg", (48, 48), 1, (48, 48, 3, 128)),  # it is for colour, and enlarges
        ("scratch-cnn2", (64, 64), 3, (64, 59, 3, 0)),
        ("scratch-cnn2", (600, 600), 1, (224, 205, 1, 0)),
        ("scratch-cnn2", (0, 0), 1, (48, 44, 1, 0)),  # nothing to read yet
        ("scratch-cnn2", (40, 64), 1, (48, 44, 1, 0)),  # of several sizes: the recipe's own
        ("finetune", (100, 100), 3, (100, 92, 3, 96)),
        ("finetune", (128, 128), 1, (128, 117, 1, 0)),
        ("mien-small", (128, 128), 3, (48, 44, 1, 0)),
    ],
)
def test_recipes_keep_the_size_of_the_data_unless_told(recipe, sizes, channels, expected):
    fitted, lines = fit_to_size(load_recipe(recipe), sizes, channels)
    found = fitted.input
    assert (found.size, found.view, found.channels, found.resolution) == expected
    assert bool(lines) == (found.size != 48 or max(sizes) > 48)
    if found.size == 48 < max(sizes):
        assert f"--set input.size={max(sizes)}" in lines[0]


def test_whoever_sets_a_size_keeps_it(tmp_path):
    (tmp_path / "own.toml").write_text('extends = "scratch-cnn2"\n[input]\nsize = 64\nview = 60\n')
    for recipe in (load_recipe(str(tmp_path / "own.toml")), load_recipe("scratch-cnn2", ["input.size=64"])):
        assert fit_to_size(recipe, (128, 128), 3)[0].input.size == 64


def test_the_size_is_that_of_the_faces_whatever_their_splits_are_called(tmp_path):
    write_toy_folders(tmp_path / "faces", train=14, validation=0, test=0, seed=1)
    folder = tmp_path / "faces"
    assert face_sizes(folder) == ((48, 48), 1)
    assert face_sizes(folder / "train" if (folder / "train").is_dir() else folder) == ((48, 48), 1)
