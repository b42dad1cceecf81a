"""Previews augmentation as training applies it: the same faces under one or several settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mien.data.dataset import Dataset
from mien.errors import DataError
from mien.files import write_bytes
from mien.lettering import draw_text
from mien.pages import Image, contact_sheet, plain, png
from mien.training.augment import augment, central
from mien.training.recipe import load_recipe
from mien.training.recipe_sections import DAMAGE, LEVELS, AugmentSettings, InputSettings

_TILE = 96


def preview_augmentation(
    dataset: Dataset,
    settings: Mapping[str, AugmentSettings],
    *,
    input: InputSettings | None = None,
    faces: int = 4,
    views: int = 9,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """A sheet, uint8 (H, W, 3) RGB: for each of the named settings a row per face, the original and `views` of it.

    Faces are drawn with `seed`, from different classes if possible, and from the split train if it exists.
    input: what the network takes; by default the default size, in colour where a sample is.
    The views come from `mien.training.augment.augment`; mixing of faces (mixup) is not part of it and not shown.
    Raises DataError for a data set without samples.
    """
    rows = choose_faces(dataset, faces, seed=seed)
    input = input or InputSettings(channels=3 if (dataset.shapes[:, 2] == 3).any() else 1)
    images = dataset.faces(rows, size=input.size, channels=input.channels)
    captions = [_label(dataset, row) for row in rows.tolist()]
    parts = []
    for name, one in settings.items():
        tiles = augmented_rows(images, one, input=input, views=views, seed=seed)
        texts = [text for caption in captions for text in (caption, *[""] * views)]
        sheet = contact_sheet(tiles, texts, tile=_TILE, columns=views + 1)
        parts += [_banner(f"{name}: {settings_text(one)}", sheet.shape[1]), sheet]
    return np.concatenate(parts)


def write_preview(
    dataset: Dataset,
    out: Path,
    *,
    level: str | None = None,
    recipe: str | None = None,
    faces: int = 4,
    views: int = 9,
    seed: int = 0,
) -> None:
    """Writes the sheet as a PNG: of a level, of a recipe, or by default of all levels. Raises OutputError."""
    chosen = load_recipe(recipe) if recipe else None
    names = [level] if level else [] if chosen else [name for name in LEVELS if name != "none"]
    settings = {name: LEVELS[name] for name in names}
    if chosen:
        settings[chosen.name] = chosen.augment
    input = chosen.input if chosen else None
    write_bytes(out, png(preview_augmentation(dataset, settings, input=input, faces=faces, views=views, seed=seed)))


def augmented_rows(
    images: NDArray[np.uint8], settings: AugmentSettings, *, input: InputSettings, views: int, seed: int
) -> list[Image]:
    """Of each face (N, S, S, C) what the network sees of it, then `views` changed views: N * (views + 1) images."""
    batch = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    generator = torch.Generator().manual_seed(seed)
    columns = [central(batch, input.view).to(torch.float32)]
    columns += [augment(batch, settings, view=input.view, generator=generator) for _ in range(views)]
    grid = torch.stack(columns, 1).round().to(torch.uint8).permute(0, 1, 3, 4, 2).numpy()
    return list(grid.reshape(-1, *grid.shape[2:]))


def choose_faces(dataset: Dataset, count: int, *, seed: int) -> NDArray[np.intp]:
    """Rows of `count` faces, drawn with `seed`: of different classes as far as there are, then any."""
    if not len(dataset):
        raise DataError(f"{dataset.name}: has no samples to show")
    is_train = dataset.splits == "train"
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(is_train) if is_train.any() else len(dataset))
    _, first = np.unique(dataset.labels[rows], return_index=True)  # of each class the first that was drawn
    others = np.setdiff1d(np.arange(len(rows)), first)
    return rows[np.concatenate((np.sort(first), others))[:count]]


def settings_text(settings: AugmentSettings) -> str:
    """Settings of augmentation on one line, those that are off left out."""
    names = ("scale", "shift", "brightness", "contrast", *DAMAGE, "erase", "mixup", "cutmix")
    shares: Sequence[tuple[str, float]] = [(name, getattr(settings, name)) for name in names]
    parts = ["flip"] * settings.flip + [f"rotate {settings.rotate_deg:g} deg"] * (settings.rotate_deg > 0)
    return ", ".join(parts + [f"{name} {value:g}" for name, value in shares if value > 0]) or "nothing"


def _label(dataset: Dataset, row: int) -> str:
    label = int(dataset.labels[row])
    return dataset.label_names[label] if label >= 0 else "(no label)"


def _banner(text: str, width: int) -> NDArray[np.uint8]:
    banner = np.full((26, width, 3), 235, np.uint8)
    draw_text(banner, plain(text), 6, 5, 16, (30, 30, 30))
    return banner
