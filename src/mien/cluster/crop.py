"""`mien data crop --engine ray`: faces are found and cut out on Ray, and written here, in the order of the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from mien.cluster.ray_workers import TRIES, Lost, RaySettings, in_order, ray_workers
from mien.data.crops import Cropped, CroppedSource, CropSettings, DetectorChoice, crop_dataset
from mien.data.dataset import Chunk, Progress, Source, SourceOver, Step
from mien.data.readers import Opened
from mien.data.reading.image_files import ImageFiles
from mien.data.reading.trees import Folder
from mien.errors import ClusterError

PART = 64
"""So many picture files go to a worker at a time."""


def crop_on_ray(
    source: Path,
    out: Path,
    *,
    detector: DetectorChoice,
    settings: CropSettings,
    ray: RaySettings,
    as_: Literal["arrays", "folders"] = "arrays",
    resume: bool = False,
    progress: Progress | None = None,
) -> Cropped:
    """As `crop_dataset`, with the same faces in the same order, found on Ray; either goes on with what the other left.

    Workers read picture files of a folder themselves: it must have the same path on each machine. Pictures inside a
    file (CSV, Parquet, ZIP, arrays) are read here and sent to them.
    Raises what `crop_dataset` does; ClusterError.
    """
    engine = partial(RayCrops, detector=detector, settings=settings, ray=ray)
    return crop_dataset(
        source, out, detector=detector, settings=settings, as_=as_, resume=resume, progress=progress, engine=engine
    )


@dataclass(frozen=True, slots=True)
class RayCrops(SourceOver):
    """A source of the faces in another source's pictures, as `CroppedSource`."""

    detector: DetectorChoice
    settings: CropSettings
    ray: RaySettings

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The faces of the pictures from `start` on. Raises ClusterError where a part's workers were lost each time."""
        with ray_workers(partial(_start, self.detector, self.settings), self.ray) as workers:
            for chunks in in_order(workers.work_off(_parts(self.source, start))):
                if isinstance(chunks, Lost):
                    raise ClusterError(
                        f"a part's worker was lost {TRIES} times ({chunks.reason}); --resume goes on from there"
                    )
                yield from chunks


@dataclass(frozen=True, slots=True)
class _Held:
    """One chunk of a source, as a source."""

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
    """A source from `start` on as small sources: of the names of picture files, or of pictures that were read here."""
    inner = source.source if isinstance(source, Opened) else source
    if isinstance(inner, ImageFiles) and isinstance(inner.tree, Folder):
        tree = Folder(inner.tree.root)  # without the listing that the other one holds
        for first in range(start, len(inner.records), PART):
            yield replace(inner, tree=tree, records=inner.records[first : first + PART])
        start = max(start, len(inner.records))  # behind them are the files that are no part of the data
    for chunk in source.chunks(start):
        yield _Held(chunk, source.label_names)


def _start(detector: DetectorChoice, settings: CropSettings) -> Callable[[Source], list[Chunk]]:
    made = detector.make(min_face=settings.min_face, threads=1)

    def work(part: Source) -> list[Chunk]:
        return list(CroppedSource(part, lambda: made, settings).chunks())

    return work
