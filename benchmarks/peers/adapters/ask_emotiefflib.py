"""`emotiefflib`: its ONNX engine, default network, on face crops; it has no detector, so photos are one crop."""

import cv2
import numpy as np
from emotiefflib.facial_analysis import EmotiEffLibRecognizer
from protocol import main


class EmotiEffLib:
    def __init__(self, variant: str) -> None:
        self.recognizer = EmotiEffLibRecognizer(engine="onnx")
        names = self.recognizer.idx_to_emotion_class
        self.labels = [names[i] for i in range(len(names))]

    def classify(self, faces: np.ndarray) -> np.ndarray:
        images = [cv2.cvtColor(face, cv2.COLOR_GRAY2RGB) for face in faces]
        return self.recognizer.predict_emotions(images, logits=False)[1]

    def find(self, photo: str) -> list[str]:
        return self.recognizer.predict_emotions(cv2.cvtColor(cv2.imread(photo), cv2.COLOR_BGR2RGB), logits=False)[0]


main(EmotiEffLib)
