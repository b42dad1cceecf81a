"""What stages are given and what they give, and the state of a pipeline.

state.json has a record of each finished stage, and each stage has a folder. A stage is built in OUT/.building and moved
to its place. Its record is written before the move, and the folder holds the key of the record. A kill at any moment
therefore leaves either the old output or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mien.errors import DataError, OutputError
from mien.files import cannot_write, make_folder, write_text
from mien.reporting import Progress
from mien.version import __version__

STATE = "state.json"
FORMAT = 1

TOY, FLAGS, MODELS, INDEX = "faces", "flags.csv", "models", "index.html"
WEIGHTS = ("best.safetensors", "last.safetensors", "interpolated.safetensors")
"""What a run may start from; the first is the usual one."""

_BUILDING, _OLD, _KEY = ".building", ".old", ".mien-stage"


@dataclass(frozen=True, slots=True)
class Context:
    """Callbacks and resources of a stage.

    progress: how many items of the stage are done, and of how many. log: lines worth reading. device, threads: for
    training, as in `mien train`.
    """

    progress: Progress
    log: Callable[[str], None]
    device: str = "auto"
    threads: int = 0


@dataclass(frozen=True, slots=True)
class StageReport:
    """A file to read: its title, and its path in the stage's folder."""

    title: str
    path: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The output of a stage.

    products: the files that later stages read, as paths in the stage's folder. problems: the number of records that
    could not be used. note: the outcome in a few words.
    """

    products: tuple[str, ...]
    reports: tuple[StageReport, ...] = ()
    samples_in: int | None = None
    samples_out: int | None = None
    problems: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Product:
    """A file as it was when its stage ended. It is hashed again only if its size or time (ns) differs."""

    path: str
    size: int
    modified: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Job:
    """All that decides the output of a stage. inputs: a checksum of each stage and file that it reads."""

    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    version: str = __version__

    @property
    def key(self) -> str:
        """A hash that is equal only for equal jobs."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StageRecord:
    """A finished stage. seconds: the duration of its last session."""

    job: Job
    outcome: Outcome
    products: tuple[Product, ...]
    seconds: float


State = Literal["done", "ran", "would run", "left"]


@dataclass(frozen=True, slots=True)
class StageResult:
    """The result of a stage.

    state: `done`, up to date; `ran`; `would run`, in a dry run; `left`, as it was not chosen. reason: why it ran or
    would run, or why a stage that was left is out of date. record: None without output. needs: the stages that it
    reads.
    """

    name: str
    state: State
    reason: str = ""
    record: StageRecord | None = None
    needs: tuple[str, ...] = ()


