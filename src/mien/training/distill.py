"""Distillation (Hinton et al. 2015): soft outputs of other model files as targets.

The teachers classify each training face once, in several views, and their predictions are kept on disk. That is cheap
on any machine. A resumed run, or one with additional teachers, does not compute them again. With `distill.each_view`
they classify what the student sees, in each step (Beyer et al. 2022, arXiv:2106.05237), at their cost in every epoch.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.crop import fit_face
from mien.data.samples import Images
from mien.errors import RecipeError
from mien.files import atomic_path, make_folder
from mien.model_file import ModelFile, load_model
from mien.reporting import log_warning
from mien.training.augment import augment, central
from mien.training.devices import has_fast_bf16
from mien.training.learning_data import HeadTargets
from mien.training.networks import ExpressionNetwork
from mien.training.recipe import Recipe
from mien.training.recipe_sections import DistillSettings
from mien.training.start_from_model import network_with_heads

_AT_ONCE = 64  # few enough that what a network holds of them stays near the processor, and little memory is taken


def with_teachers(
    targets: tuple[HeadTargets, ...],
    images: Images,
    settings: DistillSettings,
    *,
    kept: Path | None = None,
    on_asking: Callable[[int, int, float], None] = lambda *_: None,
) -> tuple[HeadTargets, ...]:
    """Targets blended with the teachers' outputs, each head with those teachers that have its labels.

    A teacher whose labels no head has is left out, and named: recipes name teachers of both heads, of which a run may
    have one.

    images: uint8 (N, S, S, C), in memory or on disk, the faces that the targets belong to. A face without
    votes gets its target from the teachers alone. kept: a folder that keeps each teacher's outputs, where
    they are read again for the same teacher on the same faces. on_asking: receives the number of classified faces,
    the total over all teachers and views, and faces/s. Raises ModelFileError for a teacher that is missing, OutputError
    where the folder can't be written.
    """
    by_head = {t.head: t for t in targets}
    labels = {t.head: t.labels for t in targets}
    found = [pair for name in _files(settings.teachers) if (pair := _with_head(name, labels))]
    pairs = [(teacher, by_head[head]) for teacher, head in found]
    faces = _fingerprint(images)
    places = [None if kept is None else kept / _kept_name(t, faces, settings.views) for t, _ in pairs]
    known = [_read(place, (len(images), len(t.info.labels))) for place, (t, _) in zip(places, pairs, strict=True)]
    begun, done, total = time.perf_counter(), 0, len(images) * settings.views * sum(one is None for one in known)

    def tell(more: int) -> None:
        nonlocal done
        done += more
        on_asking(done, total, done / max(time.perf_counter() - begun, 1e-9))

    said: dict[str, list[NDArray[np.float32]]] = {}
    for (teacher, head), place, answer in zip(pairs, places, known, strict=True):
        outputs = _outputs(teacher, images, settings.views, tell) if answer is None else answer
        if answer is None and place is not None:
            make_folder(place.parent)
            with atomic_path(place) as at, at.open("wb") as file:
                np.save(file, outputs, allow_pickle=False)
        order = [teacher.info.labels.index(label) for label in head.labels]
        said.setdefault(head.head, []).append(outputs[:, order])
    taught = {head: np.asarray(np.mean(of, axis=0), np.float32) for head, of in said.items()}
    return tuple(_blended(t, taught[t.head], settings.weight) if t.head in taught else t for t in targets)


@dataclass(frozen=True, slots=True, eq=False)
class ViewTeachers:
    """Teachers that classify each changed face, undamaged, in the step in which the student learns from it.

    networks: each teacher, with the heads that it teaches, on the device, and how many of a face's central pixels it
    sees.
    """

    recipe: Recipe
    networks: tuple[tuple[ExpressionNetwork, int], ...]

    @classmethod
    def of(cls, recipe: Recipe, labels: Mapping[str, tuple[str, ...]], faces: Tensor) -> ViewTeachers:
        """The recipe's teachers. labels: of the student's heads; faces: some hundred, uint8 (N, C, S, S).

        `NAME` and `NAME-fer2013` are one network with two heads. A teacher without a head is left out, and named.
        Raises ModelFileError; TrainingError for a teacher whose network can't be built from its file.
        """
        families: dict[Path, dict[str, ModelFile]] = {}
        for name in _files(recipe.distill.teachers):
            if pair := _with_head(name, labels):
                teacher, head = pair
                family = teacher.path.with_name(teacher.path.stem.removesuffix("-fer2013"))
                families.setdefault(family, {})[head] = teacher
        networks = []
        for heads in families.values():
            network, seen = network_with_heads({h: (m, labels[h]) for h, m in heads.items()}, faces)
            networks.append((network.to(faces.device, memory_format=torch.channels_last).eval(), seen))  # type: ignore[call-overload]
        return cls(recipe, tuple(networks))

    @torch.no_grad()
    def blended(self, targets: dict[str, Tensor], faces: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Each head's targets, float (N, K), mixed with the teachers' probabilities of the faces, uint8 (N, C, S, S).

        generator: in the state in which the student's views are drawn.
        """
        if not self.networks:
            return targets
        size, weight = faces.shape[-1], self.recipe.distill.weight
        views = augment(faces, self.recipe.augment, view=size, generator=generator, damage=False)
        said: dict[str, list[Tensor]] = {}
        for network, seen in self.networks:
            with torch.autocast(views.device.type, torch.bfloat16, enabled=has_fast_bf16(views.device)):
                logits = network(central(views, seen).contiguous(memory_format=torch.channels_last))
            for head, own in logits.items():
                said.setdefault(head, []).append(own.float().softmax(1))
        return {head: _mixed(target, said.get(head, []), weight) for head, target in targets.items()}


