"""What commands that detect faces share: `--detector`, `--device`, `--min-face`, ..."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Detector = Annotated[
    str, typer.Option("--detector", "-d", help="mtcnn, yunet, haar, or none where each picture is a face already.")
]
Device = Annotated[
    str,
    typer.Option(
        help="Where networks run: auto, cpu, cuda, coreml, openvino, directml, ... as the installed onnxruntime has."
    ),
]
Cascade = Annotated[Path | None, typer.Option(metavar="FILE", help="A cascade file for the detector haar.")]
YunetWeights = Annotated[Path | None, typer.Option(metavar="FILE", help="A weights file for the detector yunet.")]
MinFace = Annotated[int, typer.Option(metavar="PX", min=1, help="Leave out faces that are smaller, in pixels.")]
Pad = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        min=0.0,
        max=2.0,
        help="Pad each side by this share of the longer side before searching.  [default: for "
        "pictures smaller than 96 pixels mtcnn 0.25, haar 0.5; else 0]",
    ),
]
