"""Reproduces the published figures and tables into one folder, and compares them with what is published.

    python scripts/reproduce.py --data ../shared/data --out reproduced

Measured now: every shipped model on FER2013's PublicTest by votes and by labels (pages, figures, tables), all of a kind
side by side with paired tests, the table of the balance, and mien-small on corrupted faces. Redrawn from the published
records of their trainings: the runs of docs/results/networks and docs/results/ladder. index.html links everything and
states each figure beside the published one. Nothing is trained: docs/results/*.md and scripts/family.toml have the
commands. Speeds depend on the machine: benchmarks/README.md has a script for each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mien.data.readers import load_dataset
from mien.evaluation.compare import read_history
from mien.evaluation.compare_page import curve_charts
from mien.evaluation.evaluate import evaluate
from mien.evaluation.result import Evaluation
from mien.evaluation.robustness import SEVERITIES
from mien.evaluation.side_by_side import evaluate_side_by_side
from mien.evaluation.tables import write_tables
from mien.files import make_folder
from mien.pages import Page

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs/results"
MODELS = ("mien-base", "mien-small", "mien-nano")
BALANCES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
FIGURES = ("n", "accuracy", "balanced_accuracy", "macro_f1", "nll", "ece")
WITHIN = 0.002
"""The largest difference to a published figure that counts as the same: other processors round otherwise."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013 with FER+'s votes")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    out = arguments.out
    make_folder(out)
    data = load_dataset(arguments.data, splits=("validation", "train"))
    page = Page("Published figures, reproduced", "On FER2013's PublicTest, unless stated otherwise.")
    rows, found = [], {}
    for truth, suffix in (("votes", ""), ("label", "-fer2013")):
        names = [f"{name}{suffix}" for name in MODELS]
        for kind in ("votes", "label"):
            measured = evaluate_side_by_side(names, data, "validation", kind, out / f"by-{kind}{suffix}")
            rows += [row for name, e in measured.items() for row in against_published(name, kind, e)]
            if kind == truth:
                found |= measured
    page.section("Shipped models")
    page.table(("model", "truth", "figure", "published", "now", "same"), rows)
    reports = sorted(out.glob("by-*/*/report.html"))
    page.links([(" ".join(report.parts[-3:-1]), report.relative_to(out).as_posix()) for report in reports])
    balance_table(page, found, out)
    robustness_table(page, data, out)
    for name in ("networks", "ladder"):
        trained(page, name, out)
    page.write_figures(out)
    page.write(out / "index.html")
    print(out / "index.html")
    differing = [row for row in rows if row[-1] == "no"]
    print(f"{len(rows) - len(differing)} of {len(rows)} figures are as published within {WITHIN}")


def against_published(model: str, truth: str, found: Evaluation) -> list[tuple[object, ...]]:
    """A row for each figure that docs/results has of this model and truth."""
    place = RESULTS / model / f"metrics-{truth}.json"
    if not place.is_file():
        return []
    published, now = json.loads(place.read_text("utf-8")), found.to_dict()
    pairs = [(name, published[name], now[name]) for name in FIGURES if published.get(name) is not None]
    return [(model, truth, name, old, new, "yes" if abs(old - new) <= WITHIN else "no") for name, old, new in pairs]


def balance_table(page: Page, found: dict[str, Evaluation], out: Path) -> None:
    """The table of docs/evaluation.md: accuracy / macro recall at six balances."""
    columns, rows = ("model", *(f"{b:g}" for b in BALANCES)), []
    for name, e in found.items():
        points = {} if e.balance is None else {round(p.balance, 2): p for p in e.balance.points}
        cells = [f"{points[b].accuracy:.3f} / {points[b].macro_recall:.3f}" if b in points else "-" for b in BALANCES]
        rows.append((name, *cells))
    write_tables(out, "balance", columns, rows, (columns, rows))
    page.section("Balance: accuracy / macro recall")
    page.table(columns, rows)


def robustness_table(page: Page, data: object, out: Path) -> None:
    """mien-small on corrupted faces, at balance 0."""
    folder = out / "robustness-mien-small"
    found = evaluate("mien-small", data, "validation", out=folder, balance=0.0, robustness=True).robustness  # type: ignore[arg-type]
    assert found is not None
    columns = ("severity", *(str(s) for s in SEVERITIES))
    rows = [(c.name, *(f"{a:.3f}" for a in c.accuracy)) for c in found.corruptions]
    write_tables(out, "robustness", columns, rows, (columns, rows))
    page.section(
        "Robustness", f"Clean: {found.clean_accuracy:.3f}; mean of all corruptions: {found.mean_accuracy:.3f}."
    )
    page.table(columns, rows)
    page.links([("its report", f"{folder.name}/report.html")])


def trained(page: Page, name: str, out: Path) -> None:
    """The learning curves of published trainings, from their records."""
    runs = {place.parent.name: read_history(place.parent) for place in sorted((RESULTS / name).glob("*/history.csv"))}
    page.section(f"Trainings: {name}", f"From docs/results/{name}: {len(runs)} runs.")
    page.chart(curve_charts(runs, "label"), f"curves-{name}", f"Learning curves of {len(runs)} runs")
    table = (RESULTS / name / "compare.csv").read_text("utf-8").splitlines()
    header, *lines = [line.split(",") for line in table]
    page.table(header, lines)


if __name__ == "__main__":
    main()
