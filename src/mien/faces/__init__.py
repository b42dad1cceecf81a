"""Face detectors: one protocol, six methods. A detector is an object; `make_detector` makes one from its name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mien.errors import DetectorError
from mien.results import Detections
from mien.suggestions import did_you_mean

DETECTORS = ("auto", "mtcnn", "yunet", "centerface", "haar", "none")


class FaceDetector(Protocol):
    """Finds faces in an image."""

    name: str

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Faces in an RGB image (H, W, 3) of 0-255, best first."""


def make_detector(
    name: str,
    *,
    min_face: float = 20,
    cascade: str | Path | None = None,
    threads: int = 0,
    device: str = "cpu",
) -> FaceDetector:
    """A detector by its name, one of `DETECTORS`.

    min_face: the smallest face to detect, pixels. cascade: a cascade file for `haar`. threads: for the networks; 0 lets
    onnxruntime choose. device: where they run, as in `mien.inference`; Haar runs on the processor.
    Raises DetectorError for unknown names, an impossible min_face, and files that are missing or wrong.
    """
    if not min_face > 0:
        raise DetectorError(f"min_face is {min_face}; expected a number of pixels above 0")
    if cascade and name in DETECTORS and name != "haar":
        raise DetectorError(f"cascade is given with the detector {name}, which reads none; use --detector haar")
    match name:
        case "auto":
            from mien.faces.auto import Auto

            return Auto(min_face=min_face, threads=threads, device=device)
        case "mtcnn":
            from mien.faces.mtcnn import Mtcnn

            return Mtcnn(min_face=min_face, threads=threads, device=device)
        case "yunet" | "centerface":
            from mien.faces.one_pass import CenterFace, YuNet

            kind = YuNet if name == "yunet" else CenterFace
            return kind(min_face=min_face, threads=threads, device=device)
        case "haar":
            from mien.faces.haar import Haar

            return Haar(min_face=min_face, cascade=Path(cascade) if cascade else None)
        case "none":
            from mien.faces.no_detector import NoDetector

            return NoDetector()
        case _:
            hint = did_you_mean(name, DETECTORS)
            raise DetectorError(f"unknown face detector '{name}'; {hint}known: {', '.join(DETECTORS)}")


@dataclass(frozen=True, slots=True)
class DetectorChoice:
    """A face detector by name, one of `DETECTORS`, and the files it reads; as in `make_detector`."""

    name: str = "auto"
    cascade: Path | None = None

    def make(self, *, min_face: float, threads: int) -> FaceDetector:
        """The detector. Raises DetectorError."""
        return make_detector(self.name, min_face=min_face, cascade=self.cascade, threads=threads)

    def identity(self) -> str:
        """A text that is the same only for the same detector: its name, and the checksum of a file of the user's."""
        file = self.cascade
        if file is None or self.name != "haar":
            return self.name
        try:
            return f"{self.name} {hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"
        except OSError as error:
            raise DetectorError(f"{file}: can't be read ({error.strerror}); check the path") from error
