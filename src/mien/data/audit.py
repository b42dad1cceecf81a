"""Looks a data set over and flags what may be wrong with it; removes nothing.

Counts, sizes, blank and low-contrast pictures, pictures without a face, copies inside and across splits, copies with
different labels, labels that raters' votes contradict, and labels that are likely wrong by confident learning.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.data.arrays import begin_job, staging
from mien.data.crops import DetectorChoice, Workers
from mien.data.dataset import CHUNK, SPLITS, Dataset, Progress
from mien.data.duplicates import DuplicateGroups, find_duplicates
from mien.data.flags import Flags, rank_flags, write_flags
from mien.data.screen import MIN_FACE, face_scores
from mien.data.suspects import Suspects, find_suspects, require_cleanlab
from mien.errors import DataError, OutputError
from mien.faces import FaceDetector
from mien.files import cannot_write, make_folder, write_bytes, write_text
from mien.labels import EIGHT
from mien.pages import Page
from mien.version import __version__

BLANK = 0.5
"""A picture whose grey levels (0 to 255) have a smaller standard deviation shows nothing."""

PAGE, FLAGS, SUMMARY, PREDICTIONS = "index.html", "flags.csv", "summary.json", "out-of-fold.npy"
GALLERY = 120
"""How many pictures of each kind the page shows."""

TOP = 200
"""Of how many of the likeliest suspects the share is given that raters' votes confirm."""

_JOB = "job.json"
_WORK = ".journal"  # where `begin_job` keeps what is needed until the end
_SCORES, _FOLDS = "face-scores", "folds"

OutOfFold = Callable[[Dataset, NDArray[np.int64], Path], NDArray[np.float32]]
"""A data set, groups of copies int64 (N,) with -1 for none, a folder to work in -> class probabilities float32 (N, K),
each from a network that saw neither the sample nor a copy of it; NaN where there is none. In a folder with unfinished
work it goes on with that."""


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """What decides an audit's outcome, apart from the data.

    near: near copies within so many bits of the perceptual hash, None for exact copies only. low_contrast: pictures
    whose grey levels (0 to 255) have a smaller standard deviation are flagged; of FER2013's faces 99 in 100 have 25 or
    more. recipe: the quick network's, as TOML; '' without suspects. folds: of its out-of-fold predictions.
    """

    near: int | None = None
    low_contrast: float = 12.0
    recipe: str = ""
    folds: int = 0


@dataclass(frozen=True, slots=True)
class KindCount:
    """How many samples have a flag of this kind, in all and in each split (split, count)."""

    kind: str
    total: int
    by_split: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Copies:
    """Groups of copies: how many, of how many samples, with different labels, and in more than one split."""

    groups: int
    samples: int
    conflicts: int
    across_splits: int


@dataclass(frozen=True, slots=True)
class AuditSummary:
    """What an audit found.

    copies: exact ones. near_copies: exact and near ones. voted, disagreeing: samples with votes for an expression, and
    those whose label the votes contradict. accuracy: of the out-of-fold predictions, by the given labels. confirmed:
    among the likeliest suspects (`TOP`), the share that the votes contradict. None: not looked for.
    """

    samples: int
    labelled: int
    kinds: tuple[KindCount, ...]
    copies: Copies
    near_copies: Copies | None
    voted: int | None
    disagreeing: int | None
    accuracy: float | None
    confirmed: float | None


