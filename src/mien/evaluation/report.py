"""An evaluation as plain text: the usual classification report, and the key figures below."""

from __future__ import annotations

from mien.evaluation.groups import GroupComparison
from mien.evaluation.result import Abstention, Diversity, Evaluation, Share, TrainCopies
from mien.evaluation.robustness import Robustness
from mien.pages.text import percent


def classification_report(evaluation: Evaluation) -> str:
    """The table of precision, recall, F1 and support in scikit-learn's layout, four digits.

    Classes without samples have '-' and are left out of the macro averages.
    """
    scores = evaluation.per_class
    width = max(len("weighted avg"), *(len(name) for name in evaluation.labels))
    lines = [f"{'':>{width}}  {'precision':>9} {'recall':>9} {'f1-score':>9} {'support':>9}", ""]

    def row(name: str, *values: float | None) -> None:
        cells = " ".join(f"{'-' if v is None else f'{v:.4f}':>9}" for v in values)
        lines.append(f"{name:>{width}}  {cells}")

    for c in scores:
        row(c.label, c.precision, c.recall, c.f1)
        lines[-1] += f" {c.support:>9}"
    lines.append("")
    lines.append(f"{'accuracy':>{width}}  {'':>9} {'':>9} {evaluation.accuracy:>9.4f} {evaluation.n:>9}")
    present = [c for c in scores if c.support]
    for name, weights in (("macro avg", [1] * len(present)), ("weighted avg", [c.support for c in present])):
        total = sum(weights)
        parts = ([c.precision for c in present], [c.recall for c in present], [c.f1 for c in present])
        row(name, *(sum(w * (v or 0.0) for w, v in zip(weights, part, strict=True)) / total for part in parts))
        lines[-1] += f" {evaluation.n:>9}"
    return "\n".join(lines) + "\n"


def key_figure_lines(evaluation: Evaluation) -> list[str]:
    """A line per figure: what it is, its value, its 95 % interval or its number of faces."""
    e, boot = evaluation, evaluation.bootstrap_95
    lines = [
        f"accuracy           {e.accuracy:.4f}  {_interval(e.accuracy_95)}, n = {e.n}{_struck(e)}",
        *([f"every answer       {_share(e.accuracy_every_answer)}"] if e.accuracy_every_answer else []),
        f"balanced accuracy  {e.balanced_accuracy:.4f}  {_interval(boot.balanced_accuracy)}",
        f"macro F1           {e.macro_f1:.4f}  {_interval(boot.macro_f1)}",
        f"weighted F1        {e.weighted_f1:.4f}",
    ]
    for name, value in (
        ("top-2 accuracy", e.top_2_accuracy),
        ("Cohen's kappa", e.cohen_kappa),
        ("MCC", e.matthews_correlation),
        ("macro ROC AUC", e.curves and e.curves.macro_auc),
        ("macro AP", e.curves and e.curves.macro_average_precision),
    ):
        if value is not None:
            lines.append(f"{name:<18} {value:.4f}")
    lines += _calibration_lines(e)
    lines += _balance_lines(e)
    if e.selective is not None:
        lines.append(f"AURC               {e.selective.aurc:.4f}  (risk over coverage; lower is better)")
        if e.selective.abstention is not None:
            lines.append(f"abstention         {said_of_abstention(e.selective.abstention)}")
    if e.votes is not None:
        for name, share in (
            ("raters' majority", e.votes.majority),
            (">= 60 % agree", e.votes.agreement_60),
            (">= 80 % agree", e.votes.agreement_80),
        ):
            lines.append(f"{name:<18} {_share(share)}")
    if e.train_copies is not None:
        lines.append(
            f"copies in train    {said_of_copies(e, e.train_copies)}; without them: {_share(e.train_copies.without)}"
        )
    for comparison in e.groups:
        lines += _group_lines(comparison)
    lines += _diversity_lines(e)
    lines += _robustness_lines(e)
    lines += _speed_lines(e)
    if e.n_left_out:
        lines.append(f"left out           {e.n_left_out} faces without a majority of votes")
    lines += [f"{name:<18} {text}" for name, text in class_notes(e)]
    lines += [f"note: {note}" for note in e.notes]
    return lines


