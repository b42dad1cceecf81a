"""`mien predict --shards`: recognises in any number of pictures, into shards of Parquet that appear whole or not."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from mien.cluster.folder import OutputFolder, output_folder
from mien.cluster.plan import LISTING, SUMMARY, Plan, make_or_open_plan, pyarrow, read_shards, shard_name
from mien.cluster.ray_workers import TRIES, Lost, RaySettings, RayWorkers, ray_workers
from mien.cluster.shard import KEY, Counts, Shard, ShardDone, failed_shard, halves, joined_shard, work_on_shard
from mien.cluster.sources import Lists
from mien.data.crops import DetectorChoice
from mien.errors import ModelFileError, OutputError
from mien.recognition.recognizer import Recognizer

SHARD_SIZE = 1000


@dataclass(frozen=True, slots=True)
class PredictSettings:
    """What decides the answers; as the arguments of `Recognizer`. models: shipped names, or paths that every machine
    has."""

    models: tuple[str, ...]
    detector: DetectorChoice = field(default_factory=DetectorChoice)
    min_face: int = 20
    abstain_below: float = 0.0
    tta: bool = False

    def recognizer(self) -> Recognizer:
        """A recognizer whose networks use one thread each: with more, rows would differ in their last digits."""
        detector = self.detector.make(min_face=self.min_face, threads=1)
        return Recognizer(
            self.models,
            detector=detector,
            min_face=self.min_face,
            abstain_below=self.abstain_below,
            tta=self.tta,
            threads=1,
            device="cpu",  # so that rows are the same everywhere
        )

    def identity(self, recognizer: Recognizer) -> dict[str, Any]:
        """What a plan remembers, as JSON has it. recognizer: one of these settings."""
        return {
            "model": recognizer.summary().to_dict(),
            "detector": self.detector.identity(),
            "min_face": self.min_face,
            "abstain_below": self.abstain_below,
            "tta": self.tta,
        }


@dataclass(frozen=True, slots=True)
class ShardsSummary:
    """What is in the output folder in the end. done_before: shards that were there when this run began."""

    out: str
    shards: int
    done_before: int
    pictures: int
    faces: int
    failed: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def predict_shards(
    sources: Sequence[str],
    out: str,
    *,
    settings: PredictSettings,
    ray: RaySettings | None = None,
    shard_size: int = SHARD_SIZE,
    workers: int | None = None,
    lists: Lists | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> ShardsSummary:
    """Recognises in all pictures of `sources` and writes `out`/shard-NNNNNN.parquet, and summary.json at the end.

    sources: as `expand_all`. out: a folder or an fsspec URL. A shard that is there is done: stopped or killed, the same
    call goes on with those that are missing. Each picture is in exactly one shard, in one row a face, or in one row
    where it has none or failed (`mien.results.rows`). ray: where the shards are worked on; None: in this process, in
    `workers` threads (None: one a core). On Ray this process hands shards out and writes them, a lost
    worker is replaced and its shard done again; where that happens three times, the shard is halved until the
    pictures that do it stand alone, and these have failed.
    progress: is told how many pictures are done, and of how many.

    Raises MienError: for sources, models and detectors as in `mien predict`; OutputError where `out` can't be written
    or holds other work; ClusterError; MissingExtraError.
    """
    pyarrow()
    folder = output_folder(out)
    recognizer = settings.recognizer()
    identity = settings.identity(recognizer)
    plan = make_or_open_plan(folder, sources, shard_size=shard_size, settings=identity, lists=lists or Lists())
    counts = _counts_of_done(folder, plan)
    missing = [number for number in range(plan.shards) if number not in counts]
    before, whole = len(counts), sum((c.pictures for c in counts.values()), 0)
    progress(whole, plan.pictures)
    with folder.local(LISTING) as listing:
        shards = (Shard(n, n * shard_size, names, plan.listing) for n, names in read_shards(listing, missing))
        if ray is None or not missing:
            found = _here(recognizer, shards, workers, lambda n: progress(whole + n, plan.pictures))
        else:
            found = _on_ray(settings, recognizer, shards, ray)
        with closing(found):  # stops the workers now, whatever goes wrong here
            for done in found:
                folder.write(shard_name(done.number), done.data)
                counts[done.number] = done.counts
                whole += done.counts.pictures
                progress(whole, plan.pictures)
    total = sum(counts.values(), Counts())
    summary = ShardsSummary(out, plan.shards, before, total.pictures, total.faces, total.failed)
    about = {"listing": plan.listing, **identity, **asdict(total), "shards": plan.shards}
    folder.write(SUMMARY, json.dumps(about, indent=1).encode())
    return summary


def _here(
    recognizer: Recognizer, shards: Iterator[Shard], workers: int | None, told: Callable[[int], None]
) -> Generator[ShardDone, None, None]:
    for shard in shards:
        yield work_on_shard(recognizer, shard, workers=workers or os.cpu_count() or 1, told=told)


def _on_ray(
    settings: PredictSettings, recognizer: Recognizer, shards: Iterator[Shard], ray: RaySettings
) -> Generator[ShardDone, None, None]:
    with ray_workers(partial(_start, settings, recognizer.summary().sha256), ray) as workers:
        lost = []
        for _, shard, result in workers.work_off(shards):
            if isinstance(result, Lost):
                lost.append(shard)
            else:
                yield result
        for shard in lost:
            yield _in_parts(workers, shard, recognizer.labels)


def _in_parts(workers: RayWorkers[Shard, ShardDone], shard: Shard, labels: tuple[str, ...]) -> ShardDone:
    """A shard that loses its workers, halved until the pictures that do it stand alone: these have failed."""
    found: dict[int, ShardDone] = {}
    failing = [shard]
    while failing:
        parts = [part for whole in failing for part in halves(whole)]
        single = all(len(part.sources) == 1 for part in parts)
        failing = []
        for _, part, result in workers.work_off(parts, tries=TRIES if single else 1):
            if not isinstance(result, Lost):
                found[part.first] = result
            elif not single:
                failing.append(part)
            else:
                reason = f"its worker was lost {TRIES} times ({result.reason}); delete {shard_name(shard.number)}, "
                found[part.first] = failed_shard(part, labels, f"{reason}and the same command tries again")
    return joined_shard(shard, [found[first] for first in sorted(found)])


def _start(settings: PredictSettings, sha256: tuple[str, ...]) -> Callable[[Shard], ShardDone]:
    """What a worker works with. Raises ModelFileError where its machine has other model files."""
    recognizer = settings.recognizer()
    if recognizer.summary().sha256 != sha256:
        raise ModelFileError(
            f"{', '.join(settings.models)}: is another file on {platform.node()}; give all machines the same"
        )
    return partial(work_on_shard, recognizer)


def _counts_of_done(folder: OutputFolder, plan: Plan) -> dict[int, Counts]:
    """The shards that are there. Raises OutputError for one that is damaged or of another list."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = folder.names()
    found = {}
    for number in range(plan.shards):
        if (name := shard_name(number)) in names:
            try:
                with folder.local(name) as place:
                    about = json.loads(pq.read_schema(place).metadata[KEY])
                if (about["listing"], about["shard"]) != (plan.listing, number):
                    raise OutputError(f"{folder.name}/{name}: is of another list; give a new folder")
                found[number] = Counts(about["pictures"], about["faces"], about["failed"])
            except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
                raise OutputError(
                    f"{folder.name}/{name}: is damaged; delete it, and the same command does it again"
                ) from error
    return found
