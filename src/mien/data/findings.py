"""The checks of `mien data audit`: each function returns the flags of one kind, or the data behind them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.data.crops import Workers
from mien.data.dataset import Dataset
from mien.data.flags import Flags, rank_flags
from mien.data.screen import MIN_FACE, face_scores
from mien.data.source import CHUNK, SPLITS
from mien.errors import DataError
from mien.faces import DetectorChoice, FaceDetector
from mien.files import make_folder, write_bytes
from mien.labels import EIGHT
from mien.pages.text import percent
from mien.reporting import Progress

BLANK = 0.5
"""An image whose grey levels (0 to 255) have a smaller standard deviation shows nothing."""

LOW_CONTRAST = 12.0
"""Below this standard deviation hardly anything shows; of FER2013's faces 99 in 100 have 25 or more."""


SUSPICION = 3
"""A label is suspect where another class is at least this factor more probable."""


@dataclass(frozen=True, slots=True, eq=False)
class Suspects:
    """Samples whose label is likely wrong, the worst first.

    rows: int64 (n,). scores: float32 (n,), 1 less the ratio of the probabilities of the label and of the most probable
    class. suggested: int64 (n,), the most probable class. confidence: float32 (n,), its probability. given: float32
    (n,), that of the label.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    suggested: NDArray[np.int64]
    confidence: NDArray[np.float32]
    given: NDArray[np.float32]


def find_suspects(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], own: NDArray[np.float32] | None = None
) -> Suspects:
    """Likely wrong labels among int64 (N,), by class probabilities float32 (N, K) from a judge that did not see them.

    own: further probabilities (N, K), of a model that was not fitted to the labels: it has to contradict a label too,
    and then suggests the right one. Samples without a label (-1) or a prediction (NaN) are left out. Raises DataError
    where fewer than two classes are left.
    """
    judged = np.flatnonzero((labels >= 0) & np.isfinite(probabilities).all(1))
    given = labels[judged]
    classes = np.unique(given)
    if len(classes) < 2:
        raise DataError(f"{len(classes)} label with predictions; likely wrong labels need two or more")
    shares = np.zeros((len(judged), probabilities.shape[1]))
    shares[:, classes] = probabilities[np.ix_(judged, classes)]  # a class without labels is never suggested
    rows = np.arange(len(judged))
    ratio = shares[rows, given] / np.maximum(shares.max(1), 1e-12)
    opinion = shares if own is None else own[judged].astype(np.float64)
    best = opinion.argmax(1)
    wrong = np.flatnonzero((ratio * SUSPICION < 1) & (best != given))
    wrong = wrong[np.argsort(ratio[wrong], kind="stable")]
    return Suspects(
        judged[wrong], (1 - ratio[wrong]).astype(np.float32), best[wrong].astype(np.int64),
        opinion[wrong, best[wrong]].astype(np.float32), opinion[wrong, given[wrong]].astype(np.float32),
    )  # fmt: skip


def contrasts(dataset: Dataset, progress: Progress | None = None) -> NDArray[np.float32]:
    """The standard deviation of every image's grey levels, float32 (N,), 0 to 127.5."""
    found = np.empty(len(dataset), np.float32)
    for row in range(len(dataset)):
        image = dataset.image(row)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.shape[2] == 3 else image
        found[row] = cv2.meanStdDev(grey)[1][0, 0]
        if progress and row % 1000 == 999:
            progress(row + 1, len(dataset))
    return found


def contrast_flags(contrast: NDArray[np.float32], low: float = LOW_CONTRAST) -> tuple[Flags, Flags]:
    """Blank images, and those with less contrast than `low`, by `contrasts`."""
    blank = np.flatnonzero(contrast < BLANK)
    pale = np.flatnonzero((contrast >= BLANK) & (contrast < low))
    reasons = [f"contrast {value:.1f} of 255; of faces 99 in 100 have 25 or more" for value in contrast[pale].tolist()]
    return (
        rank_flags("blank", blank, np.ones(len(blank)), ["shows nothing: all pixels are alike"] * len(blank)),
        rank_flags("low-contrast", pale, 1 - contrast[pale] / low, reasons),
    )


