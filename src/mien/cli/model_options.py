"""Options and arguments that name models and detectors, and how a recogniser works."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.completion import complete_detector, complete_model
from mien.config import settings_of
from mien.recognition.settings import RecognitionSettings
from mien.releases import DEFAULT_MODEL

if TYPE_CHECKING:
    from mien.cluster.predict import PredictSettings
    from mien.faces import DetectorChoice
    from mien.recognition.recognizer import Recognizer

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A shipped model's name or a model file.", autocompletion=complete_model)
]
ModelOrRun = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A shipped model's name, a model file, or a training run's folder.",
        autocompletion=complete_model,
    ),
]
ModelArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...", help="Shipped models' names or model files, two or more.", autocompletion=complete_model
    ),
]
SomeModels = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL...",
        help="Shipped models' names or model files, side by side; A+B: the mean of both models' probabilities.",
        autocompletion=complete_model,
    ),
]
InstalledModels = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...",
        help="Names or files. [default: all installed and fetched models]",
        autocompletion=complete_model,
    ),
]
OneModel = Annotated[
    str, typer.Option("--model", "-m", help="A shipped model's name or a file.", autocompletion=complete_model)
]
Model = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        help="A shipped model's name or a model file. A+B: the mean of both models' probabilities.",
        autocompletion=complete_model,
    ),
]
"""A list, so that a second `--model` is refused rather than dropped in silence; see `one_model`."""


_SETTINGS = settings_of(RecognitionSettings)

OwnBalance = Annotated[
    float | None,
    typer.Option(
        "--balance",
        min=0,
        max=1,
        metavar="B",
        help="The balance that the new file states. [default: the most macro recall for half a point of accuracy]",
    ),
]
Balance = Annotated[
    float | None,
    typer.Option(
        min=_SETTINGS["balance"].least,
        max=_SETTINGS["balance"].most,
        metavar=_SETTINGS["balance"].metavar,
        help=_SETTINGS["balance"].about,
    ),
]
Prior = Annotated[Path | None, typer.Option(metavar=_SETTINGS["prior"].metavar, help=_SETTINGS["prior"].about)]


def one_model(models: Iterable[str]) -> list[str]:
    """The parts of the one model that is named: `A+B` is [A, B]. Raises ModelFileError for several models."""
    from mien.errors import ModelFileError
    from mien.model_file import split_models

    first, *others = models
    if others:
        together = "+".join((first, *others))
        raise ModelFileError(f"--model: given {1 + len(others)} times; their mean is  --model {together}")
    return list(split_models(first))


@dataclass(frozen=True, slots=True)
class RecognizerOptions:
    """What a `Recognizer` is made of."""

    model: Model = field(default_factory=lambda: [DEFAULT_MODEL])
    detector: Detector = "auto"
    cascade: Cascade = None
    device: Device = "auto"
    details: Annotated[
        bool, typer.Option("--details", help="Also write head pose, gaze, eyes, mouth and 52 blendshapes of each face.")
    ] = False
    draw: Annotated[
        list[str] | None, typer.Option(metavar="WHAT", help="Also draw mesh, pose or gaze; repeatable.")
    ] = None
    settings: RecognitionSettings = field(default_factory=RecognitionSettings)

    @property
    def models(self) -> list[str]:
        """The one model that is named, or the parts of `A+B`. Raises ModelFileError for several."""
        return one_model(self.model)

    def recognizer(self, *, threads: int = 0, **options: Any) -> Recognizer:
        """Opens models and detector; options: more of `Recognizer`."""
        from mien.faces import make_detector
        from mien.recognition.recognizer import Recognizer
        from mien.results.draw import check_drawn

        check_drawn(self.draw or ())
        min_face = self.settings.min_face
        detector = make_detector(
            self.detector, min_face=min_face, cascade=self.cascade, threads=threads, device=self.device
        )
        return Recognizer(
            self.models, detector=detector, device=self.device, min_face=min_face,
            abstain_below=self.settings.abstain_below, balance=self.settings.balance, prior=self.settings.prior,
            threads=threads, details=self.details or bool(self.draw), **options,
        )  # fmt: skip

    def for_shards(self, *, tta: bool) -> PredictSettings:
        """The same for `mien predict --shards`."""
        from mien.cluster.predict import PredictSettings
        from mien.faces import DetectorChoice

        settings = self.settings
        return PredictSettings(
            tuple(self.models), DetectorChoice(self.detector, self.cascade), settings.min_face, settings.abstain_below,
            settings.balance, settings.prior, tta, self.details,
        )  # fmt: skip


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
