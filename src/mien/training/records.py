"""Records of a run after each epoch: history.csv, timing.csv, confusions.json; and its learning curves as an image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.files import atomic_path, cannot_write, write_text

TRAIN_PREFIX = "train_"
"""Before a figure of validation, as `label_accuracy`, it is that of as many training faces, unaugmented."""

HISTORY, TIMING, CONFUSIONS = "history.csv", "timing.csv", "confusions.json"

_COLOURS = ("#2f6fb3", "#d9822b")


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


def plot_curves(history: list[dict[str, float]], path: Path, *, title: str) -> None:
    """Loss and accuracy over epochs as a PNG: each head on validation, solid, and on training faces, dashed.

    The loss of the steps, on augmented faces and over all heads, is grey. A single epoch is a point.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = dict(zip(("loss", "accuracy"), figure.subplots(1, 2), strict=True))
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(history) == 1 else ""

    def line(what: str, column: str, label: str, style: str, colour: str) -> None:
        values = [row.get(column, float("nan")) for row in history]
        panels[what].plot(epochs, values, style, marker=marker, color=colour, label=label)

    line("loss", "train_loss", "steps (augmented)", "-", "#8a929c")
    heads = heads_in(history[-1])
    for head, colour in zip(heads, _COLOURS, strict=False):
        name = f"{head}, " if len(heads) > 1 else ""
        for what in panels:
            line(what, f"{head}_{what}", f"{name}validation", "-", colour)
            line(what, f"{TRAIN_PREFIX}{head}_{what}", f"{name}training", "--", colour)
    for what, axes in panels.items():
        axes.set(title=what, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle(title)
    with atomic_path(path) as place:
        figure.savefig(place, dpi=110, format="png")
