"""`mien data crop --engine ray`: crops faces on Ray, and writes them here in the order of the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from mien.cluster.ray_workers import TRIES, Lost, RaySettings, in_order, ray_workers
from mien.data.crops import CroppedSource
from mien.data.reading.opening import Opened
from mien.data.reading.sources import ImageFiles
from mien.data.reading.trees import Folder
from mien.data.settings import CropSettings
from mien.data.source import Chunk, Source, SourceOver, Step
from mien.errors import ClusterError
from mien.faces import DetectorChoice

PART = 64
"""The number of image files that a worker gets at a time."""


@dataclass(frozen=True, slots=True)
class RayCrops(SourceOver):
    """A source of the faces in the images of another source: the same faces in the same order as `CroppedSource`.

    Workers read the image files of a folder, which must have the same path on each machine. Images inside a file
    (CSV, Parquet, ZIP, arrays) are read here and sent to the workers.
    """

    detector: DetectorChoice
    settings: CropSettings
    ray: RaySettings

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The faces of the images from `start` on. Raises ClusterError if the workers of a part were always lost."""
        with ray_workers(partial(_start, self.detector, self.settings), self.ray) as workers:
            for chunks in in_order(workers.work_off(_parts(self.source, start))):
                if isinstance(chunks, Lost):
                    raise ClusterError(
                        f"a part's worker was lost {TRIES} times ({chunks.reason}); add --resume to continue"
                    )
                yield from chunks


@dataclass(frozen=True, slots=True)
class _Held:
    chunk: Chunk
    label_names: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    fingerprint: str = ""

    @property
    def total(self) -> int | None:
        return self.chunk.consumed

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        yield self.chunk


def _parts(source: Source, start: int) -> Iterator[Source]:
    """A source from `start` on as small sources, of names of image files or of images that were read here."""
    inner = source.source if isinstance(source, Opened) else source
    if isinstance(inner, ImageFiles) and isinstance(inner.tree, Folder):
        tree = Folder(inner.tree.root)  # without the listing of the other one
        for first in range(start, len(inner.records), PART):
            yield replace(inner, tree=tree, records=inner.records[first : first + PART])
        start = max(start, len(inner.records))  # after them come files that are not data
    for chunk in source.chunks(start):
        yield _Held(chunk, source.label_names)


def _start(detector: DetectorChoice, settings: CropSettings) -> Callable[[Source], list[Chunk]]:
    made = detector.make(min_face=settings.min_face, threads=1)

    def work(part: Source) -> list[Chunk]:
        return list(CroppedSource(part, lambda: made, settings).chunks())

    return work
