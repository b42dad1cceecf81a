"""`hsemotion-onnx`: its recognizer of face crops, default network; it has no detector, so photos are one crop."""

import urllib.request  # noqa: F401 (the package uses it without importing it)

import cv2
import numpy as np
from hsemotion_onnx.facial_emotions import HSEmotionRecognizer
from protocol import main


class HSEmotion:
    def __init__(self, variant: str) -> None:
        self.recognizer = HSEmotionRecognizer()
        self.labels = [self.recognizer.idx_to_class[i] for i in range(len(self.recognizer.idx_to_class))]

    def classify(self, faces: np.ndarray) -> np.ndarray:
        images = [cv2.cvtColor(face, cv2.COLOR_GRAY2RGB) for face in faces]
        return self.recognizer.predict_multi_emotions(images, logits=False)[1]

    def find(self, photo: str) -> list[str]:
        return [self.recognizer.predict_emotions(cv2.cvtColor(cv2.imread(photo), cv2.COLOR_BGR2RGB))[0]]


main(HSEmotion)
