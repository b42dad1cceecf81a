"""`mien data audit` and `mien data drop`: flags what may be wrong with a data set, and drops what is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.model_options import DetectorFiles, NoDetector
from mien.cli.option_groups import grouped
from mien.cli.output_options import (
    NOT_ALL_READ,
    DataSet,
    DryRun,
    NewData,
    Quiet,
    Resume,
    out_option,
    print_table,
    progress_bar,
    warn,
)
from mien.data.settings import AuditSettings
from mien.reporting import warnings_to

if TYPE_CHECKING:
    from mien.data.audit_report import AuditSummary


@grouped
def audit(
    source: DataSet,
    *,
    out: Annotated[Path, out_option("The new folder for the page and the flags.", "DIR")],
    settings: AuditSettings,
    detector: NoDetector = None,
    files: DetectorFiles,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Flag what may be wrong with a data set: a page with images, and a list. Nothing is removed.

    Flags: blank, low-contrast, no-face (with `--detector`), duplicate, near-duplicate, leak (a copy in another split),
    label-conflict (copies with different labels), votes-disagree (where there are votes), label-suspect (a judge finds
    another class three times as probable; votes are not used for it).

    The judge is a model (`--model`) with a head that is fitted to the labels of the other folds. How well it predicts
    held-out labels is printed; near chance it reports that it can't judge, and flags no label.

    A shipped model also classifies a sample. If its predictions agree far better with another order of the labels, or
    with two classes exchanged, the audit reports that.

    DIR holds index.html, flags.csv (a row per flag), summary.json, and out-of-fold.npy.

    Exit code: 0 done, 3 done, but some records of IN could not be read, 2 wrong usage or data.

    Examples:

    - `mien data audit fer2013.csv --out audit`
    - `mien data audit faces --out audit --no-suspects --detector mtcnn`
    - `mien data audit faces --out audit --model own.onnx`
    """
    from mien.data.audit import audit_dataset
    from mien.data.readers import as_dataset

    choice, unread = files.choice(detector) if detector else None, list[str]()
    with progress_bar("audit", unit="images", quiet=quiet) as progress:
        with warnings_to(unread.append):
            dataset = as_dataset(source, out=out)
        report = audit_dataset(dataset, out, settings, detector=choice, resume=resume, progress=progress)
    for line in unread:
        warn(line)
    _print_summary(report.summary)
    typer.echo(f"{out / 'index.html'}")
    if unread:
        raise typer.Exit(NOT_ALL_READ)


def drop(
    source: DataSet,
    out: NewData,
    flags: Annotated[Path, typer.Option(metavar="FILE", help="flags.csv of `mien data audit`.")],
    only: Annotated[list[str], typer.Option(metavar="KIND", help="A kind of flag to drop; repeatable.")],
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Leave flags with a lower score.")] = 0.0,
    from_test: Annotated[bool, typer.Option("--from-test", help="Drop from the test split too.")] = False,
    dry_run: DryRun = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Write a data set without the samples that an audit flagged; the test split is kept without `--from-test`.

    Delete lines of the flags file first to keep those samples. `duplicate` and `leak` keep one copy of each image, that
    in test or else in validation; `label-conflict` drops all copies.

    Examples:

    - `mien data drop faces --out clean --flags audit/flags.csv --only blank --only duplicate --only leak`
    - `mien data drop faces --out clean --flags audit/flags.csv --only label-suspect --min-score 0.95`
    """
    from mien.data.flags import drop_flagged
    from mien.data.readers import open_dataset
    from mien.files import require_apart

    require_apart(source, out)
    with progress_bar("drop", unit="images", quiet=quiet) as progress:
        dropped = drop_flagged(
            open_dataset(source), out, flags=flags, only=only, min_score=min_score, from_test=from_test,
            dry_run=dry_run, resume=resume, progress=progress,
        )  # fmt: skip
    parts = ", ".join(f"{count:,} of {split or 'no split'}" for split, count in dropped.by_split)
    typer.echo(f"dropped: {dropped.samples_in - dropped.samples_out:,} of {dropped.samples_in:,} ({parts})")
    if dropped.spared:
        typer.echo(f"{dropped.spared:,} flagged samples of test stay; --from-test drops them too")
    typer.echo(f"{'would be written to ' if dry_run else ''}{out}: {dropped.samples_out:,} samples")


def relabel(
    source: DataSet,
    fixes: Annotated[Path, typer.Argument(metavar="FIXES", help="The decisions: a file, or a folder of FiftyOne.")],
    out: NewData,
    new_classes: Annotated[bool, typer.Option("--new-classes", help="New labels may be new classes.")] = False,
    dry_run: DryRun = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Write a data set with corrected labels. The manifest keeps each old label, the reason, and this step.

    FIXES is a CSV with the columns source, new_label and reason (that of the button "Save decisions" on an audit's
    page, or an edited manifest.csv), or what Label Studio (JSON, JSON-MIN, CSV, TSV) or FiftyOne (labels.json,
    samples.json) export of the images that `mien data export --as label-studio` or `--as fiftyone` wrote. The new label
    `-` drops a sample.

    Examples:

    - `mien data relabel faces decisions.csv --out fixed`
    - `mien data export faces --out review --as label-studio --flags audit/flags.csv --only label-suspect`
    - `mien data relabel faces label-studio.json --out fixed --dry-run`
    """
    from mien.data.readers import open_dataset
    from mien.data.relabel import relabel_dataset
    from mien.files import require_apart

    require_apart(source, out)
    with progress_bar("relabel", unit="images", quiet=quiet) as progress:
        done = relabel_dataset(
            open_dataset(source), fixes, out, new_classes=new_classes, dry_run=dry_run, resume=resume,
            progress=progress,
        )  # fmt: skip
    for (old, new), count in sorted(done.changes.items(), key=lambda item: -item[1]):
        typer.echo(f"{old or '(no label)'} -> {'dropped' if new == '-' else new}: {count:,}")
    changed = sum(done.changes.values())
    typer.echo(f"{changed:,} of {done.samples:,} labels changed, {done.confirmed:,} decisions confirm the label")
    typer.echo(f"{'would be written to ' if dry_run else ''}{out}: {done.samples - done.dropped:,} samples")


def _print_summary(summary: AuditSummary) -> None:
    from mien.data.audit_report import precision_text
    from mien.pages.text import percent

    splits = [split for split, _ in summary.kinds[0].by_split]
    rows = [(kind.kind, f"{kind.total:,}", *(f"{count:,}" for _, count in kind.by_split)) for kind in summary.kinds]
    print_table(("flag", "all", *(split or "(no split)" for split in splits)), rows, f"{summary.samples:,} samples")
    if summary.label_check:
        typer.echo(summary.label_check)
    if summary.judge:
        typer.echo(summary.judge.sentence(), err=not summary.judge.can_judge)
    if summary.voted:
        typer.echo(f"votes contradict {percent((summary.disagreeing or 0) / summary.voted, digits=0)} of all labels")
    if summary.precision:
        typer.echo(precision_text(summary))
