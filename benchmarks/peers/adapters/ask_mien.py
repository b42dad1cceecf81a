"""mien, from an environment of its own; the variant is the name of a shipped model."""

import numpy as np
from protocol import main

from mien.crop import fit_face
from mien.model_file import load_model
from mien.recognition.recognizer import Recognizer


class Mien:
    def __init__(self, variant: str) -> None:
        self.model = load_model(variant)
        self.recognizer = Recognizer(variant)
        self.labels = self.model.info.labels

    def classify(self, faces: np.ndarray) -> np.ndarray:
        info = self.model.info
        grey = faces[..., None]
        if grey.shape[1:] != (info.size, info.size, info.channels):
            grey = np.stack([fit_face(face, info.size, info.channels) for face in grey])
        return self.model.probabilities(grey)

    def find(self, photo: str) -> list[str]:
        return [face.expression for face in self.recognizer.predict(photo).faces]


main(Mien)
