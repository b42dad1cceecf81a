"""From face crops to probabilities: one model or the mean of several, of one view of a face or of ten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mien.crop import VIEWS, CropSpec, crop_faces, ten_views
from mien.errors import ModelFileError
from mien.labels import canonical_all
from mien.model_file import ModelFile
from mien.recognition.scheduling import Crops
from mien.results import Detections, ModelSummary


class Classifier:
    """One or more model files that answer the same labels; several answer with the mean of their probabilities."""

    def __init__(self, models: Sequence[ModelFile], *, tta: bool = False) -> None:
        """Models may order or spell their labels differently; the first model's labels are used.

        Raises ModelFileError where two models' label sets differ.
        """
        if not models:
            raise ModelFileError("no model was given; name at least one")
        self.models = tuple(models)
        self.tta = tta
        self.labels = models[0].info.labels
        known = canonical_all(self.labels, str(models[0].path))
        self._orders = []
        for model in models:
            names = canonical_all(model.info.labels, str(model.path))
            if set(names) != set(known):
                raise ModelFileError(
                    f"{model.path}: answers {', '.join(names)}, but {models[0].path} answers {', '.join(known)}; "
                    "only models with the same labels can be used together"
                )
            self._orders.append([names.index(name) for name in known])
        wanted = [(m.info.crop, m.info.size, m.info.channels) for m in models]
        self._cuts: list[tuple[CropSpec, int, int]] = list(dict.fromkeys(wanted))
        self._cut_of = [self._cuts.index(cut) for cut in wanted]

    def summary(self) -> ModelSummary:
        """Names, labels and checksums of the models."""
        return ModelSummary(
            name=" + ".join(m.info.name for m in self.models),
            labels=self.labels,
            target=" + ".join(dict.fromkeys(m.info.target for m in self.models)),
            sha256=tuple(m.sha256 for m in self.models),
            device=" + ".join(dict.fromkeys(m.device for m in self.models)),
        )

    def crop(self, image: NDArray[np.uint8], detections: Detections) -> Crops:
        """The faces of an RGB image (H, W, 3), cut as each of the models wants them."""
        return tuple(
            crop_faces(image, detections, spec, size=size, channels=channels) for spec, size, channels in self._cuts
        )

    def probabilities(self, crops: Crops) -> NDArray[np.float32]:
        """Crops as `crop` makes them (of many images put together) -> float32 (N, K), rows sum to 1."""
        total = np.zeros((len(crops[0]), len(self.labels)), np.float32)
        for model, cut, order in zip(self.models, self._cut_of, self._orders, strict=True):
            faces = crops[cut]
            if self.tta:
                views = model.probabilities(ten_views(faces))
                answer = views.reshape(len(faces), VIEWS, len(self.labels)).mean(axis=1)
            else:
                answer = model.probabilities(faces)
            total += answer[:, order]
        return total / np.float32(len(self.models))
