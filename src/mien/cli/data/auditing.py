"""`mien data audit` and `mien data drop`: flag what may be wrong with a data set, and take away what is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.completion import complete_detector
from mien.cli.detector_options import Cascade, YunetWeights
from mien.cli.exit_codes import NOT_ALL_READ
from mien.data.audit_settings import DEFAULTS, RECIPE

if TYPE_CHECKING:
    from mien.data.audit_report import AuditSummary


def audit(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The data set.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The new folder for the page and the flags.")],
    near: Annotated[
        int, typer.Option(min=-1, max=16, help="Near copies: differing bits of the 64-bit hash; -1: exact copies only.")
    ] = DEFAULTS.near if DEFAULTS.near is not None else -1,
    detector: Annotated[
        str | None,
        typer.Option(
            "--detector",
            "-d",
            help="Detect faces in every image with mtcnn, yunet or haar; takes minutes.",
            autocompletion=complete_detector,
        ),
    ] = None,
    cascade: Cascade = None,
    yunet_weights: YunetWeights = None,
    suspects: Annotated[
        bool, typer.Option("--suspects/--no-suspects", help="Train a small network to find likely wrong labels.")
    ] = True,
    folds: Annotated[
        int, typer.Option(min=2, help="Parts of the data; each is predicted by a network of its own.")
    ] = DEFAULTS.folds,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the quick network.  [default: 10]")] = None,
    recipe: Annotated[str, typer.Option(help="The quick network's recipe: a shipped name or a TOML file.")] = RECIPE,
    seed: Annotated[int, typer.Option(help="Of the folds and the quick network.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="Processor threads of the training; 0 = all.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a killed audit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")] = False,
) -> None:
    """Flag what may be wrong with a data set: a page with images, and a list. Nothing is removed.

    Flags: blank, low-contrast, no-face (with `--detector`), duplicate, near-duplicate, leak (a copy in another split),
    label-conflict (copies with different labels), votes-disagree (where there are votes), label-suspect (confident
    learning over out-of-fold predictions; votes are not used for it; needs the extra [train]).

    A shipped model also classifies a sample. If its predictions agree far better with another order of the labels, or
    with two classes exchanged, the audit reports that.

    DIR holds index.html, flags.csv (a row per flag), summary.json, and out-of-fold.npy.

    Exit code: 0 done, 3 done, but some records of IN could not be read, 2 wrong usage or data.

    Examples:

    - `mien data audit fer2013.csv --out audit`

    - `mien data audit faces --out audit --no-suspects --detector mtcnn`

    - `mien data audit faces --out audit --epochs 20 --resume`
    """
    from mien.cli.progress import progress_bar
    from mien.cli.training_options import require_training
    from mien.faces import DetectorChoice
    from mien.training.auditing import audit as audit_data

    if suspects:
        require_training("finding likely wrong labels (there is --no-suspects)")
    choice = DetectorChoice(detector, cascade, yunet_weights) if detector else None
    unread: list[str] = []
    with progress_bar("audit", unit="images", quiet=quiet) as progress:
        report = audit_data(
            source, out, near=None if near < 0 else near, detector=choice, suspects=suspects, folds=folds,
            epochs=epochs, recipe=recipe, seed=seed, device=device, threads=threads, resume=resume,
            warn=unread.append, progress=progress,
        )  # fmt: skip
    for line in unread:
        typer.echo(line, err=True)
    _print_summary(report.summary)
    typer.echo(f"{out / 'index.html'}")
    if unread:
        raise typer.Exit(NOT_ALL_READ)


def drop(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The data set that was audited.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new data set.")],
    flags: Annotated[Path, typer.Option(metavar="FILE", help="flags.csv of `mien data audit`.")],
    only: Annotated[list[str], typer.Option(metavar="KIND", help="A kind of flag to drop; repeatable.")],
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Leave flags with a lower score.")] = 0.0,
    from_test: Annotated[bool, typer.Option("--from-test", help="Drop from the test split too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a killed run.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")] = False,
) -> None:
    """Write a data set without the samples that an audit flagged; the test split is kept without `--from-test`.

    Lines of the flags' file may be deleted before, to keep those samples. To drop `duplicate` and `leak` keeps one copy
    of each image, that in test or else in validation; `label-conflict` drops all copies.

    Examples:

    - `mien data drop faces --out clean --flags audit/flags.csv --only blank --only duplicate --only leak`

    - `mien data drop faces --out clean --flags audit/flags.csv --only label-suspect --min-score 0.95`
    """
    from mien.cli.progress import progress_bar
    from mien.data.flags import drop_flagged
    from mien.data.readers import open_dataset
    from mien.files import require_apart

    require_apart(source, out)
    dataset = open_dataset(source, warn=lambda line: typer.echo(line, err=True))
    with progress_bar("drop", unit="images", quiet=quiet) as progress:
        dropped = drop_flagged(
            dataset, out, flags=flags, only=only, min_score=min_score, from_test=from_test, dry_run=dry_run,
            resume=resume, progress=progress,
        )  # fmt: skip
    parts = ", ".join(f"{count:,} of {split or 'no split'}" for split, count in dropped.by_split)
    typer.echo(f"dropped: {dropped.samples_in - dropped.samples_out:,} of {dropped.samples_in:,} ({parts})")
    if dropped.spared:
        typer.echo(f"{dropped.spared:,} flagged samples of test stay; --from-test drops them too")
    typer.echo(f"{'would be written to ' if dry_run else ''}{out}: {dropped.samples_out:,} samples")


def _print_summary(summary: AuditSummary) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    splits = [split for split, _ in summary.kinds[0].by_split]
    table = Table("flag", title=f"{summary.samples:,} samples", title_justify="left")
    for name in ("all", *(split or "(no split)" for split in splits)):
        table.add_column(Text(name), justify="right")
    for kind in summary.kinds:
        table.add_row(kind.kind, f"{kind.total:,}", *(f"{count:,}" for _, count in kind.by_split))
    Console(highlight=False).print(table)
    if summary.label_check:
        typer.echo(summary.label_check)
    if summary.confirmed is not None and summary.voted:
        overall = (summary.disagreeing or 0) / summary.voted
        typer.echo(f"votes contradict {overall:.1%} of all labels, {summary.confirmed:.1%} of the first suspects")
