"""The options that `mien predict` and `mien watch` share: which model and detector recognise, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.detector_options import Cascade, Detector, Device
from mien.cli.model_options import Model, one_model
from mien.recognition.settings import RecognitionSettings
from mien.releases import DEFAULT_MODEL

if TYPE_CHECKING:
    from mien.cluster.predict import PredictSettings
    from mien.recognition.recognizer import Recognizer


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
        from mien.results.draw_details import check_drawn

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
