"""report.html: all results of an evaluation on one page, as one file; its charts are also separate files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from mien.data.samples import Images, Samples
from mien.data.toy import toy_faces
from mien.errors import MissingExtraError
from mien.evaluation import figures
from mien.evaluation.extremes import Extremes
from mien.evaluation.page_faces import SHOWN_IN_CELL, cell_faces, explanations, wrong_answers
from mien.evaluation.report import (
    class_notes,
    said_of_abstention,
    said_of_copies,
    said_of_diversity,
    said_of_robustness,
    title,
)
from mien.evaluation.result import (
    BalanceReport,
    Calibration,
    Diversity,
    Evaluation,
    Selective,
    Share,
    TrainCopies,
    Votes,
)
from mien.evaluation.robustness import CORRUPTIONS, SEVERITIES, Robustness, corrupt
from mien.evaluation.speed import Speed
from mien.files import make_folder
from mien.pages import Page, Tile
from mien.pages.text import p_value, percent, percent_span, sentence, three, three_span
from mien.reporting import log_warning

PAGE_FILE, FIGURES_FOLDER = "report.html", "figures"

_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5, 0.3)
_NAMES = ("confusion", "classes", "wrong-model", "wrong-label", "curves", "reliability", "balance", "risk-coverage",
          "robustness", "relative-error", "explained-right", "explained-wrong", "groups-*")  # fmt: skip


def write_page(
    evaluation: Evaluation,
    out: Path,
    *,
    samples: Samples | None = None,
    extremes: Extremes | None = None,
    vector: bool = False,
    warn: Callable[[str], None] = log_warning,
) -> Path:
    """Writes report.html into the folder `out`, and its charts as PNG into figures/; returns its path.

    samples: those that were evaluated; without them no faces are shown. What an earlier page left in their places is
    removed. vector: the charts also as SVG and PDF. warn: receives one line if there are no files of charts because
    matplotlib is not installed. Raises OutputError.
    """
    e = evaluation
    page = Page(title(e), verdict(e), kind="Evaluation")
    page.tiles(_tiles(e))
    classes(page, e, None if samples is None else samples.images)
    if e.calibration is not None:
        _calibration(page, e, e.calibration)
    if e.balance is not None and e.balance.points:
        _balance(page, e, e.balance)
    if e.selective is not None:
        _abstaining(page, e, e.selective)
    if e.votes is not None:
        _raters(page, e.votes)
    _groups(page, e)
    if e.train_copies is not None:
        _copies(page, e, e.train_copies)
    if e.diversity is not None:
        _ensemble(page, e, e.diversity)
    if e.robustness is not None:
        _robustness(page, e.robustness)
    wrong_answers(page, e, samples)
    if extremes is not None:
        explanations(page, extremes)
    if e.speed is not None:
        _speed(page, e.speed)
    key_figures(page, e)
    page.section("How it was measured")
    page.facts(_facts(e))
    make_folder(Path(out))
    page.write(Path(out) / PAGE_FILE)
    try:
        page.write_figures(Path(out) / FIGURES_FOLDER, replaced=_NAMES, vector=vector)
    except MissingExtraError as error:
        warn(f"no {FIGURES_FOLDER}/: {error}")
    return Path(out) / PAGE_FILE


def verdict(e: Evaluation, name: str = "") -> str:
    """Two sentences: how often it is right, and where it is weakest. name: who; empty takes the models' names."""
    who = name or " + ".join(m.name for m in e.models) or "The tool"
    low, high = e.accuracy_95
    text = f"{who} is right on {percent(e.accuracy)} of {e.n:,} faces (95 %: {100 * low:.1f} – {100 * high:.1f})"
    present = [c for c in e.per_class if c.recall is not None]
    if len(present) < 2:
        return f"{text}."
    balanced = percent(e.balanced_accuracy, e.bootstrap_95.balanced_accuracy)
    weakest = min(present, key=lambda c: (c.recall, c.label))
    row = [
        n if name != weakest.label else 0
        for name, n in zip(e.labels, e.confusion[e.labels.index(weakest.label)], strict=True)
    ]
    confused = f", and it is most often called {e.labels[int(np.argmax(row))]}" if max(row) else ""
    return (
        f"{text}, and on {balanced} in the mean over the classes. It is weakest on {weakest.label}: "
        f"{percent(weakest.recall, weakest.recall_95)} of {weakest.support:,} are found{confused}."
    )


