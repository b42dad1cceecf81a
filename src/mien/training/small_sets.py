"""Recipes are written for tens of thousands of faces. This fits them to fewer, and reports it.

A value that the user set stays as it is; where it can't hold, the training is refused with what to set.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, replace

from mien.errors import RecipeError
from mien.training.recipe import Recipe

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
