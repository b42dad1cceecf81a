"""Folders that look like those of finished training runs, made in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mien.config import to_toml
from mien.evaluation.validation import HeadAnswers, write_answers
from mien.training.recipe import Recipe, load_recipe
from tiny_models import make_model

LABELS = ("happy", "sad", "neutral")


def made_run(
    folder: Path,
    right: float,
    *,
    n: int = 300,
    seed: int = 0,
    head: str = "label",
    recipe: Recipe | None = None,
    epochs: range = range(1, 5),
) -> Path:
    """A run whose network is right on the first `right * n` of its validation faces and wrong on the others."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = np.random.default_rng(1).integers(0, 3, n)
    called = np.where(np.arange(n) < round(right * n), truth, (truth + 1 + seed) % 3)
    p = np.full((n, 3), 0.1, np.float32)
    p[np.arange(n), called] = 0.8
    sources = tuple(f"face-{i}" for i in range(n))
    write_answers(folder / "validation.npz", [HeadAnswers(head, LABELS, truth, p, sources, 90, 100)])
    made = recipe or load_recipe("toy")
    (folder / "recipe.toml").write_text(to_toml(made))
    figures = f"{head}_loss,{head}_accuracy,train_{head}_loss,train_{head}_accuracy"
    rows = [f"{e},0.1,{1.5 / e},{1.6 / e},{right * (1 - 0.5 / e)},{1.2 / e - seed / 10},0.9" for e in epochs]
    (folder / "history.csv").write_text("\n".join((f"epoch,learning_rate,train_loss,{figures}", *rows, "")))
    (folder / "timing.csv").write_text("epoch,seconds,loading_share\n1,10.0,0.1\n1,12.0,0.1\n2,8.0,0.1\n")
    make_model(folder / f"{made.name}.onnx", LABELS)
    return folder