def _tiles(e: Evaluation) -> Iterable[Tile]:
    boot = e.bootstrap_95
    yield Tile("accuracy", percent(e.accuracy), f"95 %: {percent_span(e.accuracy_95)}")
    yield Tile("balanced accuracy", percent(e.balanced_accuracy), f"95 %: {percent_span(boot.balanced_accuracy)}")
    yield Tile("macro F1", three(e.macro_f1), f"95 %: {three_span(boot.macro_f1)}")
    if e.top_2_accuracy is not None:
        yield Tile("right within two", percent(e.top_2_accuracy), "top-2 accuracy")
    if e.ece is not None:
        yield Tile("calibration error", percent(e.ece), "ECE; 0 is perfect")
    if e.speed is not None and e.speed.batches:
        yield Tile("time a face", f"{e.speed.batches[0].p50_ms:.1f} ms", "median, one at a time")


def key_figures(page: Page, e: Evaluation) -> None:
    """The section with every usual figure and its interval."""
    boot, every = e.bootstrap_95, e.accuracy_every_answer
    rows: list[tuple[str, float | str | None, str]] = [
        ("accuracy", percent(e.accuracy), percent_span(e.accuracy_95)),
        (
            "accuracy with every answer",
            None if every is None else percent(every.accuracy),
            percent_span(every.accuracy_95 if every else None),
        ),
        ("balanced accuracy", percent(e.balanced_accuracy), percent_span(boot.balanced_accuracy)),
        ("macro F1", e.macro_f1, three_span(boot.macro_f1)),
        ("weighted F1", e.weighted_f1, ""),
        ("top-2 accuracy", None if e.top_2_accuracy is None else percent(e.top_2_accuracy), ""),
        ("Cohen's kappa", e.cohen_kappa, ""),
        ("Matthews correlation", e.matthews_correlation, ""),
        ("macro ROC AUC", e.curves.macro_auc if e.curves else None, ""),
        ("macro average precision", e.curves.macro_average_precision if e.curves else None, ""),
        ("AURC (lower is better)", e.selective.aurc if e.selective else None, ""),
        ("NLL", e.nll, f"n = {e.nll_n:,}" if e.nll_n != e.n else ""),
        ("KL to the votes", e.kl_votes, f"n = {e.kl_n:,}"),
    ]
    page.section("All key figures", "All digits are in metrics.json.")
    page.table(
        ("figure", "value", "95 % interval"),
        [(name, v if isinstance(v, str) else three(v), span) for name, v, span in rows if v is not None],
    )


def classes(page: Page, e: Evaluation, faces: Images | None) -> None:
    """The section with the figures of each class, the confusion matrix and the faces behind its cells.

    faces: uint8 (N, S, S, C), those that `e.rows` counts, of which only the shown ones are read; None shows none.
    """
    page.section("Classes")
    page.chart(figures.classes_chart(e), "classes")
    present = [c for c in e.per_class if c.support]
    rows = []
    for name, weights in (("macro", [1] * len(present)), ("weighted by faces", [c.support for c in present])):
        parts = ([c.recall or 0.0 for c in present], [c.precision for c in present], [c.f1 or 0.0 for c in present])
        recall, precision, f1 = (float(np.average(values, weights=weights)) for values in parts)
        rows.append((name, percent(recall), percent(precision), percent(f1)))
    page.table(("mean over the classes", "recall", "precision", "F1"), rows)
    page.section("Confusion")
    _confusion(page, e, faces)
    if e.curves is None:
        return
    page.section("Each class against the rest")
    page.chart(figures.curve_charts(e), "curves")
    calibrated = e.calibration.classwise_ece_by_class if e.calibration else {}
    page.table(
        ("class", "ROC AUC", "average precision", "ECE"),
        [
            (name, three(c.auc), three(c.average_precision), percent(calibrated.get(name)))
            for name, c in e.curves.per_class.items()
        ],
    )


