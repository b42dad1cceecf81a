"""What a run learns from: its splits in memory or on disk, their targets, and what few faces need. Without PyTorch.

Recipes are written for tens of thousands of faces. `fit_to_faces` fits them to fewer. A value that the user set stays;
where it can't hold, the training is refused with what to set.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.arrays import is_arrays, open_arrays
from mien.data.dataset import Dataset
from mien.data.fitted import open_fitted, with_validation
from mien.data.readers import open_source
from mien.data.samples import Split, of_labels, vote_majority, vote_shares
from mien.errors import DataError, RecipeError
from mien.evaluation.operating_point import training_mix
from mien.labels import EIGHT
from mien.reporting import log_warning
from mien.training.recipe import Recipe
from mien.training.recipe_sections import DataSettings, TargetSettings


@dataclass(frozen=True, slots=True, eq=False)
class LearningData:
    """What a run trains on: the recipe, fitted to the faces, and the faces and targets of both splits.

    asked: the recipe as it was given. name: of the data. held: the targets of the validation split.
    """

    asked: Recipe
    recipe: Recipe
    name: str
    train: Split
    validation: Split
    targets: tuple[HeadTargets, ...]
    held: tuple[HeadTargets, ...]


def read_learning_data(
    asked: Recipe, data: Path | Dataset, fit: Callable[[Recipe, int], Recipe], *, stream: bool
) -> LearningData:
    """Reads both splits, checks their classes, and logs what that changes.

    fit: from the recipe, fitted to the size of the faces, and their number to the recipe to train by. stream: as in
    `read_splits`. Raises DataError, RecipeError.
    """
    name = data.name if isinstance(data, Dataset) else str(data)
    short = Path(name).resolve().name
    sized, lines = fit_to_size(asked, *face_sizes(data))
    train, validation = read_splits(sized, data, stream=stream)
    targets, held = (head_targets(split, sized.targets, source=name) for split in (train, validation))
    recipe = fit(sized, len(train))
    for line in (*lines, *check_classes(targets, held, name), *fit_lines(sized, recipe, len(train))):
        log_warning(line)
    return LearningData(asked, recipe, short, train, validation, targets, held)


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


@dataclass(frozen=True, slots=True, eq=False)
class HeadTargets:
    """One head's targets for one split.

    distribution: float32 (N, K), rows that sum to 1; a row of zeros teaches nothing (no rater voted).
    truth: int64 (N,), the class that counts as right; -1 where none does.
    """

    head: str
    labels: tuple[str, ...]
    weight: float
    distribution: NDArray[np.float32]
    truth: NDArray[np.int64]


def head_targets(samples: Split, settings: TargetSettings, *, source: str) -> tuple[HeadTargets, ...]:
    """The targets of every head with a weight above 0. Raises DataError where votes are wanted and there are none."""
    votes = samples.votes
    if votes is None and (settings.votes > 0 or settings.label_blend > 0):
        raise DataError(f"{source}: has no ferplus_votes; set targets.votes and targets.label_blend to 0")
    made = []
    if settings.votes > 0 and votes is not None:
        made.append(HeadTargets("votes", EIGHT, settings.votes, vote_shares(votes), vote_majority(votes)))
    if settings.label > 0:
        hard = np.eye(len(samples.label_names), dtype=np.float32)[samples.labels]
        if settings.label_blend > 0 and votes is not None:
            hard = _blend(hard, votes, samples.label_names, settings.label_blend)
        smooth = settings.label_smoothing
        soft = hard * (1 - smooth) + smooth / len(samples.label_names)
        made.append(HeadTargets("label", samples.label_names, settings.label, soft.astype(np.float32), samples.labels))
    return tuple(made)


def training_mixes(train: Split, settings: TargetSettings, *, source: str) -> dict[str, tuple[float, ...]]:
    """The training mix of each head, see `mien.evaluation.operating_point.training_mix`: its targets as the data have
    them, without label smoothing and teachers."""
    targets = head_targets(train, replace(settings, label_smoothing=0.0), source=source)
    return {target.head: training_mix(target.distribution) for target in targets}


def _blend(
    hard: NDArray[np.float32], votes: NDArray[np.float32], names: tuple[str, ...], share: float
) -> NDArray[np.float32]:
    """Label and vote distribution mixed; a face without votes for any of the labels keeps its label alone."""
    columns = [EIGHT.index(n) if n in EIGHT else None for n in names]
    known = np.stack([votes[:, c] if c is not None else np.zeros(len(votes), np.float32) for c in columns], 1)
    shares = vote_shares(known)
    voted = known.sum(1, keepdims=True) > 0
    return np.where(voted, hard * (1 - share) + shares * share, hard).astype(np.float32)


FEW = 10
"""With fewer training faces of a class, its recall is mostly chance."""


def require_two_classes(labels: NDArray[np.int64], names: Sequence[str], data: str) -> None:
    """Raises DataError unless training faces with these labels, int64 (N,), show two or more classes; -1 is none."""
    present = np.unique(labels[labels >= 0])
    if len(present) >= 2:
        return
    count = int((labels >= 0).sum())
    seen = f"all {count} faces to train on are {names[present[0]]}" if len(present) else "no face to train on has one"
    raise DataError(f"{data}: two or more expressions are needed; {seen}")


def check_classes(train: Sequence[HeadTargets], validation: Sequence[HeadTargets], data: str) -> list[str]:
    """Warnings about each head's classes, one line per kind of problem.

    Raises DataError if a head has fewer than two classes.
    """
    lines: list[str] = []
    for own, held in zip(train, validation, strict=True):
        require_two_classes(own.truth, own.labels, data)
        by = " by the votes" if own.head == "votes" else ""
        lines += _class_lines(_counts(own), _counts(held), by)
    return lines


def _counts(targets: HeadTargets) -> dict[str, int]:
    found = np.bincount(targets.truth[targets.truth >= 0], minlength=len(targets.labels))
    return dict(zip(targets.labels, found.tolist(), strict=True))


def _class_lines(train: Mapping[str, int], validation: Mapping[str, int], by: str) -> list[str]:
    nowhere = [name for name, count in train.items() if not count and not validation[name]]
    untrained = {name: validation[name] for name, count in train.items() if not count and validation[name]}
    unseen = {name: count for name, count in train.items() if count and not validation[name]}
    few = {name: count for name, count in train.items() if 0 < count < FEW}
    lines = []
    if nowhere:
        lines.append(f"no face of {_quoted(nowhere)} in train or validation{by}: the model can't learn {_it(nowhere)}")
    if untrained:
        lines.append(
            f"no face of {_quoted(untrained)} in train{by}: the model can't learn {_it(untrained)}; in validation "
            f"count as wrong: {_counted(untrained)}"
        )
    if unseen:
        lines.append(
            f"no face of {_quoted(unseen)} in validation{by}: nothing tells how well the model recognises "
            f"{_it(unseen)}; to train on: {_counted(unseen)}"
        )
    if few:
        lines.append(f"few faces in train{by}: {_counted(few)}; with fewer than {FEW} a class is hardly learned")
    return lines


def _quoted(names: Sequence[str] | Mapping[str, int]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _it(names: Sequence[str] | Mapping[str, int]) -> str:
    return "it" if len(names) == 1 else "them"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


_MOST_FIT = 224  # the largest side of faces that a recipe takes over from the data

_MIN_BATCH = 2  # faces that each process needs in a batch: batch norm has no spread of a single one


def fitting_batch(faces: int, *, at_most: int, workers: int = 1) -> int:
    """A batch size for few faces: four steps an epoch, each process with two faces or more."""
    quarter = min(at_most, faces // 4)
    return max(_MIN_BATCH * workers, quarter - quarter % workers)


def fit_to_faces(recipe: Recipe, faces: int, *, workers: int = 1, given: Collection[str] = ()) -> Recipe:
    """The recipe with batches that this many training faces can fill; unchanged if they do.

    given: keys that the user set, which stay. Raises RecipeError where they leave no step.
    """
    settings = recipe.optimizer
    if faces >= settings.batch_size * settings.accumulate:
        return recipe
    batch, accumulate = settings.batch_size, settings.accumulate
    if "optimizer.accumulate" not in given:
        accumulate = max(1, faces // batch) if "optimizer.batch_size" in given else 1
    if "optimizer.batch_size" not in given:
        batch = fitting_batch(faces // accumulate, at_most=batch, workers=workers)
    if batch * accumulate > faces:
        raise RecipeError(_too_many(batch, accumulate, faces, workers))
    return replace(recipe, optimizer=replace(settings, batch_size=batch, accumulate=accumulate))


def fit_to_size(recipe: Recipe, sizes: tuple[int, int], channels: int) -> tuple[Recipe, list[str]]:
    """The recipe with the size and colours of the data, if it wants them (`input.fit`), and a line for what changed.

    sizes: the smallest and the largest side of the faces, pixels. channels: 1 if all faces are grey. A recipe that
    keeps its size stays as it is; a line says if faces are shrunk.
    """
    input, (least, side) = recipe.input, sizes
    if not input.fit or least != side or side == 0:
        keep = f"--set input.size={side} --set input.view={side - side // 12} keeps them"
        return recipe, [f"faces of up to {side} pixels are shrunk to {input.size}; {keep}"] if side > input.size else []
    size = max(16, min(side, _MOST_FIT))
    view = max(16, round(size * input.view / input.size))
    resolution = 0 if input.resolution <= view else input.resolution
    channels = 3 if max(channels, input.channels) == 3 else 1
    fitted = replace(input, size=size, view=view, channels=channels, resolution=resolution)  # type: ignore[arg-type]
    before, after = asdict(input), asdict(fitted)
    changes = [f"{name} {before[name]} -> {after[name]}" for name in before if before[name] != after[name]]
    if not changes:
        return recipe, []
    return replace(recipe, input=fitted), [f"input.{', '.join(changes)}: the data's faces have {side} pixels"]


def _too_many(batch: int, accumulate: int, faces: int, workers: int) -> str:
    least = _MIN_BATCH * workers
    if faces < least:
        return f"{faces} face{'s' if faces != 1 else ''} to train on; expected {least} or more"
    wanted = [f"--set optimizer.batch_size={fitting_batch(faces, at_most=batch, workers=workers)}"]
    times = ""
    if accumulate > 1:
        times, wanted = f" x optimizer.accumulate {accumulate}", [*wanted, "--set optimizer.accumulate=1"]
    return f"optimizer.batch_size is {batch}{times}, and there are {faces} faces to train on; use  {' '.join(wanted)}"


def fit_lines(asked: Recipe, used: Recipe, faces: int) -> list[str]:
    """The changes of `fit_to_faces` in one line; none if there are none."""
    before, after = asked.optimizer, used.optimizer
    changes = [
        f"{key} {getattr(before, key)} -> {getattr(after, key)}"
        for key in ("batch_size", "accumulate")
        if getattr(before, key) != getattr(after, key)
    ]
    return [f"optimizer.{', '.join(changes)}: {faces} faces to train on"] if changes else []
