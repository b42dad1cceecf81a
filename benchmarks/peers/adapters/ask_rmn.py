"""`rmn`: the residual masking network, a face at a time; faces by the package's YuNet. The import fetches weights."""

import cv2
import numpy as np
from protocol import main
from rmn import FER_2013_EMO_DICT, RMN


class ResidualMasking:
    labels = tuple(FER_2013_EMO_DICT.values())

    def __init__(self, variant: str) -> None:
        self.network = RMN()

    def classify(self, faces: np.ndarray) -> np.ndarray:
        said = [self.network.detect_emotion_for_single_face_image(face)[2] for face in faces]
        return np.array([[next(iter(one.values())) for one in row] for row in said])

    def find(self, photo: str) -> list[str]:
        return [one["emo_label"] for one in self.network.detect_emotion_for_single_frame(cv2.imread(photo))]


main(ResidualMasking)