def _confusion(page: Page, e: Evaluation, faces: Images | None) -> None:
    """The matrix, and the faces that its cells open."""
    found = {} if faces is None else cell_faces(e)
    if found:
        page.text(f"An underlined number opens the faces behind it, the {SHOWN_IN_CELL} most confident at most.")
    back = page.anchor()
    links = {cell: f"{back}-{cell[0]}-{cell[1]}" for cell in found}
    page.chart(figures.confusion_chart(e, links), "confusion")
    for (truth, called), rows in found.items():
        title = f"{e.labels[truth]}, called {e.labels[called]}"
        captions = ["" if e.confidence is None else percent(float(e.confidence[i])) for i in rows]
        page.behind(
            links[truth, called],
            f"{title}: {e.confusion[truth][called]:,}",
            [] if faces is None else list(faces[e.rows[rows]]),
            captions,
            [f"{title} {caption}; {e.sources[i]}" for caption, i in zip(captions, rows, strict=True)],
            back,
        )


def _calibration(page: Page, e: Evaluation, calibration: Calibration) -> None:
    against = "how often the label agrees" if e.truth == "label" else "the share of raters who agree"
    page.section("Calibration", f"How far confidences are from {against}; 0 would be perfect.")
    page.chart(figures.reliability_charts(e), "reliability", "Bands are 95 % intervals.")
    rows = [
        ("ECE", e.ece),
        ("ECE before temperature, at balance 0", e.ece_before_temperature),
        ("ECE against the majority", e.ece_majority),
        ("class-wise ECE", calibration.classwise_ece),
    ]
    shown = [(name, percent(value)) for name, value in rows if value is not None]
    page.table(("figure", "value"), [*shown, ("Brier score, 0 to 2", three(calibration.brier))])


def _balance(page: Page, e: Evaluation, balance: BalanceReport) -> None:
    mix = "an even mix" if balance.target is None else "the user's mix"
    page.section(
        "Balance",
        f"Probabilities correct for the mix of expressions in training: not at all at balance 0, and towards {mix} at "
        f"1. All other figures of this page are at balance {balance.used:g}. The ECE is {percent(balance.ece_at_0)} at "
        f"balance 0, and {percent(e.ece)} at {balance.used:g}.",
    )
    page.chart(figures.balance_chart(balance), "balance")
    page.table(
        ("balance", "accuracy", "macro recall"),
        [(f"{p.balance:g}", percent(p.accuracy), percent(p.macro_recall)) for p in balance.points[::2]],
    )


def _abstaining(page: Page, e: Evaluation, selective: Selective) -> None:
    page.section("Abstaining", "What is gained by not answering for the faces with the least confidence.")
    if selective.abstention is not None:
        page.text(sentence(said_of_abstention(selective.abstention)))
    page.chart(figures.risk_coverage_chart(e), "risk-coverage")
    if e.confidence is not None:
        order = np.argsort(-e.confidence, kind="stable")
        hits = (e.truth_index == e.predicted_index)[order]
        sure = e.confidence[order]
        kept = [max(1, round(share * e.n)) for share in _COVERAGES]
        page.table(
            ("kept", "faces", "least confidence", "accuracy"),
            [
                (percent(share, digits=0), n, percent(float(sure[n - 1])), percent(float(hits[:n].mean())))
                for share, n in zip(_COVERAGES, kept, strict=True)
            ],
        )


def _raters(page: Page, votes: Votes) -> None:
    shares = (
        ("more than half", votes.majority),
        ("60 % or more", votes.agreement_60),
        ("80 % or more", votes.agreement_80),
    )
    page.section("Raters' agreement", "Accuracy on the expression that most raters chose.")
    page.table(("raters who agree", "faces", "accuracy", "95 % interval"), _share_rows(shares))


