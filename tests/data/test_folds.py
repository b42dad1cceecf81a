"""Out-of-fold predictions: nobody judges what it was trained on, and a killed run ends as an undisturbed one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mien.data.dataset import Dataset, offsets_of, text_column
from mien.data.toy import toy_faces
from mien.errors import DataError, OutputError, RecipeError, TrainingError
from mien.training import folds as folds_module
from mien.training.folds import assign_folds, out_of_fold
from mien.training.loop import CHECKPOINT
from mien.training.recipe import load_recipe

CPU = torch.device("cpu")
TINY = ["network.stem=4", "network.widths=[8, 8]", "optimizer.batch_size=32", "optimizer.epochs=2"]


def toy_dataset(count=84, seed=3):
    samples = toy_faces(count, seed=seed)
    shapes = np.tile(np.array(samples.images.shape[1:], np.int32), (count, 1))
    columns = {
        "source": text_column([f"{i}.png" for i in range(count)]),
        "split": text_column(["train"] * (count - 20) + ["test"] * 20),
        "label": samples.labels,
    }
    return Dataset(
        samples.label_names, columns, samples.images.reshape(-1), offsets_of(shapes), shapes, fingerprint="toy"
    )


@pytest.fixture(scope="module")
def recipe():
    torch.set_num_threads(1)
    return load_recipe("audit", TINY)


def test_folds_are_stratified_and_groups_stay_whole():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 1000)
    groups = np.where(rng.random(1000) < 0.3, rng.integers(0, 80, 1000), -1)
    fold = assign_folds(labels, groups, folds=4, seed=1)
    assert set(fold.tolist()) == {0, 1, 2, 3}
    for group in range(80):
        assert len(set(fold[groups == group].tolist())) <= 1
    single = assign_folds(labels, None, folds=4, seed=1)
    for label in range(5):
        counts = np.bincount(single[labels == label], minlength=4)
        assert counts.max() - counts.min() <= 1
    assert (single != assign_folds(labels, None, folds=4, seed=2)).any()
    np.testing.assert_array_equal(single, assign_folds(labels, None, folds=4, seed=1))


def test_a_network_never_sees_what_it_predicts_nor_its_copy(recipe, tmp_path, monkeypatch):
    dataset = toy_dataset()
    groups = np.full(len(dataset), -1, np.int64)
    groups[[0, 83]] = 0
    seen = []
    real = folds_module.fit

    def spy(recipe, train, validation, *arguments, **options):
        seen.append({image.tobytes() for image in train.images.numpy()})
        return real(recipe, train, validation, *arguments, **options)

    monkeypatch.setattr(folds_module, "fit", spy)
    probabilities = out_of_fold(dataset, recipe, tmp_path / "f", folds=3, groups=groups, device=CPU)
    assert probabilities.shape == (84, 7)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    fold = assign_folds(dataset.labels, groups, folds=3, seed=recipe.seed)
    assert fold[0] == fold[83]
    for number, images in enumerate(seen):
        held = {dataset.image(row).transpose(2, 0, 1).tobytes() for row in np.flatnonzero(fold == number).tolist()}
        assert not held & images
        assert len(held | images) == 84


def test_a_killed_run_ends_as_an_undisturbed_one(recipe, tmp_path, monkeypatch):
    dataset = toy_dataset()
    whole = out_of_fold(dataset, recipe, tmp_path / "whole", folds=2, device=CPU)

    class KilledError(Exception):
        pass

    def killed(done, total):
        # in the second epoch of the second fold
        if done > total * 0.8:
            raise KilledError

    with pytest.raises(KilledError):
        out_of_fold(dataset, recipe, tmp_path / "killed", folds=2, device=CPU, progress=killed)
    assert (tmp_path / "killed" / "fold-1" / CHECKPOINT).exists()
    with pytest.raises(OutputError, match="--resume"):
        out_of_fold(dataset, recipe, tmp_path / "killed", folds=2, device=CPU)
    told = []
    resumed = out_of_fold(
        dataset, recipe, tmp_path / "killed", folds=2, device=CPU, resume=True, progress=lambda *now: told.append(now)
    )
    np.testing.assert_array_equal(resumed, whole)
    assert told[-1][0] == told[-1][1]
    assert told[0][0] > told[0][1] / 2  # the first fold was not trained again
    with pytest.raises(TrainingError, match="another recipe"):
        out_of_fold(dataset, replace(recipe, seed=9), tmp_path / "killed", folds=2, device=CPU, resume=True)


def test_unlabelled_samples_have_no_prediction(recipe, tmp_path):
    dataset = toy_dataset()
    labels = dataset.labels.copy()
    labels[:5] = -1
    probabilities = out_of_fold(dataset.with_columns(label=labels), recipe, tmp_path / "f", folds=2, device=CPU)
    assert np.isnan(probabilities[:5]).all()
    assert np.isfinite(probabilities[5:]).all()


@pytest.mark.parametrize("change", ["targets.votes=1", "targets.label_blend=0.5", "distill.teachers=['a.onnx']",
                                    "network.weights='a.safetensors'"])  # fmt: skip
def test_what_knows_more_than_the_labels_may_not_judge_them(change, tmp_path):
    with pytest.raises(RecipeError, match="labels alone"):
        out_of_fold(toy_dataset(), load_recipe("audit", [*TINY, change]), tmp_path / "f", device=CPU)


def test_too_few_samples(recipe, tmp_path):
    with pytest.raises(DataError, match="3 labelled samples in 4 folds"):
        out_of_fold(toy_dataset().take(np.arange(3)), recipe, tmp_path / "f", folds=4, device=CPU)
