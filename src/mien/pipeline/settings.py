"""What mien.toml says: a frozen dataclass per stage, whose defaults are those of the stage's own command."""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mien.config import from_table
from mien.crop import CropSpec
from mien.errors import RecipeError

Detector = Literal["mtcnn", "yunet", "haar"]
Split = Literal["train", "validation", "test"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Toy:
    """Draws cartoon faces as class folders, which are then imported."""

    train: int = 1400
    validation: int = 350
    test: int = 350

    def __post_init__(self) -> None:
        _check(self.train >= 1, f"train is {self.train}; expected 1 or more faces")
        _check(self.validation >= 0 and self.test >= 0, "validation and test: expected 0 or more faces")


@dataclass(frozen=True, slots=True)
class Import:
    """source: any data set that mien reads, left out with [toy]. The rest: as the options of `mien data import`."""

    source: str = ""
    ferplus: str = ""
    labels: str = ""
    split_map: str = ""
    label_column: str = ""
    image_column: str = ""
    root: str = ""


@dataclass(frozen=True, slots=True)
class Crop:
    """As `mien data crop`. The framing is also what the trained models will ask for."""

    detector: Literal["mtcnn", "yunet", "haar", "none"] = "mtcnn"
    cascade: str = ""
    yunet_weights: str = ""
    size: int = 48
    channels: Literal[1, 3] = 1
    margin: float = -0.05
    align: bool = False
    shift_y: float = 0.0
    faces: Literal["all", "largest"] = "all"
    no_face: Literal["drop", "keep", "whole"] = "drop"
    min_face: int = 20
    pad: float | None = None

    def __post_init__(self) -> None:
        _check(8 <= self.size <= 2048, f"size is {self.size}; expected 8 to 2048 pixels")
        _check(self.min_face >= 1, f"min_face is {self.min_face}; expected 1 or more pixels")
        self.spec  # noqa: B018 (raises where it frames no face)

    @property
    def spec(self) -> CropSpec:
        """The framing."""
        return CropSpec(self.margin, self.align, self.shift_y)


@dataclass(frozen=True, slots=True)
class Screen:
    """As `mien data screen`."""

    detectors: tuple[Detector, ...] = ("mtcnn",)
    votes: int = 1
    cascade: str = ""
    yunet_weights: str = ""
    keep_test: bool = False
    pad: float | None = None


@dataclass(frozen=True, slots=True)
class Dedupe:
    """As `mien data dedupe`; near: bits, left out for exact copies alone."""

    near: int | None = None
    keep: Literal["first", "test", "none"] = "test"
    conflicts: Literal["drop", "keep", "majority"] = "drop"


@dataclass(frozen=True, slots=True)
class Audit:
    """As `mien data audit`; near -1: exact copies alone; recipe, folds, epochs: of the quick network."""

    near: int = 8
    detector: Detector | None = None
    cascade: str = ""
    yunet_weights: str = ""
    suspects: bool = True
    recipe: str = "audit"
    folds: int = 4
    epochs: int | None = None

    def __post_init__(self) -> None:
        _check(-1 <= self.near <= 16, f"near is {self.near}; expected 0 to 16 bits, or -1 for exact copies alone")
        _check(self.folds >= 2, f"folds is {self.folds}; expected 2 or more")


@dataclass(frozen=True, slots=True)
class Drop:
    """As `mien data drop`; flags: a file of your own, left out for that of [audit]."""

    only: tuple[str, ...]
    min_score: float = 0.0
    from_test: bool = False
    flags: str = ""


@dataclass(frozen=True, slots=True)
class Division:
    """As `mien data split`."""

    validation: float | None = None
    test: float | None = None
    subset: int | None = None
    group_by: tuple[str, ...] = ()
    again: bool = False
    keep_test: bool = False


@dataclass(frozen=True, slots=True)
class Explore:
    """As `mien data explore`."""

    per_class: int = 30

    def __post_init__(self) -> None:
        _check(1 <= self.per_class <= 500, f"per_class is {self.per_class}; expected 1 to 500")


@dataclass(frozen=True, slots=True)
class Train:
    """A run of a recipe, as `mien train`; name: of the run and its model, left out for the recipe's."""

    recipe: str
    name: str = ""
    set: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_name(self.run, "name" if self.name else "recipe")

    @property
    def run(self) -> str:
        """What the run is called."""
        return self.name or Path(self.recipe).stem


@dataclass(frozen=True, slots=True)
class Compare:
    """Measures every trained model on one split, side by side."""

    split: Literal["train", "validation"] = "validation"


@dataclass(frozen=True, slots=True)
class Ensemble:
    """As `mien ensemble`; models: names of runs, left out for all."""

    name: str = "ensemble"
    models: tuple[str, ...] = ()
    weights: Literal["equal", "fit"] = "equal"

    def __post_init__(self) -> None:
        _check_name(self.name, "name")


@dataclass(frozen=True, slots=True)
class Evaluate:
    """As `mien evaluate`, for each model and split.

    models: names of runs, or 'ensemble'; left out for the ensemble, or for all runs where none is. robustness: on
    how many faces to measure it; 0 for not at all.
    """

    splits: tuple[Split, ...] = ("validation",)
    models: tuple[str, ...] = ()
    truth: Literal["label", "votes"] | None = None
    tta: bool = False
    groups: tuple[str, ...] = ()
    target_accuracy: float | None = None
    speed: bool = True
    robustness: int = 0

    def __post_init__(self) -> None:
        _check(bool(self.splits), "splits is empty; expected train, validation or test")
        _check(self.robustness >= 0, f"robustness is {self.robustness}; expected a number of faces, or 0")
        wanted = self.target_accuracy
        _check(wanted is None or 0 < wanted <= 1, f"target_accuracy is {wanted}; expected above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class Export:
    """Copies the model files, and writes the final data set in other programs' layouts; models: as in [evaluate]."""

    models: tuple[str, ...] = ()
    data: tuple[Literal["folders", "npy", "csv", "parquet", "webdataset", "yolo", "coco"], ...] = ()


@dataclass(frozen=True, slots=True)
class Card:
    """Writes a model card for each model, by every ruler that the data have; models: as in [evaluate]."""

    models: tuple[str, ...] = ()
    split: Split = "validation"


@dataclass(frozen=True, slots=True)
class General:
    """The keys that belong to no stage.

    out: the folder of all that is made. name: of the data set, as models and reports call it. seed: of every stage;
    left out, each stage takes its own default. device, threads: of training, as in `mien train`.
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
    """A whole mien.toml; a stage that it does not name is None. file: where it was read; paths in it start there."""

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
        """The folder of all that is made."""
        return self.path(self.general.out)

    def path(self, text: str) -> Path:
        """A path of the file's, which counts from the file's folder."""
        return self.file.parent / Path(text).expanduser()


_STAGES: dict[str, type[Any]] = {
    "toy": Toy, "import": Import, "crop": Crop, "screen": Screen, "dedupe": Dedupe, "audit": Audit, "drop": Drop,
    "split": Division, "explore": Explore, "train": Train, "compare": Compare, "ensemble": Ensemble,
    "evaluate": Evaluate, "export": Export, "card": Card,
}  # fmt: skip


def read_settings(file: Path) -> Settings:
    """Reads a mien.toml. Raises RecipeError naming the file and the key for whatever is wrong with it."""
    file = Path(file)
    try:
        table = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text in UTF-8"
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
    """What may have been meant by an unknown name."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"


def _read_runs(tables: Any, file: Path) -> tuple[Train, ...]:
    if isinstance(tables, Mapping):
        tables = [tables]  # a single [train] means the same
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
    # It becomes a folder's name.
    _check(bool(_NAME.fullmatch(name)), f"{key} is {name!r}; expected a name of letters, digits, '.', '_' and '-'")
