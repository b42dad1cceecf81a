"""Settings of the steps on data: the only place of their defaults, ranges and help. Nothing heavy is imported."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from mien.config import InRange, Setting, check_ranges
from mien.crop_spec import CropSpec
from mien.errors import ArgumentError

NoFace = Literal["drop", "keep", "whole"]
Which = Literal["all", "largest"]
Kept = Literal["arrays", "folders", "npy", "parquet"]
"""How an import or a crop may keep what it makes."""
Layout = Literal["folders", "npy", "csv", "parquet", "webdataset", "yolo", "coco", "label-studio", "fiftyone"]

_Pad = Annotated[
    float | None,
    Setting(
        "Pad each side by this share of the longer side before detection.  [default: for images smaller than 96 "
        "pixels mtcnn 0.25, haar 0.5; else 0]",
        0,
        2,
        metavar="SHARE",
    ),
]


@dataclass(frozen=True, slots=True)
class CropSettings:
    """Which faces are cropped, and how. The defaults are what mien's models expect, found as mien predicts.

    spec: the framing. pad: with the image's border repeated; None: `mien.data.crops.PADS` for loose crops, 0 for
    others. no_face `keep`: as `mien predict --detector none` does; `whole`: the proportions stay.
    """

    size: Annotated[int, Setting("Side of a crop, pixels.", 8, 2048, metavar="PX")] = 48
    channels: Annotated[int, Setting("1 grey, 3 RGB.", 1, 3)] = 1
    spec: CropSpec = field(default_factory=CropSpec)
    faces: Annotated[Which, Setting("All faces of an image, from left to right, or the largest.")] = "all"
    no_face: Annotated[
        NoFace,
        Setting(
            "An image without a face: drop it; keep it as a face crop that is only resized; or use its whole area as "
            "the face's box and frame that like others."
        ),
    ] = "drop"
    min_face: Annotated[int, Setting("Leave out smaller faces, pixels of the longer edge.", 1, metavar="PX")] = 20
    pad: _Pad = None

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.channels == 2:
            raise ArgumentError("channels is 2; expected 1 (grey) or 3 (RGB)")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        given = asdict(self)
        return {**given.pop("spec"), **given}


@dataclass(frozen=True, slots=True)
class ScreenSettings(InRange):
    """Which samples a screening keeps. pad: as in `CropSettings`."""

    votes: Annotated[int, Setting("How many of the detectors must find a face.", 1, metavar="K")] = 1
    pad: _Pad = None
    keep_test: Annotated[bool, Setting("Drop nothing from the split test.")] = False


@dataclass(frozen=True, slots=True)
class AuditSettings(InRange):
    """What decides an audit's outcome, apart from the data; also the table [audit] of mien.toml."""

    near: Annotated[int, Setting("Near copies: differing bits of the 64-bit hash; -1: exact copies only.", -1, 16)] = 8
    suspects: Annotated[bool, Setting("Look for likely wrong labels.", flags=("--suspects/--no-suspects",))] = True
    model: Annotated[
        str, Setting("The judge of the labels: a model that was not trained on these faces.", complete="model")
    ] = "mien-small"
    folds: Annotated[int, Setting("Parts of the data; the judge of each is fitted to the others.", 2)] = 4


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """How a data set is divided.

    validation, test: shares (0 to 1) of the samples that are divided; None for both: each that is missing gets
    `DEFAULT_SHARE`, unless only folds or a subset are wanted. group_by: columns whose equal values stay together,
    beside exact duplicates and `identity`. again: the splits that are named here (validation and test, where none is)
    are divided anew if they exist. keep_test: test is not one of these.
    """

    validation: Annotated[
        float | None, Setting("Share for validation, 0 to 1.  [default: 0.1 if missing]", metavar="SHARE")
    ] = None
    test: Annotated[float | None, Setting("Share for test, 0 to 1.  [default: 0.1 if missing]", metavar="SHARE")] = None
    folds: Annotated[
        int | None, Setting("Number K folds (column `fold`, 0 to K-1; -1 for test) instead.", metavar="K")
    ] = None
    subset: Annotated[
        int | None, Setting("Keep N samples, with the same shares of splits and classes.", metavar="N")
    ] = None
    group_by: Annotated[
        tuple[str, ...], Setting("Keep samples with equal values together; repeatable.", metavar="COLUMN")
    ] = ()
    seed: Annotated[int, Setting("The same seed gives the same splits.")] = 0
    again: Annotated[bool, Setting("Divide existing splits anew.")] = False
    keep_test: Annotated[bool, Setting("With --again: leave test as it is.")] = False


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """The layout of an export. jpeg: None writes PNG, which is exact.

    For yolo and coco only: photographs, the folder that cropped faces came from; detector, the name of a face
    detector that finds the boxes; cascade, its file where it is haar.

    For label-studio and fiftyone only: flags, an audit's flags.csv, and only, the kinds of flags (all, where empty).
    """

    as_: Annotated[Layout, Setting("The layout; see above.", flags=("--as",))]
    jpeg: Annotated[int | None, Setting("Write JPEG instead of PNG, which is exact.", 1, 100, metavar="QUALITY")] = None
    photographs: Annotated[
        Path | None, Setting("yolo, coco: the photographs that the faces were cropped from.", metavar="DIR")
    ] = None
    detector: Annotated[str | None, Setting("yolo, coco: find the boxes with this detector.")] = None
    cascade: Annotated[Path | None, Setting("A cascade file for the detector haar.", metavar="FILE")] = None
    flags: Annotated[
        Path | None,
        Setting("label-studio, fiftyone: only the samples in this flags.csv, with its suggestions.", metavar="FILE"),
    ] = None
    only: Annotated[tuple[str, ...], Setting("A kind of flag; repeatable.  [default: all]", metavar="KIND")] = ()
