"""run.html: the results of a training run on one page, as one file in the run's folder; and curves.png."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mien.config import flat_items, toml_value
from mien.data.samples import Images
from mien.errors import DataError
from mien.evaluation import page as sections
from mien.evaluation.compare import read_history
from mien.evaluation.compare_page import curve_charts
from mien.evaluation.comparison import HEADS, History, chosen_epoch
from mien.evaluation.result import Evaluation
from mien.evaluation.validation import VALIDATION_FILE, HeadAnswers, read_answers
from mien.files import write_bytes
from mien.pages import Lines, Mark, Page, Series, Tile, draw, figure_png, figure_text
from mien.pages.charts import GREY, class_color
from mien.pages.text import percent, percent_span
from mien.training.callbacks import CONFUSIONS, heads_in
from mien.training.recipe import Recipe

PAGE_FILE, CURVES_FILE = "run.html", "curves.png"

_SHOWN = 60
"""How many wrong answers the page shows."""


def write_curves(history: Sequence[dict[str, float]], path: Path, *, title: str) -> None:
    """Loss and accuracy of each head over epochs as a PNG. Raises MissingExtraError without matplotlib, OutputError."""
    heads = heads_in(history[-1])
    figure = draw([chart for head in heads for chart in _curves(tuple(history), head, len(heads) > 1)])
    figure.suptitle(figure_text(title))
    write_bytes(path, figure_png(figure))


def _curves(history: History, head: str, several: bool) -> list[Lines]:
    """Accuracy and loss of a head; the loss of the steps, on augmented faces and over all heads, is grey."""
    accuracy, loss = curve_charts({"": history}, head, f", {HEADS[head]}" if several else "")
    if not loss.categories:
        steps = Series("steps (augmented)", [row.get("train_loss") for row in history], GREY)
        loss = Lines(loss.title, loss.x, (*loss.series, steps), loss.x_label, loss.y_label)
    return [accuracy, loss]


def write_run_page(recipe: Recipe, out: Path, faces: Images) -> Path:
    """Writes run.html from the files of the finished run in `out`; returns its path.

    faces: uint8 (N, S, S, C), the validation faces: wrong predictions are shown. Raises OutputError, and DataError
    where the run's files are missing or damaged.
    """
    answers = [own for own in read_answers(out / VALIDATION_FILE) if (own.truth >= 0).any()]
    found = [own.evaluation(data=str(out)) for own in answers]
    history = read_history(out)
    kept = chosen_epoch(history)
    page = Page(recipe.name, _verdict(recipe, answers, found, kept, len(history)), kind="Training run")
    for own, e in zip(answers, found, strict=True):
        of = f" ({HEADS[own.head]})" if len(answers) > 1 else ""
        page.tiles([Tile(f"validation accuracy{of}", percent(e.accuracy), f"95 %: {percent_span(e.accuracy_95)}")])
        if own.train_n:
            page.tiles([Tile(f"training accuracy{of}", percent(own.train_right / own.train_n), _gap(own, e))])
    page.tiles([Tile("chosen epoch", f"{kept}", f"of {len(history)}")] if kept else [])
    page.section("Learning curves", "Solid: validation. Dashed: training faces, unaugmented. Dots: the chosen epoch.")
    for own in answers:
        page.chart(_curves(history, own.head, len(answers) > 1))
    courses = _courses(out / CONFUSIONS)
    for own, e in zip(answers, found, strict=True):
        if len(answers) > 1:
            page.section(f"Answers for the {HEADS[own.head]}", sections.verdict(e, recipe.name))
        if own.head in courses:
            page.section("Recall of each class after every epoch")
            page.chart(recalls_chart(courses[own.head], kept))
        sections.classes(page, e, faces)
        _mistakes(page, e, faces)
        sections.key_figures(page, e)
    page.section("Recipe", recipe.description)
    page.facts((key, toml_value(value)) for key, value in flat_items(asdict(recipe)))
    page.write(out / PAGE_FILE)
    return out / PAGE_FILE


def recalls_chart(course: Sequence[Mapping[str, Any]], kept: int | None = None) -> Lines:
    """A line for each class: its recall over the epochs, from the confusions of one head; the kept epoch is marked."""
    epochs = [entry["epoch"] for entry in course]
    counts = np.array([entry["counts"] for entry in course], np.float64)  # (epochs, K, K)
    support = counts.sum(2)
    recalls = np.divide(
        np.diagonal(counts, axis1=1, axis2=2), support, out=np.full(support.shape, np.nan), where=support > 0
    )
    lines = [Series(label, recalls[:, k].tolist(), class_color(label)) for k, label in enumerate(course[-1]["labels"])]
    marks = [Mark(f"chosen epoch: {kept}", x=kept)] if kept in epochs else []
    return Lines("Recall on validation", epochs, lines, "epoch", "recall, 0 to 1", marks, y_range=(0, 1.01))


def _verdict(
    recipe: Recipe, answers: Sequence[HeadAnswers], found: Sequence[Evaluation], kept: int | None, epochs: int
) -> str:
    text = sections.verdict(found[0], recipe.name) if found else ""
    if not kept:
        return text
    gap = _gap(answers[0], found[0]) if found and answers[0].train_n else ""
    return f"{text} Epoch {kept} of {epochs} was chosen" + (f"; accuracy on training faces is {gap}." if gap else ".")


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
    points = 100 * (own.train_right / own.train_n - e.accuracy)
    return f"{abs(points):.1f} points {'above' if points >= 0 else 'below'} validation"


def _mistakes(page: Page, e: Evaluation, faces: Images) -> None:
    wrong = np.flatnonzero(e.truth_index != e.predicted_index)
    if not len(wrong):
        return
    sure = np.zeros(e.n) if e.confidence is None else e.confidence
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    first = "All" if len(wrong) <= _SHOWN else f"The first {_SHOWN}"
    page.section(
        "Wrong answers",
        f"{len(wrong):,} of {e.n:,} answers are wrong. {first}, the most confident ones first; below each: truth → "
        "prediction.",
    )
    shown = wrong[:_SHOWN].tolist()
    captions = [
        f"{e.labels[e.truth_index[i]]} → {e.labels[e.predicted_index[i]]} {percent(sure[i], digits=0)}" for i in shown
    ]
    page.gallery(list(faces[e.rows[shown]]), captions)
