"""The keys of mien.toml: a frozen dataclass per stage.

A key that a library function or its settings also have takes its default from there, by `default_of`.
"""

# ruff: noqa: RUF009 (the values of default_of are immutable)

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from mien.config import InRange, check_ranges, default_of, from_table, suggested, within
from mien.crop_spec import CropSpec
from mien.data import dedupe, explore, flags, toy
from mien.data.dedupe import Conflicts, Keep
from mien.data.reading import reading
from mien.data.settings import AuditSettings, CropSettings, NoFace, ScreenSettings, SplitSettings, Which
from mien.errors import RecipeError
from mien.evaluation import compare, comparison, ensemble, evaluate
from mien.faces import DetectorChoice
from mien.training.train import train

Detector = Literal["auto", "mtcnn", "yunet", "centerface", "haar"]
Split = Literal["train", "validation", "test"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def common_fields(cls: type[Any], settings: object) -> dict[str, Any]:
    """The values of a stage's settings that are also fields of the dataclass `cls`, as its arguments."""
    names = (field.name for field in dataclasses.fields(cls))
    return {name: getattr(settings, name) for name in names if hasattr(settings, name)}


@dataclass(frozen=True, slots=True)
class ToyTable(InRange):
    """Draws cartoon faces into class folders, for [import]. Each key: a number of faces."""

    train: Annotated[int, within(1)] = default_of(toy.write_toy_folders, "train")
    validation: Annotated[int, within(0)] = default_of(toy.write_toy_folders, "validation")
    test: Annotated[int, within(0)] = default_of(toy.write_toy_folders, "test")


@dataclass(frozen=True, slots=True)
class ImportTable:
    """source: any data set that mien reads; omit it with [toy]. The other keys: the options of `mien data import`."""

    source: str = ""
    ferplus: str = ""
    labels: str = default_of(reading.make_choices, "labels")
    split_map: str = default_of(reading.make_choices, "split_map")
    label_column: str = default_of(reading.make_choices, "label_column")
    image_column: str = default_of(reading.make_choices, "image_column")
    root: str = ""


@dataclass(frozen=True, slots=True)
class CropTable:
    """The options of `mien data crop`. The trained models are given the same framing."""

    detector: Literal["auto", "mtcnn", "yunet", "centerface", "haar", "none"] = default_of(DetectorChoice, "name")
    cascade: str = ""
    size: int = default_of(CropSettings, "size")
    channels: Literal[1, 3] = default_of(CropSettings, "channels")
    margin: float = default_of(CropSpec, "margin")
    align: bool = default_of(CropSpec, "align")
    shift_y: float = default_of(CropSpec, "shift_y")
    faces: Which = default_of(CropSettings, "faces")
    no_face: NoFace = default_of(CropSettings, "no_face")
    min_face: int = default_of(CropSettings, "min_face")
    pad: float | None = default_of(CropSettings, "pad")

    def __post_init__(self) -> None:
        self.settings  # noqa: B018 (raises ValueError for impossible values)

    @property
    def spec(self) -> CropSpec:
        """The framing of the crops."""
        return CropSpec(self.margin, self.align, self.shift_y)

    @property
    def settings(self) -> CropSettings:
        """As the library takes them."""
        return CropSettings(**common_fields(CropSettings, self))


@dataclass(frozen=True, slots=True)
class ScreenTable(ScreenSettings):
    """The options of `mien data screen`."""

    detectors: tuple[Detector, ...] = (default_of(DetectorChoice, "name"),)
    cascade: str = ""


@dataclass(frozen=True, slots=True)
class DedupeTable:
    """The options of `mien data dedupe`. near: bits; omit it for exact copies only."""

    near: int | None = default_of(dedupe.dedupe, "near")
    keep: Keep = default_of(dedupe.dedupe, "keep")
    conflicts: Conflicts = default_of(dedupe.dedupe, "conflicts")


@dataclass(frozen=True, slots=True)
class AuditTable(AuditSettings):
    """The options of `mien data audit`."""

    detector: Detector | None = None
    cascade: str = ""


@dataclass(frozen=True, slots=True)
class DropTable:
    """The options of `mien data drop`. flags: a flags.csv; omit it for the one that [audit] writes."""

    only: tuple[str, ...]
    min_score: float = default_of(flags.drop_flagged, "min_score")
    from_test: bool = default_of(flags.drop_flagged, "from_test")
    flags: str = ""


@dataclass(frozen=True, slots=True)
class ExploreTable(InRange):
    """The options of `mien data explore`."""

    per_class: Annotated[int, within(1, 500)] = default_of(explore.explore, "per_class")


@dataclass(frozen=True, slots=True)
class ReachTable(InRange):
    """The accuracy on validation that each head must reach, a share of 1, less `within`; without one, any will do."""

    label: Annotated[float | None, within(0, 1)] = None
    votes: Annotated[float | None, within(0, 1)] = None
    within: Annotated[float, within(0, 1)] = 0.01


@dataclass(frozen=True, slots=True)
class TrainTable:
    """A training run, as by `mien train`. name: of the run; omit it for the recipe's name.

    model: of its model; omit it for the run's name. weights, teachers: earlier runs of the file, in place of the
    recipe's: `RUN/FILE` in a run's folder, or `RUN` for its best weights, or all its models. stop_after: pause after
    this epoch, without a model. calibrate: heads that are given a vector calibration, as by `mien calibrate`.
    reach: a run that ends below this stops the pipeline.
    """

    recipe: str
    name: str = ""
    model: str = ""
    set: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    teachers: tuple[str, ...] = ()
    stop_after: Annotated[int, within(0)] = default_of(train, "stop_after")
    calibrate: tuple[Literal["label", "votes"], ...] = ()
    reach: ReachTable = ReachTable()

    def __post_init__(self) -> None:
        check_ranges(self)
        _check_name(self.run, "name" if self.name else "recipe")
        _check_name(self.model or self.run, "model")

    @property
    def run(self) -> str:
        """The name of the run."""
        return self.name or Path(self.recipe).stem


@dataclass(frozen=True, slots=True)
class CompareTable:
    """Compares trained runs on validation, as `mien compare` does. models: names of runs; omit it for all.

    head: omit it for the labels, where all runs have them.
    """

    models: tuple[str, ...] = ()
    head: Literal["", "label", "votes"] = default_of(compare.compare, "head")
    by: comparison.By = default_of(compare.compare, "by")


@dataclass(frozen=True, slots=True)
class EnsembleTable:
    """The options of `mien ensemble`. models: names of runs; omit it for all."""

    name: str = "ensemble"
    models: tuple[str, ...] = ()
    weights: Literal["equal", "fit"] = default_of(ensemble.write_ensemble, "weights")

    def __post_init__(self) -> None:
        _check_name(self.name, "name")


@dataclass(frozen=True, slots=True)
class EvaluateTable:
    """The options of `mien evaluate`, for each model and split.

    models: names of runs, or 'ensemble'; omit it for the ensemble or, without one, for all runs. robustness: how many
    faces it is measured on; 0 skips it.
    """

    splits: tuple[Split, ...] = ("validation",)
    models: tuple[str, ...] = ()
    truth: Literal["label", "votes"] | None = default_of(evaluate.evaluate_samples, "truth")
    tta: bool = default_of(evaluate.evaluate_samples, "tta")
    balance: Annotated[float | None, within(0, 1)] = default_of(evaluate.evaluate_samples, "balance")
    groups: tuple[str, ...] = ()
    target_accuracy: Annotated[float | None, within(0, 1, open=True)] = default_of(evaluate.Extras, "target_accuracy")
    speed: bool = True
    robustness: Annotated[int, within(0)] = default_of(evaluate.Extras, "robustness_faces")

    def __post_init__(self) -> None:
        check_ranges(self)
        _check(bool(self.splits), "splits is empty; expected train, validation or test")


@dataclass(frozen=True, slots=True)
class ExportTable:
    """Copies the model files, and writes the final data set in other layouts. models: as in [evaluate]."""

    models: tuple[str, ...] = ()
    data: tuple[Literal["folders", "npy", "csv", "parquet", "webdataset", "yolo", "coco"], ...] = ()


@dataclass(frozen=True, slots=True)
class CardTable:
    """Writes a card for each model, measured by each kind of ground truth in the data. models: as in [evaluate]."""

    models: tuple[str, ...] = ()
    split: Split = "validation"


@dataclass(frozen=True, slots=True)
class General:
    """The keys outside the tables.

    out: the folder for all output. name: of the data set, in models and reports. seed: of every stage; omit it for
    each stage's default. device, threads: of training, as in `mien train`.
    """

    out: str = "work"
    name: str = "faces"
    seed: Annotated[int | None, within(0)] = None
    device: str = "auto"
    threads: Annotated[int, within(0)] = 0

    def __post_init__(self) -> None:
        check_ranges(self)
        _check(bool(self.out.strip()), "out is empty; expected a folder")
        _check_name(self.name, "name")


@dataclass(frozen=True, slots=True)
class Settings:
    """A parsed mien.toml; a stage that is not in it is None. file: its path; paths in it are relative to its folder."""

    file: Path
    general: General
    train: tuple[TrainTable, ...] = ()
    toy: ToyTable | None = None
    import_: ImportTable | None = None
    crop: CropTable | None = None
    screen: ScreenTable | None = None
    dedupe: DedupeTable | None = None
    audit: AuditTable | None = None
    drop: DropTable | None = None
    split: SplitSettings | None = None
    explore: ExploreTable | None = None
    compare: CompareTable | None = None
    ensemble: EnsembleTable | None = None
    evaluate: EvaluateTable | None = None
    export: ExportTable | None = None
    card: CardTable | None = None

    @property
    def out(self) -> Path:
        """The folder for all output."""
        return self.path(self.general.out)

    def path(self, text: str) -> Path:
        """A path in the file, which is relative to the file's folder."""
        return self.file.parent / Path(text).expanduser()


_STAGES: dict[str, type[Any]] = {
    field.name.rstrip("_"): next(each for each in typing.get_args(hint) if dataclasses.is_dataclass(each))  # type: ignore[misc]
    for field, hint in zip(dataclasses.fields(Settings), typing.get_type_hints(Settings).values(), strict=True)
    if field.name not in ("file", "general")
}


def read_settings(file: Path) -> Settings:
    """Reads a mien.toml. Raises RecipeError that names the file and the key at fault."""
    file = Path(file)
    try:
        table = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RecipeError(f"{file}: can't be read ({why}); write one with  mien init {file}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{file}: not valid TOML: {error}") from error
    keys = [field.name for field in dataclasses.fields(General)]
    for key in table:
        if key not in (*keys, *_STAGES):
            raise RecipeError(f"{file}: unknown key '{key}'; {suggested(key, (*keys, *_STAGES))}")
    general = from_table(General, {key: table[key] for key in keys if key in table}, source=str(file))
    stages: dict[str, Any] = {}
    for name, cls in _STAGES.items():
        if name == "train":
            stages[name] = _read_runs(table.get(name, []), file)
        elif name in table:
            _require_table(table[name], file, name)
            stages["import_" if name == "import" else name] = from_table(
                cls, table[name], source=str(file), prefix=f"{name}."
            )
    return Settings(file, general, **stages)


def _read_runs(tables: Any, file: Path) -> tuple[TrainTable, ...]:
    if isinstance(tables, Mapping):
        tables = [tables]  # [train] is a list of one
    if not isinstance(tables, list):
        raise RecipeError(f"{file}: 'train' must be tables ([[train]])")
    runs: list[TrainTable] = []
    for i, table in enumerate(tables):
        _require_table(table, file, f"train[{i}]")
        run = from_table(TrainTable, table, source=str(file), prefix=f"train[{i}].")
        if run.run.lower() in [other.run.lower() for other in runs]:
            raise RecipeError(f"{file}: two runs are called '{run.run}'; give train[{i}] a name of its own")
        runs.append(run)
    return tuple(runs)


def _require_table(value: Any, file: Path, key: str) -> None:
    if not isinstance(value, Mapping):
        raise RecipeError(f"{file}: '{key}' must be a table ([{key}])")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _check_name(name: str, key: str) -> None:
    # It becomes the name of a folder.
    _check(bool(_NAME.fullmatch(name)), f"{key} is {name!r}; expected a name of letters, digits, '.', '_' and '-'")