def audit(
    dataset: Dataset,
    out: Path,
    settings: AuditSettings,
    *,
    out_of_fold: OutOfFold | None = None,
    detector: DetectorChoice | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> AuditSummary:
    """Writes the folder `out`: index.html, flags.csv, summary.json, and out-of-fold.npy where that was asked for.

    out_of_fold: makes the predictions by which labels are suspected, see `OutOfFold`. detector: looks for a face in
    every picture. resume: go on where a killed audit of the same data and settings stopped; a finished one is read.
    Raises OutputError where `out` is there already, or unfinished work of another kind is; DataError, DetectorError,
    MissingExtraError.
    """
    out = Path(out)
    job: dict[str, Any] = {"command": "audit", "settings": asdict(settings), "version": __version__}
    job |= {"source": dataset.fingerprint, "detector": detector.identity() if detector else ""}
    if out.exists():
        return _finished(out, job, resume=resume)
    if out_of_fold is not None:
        require_cleanlab()
    part = staging(out)
    begin_job(part, job, out=out, resume=resume)
    try:
        work = part / _WORK
        contrast = contrasts(dataset, progress)
        exact = find_duplicates(dataset)
        near = None if settings.near is None else find_duplicates(dataset, near=settings.near)
        scores = None if detector is None else detection_scores(dataset, detector, work / _SCORES, progress)
        probabilities = None
        if out_of_fold is not None:
            group = (near or exact).group  # near groups hold the exact ones
            probabilities = _kept(part / PREDICTIONS, lambda: out_of_fold(dataset, group, work / _FOLDS))
        suspects = None if probabilities is None else find_suspects(dataset.labels, probabilities)
        flags = [
            *contrast_flags(contrast, settings.low_contrast),
            *([] if scores is None else [face_flags(scores)]),
            *copy_flags(dataset, exact.group, None if near is None else near.group),
            *([] if dataset.votes is None else [vote_flags(dataset)]),
            *([] if suspects is None else [suspect_flags(dataset, suspects)]),
        ]
        summary = _summary(dataset, flags, exact, near, probabilities)
        write_flags(part / FLAGS, dataset, flags)
        write_text(part / SUMMARY, json.dumps(asdict(summary), indent=2) + "\n")
        _page(dataset, settings, summary, flags).write(part / PAGE)
        write_text(part / _JOB, json.dumps(job, indent=2) + "\n")
        part.replace(out)
        shutil.rmtree(out / _WORK)
    except OSError as error:
        raise cannot_write(out, error) from error
    return summary


# What is looked for, kind by kind


def contrasts(dataset: Dataset, progress: Progress | None = None) -> NDArray[np.float32]:
    """The standard deviation of every picture's grey levels, float32 (N,), 0 to 127.5."""
    found = np.empty(len(dataset), np.float32)
    for row in range(len(dataset)):
        picture = dataset.picture(row)
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if picture.shape[2] == 3 else picture
        found[row] = cv2.meanStdDev(grey)[1][0, 0]
        if progress and row % 1000 == 999:
            progress(row + 1, len(dataset))
    return found


def contrast_flags(contrast: NDArray[np.float32], low: float) -> tuple[Flags, Flags]:
    """Blank pictures, and those with less contrast than `low`, by `contrasts`."""
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
    """The best face's score in every picture, float32 (N,), 0 to 1, 0 for no face; kept in `folder` by chunk."""
    threads = os.cpu_count() or 1
    make_folder(folder)
    found = np.zeros(len(dataset), np.float32)

    def best(made: FaceDetector, picture: NDArray[np.uint8]) -> float:
        return face_scores([made], picture)[0]

    with Workers(lambda: detector.make(min_face=MIN_FACE, threads=1), threads) as workers:
        for start in range(0, len(dataset), CHUNK):
            rows = range(start, min(start + CHUNK, len(dataset)))

            def search(rows: range = rows) -> NDArray[np.float32]:
                scores = workers.map(best, [dataset.picture(row) for row in rows])
                return np.array([0.0 if isinstance(s, str) else s for s in scores], np.float32)

            found[rows.start : rows.stop] = _kept(folder / f"{start:09d}.npy", search)
            if progress:
                progress(rows.stop, len(dataset))
    return found


def face_flags(scores: NDArray[np.float32]) -> Flags:
    """Pictures in which a detector finds no face (score 0)."""
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
        f"predicted {name} ({sure:.0%}), {dataset.label_names[label]} {own:.1%}"
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
    votes, comparable = dataset.votes, _comparable(dataset)
    if votes is None:
        raise DataError(f"{dataset.name}: has no votes")
    column = np.array([EIGHT.index(name) if name in EIGHT else 0 for name in dataset.label_names] + [0])
    own = votes[np.arange(len(votes)), column[dataset.labels]]
    rows = np.flatnonzero(comparable & (own < votes.max(1)))
    other = dataset.columns.get("ferplus_other")
    total = votes.sum(1) + (0 if other is None else other.sum(1))
    return rows, votes[rows].argmax(1), (votes.max(1) - own)[rows], total[rows].astype(np.float32)


def _comparable(dataset: Dataset) -> NDArray[np.bool_]:
    """Samples that have votes for an expression, and a label that raters could vote for."""
    votes = dataset.votes
    if votes is None:
        return np.zeros(len(dataset), bool)
    votable = np.array([name in EIGHT for name in dataset.label_names] + [False])
    comparable: NDArray[np.bool_] = votable[dataset.labels] & (votes.sum(1) > 0)
    return comparable


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
    order = np.lexsort((rows, kept[rows]))  # copies of one picture side by side
    rows, rows_scores = rows[order], rows_scores[order]
    reasons = [f"{says} row {other} ({_where(dataset, other)})" for other in kept[rows].tolist()]
    return rank_flags(kind, rows, rows_scores, reasons)


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


def _where(dataset: Dataset, row: int) -> str:
    label = int(dataset.labels[row])
    parts = (str(dataset.splits[row]), dataset.label_names[label] if label >= 0 else "no label")
    return ", ".join(p for p in parts if p)


# Summary and page


def _copies_of(groups: DuplicateGroups) -> Copies:
    return Copies(groups.groups, groups.images, groups.conflicts, groups.cross_split)


def _summary(
    dataset: Dataset,
    flags: Sequence[Flags],
    exact: DuplicateGroups,
    near: DuplicateGroups | None,
    probabilities: NDArray[np.float32] | None,
) -> AuditSummary:
    kinds = tuple(
        KindCount(f.kind, len(f), tuple((s, int((dataset.splits[f.rows] == s).sum())) for s in dataset.counts()))
        for f in flags
    )
    accuracy = confirmed = None
    if probabilities is not None:
        judged = (dataset.labels >= 0) & np.isfinite(probabilities).all(1)
        accuracy = round(float((probabilities[judged].argmax(1) == dataset.labels[judged]).mean()), 4)
    by_kind = {f.kind: f for f in flags}
    if "label-suspect" in by_kind and "votes-disagree" in by_kind:
        top = by_kind["label-suspect"].rows[:TOP]
        top = top[_comparable(dataset)[top]]
        confirmed = round(float(np.isin(top, by_kind["votes-disagree"].rows).mean()), 4) if len(top) else None
    return AuditSummary(
        samples=len(dataset),
        labelled=int((dataset.labels >= 0).sum()),
        kinds=kinds,
        copies=_copies_of(exact),
        near_copies=None if near is None else _copies_of(near),
        voted=None if dataset.votes is None else int(_comparable(dataset).sum()),
        disagreeing=len(by_kind["votes-disagree"]) if "votes-disagree" in by_kind else None,
        accuracy=accuracy,
        confirmed=confirmed,
    )


_TITLES = {
    "blank": ("Blank pictures", "All pixels are alike: there is nothing to see."),
    "low-contrast": ("Low contrast", "Hard to make anything out."),
    "no-face": ("No face found", "The detector finds no face, which may also be its mistake."),
    "duplicate": ("Exact duplicates", "The same pixels as another picture. One of each group is not flagged: the first "
                  "of test, else of validation, else of all."),
    "near-duplicate": ("Near duplicates", "Looks the same as another picture, with other pixels."),
    "leak": ("Leaks between splits", "Seen in training, and again when the network is measured: figures come out too "
             "good. Flagged is the copy in the earlier split."),
    "label-conflict": ("Copies with different labels", "The same pixels, labelled differently: at most one is right."),
    "votes-disagree": ("Labels that raters contradict", "Another expression than the label has the most votes. Unknown "
                       "and not-a-face are no expressions and do not count; a tie does not contradict."),
    "label-suspect": ("Likely wrong labels", "By confident learning over out-of-fold predictions of a quick network. "
                      "The score says how far the predicted label is ahead of the given one. A person should look "
                      "before anything is dropped."),
}  # fmt: skip


def _page(dataset: Dataset, settings: AuditSettings, summary: AuditSummary, flags: Sequence[Flags]) -> Page:
    page = Page(
        f"Audit of {Path(dataset.name).name}",
        f"{summary.samples:,} samples, {summary.labelled:,} of them labelled. Nothing was removed: "
        f"{FLAGS} has a row for each flag, and `mien data drop` takes away the kinds you choose.",
    )
    page.section("What was found")
    splits = list(dataset.counts())
    header = ("kind", "flags", "share", *(s or "no split" for s in splits))
    page.table(
        header,
        [
            (k.kind, k.total, f"{k.total / max(1, summary.samples):.2%}", *(n for _, n in k.by_split))
            for k in summary.kinds
        ],
    )
    copies = [("exact", summary.copies), *([("exact or near", summary.near_copies)] if summary.near_copies else [])]
    page.table(
        ("copies", "groups", "pictures in them", "groups with different labels", "groups across splits"),
        [(name, c.groups, c.samples, c.conflicts, c.across_splits) for name, c in copies],
    )
    if summary.voted:
        share = (summary.disagreeing or 0) / summary.voted
        page.text(f"Raters' votes contradict {share:.1%} of {summary.voted:,} labels.")
        if summary.confirmed is not None:
            page.text(f"Of the {TOP} likeliest suspects they contradict {summary.confirmed:.1%}.")
    if summary.accuracy is not None:
        page.text(
            f"The quick network's out-of-fold predictions agree with {summary.accuracy:.1%} of the labels "
            f"({settings.folds} folds)."
        )
    page.section("Splits and classes")
    counts = dataset.counts()
    names = [n for n in (*dataset.label_names, "") if any(n in by for by in counts.values())]
    page.table(
        ("split", *(n or "no label" for n in names), "all"),
        [(s or "no split", *(counts[s].get(n, 0) for n in names), sum(counts[s].values())) for s in splits],
    )
    shapes, amounts = np.unique(dataset.shapes, axis=0, return_counts=True)
    order = np.argsort(-amounts, kind="stable")[:20]
    page.table(
        ("width", "height", "channels", "pictures"),
        [(*shapes[i][[1, 0, 2]].tolist(), int(amounts[i])) for i in order.tolist()],
        "Picture sizes" + (f" (the 20 most frequent of {len(shapes)})" if len(shapes) > 20 else ""),
    )
    for each in flags:
        title, text = _TITLES[each.kind]
        shown = each.rows[:GALLERY].tolist()
        most = f" The worst {GALLERY} are shown." if len(each) > GALLERY else ""
        page.section(f"{title}: {len(each):,}", f"{text}{most}")
        page.gallery([dataset.picture(row) for row in shown], [_caption(dataset, each, i) for i in range(len(shown))])
    return page


def _caption(dataset: Dataset, flags: Flags, place: int) -> str:
    row, suggested = int(flags.rows[place]), flags.suggested[place]
    arrow = f" → {suggested}?" if suggested else ""
    return f"{_where(dataset, row)}{arrow} (row {row}): {flags.reasons[place]}"


# Resuming


def _kept(place: Path, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """An array that a killed audit had finished, or a new one, which is kept."""
    if place.exists():
        before: NDArray[np.float32] = np.load(place, allow_pickle=False)
        return before
    made = make()
    data = io.BytesIO()
    np.save(data, made)
    write_bytes(place, data.getvalue())
    return made


def _finished(out: Path, job: dict[str, Any], *, resume: bool) -> AuditSummary:
    try:
        same = resume and json.loads((out / _JOB).read_text("utf-8")) == json.loads(json.dumps(job))
    except (OSError, ValueError):
        same = False
    if not same:
        raise OutputError(f"{out}: exists already; give a new folder")
    found = json.loads((out / SUMMARY).read_text("utf-8"))
    kinds = tuple(KindCount(k["kind"], k["total"], tuple((s, n) for s, n in k["by_split"])) for k in found.pop("kinds"))
    copies, near = Copies(**found.pop("copies")), found.pop("near_copies")
    return AuditSummary(kinds=kinds, copies=copies, near_copies=None if near is None else Copies(**near), **found)
