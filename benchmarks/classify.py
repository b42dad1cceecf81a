"""Measures classified faces/s in batches, and the limit of the machine's arithmetic.

    python benchmarks/classify.py [MODEL ...]

The limit is the machine's fp32 matrix rate divided by the multiply-adds of one face, counted in the model's graph.
Real networks stay below it, because convolutions of few channels are limited by memory.
"""

from __future__ import annotations

import numpy as np
from page import arguments, gemm_macs_per_s, median_s, table, write_page

from mien.data.toy import toy_faces
from mien.evaluation.speed import graph_macs
from mien.model_file import ModelFile, load_model
from mien.releases import shipped_models


def main() -> None:
    parser = arguments(__doc__, repeats=7)
    parser.add_argument(
        "models", nargs="*", default=list(shipped_models()), help="names or files; default: all shipped"
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64, 256])
    options = parser.parse_args()
    if not options.models:
        parser.error("no models are shipped with this build; name model files")
    rate = gemm_macs_per_s()
    rows = []
    for name in options.models:
        model = load_model(name)
        macs = graph_macs(model.path)
        if macs is None:
            raise SystemExit(f"{model.path}: the size of its maps can't be told; export it with fixed sizes")
        limit = rate / macs
        faces = toy_faces(max(options.batches), size=model.info.size, channels=model.info.channels).images
        for batch in options.batches:
            some, calls = faces[:batch], max(1, 256 // batch)

            def work(model: ModelFile = model, some: np.ndarray = some, calls: int = calls) -> None:
                for _ in range(calls):
                    model.probabilities(some)

            seconds, spread = median_s(work, options.repeats)
            speed = batch * calls / seconds
            rows.append(
                (model.info.name, f"{macs / 1e6:.1f}", batch, f"{speed:,.0f}", f"{spread:.0%}", f"{limit:,.0f}",
                 f"{speed / limit:.2f}")
            )  # fmt: skip
    header = ("model", "MMAC a face", "batch", "faces/s", "spread", "limit", "ratio")
    about = (
        f"fp32 matrix product: {rate / 1e9:.0f} GMAC/s on all cores; limit = that / MACs a face. "
        f"Median of {options.repeats}."
    )
    write_page(
        options.results, "classify", "Faces classified a second", [about, "", *table(header, rows)],
        packages=("onnxruntime",),
    )  # fmt: skip


if __name__ == "__main__":
    main()