def detection_scores(
    dataset: Dataset, detector: DetectorChoice, folder: Path, progress: Progress | None = None
) -> NDArray[np.float32]:
    """The best face's score in every image, float32 (N,), 0 to 1, 0 for no face; kept in `folder` by chunk."""
    threads = os.cpu_count() or 1
    make_folder(folder)
    found = np.zeros(len(dataset), np.float32)

    def best(made: FaceDetector, image: NDArray[np.uint8]) -> float:
        return face_scores([made], image)[0]

    with Workers(lambda: detector.make(min_face=MIN_FACE, threads=1), threads) as workers:
        for start in range(0, len(dataset), CHUNK):
            rows = range(start, min(start + CHUNK, len(dataset)))

            def search(rows: range = rows) -> NDArray[np.float32]:
                scores = workers.map(best, [dataset.image(row) for row in rows])
                return np.array([0.0 if isinstance(s, str) else s for s in scores], np.float32)

            found[rows.start : rows.stop] = kept_array(folder / f"{start:09d}.npy", search)
            if progress:
                progress(rows.stop, len(dataset))
    return found


def face_flags(scores: NDArray[np.float32]) -> Flags:
    """Images in which a detector finds no face (score 0)."""
    rows = np.flatnonzero(scores <= 0)
    return rank_flags("no-face", rows, np.ones(len(rows)), ["no face found"] * len(rows))


def copy_flags(dataset: Dataset, exact: NDArray[np.int64], near: NDArray[np.int64] | None) -> tuple[Flags, ...]:
    """Copies, near copies, leaks between splits, and copies with different labels, by group ids int64 (N,).

    Of every group one sample is no duplicate: the first of test, else of validation, else of all. So that to drop
    duplicates or leaks, or both, keeps that one. A leak is a sample with a copy in a split that is measured later:
    one of train with a copy in validation or test, or one of validation with a copy in test.
    """
    exact_kept = _kept_copies(dataset, exact)
    rows = np.flatnonzero(exact >= 0)
    double = rows[exact_kept[rows] != rows]
    made = [_copies("duplicate", dataset, double, exact_kept, "same pixels as", 1.0)]
    leaks, leak_kept = _leaks(dataset, exact, exact_kept), exact_kept
    leak_scores = np.ones(len(leaks))
    if near is not None:
        near_kept = _kept_copies(dataset, near)
        rows = np.setdiff1d(np.flatnonzero(near >= 0), double)
        similar = rows[near_kept[rows] != rows]
        made.append(_copies("near-duplicate", dataset, similar, near_kept, "looks like", 0.5))
        more = np.setdiff1d(_leaks(dataset, near, near_kept), leaks)
        leak_kept = exact_kept.copy()
        leak_kept[more] = near_kept[more]
        leaks, leak_scores = np.concatenate((leaks, more)), np.concatenate((leak_scores, np.full(len(more), 0.5)))
    made.append(_copies("leak", dataset, leaks, leak_kept, "also in a later split:", leak_scores))
    made.append(_conflicts(dataset, exact))
    return tuple(made)


def vote_flags(dataset: Dataset) -> Flags:
    """Labels that are not among the expressions with the most votes.

    Only votes for the eight expressions count: unknown and not-a-face are no expressions, and a sample for which nobody
    voted for one is not flagged. A tie that the label is part of does not contradict it; contempt does, whatever the
    labels are. The score is the share of votes by which the winner leads the label, of all votes cast.
    """
    rows, wins, lead, total = _contradictions(dataset)
    names = [EIGHT[i] for i in wins.tolist()]
    reasons = [
        f"{name} leads by {gap:.0f} of {votes:.0f} votes"
        for name, gap, votes in zip(names, lead.tolist(), total.tolist(), strict=True)
    ]
    known = [name if name in dataset.label_names else "" for name in names]
    return rank_flags("votes-disagree", rows, lead / np.maximum(total, 1), reasons, known)


def suspect_flags(dataset: Dataset, suspects: Suspects) -> Flags:
    """Suspects as flags."""
    names = [dataset.label_names[i] for i in suspects.suggested.tolist()]
    reasons = [
        f"predicted {name} ({percent(sure, digits=0)}), {dataset.label_names[label]} {percent(own)}"
        for name, sure, label, own in zip(
            names,
            suspects.confidence.tolist(),
            dataset.labels[suspects.rows].tolist(),
            suspects.given.tolist(),
            strict=True,
        )
    ]
    return rank_flags("label-suspect", suspects.rows, suspects.scores, reasons, names)


