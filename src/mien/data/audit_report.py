"""The results of an audit as figures and as a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import Dataset
from mien.data.duplicates import DuplicateGroups
from mien.data.findings import comparable, where
from mien.data.flags import COLUMNS, FLAGS, Flags, about, flag_rows, write_flags
from mien.data.judge import Judge
from mien.errors import import_extra
from mien.files import atomic_folder, write_text
from mien.intervals import wilson_interval
from mien.labels import EIGHT
from mien.pages import Bars, Choice, Column, Page, Tile
from mien.pages.charts import series_color
from mien.pages.text import percent, sentence

if TYPE_CHECKING:
    import pandas as pd

PAGE, SUMMARY, PREDICTIONS = "index.html", "summary.json", "out-of-fold.npy"

GALLERY = 120
"""How many images of each kind the page shows."""

TOPS = (50, 100, 200, 400)
"""The numbers of first suspects for which the share that raters' votes confirm is reported, and for all of them."""


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
    those whose label the votes contradict. judge: how good the judge of the labels is. precision: numbers of first
    suspects (`TOPS`, and all), with the share of them that the votes contradict. suggested_right: the share of suspects
    whose suggested label has the most votes. None: not computed.
    label_check: how far a shipped model agrees with the labels, and whether another order fits far better; empty where
    they are no expressions.
    """

    samples: int
    labelled: int
    kinds: tuple[KindCount, ...]
    copies: Copies
    near_copies: Copies | None
    voted: int | None
    disagreeing: int | None
    judge: Judge | None
    precision: tuple[tuple[int, float], ...]
    suggested_right: float | None
    label_check: str = ""


def _copies_of(groups: DuplicateGroups) -> Copies:
    return Copies(groups.groups, groups.images, groups.conflicts, groups.cross_split)


def summarise(
    dataset: Dataset,
    flags: Sequence[Flags],
    exact: DuplicateGroups,
    near: DuplicateGroups | None,
    judge: Judge | None,
    label_check: str = "",
) -> AuditSummary:
    """The summary of these flags. judge: of the labels, where there was one."""
    kinds = tuple(
        KindCount(f.kind, len(f), tuple((s, int((dataset.splits[f.rows] == s).sum())) for s in dataset.counts()))
        for f in flags
    )
    by_kind = {f.kind: f for f in flags}
    precision, right = _by_votes(dataset, by_kind.get("label-suspect"))
    return AuditSummary(
        samples=len(dataset),
        labelled=int((dataset.labels >= 0).sum()),
        kinds=kinds,
        copies=_copies_of(exact),
        near_copies=None if near is None else _copies_of(near),
        voted=None if dataset.votes is None else int(comparable(dataset).sum()),
        disagreeing=len(by_kind["votes-disagree"]) if "votes-disagree" in by_kind else None,
        judge=judge,
        precision=precision,
        suggested_right=right,
        label_check=label_check,
    )


def _by_votes(dataset: Dataset, suspects: Flags | None) -> tuple[tuple[tuple[int, float], ...], float | None]:
    """How many of the first suspects the votes contradict, and how often the suggestion has the most votes."""
    if dataset.votes is None or not suspects:
        return (), None
    known = comparable(dataset)[suspects.rows]
    rows = suspects.rows[known]
    if not len(rows):
        return (), None
    suggested = np.array([EIGHT.index(name) if name in EIGHT else -1 for name in suspects.suggested])[known]
    label = np.array([EIGHT.index(dataset.label_name(row)) for row in rows.tolist()])
    votes = dataset.votes[rows]
    place, most = np.arange(len(rows)), votes.max(1)
    wrong = votes[place, label] < most
    right = (suggested >= 0) & (votes[place, suggested] == most)
    counts = [*(n for n in TOPS if n < len(rows)), len(rows)]
    return tuple((n, round(float(wrong[:n].mean()), 4)) for n in counts), round(float(right.mean()), 4)


def read_summary(table: dict[str, Any]) -> AuditSummary:
    """A summary from its JSON."""
    kinds = tuple(KindCount(k["kind"], k["total"], tuple((s, n) for s, n in k["by_split"])) for k in table["kinds"])
    near = table["near_copies"]
    read = {
        "kinds": kinds,
        "copies": Copies(**table["copies"]),
        "near_copies": None if near is None else Copies(**near),
        "judge": Judge(**table["judge"]) if table["judge"] else None,
        "precision": tuple((n, share) for n, share in table["precision"]),
    }
    return AuditSummary(**(table | read))


_TITLES = {
    "blank": ("Blank images", "All pixels are alike: there is nothing to see."),
    "low-contrast": ("Low contrast", "Hard to make anything out."),
    "no-face": ("No face found", "The detector finds no face, which may also be its mistake."),
    "duplicate": ("Exact duplicates", "The same pixels as another image. One of each group is not flagged: the first "
                  "of test, else of validation, else of all."),
    "near-duplicate": ("Near duplicates", "Looks the same as another image, with other pixels. The third "
                       "image shows where, the darker the more."),
    "leak": ("Leaks between splits", "An image of training that is also in validation or test: figures come out too "
             "good. Flagged is the copy in the earlier split."),
    "label-conflict": ("Copies with different labels", "The same pixels, labelled differently: at most one is right."),
    "votes-disagree": ("Labels that raters contradict", "Another expression than the label has the most votes. Unknown "
                       "and not-a-face are no expressions and do not count; a tie does not contradict."),
    "label-suspect": ("Likely wrong labels", "A judge that was not fitted to these faces finds another class at least "
                      "three times as probable. A person should look before anything is changed."),
}  # fmt: skip


def precision_text(summary: AuditSummary) -> str:
    """What raters' votes say of the suspects, with 95 % intervals, in one line."""
    shares = ", ".join(f"{_of(count, share)} of the first {count:,}" for count, share in summary.precision)
    right = _of(summary.precision[-1][0], summary.suggested_right or 0.0)
    return f"votes contradict {shares} suspects; the suggested label has the most votes for {right} (95 % intervals)"


