"""`uniface`: its emotion network (TorchScript) behind its RetinaFace, whose five points it needs; crops, too.

A crop in which no face is found has no answer, and stands as all zeros.
"""

import cv2
import numpy as np
from protocol import main
from uniface import Emotion, RetinaFace


class UniFace:
    labels = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Angry")

    def __init__(self, variant: str) -> None:
        self.detector, self.emotion = RetinaFace(), Emotion()

    def classify(self, faces: np.ndarray) -> np.ndarray:
        rows = np.zeros((len(faces), len(self.labels)))
        for row, face in zip(rows, faces, strict=True):
            image = cv2.resize(cv2.cvtColor(face, cv2.COLOR_GRAY2BGR), (224, 224))
            for said in self._ask(image)[:1]:
                row[self.labels.index(said.emotion)] = said.confidence
        return rows

    def find(self, photo: str) -> list[str]:
        return [said.emotion for said in self._ask(cv2.imread(photo))]

    def _ask(self, image: np.ndarray) -> list:
        return [self.emotion.predict(image, face) for face in self.detector.detect(image)]


main(UniFace)
