"""Moves faces to the device: all at once, or read from disk, each batch during the step before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.data.samples import MappedFaces, Split
from mien.media.video.relay import Channel
from mien.training.learning_data import HeadTargets

_AHEAD = 4  # batches that are read ahead


@dataclass(frozen=True, slots=True, eq=False)
class StreamedImages:
    """Faces on disk like a tensor uint8 (N, C, S, S): what is chosen is read and moved to `device`."""

    faces: MappedFaces
    device: torch.device

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, chosen: slice | Tensor) -> Tensor:
        """The chosen faces, uint8 (n, C, S, S)."""
        read = self.faces[chosen if isinstance(chosen, slice) else chosen.cpu().numpy()]
        return _to_tensor(read).to(self.device)


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """One split: uint8 (N, C, S, S) on the device or on disk, and each head's targets and truth on the device.

    labels: what each head's classes are called. classes: int64 (N,) on the CPU, the data set's label of each face.
    """

    images: Tensor | StreamedImages
    targets: dict[str, Tensor]
    truth: dict[str, Tensor]
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    classes: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    @classmethod
    def on(cls, device: torch.device, samples: Split, targets: tuple[HeadTargets, ...]) -> Faces:
        """Moves a split to `device`; images on disk stay there."""
        images: Tensor | StreamedImages
        if isinstance(samples.images, MappedFaces):
            images = StreamedImages(samples.images, device)
        else:
            images = _to_tensor(samples.images).to(device)
        return cls(
            images,
            {t.head: torch.from_numpy(t.distribution).to(device) for t in targets},
            {t.head: torch.from_numpy(t.truth).to(device) for t in targets},
            {t.head: t.labels for t in targets},
            torch.from_numpy(samples.labels),
        )

    def some(self, count: int, *, seed: int) -> Faces:
        """At most that many of them, drawn by the seed, on the device."""
        if len(self.images) <= count:
            return self
        chosen = np.random.default_rng(seed).choice(len(self.images), count, replace=False)
        rows = torch.from_numpy(np.sort(chosen))
        there = rows.to(self.images.device)
        targets, truth = ({head: each[there] for head, each in part.items()} for part in (self.targets, self.truth))
        return Faces(self.images[there], targets, truth, self.labels, self.classes[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Faces uint8 (n, C, S, S), each head's targets, and how long the step had to wait for them in seconds."""

    images: Tensor
    targets: dict[str, Tensor]
    waited_s: float


def batches(data: Faces, order: Tensor) -> Iterator[Batch]:
    """A batch for each row of `order`, int64 (steps, n) on the CPU: which faces it has."""
    device = data.images.device
    rows = [row.to(device) for row in order]
    if isinstance(data.images, StreamedImages):
        streamed = data.images
        found: Iterator[Tensor] = _ahead(lambda row: streamed[row], list(order))
    else:
        found = map(data.images.__getitem__, rows)
    for row in rows:
        started = time.perf_counter()
        images = next(found)
        targets = {head: target[row] for head, target in data.targets.items()}
        yield Batch(images, targets, time.perf_counter() - started)


def epoch_order(data: Faces, sampling: str, generator: torch.Generator) -> Tensor:
    """The order of the faces in an epoch, int64 (N,).

    `natural`: each once. `balanced`: every class equally often. Faces of a small class repeat; some of a large
    class are left out. A face repeats only after all others of its class.
    """
    n = len(data.images)
    if sampling == "natural":
        return torch.randperm(n, generator=generator)
    present = torch.unique(data.classes)
    drawn = []
    for number, label in enumerate(present):
        rows = torch.nonzero(data.classes == label).view(-1)
        wanted = n // len(present) + (number < n % len(present))
        stages = [torch.randperm(len(rows), generator=generator) for _ in range(-(-wanted // len(rows)))]
        drawn.append(rows[torch.cat(stages)[:wanted]])
    order = torch.cat(drawn)
    return order[torch.randperm(n, generator=generator)]


def _to_tensor(images: NDArray[np.uint8]) -> Tensor:
    # A copy: the images may be a view of a file, which must not be written to.
    return torch.from_numpy(np.array(images.transpose(0, 3, 1, 2), order="C"))


def _ahead(read: Callable[[Tensor], Tensor], rows: list[Tensor]) -> Iterator[Tensor]:
    """`read` of each row, by a thread that stays a few in front; its errors are raised here."""
    ready: Channel[Tensor] = Channel(_AHEAD)

    def work() -> None:
        error: BaseException | None = None
        try:
            for row in rows:
                if not ready.put(read(row)):
                    return
        except BaseException as reason:
            error = reason
        ready.end(error)

    thread = threading.Thread(target=work, name="mien-batches", daemon=True)
    thread.start()
    try:
        while taken := ready.take():
            yield taken[0]
        if ready.error is not None:
            raise ready.error
    finally:
        ready.stop()
        thread.join()
