"""Measures how often the label check finds wrong orders and exchanged classes, and its false alarms.

    python benchmarks/plausible_labels.py data/fer2013 --split validation > table.md

DATA has FER2013's seven classes, preferably in a split that the model was not trained on. Every line draws new
samples for each seed. Predictions are computed once, so thousands of samples take a minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from mien.data.dataset import Dataset
from mien.data.plausibility import MODEL, QUICK_MODEL, first_of_each, judge, judge_quickly
from mien.data.readers import open_dataset
from mien.data.sampling import sample_rows
from mien.labels import FER2013, ORDERS
from mien.model_file import load_model

Case = tuple[np.ndarray, np.ndarray, str]
"""Rows, the labels that they are given, and the value of --labels that is right; '' where they are right already."""

NUMBERS = {name: i for i, name in enumerate(FER2013)}
FORTY = (40,) * 7
UNEVEN = (10, 3, 8, 40, 40, 20, 40)


def rows_of(labels: np.ndarray, counts: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """So many rows of each class, drawn at random."""
    return np.concatenate([sample_rows(labels, [k], n, rng) for k, n in enumerate(counts)])


def noisy(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Labels of which a share is drawn anew among those that there are."""
    made, drawn = labels.copy(), rng.random(len(labels)) < share
    made[drawn] = rng.choice(np.unique(labels), int(drawn.sum()))
    return made


def right(labels: np.ndarray, rng: np.random.Generator, counts=FORTY, noise=0.0) -> Iterator[Case]:
    """Right labels, but for noise."""
    rows = rows_of(labels, counts, rng)
    yield rows, noisy(labels[rows], noise, rng), ""


def shuffled(labels: np.ndarray, rng: np.random.Generator, counts=FORTY) -> Iterator[Case]:
    """Labels that say nothing of the faces."""
    rows = rows_of(labels, counts, rng)
    yield rows, rng.permutation(labels[rows]), ""


def ordered(labels: np.ndarray, rng: np.random.Generator, key: str, counts=FORTY, noise=0.0) -> Iterator[Case]:
    """Numbers in another order (counted from 0), read in FER2013's."""
    rows = rows_of(labels, counts, rng)
    _, names, first = ORDERS[key]
    table = np.array([names.index(name) for name in FER2013])
    said = key if first == 0 else ",".join(f"{i}={name}" for i, name in enumerate(names))
    yield rows, table[noisy(labels[rows], noise, rng)], said


def exchanged(labels: np.ndarray, rng: np.random.Generator, counts=FORTY, noise=0.0) -> Iterator[Case]:
    """Each pair of classes exchanged, one at a time."""
    rows = rows_of(labels, counts, rng)
    given = noisy(labels[rows], noise, rng)
    for a, b in combinations(np.flatnonzero(counts).tolist(), 2):
        table = np.arange(7)
        table[[a, b]] = b, a
        names = {a: FER2013[b], b: FER2013[a]}
        yield rows, table[given], ",".join(f"{i}={names.get(i, FER2013[i])}" for i in np.unique(given).tolist())


