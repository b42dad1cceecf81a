"""What hears of a training run: `Callback` for users, `Watcher` inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mien.training.records import Confusion

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
