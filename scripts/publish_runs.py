"""Publishes finished training runs: a folder of files for each, and their comparison.

    python scripts/publish_runs.py runs/cnn2 runs/cnn4 --data ../shared/data --out docs/results/networks

For each run: recipe, history, environment, and the metrics of its model file by the original labels on validation
(PublicTest), measured now. For all: the table as text, CSV and JSON, and the learning curves; --no-comparison leaves
these unchanged.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from short_metrics import write_short_metrics

from mien.data.fitted import read_dataset, require_split
from mien.evaluation.compare import compare
from mien.evaluation.compare_page import write_comparison
from mien.evaluation.comparison import comparison_text
from mien.evaluation.evaluate import evaluate_samples
from mien.model_file import ModelFile

KEPT = ("recipe.toml", "history.csv", "environment.json")
COMPARED = ("compare.csv", "compare.json", "compare.txt", "learning-curves.png")


def keep_run(run: Path, data: Path, out: Path) -> None:
    """Copies what is small and measures the model file."""
    out.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copyfile(run / name, out / name)
    (path,) = sorted(p for p in run.glob("*.onnx") if not p.name.startswith("."))
    model = ModelFile(path)
    dataset = read_dataset(data, size=model.info.size, channels=model.info.channels, splits=("validation",))
    samples = require_split(dataset, "validation", data)
    found = evaluate_samples([model], samples, truth="label", data=str(data), split="validation")
    write_short_metrics(found, out / "metrics.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--no-comparison", action="store_true", help="only the runs' own folders")
    arguments = parser.parse_args()
    for run in arguments.runs:
        keep_run(run, arguments.data, arguments.out / run.name)
    if arguments.no_comparison:
        return
    comparison = compare(arguments.runs)
    with tempfile.TemporaryDirectory() as folder:
        write_comparison(comparison, Path(folder))
        for name in COMPARED:
            shutil.copyfile(next(Path(folder).rglob(name)), arguments.out / name)
    print(comparison_text(comparison))


if __name__ == "__main__":
    main()
