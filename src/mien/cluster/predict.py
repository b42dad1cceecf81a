"""`mien predict --shards`: recognises faces in any number of images and writes atomic shards of Parquet."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from mien.balance import Prior
from mien.cluster.folder import OutputFolder
from mien.cluster.plan import LISTING, SUMMARY, Plan, make_or_open_plan, pyarrow, read_shards, shard_name
from mien.cluster.ray_workers import TRIES, Lost, RaySettings, RayWorkers, ray_workers
from mien.cluster.shard import KEY, Counts, Shard, ShardDone, failed_shard, halves, joined_shard, work_on_shard
from mien.cluster.sources import Lists
from mien.errors import ModelFileError, OutputError
from mien.faces import DetectorChoice
from mien.recognition.recognizer import Recognizer
from mien.reporting import Progress
from mien.results import ModelSummary

SHARD_SIZE = 1000


@dataclass(frozen=True, slots=True)
class PredictSettings:
    """The settings that decide the predictions, as in `Recognizer`. models: shipped names, or paths that exist on
    every machine."""

    models: tuple[str, ...]
    detector: DetectorChoice = field(default_factory=DetectorChoice)
    min_face: int = 20
    abstain_below: float = 0.0
    balance: float | None = None
    prior: Prior | None = None
    tta: bool = False
    details: bool = False

    def recognizer(self) -> Recognizer:
        """A recognizer with one thread per network. More threads would change the last digits of rows."""
        detector = self.detector.make(min_face=self.min_face, threads=1)
        return Recognizer(
            self.models,
            detector=detector,
            min_face=self.min_face,
            abstain_below=self.abstain_below,
            balance=self.balance,
            prior=self.prior,
            tta=self.tta,
            details=self.details,
            threads=1,
            device="cpu",  # so that rows are the same everywhere
        )

    def identity(self, recognizer: Recognizer) -> dict[str, Any]:
        """The identity that a plan stores, as JSON. recognizer: one with these settings."""
        return {
            "model": recognizer.summary().to_dict(),
            "detector": self.detector.identity(),
            "min_face": self.min_face,
            "abstain_below": self.abstain_below,
            "tta": self.tta,
            **({"details": True} if self.details else {}),
        }


@dataclass(frozen=True, slots=True)
class ShardsSummary:
    """The content of the output folder. done_before: shards that existed when this run began."""

    out: str
    shards: int
    done_before: int
    images: int
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
    progress: Progress = lambda *_: None,
) -> ShardsSummary:
    """Recognises faces in all images of `sources`; writes `out`/shard-NNNNNN.parquet, and summary.json at the end.

    sources: as in `expand_all`. out: a folder or an fsspec URL. Existing shards are kept, so the same call resumes a
    stopped or killed run. Each image is in exactly one shard, with one row per face, or with one row if it has no face
    or failed (`mien.results.rows`). ray: the cluster; None runs in this process, in `workers` threads (None: one per
    core). On Ray, this process distributes and writes the shards. A lost worker is replaced and its shard repeated.
    After three losses the shard is halved until the images that cause them are single, and these are marked as failed.
    progress: called with the number of finished images and of all images.

    Raises MienError: for sources, models and detectors as in `mien predict`; OutputError where `out` can't be written
    or holds other work; ClusterError; MissingExtraError.
    """
    pyarrow()
    folder = OutputFolder(out)
    recognizer = settings.recognizer()
    identity = settings.identity(recognizer)
    plan = make_or_open_plan(folder, sources, shard_size=shard_size, settings=identity, lists=lists or Lists())
    counts = _counts_of_done(folder, plan)
    missing = [number for number in range(plan.shards) if number not in counts]
    before, whole = len(counts), sum((c.images for c in counts.values()), 0)
    progress(whole, plan.images)
    with folder.local(LISTING) as listing:
        shards = (Shard(n, n * shard_size, names, plan.listing) for n, names in read_shards(listing, missing))
        if ray is None or not missing:
            threads = workers or os.cpu_count() or 1
            found = (
                work_on_shard(recognizer, s, workers=threads, progress=lambda n: progress(whole + n, plan.images))
                for s in shards
            )
        else:
            # The workers may lack the file of a prior.
            found = _on_ray(replace(settings, prior=recognizer.summary().prior), recognizer, shards, ray)
        with closing(found):  # stops the workers now, whatever goes wrong here
            for done in found:
                folder.write(shard_name(done.number), done.data)
                counts[done.number] = done.counts
                whole += done.counts.images
                progress(whole, plan.images)
    total = sum(counts.values(), Counts())
    summary = ShardsSummary(out, plan.shards, before, total.images, total.faces, total.failed)
    about = {"listing": plan.listing, **identity, **asdict(total), "shards": plan.shards}
    folder.write(SUMMARY, json.dumps(about, indent=1).encode())
    return summary


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
            yield _in_parts(workers, shard, recognizer.summary())


def _in_parts(workers: RayWorkers[Shard, ShardDone], shard: Shard, model: ModelSummary) -> ShardDone:
    """Halves a shard that loses its workers until the images that cause it are single; these are marked as failed."""
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
                found[part.first] = failed_shard(part, model, f"{reason}and run the same command to try again")
    return joined_shard(shard, [found[first] for first in sorted(found)])


def _start(settings: PredictSettings, sha256: tuple[str, ...]) -> Callable[[Shard], ShardDone]:
    """Returns a worker's function. Raises ModelFileError if its machine has other model files."""
    recognizer = settings.recognizer()
    if recognizer.summary().sha256 != sha256:
        raise ModelFileError(
            f"{', '.join(settings.models)}: differs on {platform.node()}; copy the same file to all machines"
        )
    return partial(work_on_shard, recognizer)


def _counts_of_done(folder: OutputFolder, plan: Plan) -> dict[int, Counts]:
    """The counts of existing shards. Raises OutputError for one that is damaged or of another list."""
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
                    raise OutputError(f"{folder.name}/{name}: belongs to another list; give a new folder")
                found[number] = Counts(about["images"], about["faces"], about["failed"])
            except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
                raise OutputError(
                    f"{folder.name}/{name}: is damaged; delete it and run the same command again"
                ) from error
    return found
