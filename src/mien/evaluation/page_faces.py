"""The sections of report.html that show faces: wrong predictions, and explanations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mien.data.samples import Samples
from mien.evaluation import figures
from mien.evaluation.explain import Explanation, overlay
from mien.evaluation.extremes import Extremes
from mien.evaluation.figures import FigurePage
from mien.evaluation.mistakes import Mistakes, find_mistakes
from mien.evaluation.result import Evaluation

SHOWN = 60
"""The number of wrong predictions of either kind on the page."""

FIGURE = 24
"""The number of wrong predictions of either kind in a figure of its own."""


def wrong_answers(page: FigurePage, e: Evaluation, samples: Samples | None) -> None:
    """Adds the section of wrong predictions. samples: the evaluated faces; None shows no faces."""
    votes = None if samples is None or samples.votes is None else samples.votes[e.rows]
    found = find_mistakes(e, votes)
    text = f"{len(found.model) + len(found.label):,} of {e.n:,} predictions are wrong. {found.why}"
    if samples is None:
        text += " The faces are not shown, because no data set was given."
    page.section("Wrong predictions", text)
    page.table(("likely error of", "faces"), [("the model", len(found.model)), (f"the {_word(e)}", len(found.label))])
    if samples is not None:
        _galleries(page, e, found, samples.images)


def _galleries(page: FigurePage, e: Evaluation, found: Mistakes, images: NDArray[np.uint8]) -> None:
    for name, key, rows in (
        ("The model is wrong", "wrong-model", found.model),
        (f"The {_word(e)} is doubtful", "wrong-label", found.label),
    ):
        if not len(rows):
            continue
        page.heading(name)
        shown = rows[:SHOWN]
        first = "All" if len(rows) <= SHOWN else f"The first {SHOWN} of"
        page.text(f"{first} {len(rows):,}, the most confident first. Below each: the {_word(e)}, then the prediction.")
        captions = [_caption(e, i) for i in shown.tolist()]
        alts = [f"{caption}; {e.sources[i]}" for caption, i in zip(captions, shown.tolist(), strict=True)]
        page.gallery([images[e.rows[i]] for i in shown], captions, alts=alts)
        few = shown[:FIGURE].tolist()
        names = [f"{e.labels[e.truth_index[i]]}: {_called(e, i)}" for i in few]
        page.keep(figures.faces_figure([images[e.rows[i]] for i in few], names), key)


def explanations(page: FigurePage, extremes: Extremes) -> None:
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


def _explanation(page: FigurePage, e: Explanation, key: str, truth: Sequence[str]) -> None:
    images, captions = [], []
    for face, map_, said, right, p in zip(e.faces, e.maps, e.expressions, truth, e.probabilities, strict=True):
        images.append(overlay(face, map_))
        captions.append(f"{said} {p:.2f}" + ("" if said == right else f", label: {right}"))
    page.gallery(images, captions, tile=144)
    areas = e.test.areas()
    page.table(
        ("area under", "maps", "random order"),
        [(name, f"{areas[name]:.4f}", f"{areas[f'random_{name}']:.4f}") for name in ("deletion", "insertion")],
    )
    alt = f"Deletion and insertion curves of {len(e.faces)} faces"
    page.draw(figures.map_test_figure(e.test, f"{len(e.faces)} faces"), key, alt)


def _caption(e: Evaluation, i: int) -> str:
    said = f"{_word(e)}: {e.labels[e.truth_index[i]]}; "
    if e.predicted_index[i] < 0:
        return f"{said}no prediction"
    if e.probabilities is None:
        sure = "" if e.confidence is None else f" {e.confidence[i]:.2f}"
        return f"{said}{e.labels[e.predicted_index[i]]}{sure}"
    top = np.argsort(-e.probabilities[i], kind="stable")[:3]
    return said + ", ".join(f"{e.labels[k]} {e.probabilities[i, k]:.2f}" for k in top)


def _called(e: Evaluation, i: int) -> str:
    called = e.predicted_index[i]
    sure = "" if e.confidence is None or called < 0 else f" {e.confidence[i]:.2f}"
    return f"{e.labels[called]}{sure}" if called >= 0 else "no prediction"


def _word(e: Evaluation) -> str:
    """The word for the ground truth."""
    return "label" if e.truth == "label" else "majority"
