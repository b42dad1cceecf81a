"""What a run learns from: labels, subsets, sampling; faces streamed from disk as if they were in memory."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import mien
from mien.data.importing import import_dataset
from mien.data.toy import toy_faces, write_toy_folders
from mien.errors import RecipeError
from mien.labels import FER2013
from mien.model_file import ModelFile
from mien.training.batches import Faces, StreamedImages, batches, epoch_order
from mien.training.learning_data import head_targets, read_splits, stratified
from mien.training.loop import BEST, CHECKPOINT, LAST
from mien.training.recipe import load_recipe
from mien.training.recipe_sections import DataSettings
from mien.training.run import train_run

CPU = torch.device("cpu")
TINY = ["network.stem=4", "network.widths=[8, 8]", "optimizer.batch_size=32", "optimizer.epochs=2", "input.view=40"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Class folders, and the same as arrays."""
    folder = tmp_path_factory.mktemp("toy")
    write_toy_folders(folder / "folders", train=140, validation=70, test=7, seed=1)
    import_dataset(folder / "folders", folder / "arrays")
    return folder


def splits(toy, *given, stream=False):
    recipe = load_recipe("toy", [*TINY, *given])
    return read_splits(recipe, toy / ("arrays" if stream else "folders"), stream=stream)


@pytest.mark.parametrize("stream", [False, True])
def test_labels_are_chosen_and_ordered(toy, stream):
    whole, _ = splits(toy, stream=stream)
    for split in splits(toy, 'data.labels=["sad", "happy"]', stream=stream):
        assert split.label_names == ("sad", "happy")
        assert np.bincount(split.labels).tolist() == [len(split) // 2] * 2
        assert all(("sad", "happy")[k] in source for k, source in zip(split.labels, split.sources, strict=True))
    train, _ = splits(toy, 'data.labels=["sad", "happy"]', stream=stream)
    rows = np.flatnonzero(np.isin(whole.labels, [FER2013.index("sad"), FER2013.index("happy")]))
    np.testing.assert_array_equal(train.images[:], whole.images[rows])


def test_labels_that_cannot_be(toy):
    with pytest.raises(RecipeError, match="no label 'joy'; it has angry"):
        splits(toy, 'data.labels=["joy", "sad"]')
    with pytest.raises(RecipeError, match=r"data\.labels is set, and targets\.votes"):
        load_recipe("toy", ['data.labels=["happy", "sad"]', "targets.votes=1.0"])


def test_a_subset_keeps_the_classes_in_proportion():
    labels = np.repeat([0, 1, 2], [500, 300, 7])
    rows = stratified(labels, 100, seed=1)
    assert len(rows) == len(set(rows.tolist())) == 100
    assert np.bincount(labels[rows]).tolist() == [62, 37, 1]
    np.testing.assert_array_equal(rows, stratified(labels, 100, seed=1))
    assert not np.array_equal(rows, stratified(labels, 100, seed=2))
    assert len(stratified(labels, 900, seed=1)) == 807


def test_balanced_sampling_draws_every_class_equally_often():
    classes = torch.tensor([0] * 50 + [1] * 9 + [2])
    faces = Faces(torch.empty(60, 1, 1, 1), {}, {}, {}, classes)
    order = epoch_order(faces, "balanced", torch.Generator().manual_seed(0))
    assert torch.bincount(classes[order]).tolist() == [20, 20, 20]
    times = torch.bincount(order, minlength=60)
    assert times[:50].max() == 1  # none of a large class twice
    assert times[50:59].min() >= 2  # all of a small one before any comes again
    natural = epoch_order(faces, "natural", torch.Generator().manual_seed(0))
    assert torch.equal(natural, torch.randperm(60, generator=torch.Generator().manual_seed(0)))


def test_streaming_trains_the_same_bits(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("mien.training.run._export_heads", lambda *_: ())
    recipe = load_recipe("toy", [*TINY, "data.subset=100", "optimizer.batch_size=16", "data.sampling=balanced"])
    train_run(recipe, toy / "arrays", tmp_path / "memory", device=CPU)
    train_run(recipe, toy / "arrays", tmp_path / "stream", device=CPU, stream=True)
    for name in (BEST, LAST, CHECKPOINT, "history.csv", "confusions.json"):
        assert (tmp_path / "memory" / name).read_bytes() == (tmp_path / "stream" / name).read_bytes(), name


def test_a_streamed_run_ends_in_a_model_file(toy, tmp_path):
    small = ["optimizer.epochs=1", "input.size=40", "input.view=36"]  # resized as they are read
    run = train_run(load_recipe("toy", [*TINY, *small]), toy / "arrays", tmp_path / "r", device=CPU, stream=True)
    assert ModelFile(run.models[0]).info.size == 40


def test_folders_without_validation_are_divided_and_streamed(toy, tmp_path, said):
    plain = tmp_path / "plain"
    shutil.copytree(toy / "folders" / "train", plain)
    recipe = load_recipe("toy", TINY)
    train, validation = read_splits(recipe, plain, stream=False)
    assert len(validation) == round(len(train) / 9) and not set(train.sources) & set(validation.sources)
    assert "training faces are held out for it (10 % of each class, seed 0)" in said[0]
    streamed, held = read_splits(recipe, plain, stream=True)
    assert held.sources == validation.sources
    np.testing.assert_array_equal(streamed.images[:], train.images)
    opened = read_splits(recipe, mien.load_dataset(plain), stream=False)
    assert opened[1].sources == validation.sources


def test_an_error_while_reading_ahead_is_raised_where_the_batch_is_wanted():
    class Broken:
        def __len__(self):
            return 8

        def __getitem__(self, chosen):
            raise OSError("the disk is gone")

    samples = toy_faces(8, seed=0)
    targets = head_targets(samples, load_recipe("toy").targets, source="toy")
    faces = replace(Faces.on(CPU, samples, targets), images=StreamedImages(Broken(), CPU))
    with pytest.raises(OSError, match="disk is gone"):
        next(batches(faces, torch.arange(8).view(2, 4)))


def test_settings_are_named_where_they_are_wrong():
    with pytest.raises(ValueError, match="labels has one entry"):
        DataSettings(labels=("happy",))
