"""The three steps of recognition: detect the faces of an image, crop them, classify the crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mien.balance import Prior, model_balance
from mien.crop import VIEWS, crop_faces, ten_views
from mien.crop_spec import CropSpec
from mien.errors import ModelFileError
from mien.faces import FaceDetector
from mien.faces.geometry import large_enough
from mien.faces.mesh import FaceMesh
from mien.labels import canonical_all
from mien.model_file import ModelFile
from mien.recognition.scheduling import Crops
from mien.results import Box, Detections, Face, ModelSummary, Point
from mien.results.details import Details


class Classifier:
    """From face crops to probabilities: one model or the mean of several, of one view of a face or of ten."""

    def __init__(
        self,
        models: Sequence[ModelFile],
        *,
        tta: bool = False,
        balance: float | None = None,
        prior: Prior | None = None,
    ) -> None:
        """Models may order or spell their labels differently; the first model's labels are used.

        balance, prior: see `mien.balance.model_balance`. Raises ModelFileError where two models' label sets differ, or
        for a balance of models without a training mix; ArgumentError for a balance or prior that can't be used.
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
                    f"{model.path}: has the labels {', '.join(names)}, but {models[0].path} has {', '.join(known)}; "
                    "only models with the same labels can be used together"
                )
            self._orders.append([names.index(name) for name in known])
        self.balance = model_balance(models, balance, prior)
        wanted = [(m.info.crop, m.info.size, m.info.channels) for m in models]
        self.cuts: list[tuple[CropSpec, int, int]] = list(dict.fromkeys(wanted))
        self._cut_of = [self.cuts.index(cut) for cut in wanted]

    def summary(self) -> ModelSummary:
        """Names, labels and checksums of the models."""
        return ModelSummary(
            name=" + ".join(m.info.name for m in self.models),
            labels=self.labels,
            target=" + ".join(dict.fromkeys(m.info.target for m in self.models)),
            sha256=tuple(m.sha256 for m in self.models),
            device=" + ".join(dict.fromkeys(m.device for m in self.models)),
            balance=self.balance.balance,
            prior=None if (mix := self.balance.target) is None else dict(zip(self.labels, mix, strict=True)),
        )

    def probabilities(self, crops: Crops) -> NDArray[np.float32]:
        """Crops as `crop` makes them (of many images put together) -> balanced float32 (N, K), rows sum to 1."""
        total = np.zeros((len(crops[0]), len(self.labels)), np.float32)
        for model, cut, order in zip(self.models, self._cut_of, self._orders, strict=True):
            faces = crops[cut]
            if self.tta:
                views = model.probabilities(ten_views(faces))
                found = views.reshape(len(faces), VIEWS, len(self.labels)).mean(axis=1)
            else:
                found = model.probabilities(faces)
            total += found[:, order]
        return self.balance.apply(total / np.float32(len(self.models)))


class FaceSteps:
    """Detects, crops and classifies the faces of decoded images; each step may run in another thread."""

    def __init__(
        self,
        detector: FaceDetector,
        classifier: Classifier,
        *,
        min_face: int,
        abstain_below: float,
        batch_size: int,
        mesh: FaceMesh | None = None,
    ) -> None:
        """The options are those of `Recognizer`; mesh: gives the details of faces."""
        self.detector, self.classifier, self._mesh = detector, classifier, mesh
        self._min_face, self._abstain_below = min_face, abstain_below
        self._faces_a_call = max(1, batch_size // VIEWS) if classifier.tta else batch_size

    @property
    def gives_details(self) -> bool:
        """Whether faces get their details."""
        return self._mesh is not None

    def detect(self, image: NDArray[np.uint8], *, upright: bool = False) -> Detections:
        """The faces of an RGB image (H, W, 3) that are large enough, from left to right.

        upright: an image in which nothing is found is not searched at other angles, where the detector does that.
        """
        detect = getattr(self.detector, "detect_upright", self.detector.detect) if upright else self.detector.detect
        return large_enough(detect(image), min_face=self._min_face)

    def crop(self, image: NDArray[np.uint8], detections: Detections) -> Crops:
        """The faces of an RGB image (H, W, 3), cropped as each network expects them; `()` without faces."""
        if not len(detections):
            return ()
        return tuple(
            crop_faces(image, detections, spec, size=size, channels=channels)
            for spec, size, channels in self.classifier.cuts
        )

    def details(self, image: NDArray[np.uint8], detections: Detections) -> Sequence[Details | None]:
        """What each face of an RGB image (H, W, 3) does; None for each where details were not requested."""
        return [None] * len(detections) if self._mesh is None else self._mesh.details(image, detections)

    def classify(
        self,
        found: Sequence[tuple[Detections, Crops, Sequence[Details | None]]],
        images: Sequence[NDArray[np.uint8] | None],
    ) -> Iterator[tuple[Face, ...]]:
        """The faces of each image, from its detections, crops and details, classified together in batches.

        images: RGB (H, W, 3), kept by the faces, or None.
        """
        with_faces = [crops for _, crops, _ in found if crops]
        rows: Iterator[NDArray[np.float32]] = iter(())
        if with_faces:
            rows = self._probabilities(tuple(np.concatenate(same) for same in zip(*with_faces, strict=True)))
        for (detections, crops, details), image in zip(found, images, strict=True):
            yield tuple(self._faces(detections, details, rows, image)) if crops else ()

    def _probabilities(self, crops: Crops) -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(crops[0]), self._faces_a_call):
            yield from self.classifier.probabilities(tuple(c[start : start + self._faces_a_call] for c in crops))

    def _faces(
        self,
        detections: Detections,
        details: Sequence[Details | None],
        rows: Iterator[NDArray[np.float32]],
        image: NDArray[np.uint8] | None,
    ) -> Iterator[Face]:
        labels = self.classifier.labels
        marks: list[list[Point]] | list[None] = (
            [None] * len(detections) if detections.landmarks is None else detections.landmarks.tolist()
        )
        places = zip(detections.boxes.tolist(), detections.scores.tolist(), marks, details, strict=True)
        for box, score, points, detail in places:
            row = next(rows)
            best = int(row.argmax())
            yield Face(
                box=Box(*box),
                detection_score=score,
                expression=labels[best],
                confidence=float(row[best]),
                probabilities=dict(zip(labels, row.tolist(), strict=True)),
                abstained=bool(row[best] < self._abstain_below),
                landmarks=None if points is None else tuple((x, y) for x, y in points),
                details=detail,
                image=image,
            )
