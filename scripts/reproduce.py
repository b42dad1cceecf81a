"""Reproduces the published figures and tables into one folder, and compares them with what is published.

    python scripts/reproduce.py --data ../shared/data --out reproduced
    python scripts/reproduce.py --data fer2013.csv --out reproduced --benchmarks --trainings    # everything; days

Measured now: every shipped model on FER2013's PublicTest by votes and by labels (pages, figures, tables), all of a kind
side by side with paired tests, the table of the balance, and mien-small on corrupted faces. Data with a test split
give the held-back figures, too. Redrawn from the published records of their trainings: the runs of
docs/results/networks and docs/results/ladder. index.html links everything and states each figure beside the published
one. `--benchmarks` runs every script of benchmarks/ that needs no other package's environment: hours, and speeds are
those of this machine. `--trainings` trains the shipped family again (scripts/family.toml): days, and a killed run
resumes.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

from release_models import TRUTHS, held_back_figures

from mien.data.dataset import Dataset
from mien.data.readers import load_dataset
from mien.errors import DataError
from mien.evaluation.compare import read_history
from mien.evaluation.compare_page import curve_charts
from mien.evaluation.evaluate import evaluate
from mien.evaluation.result import Evaluation
from mien.evaluation.robustness import SEVERITIES
from mien.evaluation.side_by_side import evaluate_side_by_side
from mien.evaluation.tables import write_tables
from mien.files import make_folder
from mien.pages import Page
from mien.releases import shipped_models

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs/results"
MODELS = ("mien-base", "mien-small", "mien-nano")
BALANCES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
FIGURES = ("n", "accuracy", "balanced_accuracy", "macro_f1", "nll", "ece")
BENCHMARKS = ROOT / "benchmarks"
APART = ("page", "scaling_model", "training_keras")
"""Files of benchmarks/ that are not run: a module, a calculation, and one that needs Keras in its own environment."""
ON_DATA = ("label_judge", "plausible_labels")
"""Benchmarks that take the data set as their argument."""

ELSEWHERE = (
    ("README: one face, photo", "--benchmarks: classify.py, photo.py"),
    ("README: comparison with other packages", "benchmarks/peers/run.py, each package in its own environment"),
    ("docs/models: size of a file", "mien models"),
    ("docs/models, docs/evaluation: PrivateTest", "data with a test split"),
    ("docs/evaluation: fourteen mild disturbances", "--benchmarks: stability.py"),
    ("docs/evaluation: ensembles", "--trainings, then `mien ensemble` with the models of the stages"),
    ("docs/evaluation: sets that nobody tuned to, but PrivateTest", "not possible: their images are not published"),
    ("docs/data: judges, orders, copies", "--benchmarks: label_judge.py, plausible_labels.py, duplicates.py"),
)
"""Published figures and tables that a run without options does not give, and what gives them."""

WITHIN = 0.002
"""The largest difference to a published figure that counts as the same: other processors round otherwise."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013 with FER+'s votes")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--benchmarks", action="store_true", help="run the benchmarks, too")
    parser.add_argument("--trainings", action="store_true", help="train the shipped family, too")
    arguments = parser.parse_args()
    out = arguments.out
    make_folder(out)
    data = load_dataset(arguments.data, splits=("validation", "train"))
    page = Page("Published figures, reproduced", "On FER2013's PublicTest, unless stated otherwise.")
    rows: list[tuple[object, ...]] = []
    found: dict[str, Evaluation] = {}
    for truth, suffix in (("votes", ""), ("label", "-fer2013")):
        names = [f"{name}{suffix}" for name in MODELS]
        for kind in ("votes", "label"):
            measured = evaluate_side_by_side(
                names, data, "validation", kind, out / f"by-{kind}{suffix}", vector_figures=True
            )
            rows += [row for name, e in measured.items() for row in against_published(name, kind, e)]
            if kind == truth:
                found |= measured
    page.section("Shipped models")
    page.table(("model", "truth", "figure", "published", "now", "same"), rows)
    reports = sorted(out.glob("by-*/*/report.html"))
    page.links([(" ".join(report.parts[-3:-1]), report.relative_to(out).as_posix()) for report in reports])
    balance_table(page, found, out)
    robustness_table(page, data, out)
    rows += held_back(page, arguments.data, out)
    for name in ("networks", "ladder"):
        trained(page, name, out)
    failed = []
    if arguments.benchmarks:
        failed += run_benchmarks(page, arguments.data, out / "benchmarks")
    if arguments.trainings:
        command = ["-m", "mien", "run", str(ROOT / "scripts/family.toml")]
        failed += [] if run(command) else ["scripts/family.toml"]
    page.section("Published figures from elsewhere")
    page.table(("published", "from"), ELSEWHERE)
    page.write_figures(out)
    page.write(out / "index.html")
    print(out / "index.html")
    differing = [row for row in rows if row[-1] == "no"]
    print(f"{len(rows) - len(differing)} of {len(rows)} figures are as published within {WITHIN}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def against_published(model: str, truth: str, found: Evaluation) -> list[tuple[object, ...]]:
    """A row for each figure that docs/results has of this model and truth."""
    place = RESULTS / model / f"metrics-{truth}.json"
    if not place.is_file():
        return []
    published, now = json.loads(place.read_text("utf-8")), found.to_dict()
    pairs = [(name, published[name], now[name]) for name in FIGURES if published.get(name) is not None]
    return [(model, truth, name, *compared(old, new)) for name, old, new in pairs]


def compared(published: float, now: float) -> tuple[float, float, str]:
    """Both figures, and whether they are the same."""
    return published, now, "yes" if abs(published - now) <= WITHIN else "no"


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


def robustness_table(page: Page, data: Dataset, out: Path) -> None:
    """mien-small on corrupted faces, at balance 0."""
    folder = out / "robustness-mien-small"
    found = evaluate("mien-small", data, "validation", out=folder, balance=0.0, robustness=True).robustness
    assert found is not None
    columns = ("severity", *(str(s) for s in SEVERITIES))
    rows = [(c.name, *(f"{a:.3f}" for a in c.accuracy)) for c in found.corruptions]
    write_tables(out, "robustness", columns, rows, (columns, rows))
    page.section(
        "Robustness", f"Clean: {found.clean_accuracy:.3f}; mean of all corruptions: {found.mean_accuracy:.3f}."
    )
    page.table(columns, rows)
    page.links([("its report", f"{folder.name}/report.html")])


def held_back(page: Page, source: Path, out: Path) -> list[tuple[object, ...]]:
    """A row for each figure of PrivateTest that scripts/held_back.json has of the weights that ship now."""
    page.section("Held back: PrivateTest")
    try:
        data = load_dataset(source, splits=("test",))
    except DataError as error:
        page.text(f"Not measured, for want of a test split: {error}.")
        return []
    rows: list[tuple[object, ...]] = []
    for name, path in shipped_models().items():
        figures = held_back_figures(path)
        for truth in (truth for truth in TRUTHS if truth in figures):
            now = evaluate(name, data, "test", truth, out=out / f"test-{name}-{truth}", balance=0.0)
            pairs = {"accuracy": now.accuracy, "macro_recall": now.balanced_accuracy}
            rows += [(name, truth, f"test {key}", *compared(figures[truth][key], new)) for key, new in pairs.items()]
    page.table(("model", "truth", "figure", "published", "now", "same"), rows)
    return rows


def run_benchmarks(page: Page, data: Path, folder: Path) -> list[str]:
    """Runs each benchmark, links what it wrote, and returns the names of those that failed."""
    failed = []
    for script in sorted(BENCHMARKS.glob("*.py")):
        if script.stem in APART:
            continue
        words = [str(data)] if script.stem in ON_DATA else ["--results", str(folder)]
        if not run([str(script), *words]):
            failed.append(script.name)
    page.section("Benchmarks", f"Failed: {', '.join(failed)}." if failed else "")
    page.links([(file.stem, f"{folder.name}/{file.name}") for file in sorted(folder.glob("*.md"))])
    return failed


def run(command: list[str]) -> bool:
    """Runs Python with these words; whether it succeeded."""
    print("python", *command, flush=True)
    return subprocess.run([sys.executable, *command], check=False).returncode == 0


def trained(page: Page, name: str, out: Path) -> None:
    """The learning curves of published trainings, from their records."""
    runs = {place.parent.name: read_history(place.parent) for place in sorted((RESULTS / name).glob("*/history.csv"))}
    page.section(f"Trainings: {name}", f"From docs/results/{name}: {len(runs)} runs.")
    page.chart(curve_charts(runs, "label"), f"curves-{name}", f"Learning curves of {len(runs)} runs")
    header, *lines = csv.reader((RESULTS / name / "compare.csv").read_text("utf-8").splitlines())
    rows = [[*line[:2], *map(json.loads, line[2:])] for line in lines]
    for run in sorted(runs.keys() - {row[0] for row in rows}):
        if (place := RESULTS / name / run / "metrics.json").is_file():
            found = json.loads(place.read_text("utf-8"))
            low, high = found["accuracy_95"]
            found |= {
                "run": run,
                "accuracy_low": low,
                "accuracy_high": high,
                "macro_recall": found["balanced_accuracy"],
            }
            rows.append([found.get(key, "-") for key in header])
    page.table(header, rows)


if __name__ == "__main__":
    main()