def _contradictions(
    dataset: Dataset,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Rows whose votes contradict the label; the winner's index in EIGHT; its lead in votes; all votes cast."""
    votes = dataset.votes
    if votes is None:
        raise DataError(f"{dataset.name}: has no votes")
    column = np.array([EIGHT.index(name) if name in EIGHT else 0 for name in dataset.label_names] + [0])
    own = votes[np.arange(len(votes)), column[dataset.labels]]
    rows = np.flatnonzero(comparable(dataset) & (own < votes.max(1)))
    other = dataset.columns.get("ferplus_other")
    total = votes.sum(1) + (0 if other is None else other.sum(1))
    return rows, votes[rows].argmax(1), (votes.max(1) - own)[rows], total[rows].astype(np.float32)


def comparable(dataset: Dataset) -> NDArray[np.bool_]:
    """Samples that have votes for an expression, and a label that raters could vote for: bool (N,)."""
    votes = dataset.votes
    if votes is None:
        return np.zeros(len(dataset), bool)
    votable = np.array([name in EIGHT for name in dataset.label_names] + [False])
    both: NDArray[np.bool_] = votable[dataset.labels] & (votes.sum(1) > 0)
    return both


# Copies


def _rank(dataset: Dataset) -> NDArray[np.int64]:
    """How late each sample's split is used: 0 train, 1 validation, 2 test; -1 of no split."""
    rank = np.full(len(dataset), -1, np.int64)
    for number, split in enumerate(SPLITS):
        rank[dataset.splits == split] = number
    return rank


def _kept_copies(dataset: Dataset, group: NDArray[np.int64]) -> NDArray[np.int64]:
    """For every row, int64 (N,), the one of its group that is kept; itself where it has no group."""
    kept = np.arange(len(group))
    rows = np.flatnonzero(group >= 0)
    order = rows[np.lexsort((rows, -_rank(dataset)[rows], group[rows]))]
    _, first, member = np.unique(group[order], return_index=True, return_inverse=True)
    kept[order] = order[first][member.reshape(-1)]
    return kept


def _leaks(dataset: Dataset, group: NDArray[np.int64], kept: NDArray[np.int64]) -> NDArray[np.int64]:
    rank = _rank(dataset)
    return np.flatnonzero((group >= 0) & (rank >= 0) & (rank < rank[kept]))


def _copies(
    kind: str,
    dataset: Dataset,
    rows: NDArray[np.int64],
    kept: NDArray[np.int64],
    says: str,
    score: float | NDArray[np.float64],
) -> Flags:
    rows_scores = np.broadcast_to(np.asarray(score, np.float64), rows.shape)
    order = np.lexsort((rows, kept[rows]))  # copies of one image side by side
    rows, rows_scores = rows[order], rows_scores[order]
    others = kept[rows].tolist()
    reasons = [f"{says} row {other} ({where(dataset, other)})" for other in others]
    return rank_flags(kind, rows, rows_scores, reasons, others=others)


def _conflicts(dataset: Dataset, group: NDArray[np.int64]) -> Flags:
    """Members of groups with more than one label; the score is the share of the group that has not its commonest."""
    rows = np.flatnonzero((group >= 0) & (dataset.labels >= 0))
    ids, member = np.unique(group[rows], return_inverse=True)
    member = member.reshape(-1)
    votes = np.zeros((len(ids), len(dataset.label_names)), np.int64)
    np.add.at(votes, (member, dataset.labels[rows]), 1)
    inside = (votes > 0).sum(1)[member] > 1
    rows, member = rows[inside], member[inside]
    order = np.lexsort((rows, member))
    rows, member = rows[order], member[order]
    most = votes.max(1)
    clear = ((votes == most[:, None]).sum(1) == 1)[member]
    winner = votes.argmax(1)[member]
    suggested = [
        dataset.label_names[w] if c and w != g else ""
        for w, c, g in zip(winner.tolist(), clear.tolist(), dataset.labels[rows].tolist(), strict=True)
    ]
    said = [
        ", ".join(
            f"{count} {name}" for count, name in zip(votes[m].tolist(), dataset.label_names, strict=True) if count
        )
        for m in member.tolist()
    ]
    # One score for a group, so that its members stay together on the page.
    score = 1 - most[member] / votes.sum(1)[member]
    return rank_flags("label-conflict", rows, score, [f"copies are labelled {text}" for text in said], suggested)


def where(dataset: Dataset, row: int) -> str:
    """A sample's split and label, for a person."""
    parts = (str(dataset.splits[row]), dataset.label_name(row) or "no label")
    return ", ".join(p for p in parts if p)


def kept_array(place: Path, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """An array that a killed audit had finished, or a new one, which is kept."""
    if place.exists():
        before: NDArray[np.float32] = np.load(place, allow_pickle=False)
        return before
    made = make()
    data = io.BytesIO()
    np.save(data, made)
    write_bytes(place, data.getvalue())
    return made
