"""The plan of an output folder: a stored list of images, divided into numbered shards of equal size.

`listing.parquet` holds the images, one row group per shard; `plan.json` holds the settings. The list is final: a
resumed run reads it and does not list the sources again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mien.cluster.folder import OutputFolder
from mien.cluster.sources import Lists, expand_all, is_list
from mien.errors import OutputError, import_extra
from mien.version import __version__

PLAN, LISTING, SUMMARY = "plan.json", "listing.parquet", "summary.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """Images in shards of `shard_size`; the last one may be smaller. listing: the checksum of the list."""

    images: int
    shard_size: int
    listing: str

    @property
    def shards(self) -> int:
        """The number of shards."""
        return -(-self.images // self.shard_size)


def shard_name(number: int) -> str:
    """The file name of a shard."""
    return f"shard-{number:06d}.parquet"


def make_or_open_plan(
    folder: OutputFolder, sources: Sequence[str], *, shard_size: int, settings: Mapping[str, Any], lists: Lists
) -> Plan:
    """Lists the images and stores the plan, or opens the existing plan of the same work.

    settings: all that decides the predictions, as JSON.
    Raises OutputError if the folder holds other files, the plan of other work (the error names what differs) or a
    damaged list; ImageError and DataError as in `expand_all`.
    """
    work = {
        "version": __version__,
        "sources": list(sources),
        "folder": os.getcwd() if any(is_list(s) or "://" not in s for s in sources) else "",  # noqa: PTH109
        "shard_size": shard_size,
        **settings,
    }
    work = json.loads(json.dumps(work))  # as json.loads returns it
    there = folder.names()
    if PLAN in there:
        return _open(folder, work, lists)
    if foreign := sorted(there - {LISTING}):
        raise OutputError(f"{folder.name}: holds other files ({foreign[0]}); give a new folder")
    return _make(folder, work, shard_size, expand_all(sources, lists), lists)


def read_shards(listing: Path, numbers: Iterable[int]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The shards of a list: number, and paths or URLs of the images."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(listing) as file:
        for number in numbers:
            names = file.read_row_group(number).column("source").to_pylist()
            yield number, tuple(os.fsdecode(name) for name in names)


def _make(folder: OutputFolder, work: Mapping[str, Any], shard_size: int, images: Iterator[str], lists: Lists) -> Plan:
    pa = pyarrow()
    import pyarrow.parquet as pq

    digest, count = hashlib.sha256(), 0
    schema = pa.schema([("source", pa.binary())])  # file names need not be UTF-8
    with tempfile.TemporaryDirectory(prefix="mien-") as scratch:
        made = Path(scratch) / LISTING
        with pq.ParquetWriter(made, schema, compression="zstd") as writer:
            while names := [os.fsencode(name) for name in islice(images, shard_size)]:
                writer.write_table(pa.table({"source": names}, schema), row_group_size=shard_size)
                for name in names:
                    digest.update(name + b"\0")
                count += len(names)
        if count == 0:
            raise OutputError(f"{folder.name}: the list is empty; expected at least one image")
        folder.make()
        folder.write_file(LISTING, made)
    plan = Plan(count, shard_size, digest.hexdigest())
    about = {"format": FORMAT, "images": count, "listing": plan.listing, "lists": lists.checksum(), "work": work}
    folder.write(PLAN, json.dumps(about, indent=1).encode())
    return plan


def _open(folder: OutputFolder, work: Mapping[str, Any], lists: Lists) -> Plan:
    try:
        about = json.loads(folder.read(PLAN))
        before = about["work"]
        plan = Plan(about["images"], before["shard_size"], about["listing"])
        if about["format"] != FORMAT:
            raise OutputError(f"{folder.name}: {PLAN} has format {about['format']}; this mien reads format {FORMAT}")
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{folder.name}: {PLAN} is damaged ({error!r}); give a new folder") from error
    changed = [key for key in {**before, **work} if before.get(key) != work.get(key)]
    if changed:
        shown = "; ".join(f"{key} was {_short(before.get(key))} and is {_short(work.get(key))}" for key in changed)
        raise OutputError(f"{folder.name}: holds other work: {shown}; run it as before, or give a new folder")
    for source in work["sources"]:
        if is_list(source):
            for _ in lists.lines(source):
                pass
    if lists.checksum() != about["lists"]:
        raise OutputError(f"{folder.name}: holds work on another list; give that list, or a new folder")
    with folder.local(LISTING) as listing:
        digest = hashlib.sha256()
        for _, names in read_shards(listing, range(plan.shards)):
            for name in names:
                digest.update(os.fsencode(name) + b"\0")
    if digest.hexdigest() != plan.listing:
        raise OutputError(f"{folder.name}: {LISTING} is not the one that {PLAN} names; give a new folder")
    return plan


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def pyarrow() -> Any:
    """The package. Raises MissingExtraError."""
    return import_extra("pyarrow", "cluster", "work in shards")
