"""Tables as text for papers: CSV with all digits, Markdown, and LaTeX with the rules of the package booktabs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mien.evaluation.result import Evaluation
from mien.files import csv_text, make_folder, write_text

_ESCAPED = {c: f"\\{c}" for c in "&%$#_{}"}
_ESCAPED |= {"±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\^{}", "\\": r"\textbackslash{}"}

Row = Sequence[object]

CLASS_COLUMNS = ("class", "n", "recall", "95 %", "precision", "95 %", "F1", "95 %")


def plain_table(columns: Sequence[str], rows: Iterable[Row], *, left: int = 1) -> str:
    """Columns padded with spaces; the first `left` stand left, numbers right."""
    table = [list(columns), *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    lines = [
        "  ".join(c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in table
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def markdown_table(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """A pipe table, the first column left, the others right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def latex_table(columns: Sequence[str], rows: Iterable[Row]) -> str:
    r"""A `tabular` with \toprule, \midrule and \bottomrule."""

    def line(cells: Row) -> str:
        return " & ".join("".join(_ESCAPED.get(c, c) for c in str(cell)) for cell in cells) + r" \\"

    head = [rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}", r"\toprule", line(columns), r"\midrule"]
    return "\n".join([*head, *map(line, rows), r"\bottomrule", r"\end{tabular}"]) + "\n"


def write_tables(
    folder: Path,
    name: str,
    columns: Sequence[str],
    rows: Sequence[Row],
    exact: tuple[Sequence[str], Sequence[Row]],
) -> None:
    """Writes NAME.md and NAME.tex of rounded rows, and NAME.csv of the `exact` columns and rows. Raises OutputError."""
    make_folder(folder)
    write_text(folder / f"{name}.md", markdown_table(columns, rows))
    write_text(folder / f"{name}.tex", latex_table(columns, rows))
    write_text(folder / f"{name}.csv", csv_text([exact[0], *exact[1]]))


def class_rows(evaluation: Evaluation) -> list[Row]:
    """A row for each class under `CLASS_COLUMNS`, and the macro figures with their intervals below."""
    rows: list[Row] = [
        (c.label, f"{c.support:,}", three(c.recall), span(c.recall_95), three(c.precision), span(c.precision_95),
         three(c.f1), span(c.f1_95))
        for c in evaluation.per_class
    ]  # fmt: skip
    precision = [c.precision for c in evaluation.per_class if c.support]
    boot = evaluation.bootstrap_95
    macro = (three(evaluation.balanced_accuracy), span(boot.balanced_accuracy), three(sum(precision) / len(precision)),
             "", three(evaluation.macro_f1), span(boot.macro_f1))  # fmt: skip
    return [*rows, ("macro", f"{evaluation.n:,}", *macro)]


def class_figures(evaluation: Evaluation) -> tuple[tuple[str, ...], list[Row]]:
    """The same with all digits: columns and rows."""
    columns = ["class", "n"]
    for name in ("recall", "precision", "f1"):
        columns += [name, f"{name}_low", f"{name}_high"]
    rows: list[Row] = [
        (c.label, c.support, c.recall, *(c.recall_95 or (None, None)), c.precision, *(c.precision_95 or (None, None)),
         c.f1, *(c.f1_95 or (None, None)))
        for c in evaluation.per_class
    ]  # fmt: skip
    return tuple(columns), rows


def three(value: float | None) -> str:
    """A share with three digits; `-` for None."""
    return "-" if value is None else f"{value:.3f}"


def span(interval: tuple[float, float] | None) -> str:
    """An interval with three digits; `-` for None."""
    return "-" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
