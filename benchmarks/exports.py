"""Measures every shipped model in every export format: accuracy before and after, size, speed beside the shipped file.

    python benchmarks/exports.py [--data ../shared/data] [MODEL ...]

The figures are those of `mien export MODEL --as FORMAT --data DATA --format json`: both files run on the
validation split, and one process measures their speeds alternately. `onnx` has the same computation:
its rows show the error of the speeds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from page import RESULTS, SHARED, table, write_page

from mien.errors import ExportError
from mien.exporting.export import Export, export
from mien.exporting.formats import FORMATS
from mien.exporting.parity import Parity
from mien.releases import shipped_models

HEADER = (
    "model", "as", "accuracy before", "after", "largest difference", "same label", "MB before", "after", "speed",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(shipped_models()), help="default: all shipped")
    parser.add_argument("--data", type=Path, default=SHARED / "data", help="its validation split is measured on")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the dated page goes")
    options = parser.parse_args()
    rows: list[tuple[str, ...]] = []
    faces = 0
    for model in options.models:
        for form in FORMATS.values():
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder) / f"export{form.suffix}"
                try:
                    made = export(model, form.name, place, data=options.data)
                except ExportError as error:
                    why = str(error).removeprefix(f"{place}: ").partition(";")[0]
                    rows.append((f"`{model}`", f"`{form.name}`", f"refused: {why}", *["-"] * (len(HEADER) - 3)))
                else:
                    assert made.parity is not None
                    rows.append(_row(model, made, made.parity))
                    faces = made.parity.faces
            print(*rows[-1], flush=True)
    lines = [
        f"Differences and speed on {faces:,} validation faces; accuracy on those whose answer is known: what most",
        "raters say, for `-fer2013` models the original label. Speed: faces a second as a multiple of the shipped",
        "file's, batches of 64, in turns, median of nine rounds.",
        "",
        *table(HEADER, rows),
    ]
    write_page(
        options.results, "exports", "Exports of the shipped models", lines,
        packages=("onnxruntime", "openvino", "ncnn"),
    )  # fmt: skip


def _row(model: str, made: Export, parity: Parity) -> tuple[str, ...]:
    before, after = (f"{value:.4f}" for value in (parity.accuracy_before or 0, parity.accuracy_after or 0))
    return (
        f"`{model}`", f"`{made.form}`", before, after, f"{parity.largest:.1g}", f"{parity.same_label:.1%}",
        f"{made.source_bytes / 1e6:.2f}", f"{made.bytes / 1e6:.2f}", f"{parity.speed_up:.2f}",
    )  # fmt: skip


if __name__ == "__main__":
    main()
