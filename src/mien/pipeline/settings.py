"""The keys of mien.toml: a frozen dataclass per stage.

A key that a library function or its settings also have takes its default from there, by `default_of`.
"""

# ruff: noqa: RUF009 (the values of default_of are immutable)

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mien.config import from_table
from mien.crop import CropSpec
from mien.data import audit_settings, dedupe, explore, flags, toy
from mien.data.crops import CropSettings, DetectorChoice, NoFace, Which
from mien.data.dedupe import Conflicts, Keep
from mien.data.reading import reading
from mien.data.screen import ScreenSettings
from mien.data.splits import SplitSettings
from mien.errors import RecipeError
from mien.evaluation import compare, ensemble, evaluate

Detector = Literal["mtcnn", "yunet", "haar"]
Split = Literal["train", "validation", "test"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def default_of(command: Callable[..., Any], parameter: str) -> Any:
    """The default of a parameter of a library function, or of a field of its settings."""
    return inspect.signature(command).parameters[parameter].default


def common_fields(cls: type[Any], settings: object) -> dict[str, Any]:
    """The values of a stage's settings that are also fields of the dataclass `cls`, as its arguments."""
    names = (field.name for field in dataclasses.fields(cls))
    return {name: getattr(settings, name) for name in names if hasattr(settings, name)}


@dataclass(frozen=True, slots=True)
class Toy:
    """Draws cartoon faces into class folders, for [import]. Each key: a number of faces."""

    train: int = default_of(toy.write_toy_folders, "train")
    validation: int = default_of(toy.write_toy_folders, "validation")
    test: int = default_of(toy.write_toy_folders, "test")

    def __post_init__(self) -> None:
        _check(self.train >= 1, f"train is {self.train}; expected 1 or more faces")
        _check(self.validation >= 0 and self.test >= 0, "validation and test: expected 0 or more faces")


@dataclass(frozen=True, slots=True)
class Import:
    """source: any data set that mien reads; omit it with [toy]. The other keys: the options of `mien data import`."""

    source: str = ""
    ferplus: str = ""
    labels: str = default_of(reading.make_choices, "labels")
    split_map: str = default_of(reading.make_choices, "split_map")
    label_column: str = default_of(reading.make_choices, "label_column")
    image_column: str = default_of(reading.make_choices, "image_column")
    root: str = ""


@dataclass(frozen=True, slots=True)
class Crop:
    """The options of `mien data crop`. The trained models are given the same framing."""

    detector: Literal["mtcnn", "yunet", "haar", "none"] = default_of(DetectorChoice, "name")
    cascade: str = ""
    yunet_weights: str = ""
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
        _check(8 <= self.size <= 2048, f"size is {self.size}; expected 8 to 2048 pixels")
        _check(self.min_face >= 1, f"min_face is {self.min_face}; expected 1 or more pixels")
        self.spec  # noqa: B018 (raises ValueError for a framing without a face)

    @property
    def spec(self) -> CropSpec:
        """The framing of the crops."""
        return CropSpec(self.margin, self.align, self.shift_y)


@dataclass(frozen=True, slots=True)
class Screen:
    """The options of `mien data screen`."""

    detectors: tuple[Detector, ...] = (default_of(DetectorChoice, "name"),)
    votes: int = default_of(ScreenSettings, "votes")
    cascade: str = ""
    yunet_weights: str = ""
    keep_test: bool = default_of(ScreenSettings, "keep_test")
    pad: float | None = default_of(ScreenSettings, "pad")


@dataclass(frozen=True, slots=True)
class Dedupe:
    """The options of `mien data dedupe`. near: bits; omit it for exact copies only."""

    near: int | None = default_of(dedupe.dedupe, "near")
    keep: Keep = default_of(dedupe.dedupe, "keep")
    conflicts: Conflicts = default_of(dedupe.dedupe, "conflicts")


@dataclass(frozen=True, slots=True)
class Audit:
    """The options of `mien data audit`. near: bits, -1 for exact copies only. recipe, folds, epochs: of the quick
    network."""

    near: int = audit_settings.DEFAULTS.near if audit_settings.DEFAULTS.near is not None else -1
    detector: Detector | None = None
    cascade: str = ""
    yunet_weights: str = ""
    suspects: bool = True
    recipe: str = audit_settings.RECIPE
    folds: int = audit_settings.DEFAULTS.folds
    epochs: int | None = None

    def __post_init__(self) -> None:
        _check(-1 <= self.near <= 16, f"near is {self.near}; expected 0 to 16 bits, or -1 for exact copies only")
        _check(self.folds >= 2, f"folds is {self.folds}; expected 2 or more")


@dataclass(frozen=True, slots=True)
class Drop:
    """The options of `mien data drop`. flags: a flags.csv; omit it for the one that [audit] writes."""

    only: tuple[str, ...]
    min_score: float = default_of(flags.drop_flagged, "min_score")
    from_test: bool = default_of(flags.drop_flagged, "from_test")
    flags: str = ""


@dataclass(frozen=True, slots=True)
class Division:
    """The options of `mien data split`."""

    validation: float | None = default_of(SplitSettings, "validation")
    test: float | None = default_of(SplitSettings, "test")
    subset: int | None = default_of(SplitSettings, "subset")
    group_by: tuple[str, ...] = default_of(SplitSettings, "group_by")
    again: bool = default_of(SplitSettings, "again")
    keep_test: bool = default_of(SplitSettings, "keep_test")


@dataclass(frozen=True, slots=True)
class Explore:
    """The options of `mien data explore`."""

    per_class: int = default_of(explore.explore, "per_class")

    def __post_init__(self) -> None:
        _check(1 <= self.per_class <= 500, f"per_class is {self.per_class}; expected 1 to 500")


@dataclass(frozen=True, slots=True)
class Train:
    """A training run, as by `mien train`. name: of the run and its model; omit it for the recipe's name."""

    recipe: str
    name: str = ""
    set: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_name(self.run, "name" if self.name else "recipe")

    @property
    def run(self) -> str:
        """The name of the run."""
        return self.name or Path(self.recipe).stem


@dataclass(frozen=True, slots=True)
class Compare:
    """Compares trained runs on validation, as `mien compare` does. models: names of runs; omit it for all.

    head: omit it for the labels, where all runs have them.
    """

    models: tuple[str, ...] = ()
    head: Literal["", "label", "votes"] = default_of(compare.compare, "head")


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The options of `mien ensemble`. models: names of runs; omit it for all."""

    name: str = "ensemble"
    models: tuple[str, ...] = ()
    weights: Literal["equal", "fit"] = default_of(ensemble.write_ensemble, "weights")

    def __post_init__(self) -> None:
        _check_name(self.name, "name")


@dataclass(frozen=True, slots=True)
class Evaluate:
    """The options of `mien evaluate`, for each model and split.

    models: names of runs, or 'ensemble'; omit it for the ensemble or, without one, for all runs. robustness: how many
    faces it is measured on; 0 skips it.
    """

    splits: tuple[Split, ...] = ("validation",)
    models: tuple[str, ...] = ()
    truth: Literal["label", "votes"] | None = default_of(evaluate.evaluate_samples, "truth")
    tta: bool = default_of(evaluate.evaluate_samples, "tta")
    groups: tuple[str, ...] = ()
    target_accuracy: float | None = default_of(evaluate.Extras, "target_accuracy")
    speed: bool = True
    robustness: int = default_of(evaluate.Extras, "robustness_faces")

    def __post_init__(self) -> None:
        _check(bool(self.splits), "splits is empty; expected train, validation or test")
        _check(self.robustness >= 0, f"robustness is {self.robustness}; expected a number of faces, or 0")
        wanted = self.target_accuracy
        _check(wanted is None or 0 < wanted <= 1, f"target_accuracy is {wanted}; expected above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class Export:
    """Copies the model files, and writes the final data set in other layouts. models: as in [evaluate]."""

    models: tuple[str, ...] = ()
    data: tuple[Literal["folders", "npy", "csv", "parquet", "webdataset", "yolo", "coco"], ...] = ()


@dataclass(frozen=True, slots=True)
class Card:
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
    seed: int | None = None
    device: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        _check(bool(self.out.strip()), "out is empty; expected a folder")
        _check_name(self.name, "name")
        _check(self.seed is None or self.seed >= 0, f"seed is {self.seed}; expected 0 or more")
        _check(self.threads >= 0, f"threads is {self.threads}; expected 0 (all) or more")


@dataclass(frozen=True, slots=True)
class Settings:
    """A parsed mien.toml; a stage that is not in it is None. file: its path; paths in it are relative to its folder."""

    file: Path
    general: General
    train: tuple[Train, ...] = ()
    toy: Toy | None = None
    import_: Import | None = None
    crop: Crop | None = None
    screen: Screen | None = None
    dedupe: Dedupe | None = None
    audit: Audit | None = None
    drop: Drop | None = None
    split: Division | None = None
    explore: Explore | None = None
    compare: Compare | None = None
    ensemble: Ensemble | None = None
    evaluate: Evaluate | None = None
    export: Export | None = None
    card: Card | None = None

    @property
    def out(self) -> Path:
        """The folder for all output."""
        return self.path(self.general.out)

    def path(self, text: str) -> Path:
        """A path in the file, which is relative to the file's folder."""
        return self.file.parent / Path(text).expanduser()


_STAGES: dict[str, type[Any]] = {
    "toy": Toy, "import": Import, "crop": Crop, "screen": Screen, "dedupe": Dedupe, "audit": Audit, "drop": Drop,
    "split": Division, "explore": Explore, "train": Train, "compare": Compare, "ensemble": Ensemble,
    "evaluate": Evaluate, "export": Export, "card": Card,
}  # fmt: skip


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
            raise RecipeError(f"{file}: unknown key '{key}'; {suggestion(key, (*keys, *_STAGES))}")
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


def suggestion(name: str, known: Sequence[str]) -> str:
    """A hint for an unknown name: the most similar known one, or all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"


def _read_runs(tables: Any, file: Path) -> tuple[Train, ...]:
    if isinstance(tables, Mapping):
        tables = [tables]  # [train] is a list of one
    if not isinstance(tables, list):
        raise RecipeError(f"{file}: 'train' must be tables ([[train]])")
    runs: list[Train] = []
    for i, table in enumerate(tables):
        _require_table(table, file, f"train[{i}]")
        run = from_table(Train, table, source=str(file), prefix=f"train[{i}].")
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
