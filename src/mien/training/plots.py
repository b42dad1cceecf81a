"""Learning curves as an image."""

from __future__ import annotations

from pathlib import Path

from mien.files import atomic_path
from mien.training.records import TRAIN_PREFIX, heads_in

_COLOURS = ("#2f6fb3", "#d9822b")


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