def _of(count: int, share: float) -> str:
    return percent(share, wilson_interval(round(share * count), count), digits=0)


def audit_page(dataset: Dataset, summary: AuditSummary, flags: Sequence[Flags]) -> Page:
    """What was found, in tables, and the worst of each kind."""
    page = Page(f"Audit of {Path(dataset.name).name}", _verdict(summary), kind="Audit")
    page.tiles(_tiles(summary))
    page.section(
        "What was found",
        "Tick what is wrong below an image, choose the right label or drop, and save; then: "
        "mien data relabel DATA decisions.csv --out FIXED",
    )
    page.decisions("Save decisions", "decisions.csv")
    splits = list(dataset.counts())
    page.chart(_kinds_chart(summary, splits))
    if summary.label_check:
        page.text(f"A look at a sample: {summary.label_check}.")
    copies = [("exact", summary.copies), *([("exact or near", summary.near_copies)] if summary.near_copies else [])]
    page.table(
        ("copies", "groups", "images in them", "groups with different labels", "groups across splits"),
        [(name, c.groups, c.samples, c.conflicts, c.across_splits) for name, c in copies],
    )
    if summary.judge is not None:
        page.text(f"The judge of the labels: {summary.judge.sentence()}.")
    if summary.precision:
        page.text(sentence(precision_text(summary)))
    for each in flags:
        _flagged(page, dataset, each)
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
        ("width", "height", "channels", "images"),
        [(*shapes[i][[1, 0, 2]].tolist(), int(amounts[i])) for i in order.tolist()],
        "Image sizes" + (f" (the 20 most frequent of {len(shapes)})" if len(shapes) > 20 else ""),
    )
    return page


def _verdict(summary: AuditSummary) -> str:
    most = sorted((k for k in summary.kinds if k.total), key=lambda k: -k.total)[:3]
    found = ", ".join(
        f"{k.total:,} {_TITLES[k.kind][0].lower()} ({percent(k.total / max(1, summary.samples))})" for k in most
    )
    text = f"{found or 'Nothing'} flagged among {summary.samples:,} samples"
    if summary.precision:
        text += f". Raters' votes contradict {_of(*summary.precision[-1])} of the likely wrong labels"
    return f"{text}. Nothing was removed: {FLAGS} lists every flag, and `mien data drop` drops the kinds you choose."


def _tiles(summary: AuditSummary) -> list[Tile]:
    copies = summary.copies
    tiles = [
        Tile("samples", f"{summary.samples:,}", f"{summary.labelled:,} labelled"),
        Tile(
            "exact copies",
            f"{copies.samples:,}",
            f"in {copies.groups:,} groups, {copies.across_splits:,} across splits",
        ),
        Tile("copies labelled differently", f"{copies.conflicts:,}", "groups"),
    ]
    if summary.judge is not None:
        suspects = next((k.total for k in summary.kinds if k.kind == "label-suspect"), 0)
        tiles.append(Tile("likely wrong labels", f"{suspects:,}", percent(suspects / max(1, summary.samples))))
    return tiles


