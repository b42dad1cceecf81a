"""report.html: all results of an evaluation on one page, as one file; its figures are also separate files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mien.data.samples import Samples
from mien.data.toy import toy_faces
from mien.errors import MissingExtraError
from mien.evaluation import figures
from mien.evaluation.extremes import Extremes
from mien.evaluation.figures import FigurePage
from mien.evaluation.page_faces import explanations, wrong_answers
from mien.evaluation.report import class_notes, title
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
from mien.files import cannot_write, make_folder, write_bytes
from mien.pages import contact_sheet, png

PAGE_FILE, FIGURES_FOLDER = "report.html", "figures"

_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5, 0.3)
_NAMES = ("confusion", "classes", "wrong-model", "wrong-label", "curves", "reliability", "balance", "risk-coverage",
          "robustness", "relative-error", "explained-right", "explained-wrong")  # fmt: skip
_GROUPS = "groups-"


def write_page(
    evaluation: Evaluation, out: Path, *, samples: Samples | None = None, extremes: Extremes | None = None
) -> Path:
    """Writes report.html into the folder `out`, and its figures as PNG, SVG and PDF into figures/; returns its path.

    samples: those that were evaluated; without them no faces are shown. What an earlier page left in their places is
    removed. Raises MissingExtraError without matplotlib, OutputError.
    """
    out = Path(out)
    place, folder = out / PAGE_FILE, out / FIGURES_FOLDER
    page = FigurePage(title(evaluation), _intro(evaluation))
    try:
        _write_sections(page, evaluation, samples, extremes)
    except MissingExtraError:
        _remove(place)  # it would show other figures than the files beside it
        raise
    make_folder(folder)
    for old in (path for suffix in ("png", "svg", "pdf") for path in folder.glob(f"*.{suffix}")):
        if (old.stem in _NAMES or old.stem.startswith(_GROUPS)) and old.name not in page.files:
            _remove(old)
    for name, data in page.files.items():
        write_bytes(folder / name, data)
    page.write(place)
    return place


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def _write_sections(page: FigurePage, e: Evaluation, samples: Samples | None, extremes: Extremes | None) -> None:
    add_key_figures(page, e)
    classes(page, e)
    if e.calibration is not None:
        _calibration(page, e, e.calibration)
    if e.balance is not None and e.balance.points:
        _balance(page, e, e.balance)
    if e.selective is not None:
        _abstaining(page, e, e.selective)
    if e.votes is not None:
        _raters(page, e.votes)
    if e.groups:
        _groups(page, e)
    if e.train_copies is not None:
        _copies(page, e, e.train_copies)
    if e.diversity is not None:
        _ensemble(page, e, e.diversity)
    if e.robustness is not None:
        _robustness(page, e.robustness)
    if e.speed is not None:
        _speed(page, e.speed)
    wrong_answers(page, e, samples)
    if extremes is not None:
        explanations(page, extremes)


def add_key_figures(page: FigurePage, e: Evaluation) -> None:
    """The section with the usual figures and their intervals."""
    boot, every = e.bootstrap_95, e.accuracy_every_answer
    rows = [
        ("accuracy", e.accuracy, _interval(e.accuracy_95)),
        (
            "accuracy with every answer",
            every.accuracy if every else None,
            _interval(every.accuracy_95 if every else None),
        ),
        ("balanced accuracy", e.balanced_accuracy, _interval(boot.balanced_accuracy)),
        ("macro F1", e.macro_f1, _interval(boot.macro_f1)),
        ("weighted F1", e.weighted_f1, ""),
        ("top-2 accuracy", e.top_2_accuracy, ""),
        ("Cohen's kappa", e.cohen_kappa, ""),
        ("Matthews correlation", e.matthews_correlation, ""),
        ("macro ROC AUC", e.curves.macro_auc if e.curves else None, ""),
        ("macro average precision", e.curves.macro_average_precision if e.curves else None, ""),
        ("AURC (lower is better)", e.selective.aurc if e.selective else None, ""),
        ("NLL", e.nll, f"n = {e.nll_n:,}" if e.nll_n != e.n else ""),
        ("KL to the votes", e.kl_votes, f"n = {e.kl_n:,}"),
    ]
    page.section("Key figures")
    page.table(("figure", "value", "95 % interval"), [(a, _four(b), c) for a, b, c in rows if b is not None])


def classes(page: FigurePage, e: Evaluation) -> None:
    """The section with the classification report, the confusion matrix and the curves of each class."""
    page.section("Classes")
    rows: list[tuple[object, ...]] = [
        (
            c.label, _four(c.precision), _interval(c.precision_95), _four(c.recall), _interval(c.recall_95),
            _four(c.f1), _interval(c.f1_95), c.support,
        )
        for c in e.per_class
    ]  # fmt: skip
    present = [c for c in e.per_class if c.support]
    rows.append(("accuracy", None, "", None, "", _four(e.accuracy), "", e.n))
    for name, weights in (
        ("macro average", [1] * len(present)),
        ("weighted average", [c.support for c in present]),
    ):
        parts = (
            [c.precision for c in present],
            [c.recall or 0.0 for c in present],
            [c.f1 or 0.0 for c in present],
        )
        precision, recall, f1 = (_four(float(np.average(values, weights=weights))) for values in parts)
        rows.append((name, precision, "", recall, "", f1, "", e.n))
    columns = ("class", "precision", "95 % interval", "recall", "95 % interval", "F1", "95 % interval", "faces")
    page.table(columns, rows, "Classification report")
    page.draw(figures.class_bars_figure(e), "classes", "Recall, precision and F1 of each class with 95 % intervals")
    page.draw(figures.confusion_figure(e), "confusion", "Confusion matrix as counts and as shares of each true class")
    if e.curves is None:
        return
    calibrated = e.calibration.classwise_ece_by_class if e.calibration else {}
    page.table(
        ("class", "ROC AUC", "average precision", "ECE"),
        [
            (name, _four(c.auc), _four(c.average_precision), _four(calibrated.get(name)))
            for name, c in e.curves.per_class.items()
        ],
        "Each class's probability, against the rest",
    )
    page.draw(
        figures.class_curves_figure(e), "curves", "ROC and precision-recall curves of each class against the rest"
    )


def _calibration(page: FigurePage, e: Evaluation, calibration: Calibration) -> None:
    against = "how often the label agrees" if e.truth == "label" else "the share of raters who agree"
    page.section("Calibration", f"How far confidences are from {against}; 0 would be perfect.")
    rows = [
        ("ECE", e.ece),
        ("ECE before temperature, at balance 0", e.ece_before_temperature),
        ("ECE against the majority", e.ece_majority),
        ("class-wise ECE", calibration.classwise_ece),
        ("Brier score (0 to 2)", calibration.brier),
    ]
    page.table(("figure", "value"), [(name, _four(value)) for name, value in rows if value is not None])
    page.draw(figures.reliability_figure(e), "reliability", "Reliability diagram and faces in each bin")


def _balance(page: FigurePage, e: Evaluation, balance: BalanceReport) -> None:
    mix = "an even mix" if balance.target is None else "the user's mix"
    page.section(
        "Balance",
        f"Probabilities correct for the mix of expressions in training: not at all at balance 0, and towards {mix} at "
        f"1. All other figures of this page are at balance {balance.used:g}. The ECE is {_four(balance.ece_at_0)} at "
        f"balance 0, and {_four(e.ece)} at {balance.used:g}.",
    )
    page.draw(figures.balance_figure(balance), "balance", "Accuracy and macro recall over the balance")
    page.table(
        ("balance", "accuracy", "macro recall"),
        [(f"{p.balance:g}", _four(p.accuracy), _four(p.macro_recall)) for p in balance.points[::2]],
    )


def _abstaining(page: FigurePage, e: Evaluation, selective: Selective) -> None:
    wanted = selective.abstention
    text = "What is gained by not answering for the faces with the least confidence."
    if wanted is not None and wanted.threshold is None:
        text += f"\n\nNo confidence is high enough for an accuracy of {wanted.target:g}."
    elif wanted is not None:
        text += (
            f"\n\nAn accuracy of {wanted.target:g} is reached from a confidence of {wanted.threshold:.4f} on: "
            f"{wanted.n:,} faces ({wanted.coverage:.1%}) are kept, accuracy {_four(wanted.accuracy)}, with 95 % "
            f"certainty at least {_four(wanted.accuracy_at_least)}. The threshold is {wanted.caveat}."
        )
    page.section("Abstaining", text)
    if e.confidence is not None:
        order = np.argsort(-e.confidence, kind="stable")
        hits = (e.truth_index == e.predicted_index)[order]
        kept = [max(1, round(share * e.n)) for share in _COVERAGES]
        page.table(
            ("kept", "faces", "least confidence", "accuracy"),
            [
                (f"{share:.0%}", n, _four(float(e.confidence[order[n - 1]])), _four(float(hits[:n].mean())))
                for share, n in zip(_COVERAGES, kept, strict=True)
            ],
        )
    page.draw(figures.risk_coverage_figure(e), "risk-coverage", "Risk over coverage")


def _raters(page: FigurePage, votes: Votes) -> None:
    shares = (
        ("more than half", votes.majority),
        ("60 % or more", votes.agreement_60),
        ("80 % or more", votes.agreement_80),
    )
    page.section("Raters' agreement", "Accuracy on the expression that most raters chose.")
    page.table(("raters who agree", "faces", "accuracy", "95 % interval"), _share_rows(shares))


def _groups(page: FigurePage, e: Evaluation) -> None:
    page.section(
        "Groups",
        "Groups may differ in their expressions: compare the balanced accuracy too. Groups of fewer than 30 faces "
        "are marked and grey.",
    )
    for number, comparison in enumerate(e.groups, start=1):
        p = comparison.p_value
        chance = "" if p is None else f"Gaps this large arise by chance with p = {p:.4f}."
        page.heading(comparison.column)
        page.text(chance)
        page.table(
            ("group", "faces", "accuracy", "95 % interval", "balanced", "macro F1", "to the rest", "Holm p"),
            [
                (
                    g.value + (" (small)" if g.small else ""), g.n, _four(g.accuracy), _interval(g.accuracy_95),
                    _four(g.balanced_accuracy), _four(g.macro_f1),
                    None if g.gap_to_rest is None else f"{g.gap_to_rest:+.4f}", _four(g.p_holm),
                )
                for g in comparison.groups
            ],
        )  # fmt: skip
        alt = f"Accuracy and balanced accuracy of the groups by {comparison.column}"
        page.draw(figures.groups_figure(comparison), f"{_GROUPS}{number}", alt)


def _copies(page: FigurePage, e: Evaluation, copies: TrainCopies) -> None:
    page.section(
        "Copies in train",
        f"{copies.n_copies:,} of {e.n:,} faces have an exact copy among the {copies.n_train:,} of train.",
    )
    rows = _share_rows((("all", Share(e.n, e.accuracy, e.accuracy_95)), ("without", copies.without)))
    page.table(("copies", "faces", "accuracy", "95 % interval"), rows)


def _ensemble(page: FigurePage, e: Evaluation, d: Diversity) -> None:
    names = [m.name for m in e.models]
    page.section(
        "Ensemble",
        f"Two models differ on {d.mean_disagreement:.1%} of the faces in the mean; at least one of them is right on "
        f"{d.any_right:.1%}.",
    )
    whole = ("all together", Share(e.n, e.accuracy, e.accuracy_95))
    rows = _share_rows((*zip(names, d.members, strict=True), whole))
    page.table(("model", "faces", "accuracy", "95 % interval"), rows)
    page.table(
        ("differ on", *names),
        [(name, *(f"{v:.1%}" for v in row)) for name, row in zip(names, d.disagreement, strict=True)],
    )


def _robustness(page: FigurePage, r: Robustness) -> None:
    times = "" if r.mean_relative_error is None else f", {r.mean_relative_error:.2f} times the error on clean ones"
    page.section(
        "Robustness",
        f"Accuracy on corrupted faces is {r.mean_accuracy:.4f} in the mean of all corruptions and severities"
        f"{times}. Measured on {r.n:,} faces; clean, their accuracy is {r.clean_accuracy:.4f} "
        f"({_interval(r.clean_accuracy_95)}).",
    )
    page.draw(figures.robustness_figure(r), "robustness", "Accuracy for each corruption and severity")
    if r.mean_relative_error is not None:
        page.draw(figures.relative_error_figure(r), "relative-error", "Error relative to that on clean faces")
    page.table(
        ("corruption", "its amounts", *map(str, SEVERITIES)),
        [(c.name, c.what, *(f"{amount:g}" for amount in c.amounts)) for c in r.corruptions],
        "What each severity is",
    )
    face = toy_faces(1, seed=3).images
    pairs = [(c, s) for c in CORRUPTIONS for s in (0, *SEVERITIES)]
    examples = [corrupt(face, c.name, s)[0] for c, s in pairs]
    captions = [f"{c.name} {s}" if s else "clean" for c, s in pairs]
    sheet = contact_sheet(examples, captions, tile=96, columns=1 + len(SEVERITIES))
    page.figure(png(sheet), "A drawn face with each corruption", "Each corruption, clean and severity 1 to 5")


def _speed(page: FigurePage, speed: Speed) -> None:
    page.section("Speed and size", "On the machine that measured, from a batch of faces to its probabilities.")
    page.table(
        ("batch", "median, ms", "95th percentile, ms", "faces per second", "runs"),
        [
            (b.batch_size, f"{b.p50_ms:.2f}", f"{b.p95_ms:.2f}", round(1000 * b.batch_size / b.p50_ms), b.runs)
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


def _intro(e: Evaluation) -> str:
    rule = "the data's own labels" if e.truth == "label" else "the majority of the raters' votes"
    lines = [
        f"{e.n:,} faces of {e.split or 'the data'}" + (f" of {e.data}" if e.data else "") + f", measured by {rule}."
    ]
    if e.n_left_out:
        lines[0] += f" {e.n_left_out:,} were left out, as they have no such truth."
    if e.tta:
        lines.append("Each face was classified in ten views, mirrored and shifted.")
    lines += [f"{m.name}: sha256 {m.sha256[:16]}…, temperature {m.temperature:.4g}." for m in e.models]
    lines += [f"{name.capitalize()}: {text}." for name, text in class_notes(e)]
    return "\n\n".join((*lines, *e.notes))


def _share_rows(shares: Sequence[tuple[str, Share]]) -> list[tuple[object, ...]]:
    return [
        (name, s.n, _four(s.accuracy), "" if s.accuracy_95 is None else _interval(s.accuracy_95)) for name, s in shares
    ]


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def _four(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"