def _mixed(target: Tensor, said: list[Tensor], weight: float) -> Tensor:
    if not said:
        return target
    taught = torch.stack(said).mean(0)
    return torch.where(target.sum(1, keepdim=True) == 0, taught, (1 - weight) * target + weight * taught)


def _files(teachers: Iterable[str]) -> Iterator[str]:
    """The teachers' files or names; a run's folder is replaced by the model files in it."""
    for name in teachers:
        found = sorted(str(path) for path in Path(name).glob("*.onnx")) if Path(name).is_dir() else [name]
        if not found:
            raise RecipeError(
                f"distill.teachers: {name} has no model file; name a model, or the folder of an ended run"
            )
        yield from found


def _with_head(name: str, labels: Mapping[str, tuple[str, ...]]) -> tuple[ModelFile, str] | None:
    """A teacher, and the head that it teaches; None where there is none. labels: of each head."""
    teacher = load_model(name, threads=torch.get_num_threads())
    own = teacher.info.labels
    heads = [head for head, names in labels.items() if set(names) == set(own)]
    if not heads:
        log_warning(f"distill.teachers: left out {name}: it has the labels {', '.join(own)}, which no head has")
        return None
    # A votes teacher and a label teacher of an eight-class set share their labels: prefer the head of its kind.
    return teacher, teacher.info.target if teacher.info.target in heads else heads[0]


def _fingerprint(images: Images) -> str:
    """Of the faces: their number, and a part of them throughout."""
    some = images[np.linspace(0, len(images) - 1, min(len(images), 256)).astype(np.intp)]
    return f"{len(images)} {hashlib.sha256(np.ascontiguousarray(some).tobytes()).hexdigest()}"


def _kept_name(teacher: ModelFile, faces: str, views: int) -> str:
    """The file of a teacher's predictions: a different one for other weights, faces or views."""
    return hashlib.sha256(f"{teacher.sha256} {faces} {views}".encode()).hexdigest()[:20] + ".npy"


def _read(place: Path | None, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    try:
        outputs = None if place is None else np.load(place, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # missing or damaged: the teacher predicts again
    return outputs if isinstance(outputs, np.ndarray) and outputs.shape == shape else None


def _blended(target: HeadTargets, taught: NDArray[np.float32], weight: float) -> HeadTargets:
    silent = target.distribution.sum(1, keepdims=True) == 0
    mixed = np.where(silent, taught, (1 - weight) * target.distribution + weight * taught)
    return replace(target, distribution=mixed.astype(np.float32))


def _outputs(teacher: ModelFile, images: Images, views: int, tell: Callable[[int], None]) -> NDArray[np.float32]:
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
            tell(len(faces))
    return np.asarray(total / views, np.float32)


def _shifted(images: NDArray[np.uint8], dy: int, dx: int) -> NDArray[np.uint8]:
    """All images moved by some pixels, borders repeated."""
    size = images.shape[1]
    rows, columns = np.clip(np.arange(size) - dy, 0, size - 1), np.clip(np.arange(size) - dx, 0, size - 1)
    return images[:, rows][:, :, columns]