def _kinds_chart(summary: AuditSummary, splits: Sequence[str]) -> Bars:
    kinds = summary.kinds
    top = (0.0, float(max(1, *(k.total for k in kinds))) if kinds else 1.0)
    parts = [("all", [k.total for k in kinds])]
    parts += [(s or "no split", [dict(k.by_split).get(s, 0) for k in kinds]) for s in splits]
    columns = [
        Column(name, values, [f"{n:,}" for n in values], range=top, bar=True, color=series_color(i))
        for i, (name, values) in enumerate(parts)
    ]
    shares = [percent(k.total / max(1, summary.samples)) for k in kinds]
    return Bars("Flags of each kind", "kind", [k.kind for k in kinds], columns, "share", shares)


def _flagged(page: Page, dataset: Dataset, flags: Flags) -> None:
    """The section of one kind: images, or copies beside what they are copies of."""
    if not len(flags):
        return
    title, text = _TITLES[flags.kind]
    shown = flags.rows[:GALLERY].tolist()
    most = f" The worst {GALLERY} are shown." if len(flags) > GALLERY else ""
    page.section(f"{title}: {len(flags):,}", f"{text}{most}")
    captions = [_caption(dataset, flags, i) for i in range(len(shown))]
    choices = [_choice(dataset, flags, i) for i in range(len(shown))]
    images = [dataset.image(row) for row in shown]
    if not flags.others:
        page.gallery(images, captions, choices=choices)
        return
    others = flags.others[:GALLERY]
    pairs = [(image, dataset.image(other)) for image, other in zip(images, others, strict=True)]
    alts = [(caption, f"row {other}: {where(dataset, other)}") for caption, other in zip(captions, others, strict=True)]
    page.pairs(pairs, captions, alts, choices=choices)


def _choice(dataset: Dataset, flags: Flags, place: int) -> Choice:
    """The tick of a flag: the suggested label, or another, or that the sample is dropped."""
    row = int(flags.rows[place])
    source, split, label = about(dataset, row)
    cells = {"row": str(row), "source": source, "split": split, "label": label, "reason": f"audit: {flags.kind}"}
    options = [(name, name) for name in dataset.label_names] + [("-", "drop")]
    return Choice(cells, options, flags.suggested[place] or "-")


def _caption(dataset: Dataset, flags: Flags, place: int) -> str:
    row, suggested = int(flags.rows[place]), flags.suggested[place]
    arrow = f" → {suggested}?" if suggested else ""
    return f"{where(dataset, row)}{arrow} (row {row}): {flags.reasons[place]}"


@dataclass(frozen=True, slots=True, eq=False)
class AuditReport:
    """What an audit found. Nothing is removed; `mien.drop_flagged` removes the kinds of flags that you choose.

    Attributes:
        dataset: The data set.
        flags: The flags of each kind, the worst first.
        summary: The counts.
        probabilities: The judge's out-of-fold predictions, float32 (N, K); None where none were made.
    """

    dataset: Dataset
    flags: tuple[Flags, ...]
    summary: AuditSummary
    probabilities: NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        kinds = ", ".join(f"{kind.kind} {kind.total:,}" for kind in self.summary.kinds if kind.total)
        return f"AuditReport({self.dataset.name!r}, {self.summary.samples:,} images; flagged: {kinds or 'none'})"

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary, as summary.json has it."""
        return asdict(self.summary)

    def to_pandas(self) -> pd.DataFrame:
        """Returns a row per flag with the columns of flags.csv.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        pd = import_extra("pandas", "pandas", "to_pandas()")
        return pd.DataFrame(list(flag_rows(self.dataset, self.flags)), columns=list(COLUMNS))

    def save(self, folder: str | Path) -> Path:
        """Writes index.html, flags.csv, summary.json and, where there are any, out-of-fold.npy; returns the page.

        Args:
            folder: A new folder. It appears when it is complete.

        Raises:
            OutputError: The folder is there already, or cannot be written.
        """
        with atomic_folder(Path(folder)) as place:
            self.write(place)
        return Path(folder) / PAGE

    def write(self, folder: Path) -> None:
        """The files of `save`, into a folder that is there."""
        write_flags(folder / FLAGS, self.dataset, self.flags)
        write_text(folder / SUMMARY, json.dumps(self.to_dict(), indent=2) + "\n")
        if self.probabilities is not None:
            np.save(folder / PREDICTIONS, self.probabilities)
        audit_page(self.dataset, self.summary, self.flags).write(folder / PAGE)
