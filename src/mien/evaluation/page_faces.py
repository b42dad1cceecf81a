"""What report.html shows of faces: those behind the cells of a confusion matrix, wrong predictions, explanations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mien.data.samples import Samples
from mien.evaluation import figures
from mien.evaluation.explain import Explanation, overlay
from mien.evaluation.extremes import Extremes
from mien.evaluation.mistakes import Mistakes, find_mistakes
from mien.evaluation.result import Evaluation
from mien.pages import Page
from mien.pages.text import percent, three

SHOWN = 60
"""The number of wrong predictions of either kind on the page."""

FIGURE = 24
"""The number of wrong predictions of either kind in a figure of its own."""

SHOWN_IN_CELL, SHOWN_CELLS = 8, 60
"""How many faces a cell of the confusion matrix opens, and how many cells do, those with the most faces first."""


def cell_faces(e: Evaluation) -> dict[tuple[int, int], list[int]]:
    """The most confident wrong predictions of each cell: (true, predicted) -> indices of the evaluation's faces."""
    cells: dict[tuple[int, int], list[int]] = {}
    wrong = np.flatnonzero((e.truth_index != e.predicted_index) & (e.predicted_index >= 0))
    if e.confidence is not None:
        wrong = wrong[np.argsort(-e.confidence[wrong], kind="stable")]
    for i in wrong.tolist():
        cells.setdefault((int(e.truth_index[i]), int(e.predicted_index[i])), []).append(i)
    most = sorted(cells, key=lambda cell: -len(cells[cell]))[:SHOWN_CELLS]
    return {cell: cells[cell][:SHOWN_IN_CELL] for cell in sorted(most)}


def wrong_answers(page: Page, e: Evaluation, samples: Samples | None) -> None:
    """Adds the section of wrong predictions. samples: the evaluated faces; None shows no faces."""
    votes = None if samples is None or samples.votes is None else samples.votes[e.rows]
    found = find_mistakes(e, votes)
    text = f"{len(found.model) + len(found.label):,} of {e.n:,} predictions are wrong. {found.why}"
    if samples is None:
        text += " The faces are not shown, because no data set was given."
    page.section("Wrong predictions", text)
    if len(found.model) + len(found.label):
        rows = [("the model", len(found.model)), (f"the {_word(e)}", len(found.label))]
        page.table(("likely error of", "faces"), rows)
    if samples is not None:
        _galleries(page, e, found, samples.images)


def _galleries(page: Page, e: Evaluation, found: Mistakes, images: NDArray[np.uint8]) -> None:
    for name, key, rows in (
        ("The model is wrong", "wrong-model", found.model),
        (f"The {_word(e)} is doubtful", "wrong-label", found.label),
    ):
        if not len(rows):
            continue
        shown = rows[:SHOWN]
        first = "All" if len(rows) <= SHOWN else f"The first {SHOWN} of"
        below = f"Below each: the {_word(e)} → the predictions."
        page.heading(name, f"{first} {len(rows):,}, the most confident first. {below}")
        captions = [_caption(e, i) for i in shown.tolist()]
        alts = [f"{caption}; {e.sources[i]}" for caption, i in zip(captions, shown.tolist(), strict=True)]
        page.gallery([images[e.rows[i]] for i in shown], captions, alts=alts)
        few = shown[:FIGURE].tolist()
        names = [f"{e.labels[e.truth_index[i]]}: {_called(e, i)}" for i in few]
        page.keep(figures.faces_figure([images[e.rows[i]] for i in few], names), key)


def explanations(page: Page, extremes: Extremes) -> None:
    """Adds the section of explained faces."""
    page.section(
        "What predictions depend on",
        "Red: the parts whose blurring lowers the probability of the prediction most. A map is meaningful only if "
        "deletion in its order lowers the probability faster than in a random order, and insertion raises it faster: "
        "a smaller area under deletion, a larger one under insertion.",
    )
    for name, key, explanation, truth in (
        ("Most confident, correct", "explained-right", extremes.right, extremes.right_truth),
        ("Most confident, wrong", "explained-wrong", extremes.wrong, extremes.wrong_truth),
    ):
        if explanation is not None:
            page.heading(name)
            _explanation(page, explanation, key, truth)


def _explanation(page: Page, e: Explanation, key: str, truth: Sequence[str]) -> None:
    images, captions = [], []
    for face, map_, said, right, p in zip(e.faces, e.maps, e.expressions, truth, e.probabilities, strict=True):
        images.append(overlay(face, map_))
        captions.append(f"{said} {percent(p)}" + ("" if said == right else f", truth: {right}"))
    page.gallery(images, captions, tile=144)
    areas = e.test.areas()
    page.table(
        ("area under", "maps", "random order"),
        [(name, three(areas[name]), three(areas[f"random_{name}"])) for name in ("deletion", "insertion")],
    )
    page.chart(figures.map_test_charts(e.test), key)


def _caption(e: Evaluation, i: int) -> str:
    said = f"{e.labels[e.truth_index[i]]} → "
    if e.predicted_index[i] < 0:
        return f"{said}no prediction"
    if e.probabilities is None:
        sure = "" if e.confidence is None else f" {percent(float(e.confidence[i]))}"
        return f"{said}{e.labels[e.predicted_index[i]]}{sure}"
    top = np.argsort(-e.probabilities[i], kind="stable")[:3]
    shares = [(e.labels[k], e.probabilities[i, k]) for k in top]
    return said + ", ".join(f"{name} {percent(share, digits=0)}" for name, share in shares if share >= 0.005)


def _called(e: Evaluation, i: int) -> str:
    called = e.predicted_index[i]
    sure = "" if e.confidence is None or called < 0 else f" {e.confidence[i]:.2f}"
    return f"{e.labels[called]}{sure}" if called >= 0 else "no prediction"


def _word(e: Evaluation) -> str:
    """The word for the ground truth."""
    return "label" if e.truth == "label" else "majority"
