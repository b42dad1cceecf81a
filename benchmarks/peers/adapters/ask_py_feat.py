"""`py-feat` 2: its detector and multi-task network without identities; crops go through detection, too.

It has no documented way around its detector. A crop in which no face is found has no answer, and stands as all zeros.
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
from feat import Detectorv2
from protocol import main


class PyFeat:
    def __init__(self, variant: str) -> None:
        self.detector = Detectorv2(device="cpu", identity_model=None)
        self.labels = list(self.detector.multitask.emotion_names)

    def classify(self, faces: np.ndarray) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            names = [str(Path(folder) / f"{i}.png") for i in range(len(faces))]
            for name, face in zip(names, faces, strict=True):
                cv2.imwrite(name, cv2.resize(face, (224, 224)))
            found = self.detector.detect(names, batch_size=16, progress_bar=False)
        first = found.drop_duplicates("frame").set_index("frame")[self.labels]
        return first.reindex(range(len(faces))).fillna(0.0).to_numpy()

    def find(self, photo: str) -> list[str]:
        found = self.detector.detect([photo], progress_bar=False)[self.labels].dropna()
        return list(found.idxmax(axis=1))


main(PyFeat)
