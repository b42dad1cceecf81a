"""`fer`: its TensorFlow Lite network (the default) or its Keras network; faces by OpenCV's cascade (the default).

A crop is framed as `detect_emotions` does with the crop's own box and no offsets. The variant `tflite-offsets` keeps
the package's default offsets of 10 pixels, which on a crop are a border of one grey.
"""

import cv2
import numpy as np
from fer.fer import FER
from protocol import main


class Fer:
    labels = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

    def __init__(self, variant: str) -> None:
        self.offsets = variant == "tflite-offsets"
        self.detector = FER(use_tflite=variant != "keras", offsets=(10, 10) if self.offsets else (0, 0))
        self.whole = FER(use_tflite=variant != "keras")

    def classify(self, faces: np.ndarray) -> np.ndarray:
        if self.offsets:
            colour = (cv2.cvtColor(face, cv2.COLOR_GRAY2BGR) for face in faces)
            found = [self.detector.detect_emotions(face, face_rectangles=[[0, 0, 48, 48]])[0] for face in colour]
            return np.array([[one["emotions"][label] for label in self.labels] for one in found])
        # The package's own steps without its rounding to two digits, and in batches where its network takes them.
        resized = np.stack([cv2.resize(face, (64, 64)) for face in faces]).astype(np.float32)
        scaled = (resized / 255.0 - 0.5) * 2.0
        keras = not self.detector.use_tflite
        return np.asarray(self.detector._classify_emotions(scaled[..., None] if keras else scaled))

    def find(self, photo: str) -> list[str]:
        found = self.whole.detect_emotions(cv2.imread(photo))
        return [max(one["emotions"], key=one["emotions"].get) for one in found]


main(Fer)
