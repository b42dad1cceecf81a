"""Measures how FER2013 frames a face, and prints the tables of docs/framing.md (and its figure with --figure FILE).

    python scripts/find_framing.py ../shared [--faces 800] [--figure docs/framing.png]

The folder holds data/fer2013-public.parquet, media/ with photographs and clips, and models/ with YuNet's weights.
Needs the extras [data], and matplotlib for the figure. About two minutes on two cores.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.crop import CropSpec, crop_faces
from mien.faces import FaceDetector, make_detector
from mien.results import Detections

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]

SIDE, ENLARGED, BORDER = 48, 4, 24  # a FER2013 face, how far it is enlarged, and its added border in its own pixels
METHODS = ("mtcnn", "yunet", "haar")
POINTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")


@dataclass(frozen=True, slots=True)
class Inside:
    """What a detector found in FER2013's frames, as shares of the frame: boxes (N, 4), landmarks (N, 5, 2) or None."""

    boxes: Floats
    landmarks: Floats | None

    @property
    def frame_over_edge(self) -> Floats:
        """The frame's side in longer edges of the box: 1 + margin."""
        edge: Floats = 1 / (self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1)
        return edge

    @property
    def shift(self) -> Floats:
        """How far the frame's centre lies right of and below the box's, as a share of the frame's side."""
        offset: Floats = 0.5 - (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        return offset

    @property
    def roll_deg(self) -> Floats:
        assert self.landmarks is not None
        line = self.landmarks[:, 1] - self.landmarks[:, 0]
        roll: Floats = np.degrees(np.arctan2(line[:, 1], line[:, 0]))
        return roll


def fer_faces(path: Path, count: int) -> list[Image]:
    """A seeded choice of faces, grey (48, 48)."""
    column = pq.read_table(path, columns=["image"])["image"]
    chosen = np.random.default_rng(0).permutation(len(column))[:count]
    cells = (column[int(i)].as_py()["bytes"] for i in chosen)
    return [cv2.imdecode(np.frombuffer(cell, np.uint8), cv2.IMREAD_GRAYSCALE) for cell in cells]  # type: ignore[misc]


def enlarged(face: Image, border: int, turn_deg: float = 0) -> Image:
    """A face as a detector can find it: enlarged, with a border round it, perhaps turned about its centre; RGB."""
    big = cv2.resize(face, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    big = cv2.copyMakeBorder(big, *[BORDER * ENLARGED] * 4, border)
    if turn_deg:
        middle = (big.shape[1] / 2, big.shape[0] / 2)
        matrix = cv2.getRotationMatrix2D(middle, -turn_deg, 1)  # OpenCV counts counter-clockwise
        big = cv2.warpAffine(big, matrix, big.shape[1::-1], borderMode=border)
    return cv2.cvtColor(big, cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]


def inside(detector: FaceDetector, faces: list[Image], border: int, turn_deg: float = 0) -> tuple[Inside, list[int]]:
    """The best box of each frame that lies about its middle, and which faces had one."""
    boxes, landmarks, rows = [], [], []
    for row, face in enumerate(faces):
        found = detector.detect(enlarged(face, border, turn_deg))
        places = found.boxes / (SIDE * ENLARGED) - BORDER / SIDE
        off = np.abs((places[:, :2] + places[:, 2:]) / 2 - 0.5).max(axis=1)
        large = (places[:, 2:] - places[:, :2]).max(axis=1, initial=0) > 0.5
        for i in np.flatnonzero((off < 0.25) & large)[:1]:
            boxes.append(places[i])
            rows.append(row)
            if found.landmarks is not None:
                landmarks.append(found.landmarks[i] / (SIDE * ENLARGED) - BORDER / SIDE)
    return Inside(np.array(boxes, float), np.array(landmarks, float) if landmarks else None), rows


def spread(values: Floats) -> tuple[float, float]:
    """Median, and the standard deviation as the quartiles tell it (outliers do not count)."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(middle), float(high - low) / 1.349


def photographs(folder: Path) -> list[Image]:
    """The three photographs, and every 60th frame of the two clips with a face."""
    names = ("solvay-1927.jpg", "several-faces.jpg", "astronaut.png")
    images = [cv2.imread(str(folder / name), cv2.IMREAD_COLOR_RGB) for name in names]
    for name in ("one-face-pexels.mp4", "short-one-face.mp4"):
        clip = cv2.VideoCapture(str(folder / name))
        for k in range(int(clip.get(cv2.CAP_PROP_FRAME_COUNT))):
            good, frame = clip.read()
            if good and k % 60 == 0:
                images.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    return images  # type: ignore[return-value]


def overlap(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of one box with many."""
    size = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.clip(size, 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / ((box[2:] - box[:2]).prod() + areas - shared)  # type: ignore[no-any-return]


def placed(found: list[Detections], reference: list[Detections], spec: CropSpec) -> Floats:
    """The reference landmarks in the squares of `spec` around the found boxes, as shares of their sides: (N, 5, 2)."""
    places = []
    for boxes, marks in ((f.boxes, r) for f, r in zip(found, reference, strict=True)):
        for box in boxes:
            near = overlap(box, marks.boxes)
            if marks.landmarks is not None and near.max(initial=0) > 0.4:
                side = float((box[2:] - box[:2]).max()) * (1 + spec.margin)
                centre = (box[:2] + box[2:]) / 2 + [0, spec.shift_y * side]
                places.append((marks.landmarks[int(near.argmax())] - centre) / side + 0.5)
    return np.array(places, float)


def fit(places: Floats, target: Floats) -> tuple[float, float]:
    """The side (in sides of the squares) and vertical shift that bring median landmarks (5, 2) onto the target's."""
    points, goal = np.median(places, axis=0) - 0.5, target - 0.5
    across = np.column_stack([points[:, 0], np.zeros(5)])
    down = np.column_stack([points[:, 1], -np.ones(5)])
    (scale, shift), *_ = np.linalg.lstsq(np.vstack([across, down]), np.concatenate([goal[:, 0], goal[:, 1]]))
    return 1 / float(scale), float(shift)


def crops_of(images: list[Image], found: list[Detections], spec: CropSpec) -> list[Image]:
    return [
        crop[..., 0]
        for image, faces in zip(images, found, strict=True)
        for crop in crop_faces(image, faces, spec, size=SIDE, channels=1)
    ]


def draw(path: Path, frames: dict[str, Inside], photo: Floats, spec: CropSpec) -> None:
    """Median landmarks in both kinds of frames, and the spread of the frame's side: no pixel of any face."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
    fer = frames["mtcnn"].landmarks
    assert fer is not None
    for places, name, mark in ((fer, "FER2013", "o"), (photo, "photographs, cropped", "x")):
        low, middle, high = np.percentile(places, [25, 50, 75], axis=0)
        errors = np.abs(np.stack([low, high]) - middle)
        left.errorbar(*middle.T, xerr=errors[..., 0], yerr=errors[..., 1], fmt=mark, label=name, alpha=0.8)
    left.set(xlim=(0, 1), ylim=(1, 0), aspect="equal", title="Eyes, nose, mouth in the frame")
    left.legend(fontsize="small")
    for name, found in frames.items():
        right.hist(found.frame_over_edge, np.linspace(0.5, 1.6, 45).tolist(), histtype="step", density=True, label=name)
    right.axvline(1 + spec.margin, color="black", linestyle=":", label="default")
    right.set(title="FER2013's side / the box's longer edge", yticks=[])
    right.legend(fontsize="small")
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--faces", type=int, default=800)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    faces = fer_faces(args.shared / "data/fer2013-public.parquet", args.faces)
    spec = CropSpec()

    print("| detector | border | found | side / longer edge | shift x | shift y |\n|---|---|---|---|---|---|")
    frames: dict[str, Inside] = {}
    for method in METHODS:
        detector = make_detector(method, min_face=60, threads=1)
        for border, name in ((cv2.BORDER_REPLICATE, "repeated"), (cv2.BORDER_REFLECT_101, "mirrored")):
            frames[method], _ = inside(detector, faces, border)
            figures = [spread(v) for v in (frames[method].frame_over_edge, *frames[method].shift.T)]
            cells = " | ".join(f"{m:.3f} ± {s:.3f}" for m, s in figures)
            print(f"| {method} | {name} | {len(frames[method].boxes)} of {len(faces)} | {cells} |")

    print("\n| landmark in FER2013 | x, y by mtcnn | x, y by yunet |\n|---|---|---|")
    for k, point in enumerate(POINTS):
        cells = []
        for method in ("mtcnn", "yunet"):
            marks = frames[method].landmarks
            assert marks is not None
            cells.append(", ".join("{:.3f} ± {:.3f}".format(*spread(marks[:, k, axis])) for axis in (0, 1)))
        print(f"| {point} | {' | '.join(cells)} |")

    print(
        "\n| detector | roll of the eyes in FER2013 | error of that roll: faces turned by 10 degrees |\n|---|---|---|"
    )
    for method in ("mtcnn", "yunet"):
        detector = make_detector(method, min_face=60, threads=1)
        level, level_rows = inside(detector, faces[:400], cv2.BORDER_REFLECT_101)
        turned, turned_rows = inside(detector, faces[:400], cv2.BORDER_REFLECT_101, turn_deg=10)
        _, i, j = np.intersect1d(level_rows, turned_rows, return_indices=True)
        change = spread(turned.roll_deg[j] - level.roll_deg[i])
        # Both measurements err, so the difference errs by the root of two times one's error.
        print("| {} | {:.1f} ± {:.1f}° | {:.1f} ± {:.1f}° |".format(
            method, *spread(frames[method].roll_deg), change[0] - 10, change[1] / 2**0.5
        ))  # fmt: skip

    images = photographs(args.shared / "media")
    found = {m: [make_detector(m, threads=1).detect(p) for p in images] for m in METHODS}
    print("\n| boxes | landmarks | faces | best side / longer edge | best shift y | off at the default, pixels of 48 |")
    print("|---|---|---|---|---|---|")
    for method in METHODS:
        for reference in ("mtcnn", "yunet"):
            marks = frames[reference].landmarks
            assert marks is not None
            target = np.median(marks, axis=0)
            places = placed(found[method], found[reference], CropSpec(margin=0, shift_y=0))
            side, shift = fit(places, target)
            default = np.median(placed(found[method], found[reference], spec), axis=0)
            off = np.linalg.norm(default - target, axis=1).mean() * SIDE
            print(f"| {method} | {reference} | {len(places)} | {side:.3f} | {shift:+.3f} | {off:.1f} |")

    # The same question of the pixels: detect again in the finished 48x48 crops, exactly as in FER2013's frames.
    print("\n| crops by | detected again by | found | side / longer edge there | in FER2013 |\n|---|---|---|---|---|")
    for method in METHODS:
        crops = crops_of(images, found[method], spec)
        for judge in METHODS:
            again, _ = inside(make_detector(judge, min_face=60, threads=1), crops, cv2.BORDER_REFLECT_101)
            there, fer = spread(again.frame_over_edge)[0], spread(frames[judge].frame_over_edge)[0]
            print(f"| {method} | {judge} | {len(again.boxes)} of {len(crops)} | {there:.3f} | {fer:.3f} |")
    if args.figure:
        draw(args.figure, frames, placed(found["mtcnn"], found["mtcnn"], spec), spec)


if __name__ == "__main__":
    main()