def _struck(e: Evaluation) -> str:
    return f", without the answers {', '.join(e.dropped_classes)}" if e.accuracy_every_answer else ""


def class_notes(e: Evaluation) -> list[tuple[str, str]]:
    """What was not answered, what the model can't answer, and what the data don't have: a name and a text for each."""
    support = {c.label: c.support for c in e.per_class}
    missing = ", ".join(f"{name} (n = {support[name]})" for name in e.missing_classes if support[name])
    unseen = ", ".join(name for name in e.labels if not support[name])
    notes = []
    if e.n_unanswered:
        notes.append(("unanswered", f"{e.n_unanswered} of {e.n} faces, counted as wrong"))
    if missing:
        notes.append(("missing classes", f"{missing}: unknown to the model, counted as wrong"))
    if e.dropped_classes:
        notes.append(
            ("dropped classes", f"{', '.join(e.dropped_classes)}: the data have no such label, answers are without it")
        )
    if unseen:
        notes.append(("absent classes", f"{unseen}: no face in the data, so left out of macro figures"))
    return notes


def said_of_abstention(wanted: Abstention) -> str:
    """From which confidence on the wanted accuracy is reached, and for how many faces."""
    if wanted.threshold is None:
        return f"no confidence is high enough for an accuracy of {percent(wanted.target)}"
    return (
        f"an accuracy of {percent(wanted.target)} is reached from a confidence of {wanted.threshold:.4f} on: "
        f"{wanted.n:,} faces ({percent(wanted.coverage)}) are kept, accuracy {percent(wanted.accuracy)}, with 95 % "
        f"certainty at least {percent(wanted.accuracy_at_least)}; the threshold is {wanted.caveat}"
    )


def said_of_copies(e: Evaluation, copies: TrainCopies) -> str:
    """How many of the faces were trained on."""
    return f"{copies.n_copies:,} of {e.n:,} faces have an exact copy among the {copies.n_train:,} of train"


def said_of_diversity(d: Diversity) -> str:
    """How far the models of an ensemble differ."""
    return (
        f"two models differ on {percent(d.mean_disagreement)} of the faces in the mean; at least one of them is right "
        f"on {percent(d.any_right)}"
    )


def said_of_robustness(r: Robustness) -> str:
    """The accuracy on corrupted faces, and on the same ones clean."""
    times = "" if r.mean_relative_error is None else f", {r.mean_relative_error:.2f} times the error on clean ones"
    return (
        f"accuracy on corrupted faces is {percent(r.mean_accuracy)} in the mean of all corruptions and severities"
        f"{times}; on the same {r.n:,} faces, clean, it is {percent(r.clean_accuracy, r.clean_accuracy_95)}"
    )


def title(evaluation: Evaluation) -> str:
    """What was measured on what, in one line."""
    who = " + ".join(m.name for m in evaluation.models) or evaluation.predictions or "predictions"
    return f"{who} on {evaluation.split or 'the data'}, truth: {evaluation.truth}"


def report_text(evaluation: Evaluation) -> str:
    """The whole of report.txt."""
    figures = "\n".join(key_figure_lines(evaluation))
    width = max(len(name) for name in evaluation.labels)
    recalls = "\n".join(
        f"{c.label:>{width}}  recall {c.recall:.4f}  {_interval(c.recall_95)}, n = {c.support}"
        for c in evaluation.per_class
        if c.recall is not None and c.recall_95 is not None
    )
    return f"{title(evaluation)}\n\n{classification_report(evaluation)}\n{recalls}\n\n{figures}\n"


