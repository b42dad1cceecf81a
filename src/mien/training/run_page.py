"""run.html: the results of a training run on one page, as one file in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.config import flat_items, toml_value
from mien.data.samples import Images
from mien.errors import DataError
from mien.evaluation import page as sections
from mien.evaluation.figures import FigurePage
from mien.evaluation.result import Evaluation
from mien.evaluation.validation import VALIDATION_FILE, HeadAnswers, read_answers
from mien.labels import color_rgb
from mien.pages import contact_sheet, figure_png, figure_text, new_figure, png
from mien.training.recipe import Recipe
from mien.training.records import CONFUSIONS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE_FILE, CURVES_FILE = "run.html", "curves.png"

_SHOWN = 60
"""How many wrong answers the page shows."""


class _RunPage(FigurePage):
    """A page whose figures are on it and nowhere else."""

    def draw(self, figure: Figure, name: str, alt: str) -> None:
        """Shows a figure of matplotlib."""
        self.figure(figure_png(figure), alt)


def write_run_page(recipe: Recipe, out: Path, faces: Images) -> Path:
    """Writes run.html from the files of the finished run in `out`; returns its path.

    faces: uint8 (N, S, S, C), the validation faces: the most confident wrong predictions are shown. Raises OutputError,
    and DataError where the run's files are missing or damaged.
    """
    answers = [own for own in read_answers(out / VALIDATION_FILE) if (own.truth >= 0).any()]
    found = [own.evaluation(data=str(out)) for own in answers]
    figures = "; ".join(
        f"{own.head} {e.accuracy:.4f} (95 %: {e.accuracy_95[0]:.3f} to {e.accuracy_95[1]:.3f})"
        for own, e in zip(answers, found, strict=True)
    )
    page = _RunPage(f"Run: {recipe.name}", f"{recipe.description}\n\nAccuracy on validation: {figures}.")
    page.section("Learning curves")
    page.figure((out / CURVES_FILE).read_bytes(), "Loss and validation accuracy over the epochs")
    courses = _courses(out / CONFUSIONS)
    for own, e in zip(answers, found, strict=True):
        if len(answers) > 1:
            page.section(f"Head: {own.head}")
        sections.add_key_figures(page, e)
        page.text(_gap(own, e))
        sections.classes(page, e)
        if own.head in courses:
            page.heading("Recall of each class after every epoch")
            page.draw(recalls_figure(courses[own.head]), "recalls", f"Recall of each class over epochs, {own.head}")
        _mistakes(page, e, faces)
    page.section("Recipe")
    page.table(("key", "value"), [(key, toml_value(value)) for key, value in flat_items(asdict(recipe))])
    page.write(out / PAGE_FILE)
    return out / PAGE_FILE


def recalls_figure(course: Sequence[Mapping[str, Any]]) -> Figure:
    """A line for each class: its recall over the epochs, from the confusions of one head."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(8, 3.8)
    axes = figure.subplots()
    epochs = [entry["epoch"] for entry in course]
    counts = np.array([entry["counts"] for entry in course], np.float64)  # (epochs, K, K)
    support = counts.sum(2)
    recalls = np.divide(
        np.diagonal(counts, axis1=1, axis2=2), support, out=np.full(support.shape, np.nan), where=support > 0
    )
    for k, label in enumerate(course[-1]["labels"]):
        color = tuple(part / 255 for part in color_rgb(label))
        axes.plot(epochs, recalls[:, k], color=color, linewidth=1.5, label=figure_text(label))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="recall", ylim=(-0.01, 1.01))
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    return figure


def _courses(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The confusions of every head, epoch by epoch. Raises DataError."""
    courses: dict[str, list[dict[str, Any]]] = {}
    try:
        for entry in json.loads(path.read_text("utf-8")):
            courses.setdefault(entry["head"], []).append(entry)
    except FileNotFoundError:
        return {}  # of a run that an older mien began
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: can't be read ({error}); it belongs to the run and must not be changed") from error
    return courses


def _gap(own: HeadAnswers, e: Evaluation) -> str:
    if not own.train_n:
        return ""
    share = own.train_right / own.train_n
    return (
        f"On {own.train_n:,} faces of the training split, as they are, the accuracy is {share:.4f}, "
        f"{share - e.accuracy:+.4f} to validation."
    )


def _mistakes(page: FigurePage, e: Evaluation, faces: Images) -> None:
    wrong = np.flatnonzero(e.truth_index != e.predicted_index)
    sure = np.zeros(e.n) if e.confidence is None else e.confidence
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    shown = wrong[:_SHOWN]
    first = "All" if len(wrong) <= _SHOWN else f"The first {_SHOWN}"
    text = f"{len(wrong):,} of {e.n:,} answers are wrong."
    page.section(
        "Wrong answers",
        text + (f" {first}, the most confident ones first; below each: truth and prediction." if len(wrong) else ""),
    )
    if not len(wrong):
        return
    captions = [f"{e.labels[e.truth_index[i]]}: {e.labels[e.predicted_index[i]]} {sure[i]:.0%}" for i in shown.tolist()]
    sheet = contact_sheet(list(faces[e.rows[shown]]), captions, tile=88, columns=12)
    page.figure(png(sheet), f"{len(shown)} faces that are called wrong")