class Store:
    """The work folder of one mien.toml."""

    def __init__(self, out: Path) -> None:
        """Reads the state; writes nothing. Raises OutputError if `out` holds other files, DataError for damage."""
        self.out = out
        self._records: dict[str, StageRecord] = {}
        if (out / STATE).exists():
            self._records = _read(out / STATE)
        elif out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out}: holds files that no pipeline made; set 'out' to a new folder")

    def begin(self) -> None:
        """Makes the work folder. Raises OutputError."""
        make_folder(self.out)
        self._write()

    def folder(self, stage: str) -> Path:
        """The folder of a finished stage."""
        return self.out / stage

    def record(self, stage: str) -> StageRecord | None:
        """The record of a stage whose output is complete; None otherwise."""
        record = self._records.get(stage)
        if record is None or _key_in(self.folder(stage)) != record.job.key:
            return None
        there = all((self.folder(stage) / p.path).is_file() for p in record.products)
        return record if there else None

    def remembers(self, stage: str) -> bool:
        """Whether the stage was ever finished, even if its files are gone."""
        return stage in self._records

    def checksum(self, stage: str) -> str:
        """The checksum of a finished stage's products as they are now. A user may have edited a list of flags."""
        record = self.record(stage)
        if record is None:
            raise ValueError(f"'{stage}' is not finished")
        lines = []
        for product in record.products:
            place = self.folder(stage) / product.path
            status = place.stat()
            same = (status.st_size, status.st_mtime_ns) == (product.size, product.modified)
            lines.append(f"{product.path} {product.sha256 if same else _sha256(place)}")
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def workplace(self, stage: str, key: str) -> Path:
        """The folder to build a stage in. It holds the work of a killed run of the same job, otherwise nothing."""
        place = self.out / _BUILDING / stage
        if _key_in(place) != key:
            self.discard(stage)
            make_folder(place)
            write_text(place / _KEY, key)
        return place

    def discard(self, stage: str) -> None:
        """Deletes unfinished work on a stage."""
        place = self.out / _BUILDING / stage
        try:
            if place.exists():
                shutil.rmtree(place)
        except OSError as error:
            raise cannot_write(place, error) from error

    def finish(self, stage: str, job: Job, outcome: Outcome, seconds: float) -> StageRecord:
        """Moves the built folder to its place and stores its record. Raises OutputError if another folder is there."""
        built, place, old = self.out / _BUILDING / stage, self.folder(stage), self.out / _OLD / stage
        if place.exists() and not (place / _KEY).is_file():
            raise OutputError(f"{place}: was not made by a pipeline; move it elsewhere")
        products = tuple(_product(built, path) for path in outcome.products)
        self._records[stage] = record = StageRecord(job, outcome, products, seconds)
        self._write()
        try:
            if old.exists():
                shutil.rmtree(old)
            if place.exists():
                old.parent.mkdir(parents=True, exist_ok=True)
                place.replace(old)
            place.parent.mkdir(parents=True, exist_ok=True)
            built.replace(place)
            shutil.rmtree(self.out / _OLD, ignore_errors=True)
        except OSError as error:
            raise cannot_write(place, error) from error
        return record

    def tidy(self) -> None:
        """Removes the folder for unfinished work if it is empty."""
        building = self.out / _BUILDING
        if building.exists() and not any(path.is_file() for path in building.rglob("*")):
            shutil.rmtree(building)

    def _write(self) -> None:
        state = {
            "format": FORMAT,
            "version": __version__,
            "stages": {name: asdict(record) for name, record in self._records.items()},
        }
        write_text(self.out / STATE, json.dumps(state, indent=1) + "\n")


def clear(folder: Path) -> None:
    """Removes what a killed run left, where the stage cannot resume from it."""
    if folder.exists():
        shutil.rmtree(folder)


def file_checksum(path: Path) -> str:
    """A checksum of the names, sizes and times of a file or folder of the user. No content is read."""
    lines = []
    for place in [path] if path.is_file() else _files(path):
        status = place.stat()
        lines.append(f"{place.relative_to(path.parent)} {status.st_size} {status.st_mtime_ns}")
    text = "\n".join(sorted(lines))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _files(folder: Path) -> Iterable[Path]:
    for parent, _, names in os.walk(folder):
        yield from (place for name in names if (place := Path(parent, name)).exists())  # not broken links


def _product(folder: Path, path: str) -> Product:
    status = (folder / path).stat()
    return Product(path, status.st_size, status.st_mtime_ns, _sha256(folder / path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _key_in(folder: Path) -> str:
    """The key of the job whose output a folder holds; '' if it is not the folder of a stage."""
    try:
        return (folder / _KEY).read_text("utf-8")
    except OSError:
        return ""


def _read(path: Path) -> dict[str, StageRecord]:
    try:
        state = json.loads(path.read_text("utf-8"))
        if state["format"] != FORMAT:
            raise DataError(
                f"{path}: has format {state['format']}; this mien reads format {FORMAT}: set 'out' to a new folder"
            )
        return {name: _record(raw) for name, raw in state["stages"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the state of a pipeline, or damaged; set 'out' to a new folder") from error


def _record(raw: Mapping[str, Any]) -> StageRecord:
    outcome = dict(raw["outcome"])
    outcome["products"] = tuple(outcome["products"])
    outcome["reports"] = tuple(StageReport(**report) for report in outcome["reports"])
    return StageRecord(
        Job(**raw["job"]), Outcome(**outcome), tuple(Product(**p) for p in raw["products"]), float(raw["seconds"])
    )
