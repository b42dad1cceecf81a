"""validation.npz: the predictions of a training run for the validation faces, beside its model files.

For each head its labels, the truth and the probabilities; it holds arrays of numbers and of text, and no code.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError
from mien.evaluation.measure import Answers, GroundTruth, measure
from mien.evaluation.result import Evaluation, Truth
from mien.files import atomic_path

VALIDATION_FILE = "validation.npz"


@dataclass(frozen=True, slots=True, eq=False)
class HeadAnswers:
    """One head's answers for the N validation faces.

    head: `label` or `votes`. truth: int64 (N,), -1 where no class counts as right. probabilities: float32 (N, K).
    sources: (N,), where each face came from. train_right, train_n: how many of how many training faces, unaugmented,
    the same weights call right; 0 of 0 where that was not measured.
    """

    head: str
    labels: tuple[str, ...]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    sources: tuple[str, ...]
    train_right: int = 0
    train_n: int = 0

    def evaluation(self, *, data: str = "") -> Evaluation:
        """All figures of these answers. Raises DataError where no face has a truth."""
        p = self.probabilities.astype(np.float64)
        p /= p.sum(1, keepdims=True)  # float32 rows sum to 1 but for rounding
        answers = Answers(self.labels, p.argmax(1).astype(np.int64), p.max(1), p)
        kind: Truth = "votes" if self.head == "votes" else "label"
        truths = GroundTruth(kind, self.labels, self.truth, self.sources, None, {})
        return measure(answers, truths, target_accuracy=None, data=data)


def write_answers(path: Path, heads: Sequence[HeadAnswers]) -> None:
    """Writes the answers of all heads of a run, whole or not at all. Raises OutputError."""
    arrays: dict[str, NDArray[np.generic]] = {"heads": np.array([h.head for h in heads])}
    for h in heads:
        arrays |= {
            f"{h.head}_labels": np.array(h.labels),
            f"{h.head}_truth": h.truth.astype(np.int64),
            f"{h.head}_probabilities": h.probabilities.astype(np.float32),
            f"{h.head}_sources": np.array(h.sources),
            f"{h.head}_train": np.array([h.train_right, h.train_n], np.int64),
        }
    with atomic_path(path) as place, place.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_answers(path: Path) -> tuple[HeadAnswers, ...]:
    """What `write_answers` wrote. Raises DataError for a file that is missing, damaged or something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return tuple(_head(file, str(name)) for name in file["heads"])
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; `mien train` writes it when a run ends") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: can't be read as the answers of a training run ({error})") from error


def _head(file: np.lib.npyio.NpzFile, name: str) -> HeadAnswers:
    labels = tuple(str(v) for v in file[f"{name}_labels"])
    truth, p = file[f"{name}_truth"].astype(np.int64), file[f"{name}_probabilities"].astype(np.float32)
    sources = tuple(str(v) for v in file[f"{name}_sources"])
    right, n = (int(v) for v in file[f"{name}_train"])
    if p.shape != (len(truth), len(labels)) or len(sources) != len(truth):
        raise ValueError(f"{p.shape} probabilities for {len(truth)} faces of {len(labels)} classes")
    if len(truth) and not (truth.min() >= -1 and truth.max() < len(labels)):
        raise ValueError(f"truths from {truth.min()} to {truth.max()} of {len(labels)} classes")
    if not np.isfinite(p).all() or (len(p) and (p.min() < 0 or p.sum(1).min() <= 0)):
        raise ValueError("probabilities that are none")
    return HeadAnswers(name, labels, truth, p, sources, right, n)
