"""What is recorded of a training run, and who hears of it: `Callback` for users, `Watcher` inside.

history.csv, timing.csv and confusions.json grow after each epoch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.files import cannot_write, write_text

Row = dict[str, float]
"""An epoch's row of the history: learning rate, losses and accuracies."""

EpochFunction = Callable[[Row], object]
"""A callback that is a function alone: called after each epoch as `Callback.on_epoch`."""


class Callback:
    """Base of your own callbacks for `mien.train`: override the methods that you need.

    Examples:
        >>> import mien
        >>> class Printer(mien.Callback):
        ...     def on_epoch(self, row):
        ...         print(row["train_loss"])
        >>> run = mien.train("toy", "faces/", out="runs/printed", callbacks=[Printer()], optimizer={"epochs": 1})
        2...
    """

    def on_start(self, history: Sequence[Row]) -> None:
        """Called before the first step. history: the rows of the epochs that a resumed run has done."""

    def on_step(self, epoch: int, done: int, total: int, images_per_s: float) -> None:
        """Called after each step. epoch: from 0. done, total: images of this epoch."""

    def on_epoch(self, row: Row) -> bool | None:
        """Called after each epoch and its validation. True ends the training: the best epoch is exported."""
        return None


@dataclass(frozen=True, slots=True)
class Watcher:
    """Functions that a run calls: after each step (epoch, images done, images in all, images/s), after each epoch.

    on_start: before the first step, with the rows and confusions of the epochs that a resumed run has done.
    on_validation: just before on_epoch, with each head's confusions. on_asking: before all of these, while the recipe's
    teachers classify the training faces: faces done, faces in all, faces/s.
    """

    on_step: Callable[[int, int, int, float], None] = lambda *_: None
    on_epoch: Callable[[Row], object] = lambda *_: None
    on_start: Callable[[Sequence[Row], Sequence[Confusion]], None] = lambda *_: None
    on_validation: Callable[[Sequence[Confusion]], None] = lambda *_: None
    on_asking: Callable[[int, int, float], None] = lambda *_: None

    def with_callbacks(self, callbacks: Sequence[Callback | EpochFunction]) -> Watcher:
        """This one, with users' callbacks after it; any of them may end the training."""
        if not callbacks:
            return self
        whole = [one for one in callbacks if isinstance(one, Callback)]
        each_epoch = [one.on_epoch if isinstance(one, Callback) else one for one in callbacks]

        def on_step(epoch: int, done: int, total: int, images_per_s: float) -> None:
            self.on_step(epoch, done, total, images_per_s)
            for callback in whole:
                callback.on_step(epoch, done, total, images_per_s)

        def on_epoch(row: Row) -> bool:
            self.on_epoch(row)
            answers = [call(dict(row)) for call in each_epoch]
            return True in answers

        def on_start(history: Sequence[Row], confusions: Sequence[Confusion]) -> None:
            self.on_start(history, confusions)
            for callback in whole:
                callback.on_start([dict(row) for row in history])

        return Watcher(on_step, on_epoch, on_start, self.on_validation, self.on_asking)


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