def _calibration_lines(e: Evaluation) -> list[str]:
    lines = []
    if e.ece is not None:
        line = f"ECE                {e.ece:.4f}"
        if e.ece_before_temperature is not None:
            line += f"  (before temperature, at balance 0: {e.ece_before_temperature:.4f})"
        if e.ece_majority is not None:
            line += f", against the share of raters; against the majority: {e.ece_majority:.4f}"
        lines.append(line)
    if e.calibration is not None:
        lines.append(f"class-wise ECE     {e.calibration.classwise_ece:.4f}")
        lines.append(f"Brier score        {e.calibration.brier:.4f}  (summed over classes, 0 to 2)")
    if e.nll is not None:
        lines.append(f"NLL                {e.nll:.4f}")
    if e.kl_votes is not None:
        lines.append(f"KL to the votes    {e.kl_votes:.4f}  (n = {e.kl_n})")
    return lines


def _balance_lines(e: Evaluation) -> list[str]:
    balance = e.balance
    if balance is None:
        return []
    line = f"balance            {balance.used:g}"
    if not balance.points:
        return [f"{line}  (the model file has no training mix)"]
    mix = "an even mix" if balance.target is None else "the mix of --prior"
    line += f"  (0: the training mix, 1: {mix})"
    if balance.used > 0:
        at_0 = balance.points[0]
        line += f"; at 0: accuracy {at_0.accuracy:.4f}, macro recall {at_0.macro_recall:.4f}"
        line += f", ECE {balance.ece_at_0:.4f}" if balance.ece_at_0 is not None else ""
    return [line]


def _group_lines(comparison: GroupComparison) -> list[str]:
    p = comparison.p_value
    chance = "" if p is None else f"; gaps this large by chance: p = {p:.4f} ({comparison.permutations:,} permutations)"
    lines = [f"groups by {comparison.column}{chance}"]
    for g in comparison.groups:
        line = (
            f"  {g.value}: accuracy {g.accuracy:.4f} {_interval(g.accuracy_95)}, balanced {g.balanced_accuracy:.4f} "
            f"{_interval(g.balanced_accuracy_95)}, macro F1 {g.macro_f1:.4f} {_interval(g.macro_f1_95)}, n = {g.n}"
        )
        if g.p_holm is not None and g.gap_to_rest is not None:
            line += f", to the rest {g.gap_to_rest:+.4f} (Holm p = {g.p_holm:.4f})"
        lines.append(line + (", SMALL" if g.small else ""))
    return lines


def _diversity_lines(e: Evaluation) -> list[str]:
    if e.diversity is None:
        return []
    lines = [
        f"alone              {model.name}: {_share(share)}"
        for model, share in zip(e.models, e.diversity.members, strict=True)
    ]
    return [*lines, f"diversity          {said_of_diversity(e.diversity)}"]


def _robustness_lines(e: Evaluation) -> list[str]:
    r = e.robustness
    if r is None:
        return []
    width = max(len(c.name) for c in r.corruptions)
    return [f"robustness         {said_of_robustness(r)}"] + [
        f"  {c.name:<{width}}  " + "  ".join(f"{a:.4f}" for a in c.accuracy) for c in r.corruptions
    ]


def _speed_lines(e: Evaluation) -> list[str]:
    if e.speed is None:
        return []
    lines = [
        f"speed              batch of {b.batch_size}: {b.p50_ms:.2f} ms (95th percentile {b.p95_ms:.2f}), {b.runs} runs"
        for b in e.speed.batches
    ]
    for m in e.speed.models:
        parameters = "-" if m.parameters is None else f"{m.parameters:,} parameters"
        macs = "" if m.macs is None else f", {m.macs / 1e6:.1f} M multiply-adds"
        lines.append(f"size               {m.name}: {parameters}{macs}, {m.file_bytes / 1e6:.2f} MB")
    return lines


def _interval(interval: tuple[float, float]) -> str:
    return f"(95 %: {interval[0]:.4f} to {interval[1]:.4f})"


def _share(share: Share) -> str:
    if share.accuracy is None or share.accuracy_95 is None:
        return "no such faces"
    return f"{share.accuracy:.4f}  {_interval(share.accuracy_95)}, n = {share.n}"