def _groups(page: Page, e: Evaluation) -> None:
    if not e.groups:
        return
    page.section(
        "Groups",
        "Groups may differ in their expressions: compare the balanced accuracy too. Groups of fewer than 30 faces "
        "are marked and grey.",
    )
    for number, comparison in enumerate(e.groups, start=1):
        p = comparison.p_value
        page.heading(comparison.column, "" if p is None else f"Gaps this large arise by chance with p = {p_value(p)}.")
        page.chart(figures.groups_chart(comparison), f"groups-{number}")
        page.table(
            ("group", "macro F1", "accuracy less that of the rest", "Holm p"),
            [
                (
                    g.value,
                    three(g.macro_f1),
                    "–" if g.gap_to_rest is None else f"{100 * g.gap_to_rest:+.1f} points",
                    p_value(g.p_holm),
                )
                for g in comparison.groups
            ],
        )


def _copies(page: Page, e: Evaluation, copies: TrainCopies) -> None:
    page.section("Copies in train", sentence(said_of_copies(e, copies)))
    rows = _share_rows((("all", Share(e.n, e.accuracy, e.accuracy_95)), ("without", copies.without)))
    page.table(("copies", "faces", "accuracy", "95 % interval"), rows)


def _ensemble(page: Page, e: Evaluation, d: Diversity) -> None:
    names = [m.name for m in e.models]
    page.section("Ensemble", sentence(said_of_diversity(d)))
    whole = ("all together", Share(e.n, e.accuracy, e.accuracy_95))
    rows = _share_rows((*zip(names, d.members, strict=True), whole))
    page.table(("model", "faces", "accuracy", "95 % interval"), rows)
    page.table(
        ("differ on", *names),
        [(name, *map(percent, row)) for name, row in zip(names, d.disagreement, strict=True)],
    )


def _robustness(page: Page, r: Robustness) -> None:
    page.section("Robustness", sentence(said_of_robustness(r)))
    page.chart(figures.robustness_chart(r), "robustness")
    if r.mean_relative_error is not None:
        page.chart(figures.relative_error_chart(r), "relative-error")
    page.heading("What each severity is")
    page.table(
        ("corruption", "its amounts", *map(str, SEVERITIES)),
        [(c.name, c.what, *(f"{amount:g}" for amount in c.amounts)) for c in r.corruptions],
    )
    face = toy_faces(1, seed=3).images
    pairs = [(c, s) for c in CORRUPTIONS for s in (0, *SEVERITIES)]
    examples = [corrupt(face, c.name, s)[0] for c, s in pairs]
    captions = [f"{c.name} {s}" if s else "clean" for c, s in pairs]
    page.gallery(examples, captions, tile=72, columns=1 + len(SEVERITIES))


def _speed(page: Page, speed: Speed) -> None:
    page.section("Speed and size", "On the machine that measured, from a batch of faces to its probabilities.")
    page.table(
        ("batch", "median, ms", "95th percentile, ms", "faces per second", "runs"),
        [
            (b.batch_size, f"{b.p50_ms:.1f}", f"{b.p95_ms:.1f}", round(1000 * b.batch_size / b.p50_ms), b.runs)
            for b in speed.batches
        ],
    )
    page.table(
        ("model", "parameters", "multiply-adds, M", "file, MB"),
        [
            (m.name, m.parameters, None if m.macs is None else f"{m.macs / 1e6:.1f}", f"{m.file_bytes / 1e6:.2f}")
            for m in speed.models
        ],
    )


def _facts(e: Evaluation) -> Iterable[tuple[str, object]]:
    yield "faces", f"{e.n:,} of {e.split or 'the data'}" + (f" of {e.data}" if e.data else "")
    yield "ground truth", "the data's own labels" if e.truth == "label" else "the majority of the raters' votes"
    if e.n_left_out:
        yield "left out", f"{e.n_left_out:,} faces without such a truth"
    if e.tta:
        yield "views", "ten of each face, mirrored and shifted, averaged"
    for m in e.models:
        yield m.name, f"sha256 {m.sha256[:16]}…, temperature {m.temperature:.4g}"
    yield from class_notes(e)
    for note in e.notes:
        yield "note", note


def _share_rows(shares: Sequence[tuple[str, Share]]) -> list[tuple[object, ...]]:
    return [(name, s.n, percent(s.accuracy), percent_span(s.accuracy_95)) for name, s in shares]
