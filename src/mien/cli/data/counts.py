"""The one table of how many samples each split has of each class."""

from __future__ import annotations

from collections.abc import Mapping


def print_counts(counts: Mapping[str, Mapping[str, int]], title: str = "") -> None:
    """Prints split -> label -> count as a table: classes down, splits across, shares beside, on 80 columns.

    '' stands for no split, and for no label. Names come from files: what steers a terminal is left out of them.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mien.pages import plain

    labels = list(dict.fromkeys(label for of_split in counts.values() for label in of_split))
    columns = [*counts.values(), {name: sum(c.get(name, 0) for c in counts.values()) for name in labels}]
    totals = [sum(column.values()) for column in columns]
    table = Table(box=None, header_style="bold", padding=(0, 1), title=title, title_justify="left")
    table.add_column("class")
    for name in (*(split or "(no split)" for split in counts), "all"):
        table.add_column(Text(plain(name)), justify="right")
        table.add_column("", justify="right", style="dim")
    for label in (*labels, None):
        values = totals if label is None else [column.get(label, 0) for column in columns]
        cells = [
            cell
            for value, total in zip(values, totals, strict=True)
            for cell in (f"{value:,}", f"{100 * value / total:.1f} %" if total else "")
        ]
        table.add_row(
            Text("all" if label is None else plain(label or "(no label)")), *cells, end_section=label == labels[-1]
        )
    Console(highlight=False).print(table)
