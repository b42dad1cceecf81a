"""`deepface`: `analyze` of emotions alone, in its default engine; crops with the detector `skip`, as its help says."""

import cv2
import numpy as np
from deepface import DeepFace
from protocol import main


class Deepface:
    labels = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

    def __init__(self, variant: str) -> None:
        self.classify(np.zeros((1, 48, 48), np.uint8))  # loads the network

    def classify(self, faces: np.ndarray) -> np.ndarray:
        images = [cv2.cvtColor(face, cv2.COLOR_GRAY2BGR) for face in faces]
        said = [DeepFace.analyze(one, actions=["emotion"], detector_backend="skip", silent=True)[0] for one in images]
        return np.array([[one["emotion"][label] / 100 for label in self.labels] for one in said])

    def find(self, photo: str) -> list[str]:
        found = DeepFace.analyze(photo, actions=["emotion"], enforce_detection=False, silent=True)
        return [one["dominant_emotion"] for one in found]


main(Deepface)
