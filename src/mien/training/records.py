"""Records of a run after each epoch: history.csv, timing.csv, confusions.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.files import cannot_write, write_text

TRAIN_PREFIX = "train_"
"""Before a figure of validation, as `label_accuracy`, it is that of as many training faces, unaugmented."""

HISTORY, TIMING, CONFUSIONS = "history.csv", "timing.csv", "confusions.json"


@dataclass(frozen=True, slots=True)
class Confusion:
    """The confusion matrix of one head on validation: counts[truth][prediction], without unlabelled faces."""

    epoch: int
    head: str
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def count(
        cls, epoch: int, head: str, labels: tuple[str, ...], truth: NDArray[np.int64], answers: NDArray[np.int64]
    ) -> Confusion:
        """Counts truths int64 (N,), -1 for none, against answers int64 (N,)."""
        table = np.zeros((len(labels), len(labels)), np.int64)
        np.add.at(table, (truth[truth >= 0], answers[truth >= 0]), 1)
        return cls(epoch, head, labels, tuple(map(tuple, table.tolist())))


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall time of an epoch's steps, and of these the waiting for faces and the changing of them."""

    steps_s: float
    loading_s: float
    augment_s: float


def heads_in(row: Mapping[str, float]) -> list[str]:
    """The heads whose figures are in a row of the history."""
    end = "_accuracy"
    return [k.removesuffix(end) for k in row if k.endswith(end) and not k.startswith(TRAIN_PREFIX)]


def write_records(
    out: Path, history: Sequence[dict[str, float]], confusions: Sequence[Confusion], timing: Timing, *, seconds: float
) -> None:
    """Rewrites history and confusions, and appends the last epoch's times. Raises OutputError.

    seconds: the duration of the whole epoch, with validation and checkpoint; shares are of the time of its steps. Times
    are in a separate file, so that the histories of equal runs are equal.
    """
    names = list(history[-1])  # an epoch that an older mien trained may lack some
    lines = [",".join(names), *(",".join(repr(row[name]) if name in row else "" for name in names) for row in history)]
    write_text(out / HISTORY, "\n".join(lines) + "\n")
    write_text(out / CONFUSIONS, "[\n" + ",\n".join(json.dumps(asdict(one)) for one in confusions) + "\n]\n")
    try:
        with (out / TIMING).open("a", encoding="utf-8") as file:
            if file.tell() == 0:
                file.write("epoch,seconds,loading_share,augment_share\n")
            loading, augment = timing.loading_s / timing.steps_s, timing.augment_s / timing.steps_s
            file.write(f"{history[-1]['epoch']:.0f},{seconds:.2f},{loading:.4f},{augment:.4f}\n")
    except OSError as error:
        raise cannot_write(out / TIMING, error) from error
