"""Options of the commands that detect faces: `--detector`, `--device`, `--min-face`, ..."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.completion import complete_detector

Detector = Annotated[
    str,
    typer.Option(
        "--detector",
        "-d",
        help="mtcnn, yunet, haar, or none if each image is a face crop.",
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
YunetWeights = Annotated[Path | None, typer.Option(metavar="FILE", help="A weights file for the detector yunet.")]
MinFace = Annotated[int, typer.Option(metavar="PX", min=1, help="Leave out smaller faces, in pixels.")]
AbstainBelow = Annotated[
    float, typer.Option(metavar="P", min=0.0, max=1.0, help="Mark predictions with less confidence as unsure.")
]
Pad = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        min=0.0,
        max=2.0,
        help="Pad each side by this share of the longer side before detection.  [default: for "
        "images smaller than 96 pixels mtcnn 0.25, haar 0.5; else 0]",
    ),
]
