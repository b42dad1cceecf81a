"""Options of the commands that detect faces: `--detector`, `--cascade`, `--device`, ..."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.completion import complete_detector

if TYPE_CHECKING:
    from mien.faces import DetectorChoice

_DETECTOR = typer.Option(
    "--detector",
    "-d",
    help="auto, mtcnn, yunet, centerface, haar, or none if each image is a face crop.",
    autocompletion=complete_detector,
)

Detector = Annotated[str, _DETECTOR]
NoDetector = Annotated[str | None, _DETECTOR]
Detectors = Annotated[
    list[str],
    typer.Option(
        "--detector",
        "-d",
        help="auto, mtcnn, yunet, centerface, haar or none; repeatable.",
        autocompletion=complete_detector,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="Where networks run: auto, cpu, cuda, coreml, openvino, directml, ... as the installed onnxruntime has."
    ),
]
Cascade = Annotated[Path | None, typer.Option(metavar="FILE", help="A cascade file for the detector haar.")]


@dataclass(frozen=True, slots=True)
class DetectorFiles:
    """`--cascade`: the file of a detector."""

    cascade: Cascade = None

    def choice(self, detector: str) -> DetectorChoice:
        """The detector of that name, with the file it needs."""
        from mien.faces import DetectorChoice

        return DetectorChoice(detector, self.cascade)

    def choices(self, detectors: Sequence[str]) -> tuple[DetectorChoice, ...]:
        """Several detectors; where haar is one of them, the file is for that alone."""
        alone = DetectorFiles() if "haar" in detectors else self
        return tuple((self if name == "haar" else alone).choice(name) for name in detectors)
