"""Distillation (Hinton et al. 2015): soft outputs of other model files as targets.

The teachers look at each training face once, in several views, and their mean is kept, also on disk: cheap enough
for any machine, and a run that goes on does not ask them again.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mien.data.dataset import fit_face
from mien.errors import RecipeError
from mien.files import atomic_path
from mien.model_file import ModelFile, open_model
from mien.training.learning_data import Images
from mien.training.recipe import DistillSettings
from mien.training.targets import HeadTargets

_AT_ONCE = 512


def with_teachers(
    targets: tuple[HeadTargets, ...], images: Images, settings: DistillSettings, *, kept: Path | None = None
) -> tuple[HeadTargets, ...]:
    """Targets blended with the teachers' outputs, each head with those teachers that have its labels.

    images: uint8 (N, S, S, C), in memory or on disk, the faces that the targets belong to. A face that taught nothing
    before (no rater voted) is taught by the teachers alone. kept: a file that keeps the outputs, and is read instead
    where it has those of the same teachers on the same faces. Raises RecipeError for a teacher whose labels no head
    has, OutputError where the file can't be written.
    """
    pairs = [_with_head(name, targets) for name in settings.teachers]
    key = _key(pairs, images, settings.views)
    taught = None if kept is None else _read(kept, key)
    if taught is None:
        outputs: dict[str, list[NDArray[np.float32]]] = {}
        for teacher, head in pairs:
            order = [teacher.info.labels.index(label) for label in head.labels]
            outputs.setdefault(head.head, []).append(_outputs(teacher, images, settings.views)[:, order])
        taught = {head: np.asarray(np.mean(of, axis=0), np.float32) for head, of in outputs.items()}
        if kept is not None:
            with atomic_path(kept) as place, place.open("wb") as file:
                arrays: dict[str, NDArray[np.generic]] = {"key": np.array(key), **taught}
                np.savez_compressed(file, allow_pickle=False, **arrays)
    return tuple(_blended(t, taught[t.head], settings.weight) if t.head in taught else t for t in targets)


def _with_head(name: str, targets: tuple[HeadTargets, ...]) -> tuple[ModelFile, HeadTargets]:
    """A teacher, and the head that it teaches."""
    teacher = open_model(name, threads=torch.get_num_threads())
    labels = teacher.info.labels
    heads = [t for t in targets if set(t.labels) == set(labels)]
    if not heads:
        raise RecipeError(f"distill.teachers: {name} has the labels {', '.join(labels)}; no head has")
    # A votes teacher and a label teacher of an eight-class set share their labels: prefer the head of its kind.
    return teacher, next((t for t in heads if t.head == teacher.info.target), heads[0])


def _key(pairs: list[tuple[ModelFile, HeadTargets]], images: Images, views: int) -> str:
    """What the outputs hang on; of the faces their number, and a part of them throughout."""
    some = images[np.linspace(0, len(images) - 1, min(len(images), 256)).astype(np.intp)]
    faces = hashlib.sha256(np.ascontiguousarray(some).tobytes()).hexdigest()
    teachers = [(teacher.sha256, head.head, head.labels) for teacher, head in pairs]
    return json.dumps([teachers, views, len(images), faces])


def _read(kept: Path, key: str) -> dict[str, NDArray[np.float32]] | None:
    try:
        with kept.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                return None
            return {head: arrays[head] for head in arrays.files if head != "key"}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # not there yet, or not ours: the teachers are asked


def _blended(target: HeadTargets, taught: NDArray[np.float32], weight: float) -> HeadTargets:
    silent = target.distribution.sum(1, keepdims=True) == 0
    mixed = np.where(silent, taught, (1 - weight) * target.distribution + weight * taught)
    return replace(target, distribution=mixed.astype(np.float32))


def _outputs(teacher: ModelFile, images: Images, views: int) -> NDArray[np.float32]:
    """The teacher's mean probabilities over `views` views: the face, its mirror image, then both shifted."""
    size, channels = teacher.info.size, teacher.info.channels
    total = np.zeros((len(images), len(teacher.info.labels)), np.float32)
    shifts = ((0, 0), (-2, -2), (2, 2), (-2, 2), (2, -2))
    for start in range(0, len(images), _AT_ONCE):
        faces = images[start : start + _AT_ONCE]
        if faces.shape[1:] != (size, size, channels):
            faces = np.stack([fit_face(face, size, channels) for face in faces])
        for v in range(views):
            dy, dx = shifts[(v // 2) % len(shifts)]
            seen = _shifted(faces[:, :, ::-1] if v % 2 else faces, dy, dx)
            total[start : start + _AT_ONCE] += teacher.probabilities(np.ascontiguousarray(seen))
    return np.asarray(total / views, np.float32)


def _shifted(images: NDArray[np.uint8], dy: int, dx: int) -> NDArray[np.uint8]:
    """All images moved by some pixels, borders repeated."""
    size = images.shape[1]
    rows, columns = np.clip(np.arange(size) - dy, 0, size - 1), np.clip(np.arange(size) - dx, 0, size - 1)
    return images[:, rows][:, :, columns]
