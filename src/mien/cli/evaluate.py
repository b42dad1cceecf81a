"""`mien evaluate`: measures model files on a split of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from mien.evaluation.result import Evaluation


def evaluate(
    models: Annotated[
        list[str], typer.Argument(help="A shipped model's name or a model file; several = mean of their probabilities.")
    ],
    data: Annotated[Path, typer.Option(help="Parquet file or folder of them, fer2013.csv, or class folders.")],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json and predictions.csv.")],
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="What to measure on.")] = "validation",
    truth: Annotated[
        Literal["label", "votes"] | None,
        typer.Option(help="The data's labels, or the majority of FER+'s raters. [default: as the model was trained]"),
    ] = None,
    tta: Annotated[bool, typer.Option("--tta", help="Look at each face ten times, mirrored and shifted.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Faces classified together.")] = 256,
    format_: Annotated[Literal["table", "json"], typer.Option("--format", help="What to print.")] = "table",
) -> None:
    """Measure a model: accuracy with its interval, recall of each class, calibration, and every prediction.

    Examples:

    `mien evaluate mien-small --data fer2013/ --split test --out results/small`

    `mien evaluate mien-small --data fer2013/ --truth label --out results/small-by-label`

    `mien evaluate runs/a/a.onnx runs/b/b.onnx --data faces/ --out results/both --format json`
    """
    import json

    from mien.data.readers import read_dataset, require_split
    from mien.evaluation.evaluate import METRICS_FILE, PREDICTIONS_FILE, write_evaluation
    from mien.evaluation.evaluate import evaluate as measure
    from mien.model_file import open_model

    opened = [open_model(name) for name in models]
    dataset = read_dataset(
        data,
        size=max(model.info.size for model in opened),
        channels=max(model.info.channels for model in opened),
        splits=(split,),
        warn=lambda line: typer.echo(line, err=True),
    )
    result = measure(
        opened,
        require_split(dataset, split, data),
        truth=truth,
        batch_size=batch_size,
        tta=tta,
        data=str(data),
        split=split,
    )
    write_evaluation(result, out)
    if format_ == "json":
        typer.echo(json.dumps(result.to_dict(), indent=2))
    else:
        print_evaluation(result)
        typer.echo(f"{out / METRICS_FILE}, {out / PREDICTIONS_FILE}")


def print_evaluation(result: Evaluation) -> None:
    """A short table: the figures on top, a row per class below."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    low, high = result.accuracy_95
    table = Table("class", "faces", "recall", "precision", "F1", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    table.title = f"{' + '.join(m.name for m in result.models)} on {result.split or 'the data'}, truth: {result.truth}"
    for c in result.per_class:
        recall, f1 = ("-" if v is None else f"{v:.3f}" for v in (c.recall, c.f1))
        table.add_row(c.label, str(c.support), recall, f"{c.precision:.3f}", f1)
    console.print(table, markup=False)
    lines = [
        f"accuracy           {result.accuracy:.4f}  (95 %: {low:.4f} to {high:.4f}, n = {result.n})",
        f"balanced accuracy  {result.balanced_accuracy:.4f}",
        f"macro F1           {result.macro_f1:.4f}",
        f"ECE                {result.ece:.4f}  (before temperature: {result.ece_before_temperature:.4f})",
    ]
    if result.ece_majority is not None:
        lines[-1] += f", against the share of raters; against the majority: {result.ece_majority:.4f}"
    if result.nll is not None:
        lines.append(f"NLL                {result.nll:.4f}")
    if result.kl_votes is not None:
        lines.append(f"KL to the votes    {result.kl_votes:.4f}  (n = {result.kl_n})")
    if result.n_left_out:
        lines.append(f"left out           {result.n_left_out} faces without a majority of votes")
    if result.dropped_classes:
        lines.append(f"dropped classes    {', '.join(result.dropped_classes)} (not in the truth)")
    if result.missing_classes:
        lines.append(f"missing classes    {', '.join(result.missing_classes)} (unknown to the model, counted as wrong)")
    lines += [f"note: {note}" for note in result.notes]
    console.print("\n".join(lines), markup=False, soft_wrap=True)
