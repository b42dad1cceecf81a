"""Distillation (Hinton et al. 2015): soft outputs of other model files as targets.

The teachers look at each training face once, in several views, and their mean is kept: cheap enough for any machine.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import fit_face
from mien.errors import RecipeError
from mien.model_file import ModelFile, open_model
from mien.training.learning_data import Images
from mien.training.recipe import DistillSettings
from mien.training.targets import HeadTargets

_AT_ONCE = 512


def with_teachers(
    targets: tuple[HeadTargets, ...], images: Images, settings: DistillSettings
) -> tuple[HeadTargets, ...]:
    """Targets blended with the teachers' outputs, each head with those teachers that have its labels.

    images: uint8 (N, S, S, C), in memory or on disk, the faces that the targets belong to. A face that taught nothing
    before (no rater voted) is taught by the teachers alone. Raises RecipeError for a teacher whose labels no head has.
    """
    sums: dict[str, list[NDArray[np.float32]]] = {}
    for name in settings.teachers:
        teacher = open_model(name)
        heads = [t for t in targets if set(t.labels) == set(teacher.info.labels)]
        if not heads:
            raise RecipeError(f"distill.teachers: {name} has the labels {', '.join(teacher.info.labels)}; no head has")
        # A votes teacher and a label teacher of an eight-class set share their labels: prefer the head of its kind.
        head = next((t for t in heads if t.head == teacher.info.target), heads[0])
        order = [teacher.info.labels.index(label) for label in head.labels]
        sums.setdefault(head.head, []).append(_outputs(teacher, images, settings.views)[:, order])
    return tuple(_blended(t, sums[t.head], settings.weight) if t.head in sums else t for t in targets)


def _blended(target: HeadTargets, outputs: list[NDArray[np.float32]], weight: float) -> HeadTargets:
    taught = np.mean(outputs, axis=0)
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
