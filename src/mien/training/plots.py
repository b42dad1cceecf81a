"""Learning curves as an image."""

from __future__ import annotations

from pathlib import Path

from mien.files import atomic_path


def plot_curves(history: list[dict[str, float]], path: Path, *, title: str) -> None:
    """Loss and validation accuracy over epochs, one line per column of the history, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses, accuracies = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for column in history[0]:
        axes = losses if column.endswith("_loss") else accuracies if column.endswith("_accuracy") else None
        if axes is not None:
            label = column.removesuffix("_accuracy").replace("_loss", "")
            axes.plot(epochs, [row[column] for row in history], label=label)
    losses.set_title("loss")
    accuracies.set_title("accuracy on validation")
    for axes in (losses, accuracies):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle(title)
    with atomic_path(path) as place:
        figure.savefig(place, dpi=110, format="png")
