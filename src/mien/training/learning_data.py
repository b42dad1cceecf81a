"""The training and validation splits of a run, reduced to the recipe's labels and number, in memory or on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.arrays import is_arrays, open_arrays
from mien.data.dataset import Dataset
from mien.data.fitted import open_fitted, with_validation
from mien.data.readers import open_source
from mien.data.samples import Split, of_labels
from mien.errors import DataError, RecipeError
from mien.training.recipe import Recipe
from mien.training.recipe_sections import DataSettings


def read_splits(recipe: Recipe, data: Path | Dataset, *, stream: bool) -> tuple[Split, Split]:
    """Training and validation split of `data`, as the recipe's [data] wants them.

    stream: leave the faces on disk. What is left out is logged.
    Raises DataError for data that can't be used, RecipeError for labels that it has not.
    """
    size, channels = recipe.input.size, recipe.input.channels
    if isinstance(data, Dataset):
        dataset: Dataset | None = with_validation(data)
    else:
        dataset = open_fitted(data, size=size, channels=channels, splits=("train", "validation"))
    train, validation = (_split(dataset, data, name, size, channels, stream) for name in ("train", "validation"))
    if train.label_names != validation.label_names:
        raise DataError(f"{data}: train has {train.label_names}, validation has {validation.label_names}")
    if recipe.data.labels:
        train, validation = (_of_labels(split, recipe.data, data) for split in (train, validation))
    if recipe.data.subset:
        train = train.take(stratified(train.labels, recipe.data.subset, seed=recipe.seed))
    return train, validation


def face_sizes(data: Path | Dataset) -> tuple[tuple[int, int], int]:
    """The smallest and largest side of the data's images (height or width), and 1 channel if all are grey, else 3.

    Of files that are not mien's own, the first few hundred count. Sides of 0 where there is none.
    """
    if isinstance(data, Dataset) or is_arrays(data):
        shapes = np.asarray((data if isinstance(data, Dataset) else open_arrays(data)).shapes)
    else:
        chunks = open_source(data).chunks()
        shapes = np.array([image.shape for image in next((c.images for c in chunks if len(c.images)), [])])
    if not len(shapes):
        return (0, 0), 1
    sides = shapes[:, :2]
    return (int(sides.min()), int(sides.max())), int(shapes[:, 2].max())


def stratified(labels: NDArray[np.int64], count: int, *, seed: int) -> NDArray[np.intp]:
    """Rows of `count` samples (all, where there are fewer), ascending, drawn with classes in proportion.

    What rounding leaves over goes to the classes with the largest remainders.
    """
    if count >= len(labels):
        return np.arange(len(labels))
    sizes = np.bincount(labels)
    exact = sizes * (count / len(labels))
    wanted = np.floor(exact).astype(int)
    wanted[np.argsort(wanted - exact, kind="stable")[: count - wanted.sum()]] += 1
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(labels == k))[: wanted[k]] for k in range(len(sizes))]
    return np.sort(np.concatenate(drawn))


def _split(dataset: Dataset | None, data: Path | Dataset, split: str, size: int, channels: int, stream: bool) -> Split:
    """One split; stream: its faces stay on disk. Raises DataError where it is missing, or a face has no label."""
    if dataset is None or split not in dataset.splits:
        has = ", ".join(name for name in dataset or () if name) or "none of train, validation, test"
        raise DataError(f"{data}: no split '{split}'; it has {has}; make splits with  mien data split")
    found = dataset.split(split, size=size, channels=channels)
    return found if stream else found.loaded()


def _of_labels(split: Split, settings: DataSettings, data: Path | Dataset) -> Split:
    unknown = [label for label in settings.labels if label not in split.label_names]
    if unknown:
        raise RecipeError(f"data.labels: {data} has no label '{unknown[0]}'; it has {', '.join(split.label_names)}")
    rows, labels = of_labels(split.labels, split.label_names, settings.labels)
    if not len(rows):
        raise DataError(f"{data}: a split has not one face of {', '.join(settings.labels)}")
    return replace(split.take(rows), labels=labels, label_names=settings.labels)