def views(dataset: Dataset, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The same faces in other ways: images uint8 (N, 48, 48, 1) or of another size."""
    faces = dataset.faces(size=48, channels=1)[..., 0]
    loose = [cv2.copyMakeBorder(f, 10, 10, 10, 10, cv2.BORDER_REFLECT) for f in faces]
    soft = [cv2.resize(cv2.resize(f, (20, 20), interpolation=cv2.INTER_AREA), (48, 48)) for f in faces]
    photographs = rng.integers(60, 196, (len(faces), 9, 12), np.uint8)
    scenes = [cv2.resize(s, (384, 288), interpolation=cv2.INTER_CUBIC) for s in photographs]
    for scene, face in zip(scenes, faces, strict=True):
        y, x = rng.integers(0, 288 - 72), rng.integers(0, 384 - 72)
        scene[y : y + 72, x : x + 72] = cv2.resize(face, (72, 72))
    return {
        "": faces[..., None],
        "loosely cut": np.stack([cv2.resize(f, (48, 48), interpolation=cv2.INTER_AREA) for f in loose])[..., None],
        "20 pixels": np.stack(soft)[..., None],
        "upside down": faces[:, ::-1, :, None].copy(),
        "photographs": np.stack([cv2.resize(s, (48, 48), interpolation=cv2.INTER_AREA) for s in scenes])[..., None],
    }


def measure(seen: list[np.ndarray], known: tuple[str, ...], labels: np.ndarray, cases: Callable, seeds: int) -> tuple:
    """How many samples, and the shares with a right message, a wrong one, not judged, and cleared in the first step.

    seen: what the model and the quick model see.
    """
    told = wrong = silent = cleared = count = 0
    for seed in range(seeds):
        for rows, given, truth in cases(labels, np.random.default_rng(seed)):
            names = FER2013 if given.max(initial=0) < 7 else (*FER2013, "contempt")
            numbers = {name: i for i, name in enumerate(names)}
            few = first_of_each(given, names)
            quickly = judge_quickly(seen[1][rows[few]], known, given[few], names, numbers=numbers)
            found = quickly or judge(seen[0][rows], known, given, names, numbers=numbers)
            said = found.better.labels if found.better else ""
            told += bool(said) and _same(said, truth)
            wrong += bool(said) and not _same(said, truth)
            silent += not found.can_judge
            cleared += quickly is not None
            count += 1
    return count, told / count, wrong / count, silent / count, cleared / count


def _same(said: str, truth: str) -> bool:
    """Whether two values of --labels mean the same of the numbers that both name."""
    a, b = _meaning(said), _meaning(truth)
    return bool(b) and all(a[n] == b[n] for n in a.keys() & b.keys())


def _meaning(text: str) -> dict[int, str]:
    if text in ORDERS:
        return dict(enumerate(ORDERS[text][1], ORDERS[text][2]))
    return {int(n): name for n, _, name in (p.partition("=") for p in text.split(",") if p)}


def _order(key: str, counts: tuple[int, ...] = FORTY, noise: float = 0.0) -> Callable:
    return lambda labels, rng: ordered(labels, rng, key, counts, noise)


def _lines() -> dict[str, Callable]:
    lines: dict[str, Callable] = {"right": right}
    for n in (0.1, 0.2, 0.3, 0.4):
        lines[f"right, {n:.0%} noise"] = lambda y, r, n=n: right(y, r, noise=n)
    lines["right, 5 of each class"] = lambda y, r: right(y, r, (5,) * 7)
    lines["right, uneven (3 to 40 of a class)"] = lambda y, r: right(y, r, UNEVEN)
    lines["right, no disgust"] = lambda y, r: right(y, r, (40, 0, 40, 40, 40, 40, 40))
    lines["right, sad and neutral alone"] = lambda y, r: right(y, r, (0, 0, 0, 0, 40, 0, 40))
    lines["labels at random"] = shuffled
    lines["labels at random, uneven"] = lambda y, r: shuffled(y, r, UNEVEN)
    for key in ("raf-db", "affectnet", "affectnet-7", "ferplus", "ck+"):
        lines[f"numbers in {ORDERS[key][0]}"] = _order(key)
    lines["numbers in AffectNet's order, 40% noise"] = _order("affectnet", noise=0.4)
    lines["numbers in AffectNet's order, uneven"] = _order("affectnet", UNEVEN)
    for key in ("raf-db", "affectnet", "ck+"):
        lines[f"numbers in {ORDERS[key][0]}, 5 of each class"] = _order(key, (5,) * 7)
    for n in (0.0, 0.1, 0.2, 0.3, 0.4):
        lines[f"two classes exchanged, {n:.0%} noise"] = lambda y, r, n=n: exchanged(y, r, noise=n)
    for count in (20, 10, 5):
        lines[f"two classes exchanged, {count} of each class"] = lambda y, r, n=count: exchanged(y, r, (n,) * 7)
    return lines


SEEN_OTHERWISE = {
    "right": right,
    "numbers in AffectNet's order": lambda y, r: ordered(y, r, "affectnet"),
    "two classes exchanged": exchanged,
}


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    dataset = open_dataset(options.data, splits=[options.split])
    models = [load_model(options.model), load_model(QUICK_MODEL)]
    header = ("labels", "samples", "told rightly", "told wrongly", "not judged", "cleared at first")
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for view, faces in views(dataset, np.random.default_rng(0)).items():
        pieces = range(0, len(faces), 64)
        seen = [np.concatenate([m.probabilities(faces[i : i + 64]) for i in pieces]) for m in models]
        for name, cases in (SEEN_OTHERWISE if view else _lines()).items():
            count, *shares = measure(seen, models[0].info.labels, dataset.labels, cases, options.seeds)
            title = f"{name}; {view}" if view else name
            print(f"| {title} | {count} | " + " | ".join(f"{s:.1%}" for s in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
