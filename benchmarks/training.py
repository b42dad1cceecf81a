"""Measures images/s during training of the recipe mien-small, and the limit of the machine's arithmetic.

    python benchmarks/training.py [--recipe NAME] [--images 2560]

Random uint8 faces in memory, one epoch at a time through the project's own loop; the first epoch is the warm-up. A
step counts as three times the forward pass (forward, gradient of inputs, gradient of weights).
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from page import arguments, table, write_page
from torch import nn

from mien.data.samples import Samples
from mien.labels import EIGHT, FER2013
from mien.training.batches import Faces
from mien.training.callbacks import Watcher
from mien.training.devices import has_fast_bf16, pick_device
from mien.training.learning_data import head_targets
from mien.training.loop import fit, network_on
from mien.training.recipe import Recipe, load_recipe


def macs_per_image(recipe: Recipe, heads: dict[str, int]) -> int:
    """Multiply-adds of one forward pass, counted by running it."""
    network = network_on(recipe, heads, torch.device("cpu")).eval()
    total = 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        places = output.shape[2] * output.shape[3] if isinstance(module, nn.Conv2d) else 1
        total += module.weight.numel() * places  # type: ignore[union-attr, operator]

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, recipe.input.channels, recipe.input.view, recipe.input.view))
    return total


def random_samples(recipe: Recipe, count: int) -> Samples:
    rng = np.random.default_rng(0)
    size, channels = recipe.input.size, recipe.input.channels
    images = rng.integers(0, 256, (count, size, size, channels), np.uint8)
    votes = rng.multinomial(10, np.ones(len(EIGHT)) / len(EIGHT), count).astype(np.float32)
    return Samples(images, rng.integers(0, 7, count), FER2013, tuple(map(str, range(count))), votes)


def epoch_rates(recipe: Recipe, images: int, device: torch.device) -> list[float]:
    """Images a second of each epoch but the first, on so many random faces in memory, through mien's own loop."""
    samples, few = random_samples(recipe, images), random_samples(recipe, 64)
    targets = head_targets(samples, recipe.targets, source="random faces")
    speeds: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        fit(
            recipe,
            Faces.on(device, samples, targets),
            Faces.on(device, few, head_targets(few, recipe.targets, source="random faces")),
            {t.head: t.weight for t in targets},
            Path(folder),
            resume=False,
            watcher=Watcher(on_step=lambda epoch, done, total, rate: speeds.update({epoch: rate})),
        )
    return [rate for epoch, rate in speeds.items() if epoch > 0]


def head_sizes(recipe: Recipe) -> dict[str, int]:
    """How many classes each head of the recipe's network tells apart, on random faces."""
    return {t.head: len(t.labels) for t in head_targets(random_samples(recipe, 64), recipe.targets, source="")}


def matrix_rate(device: torch.device, dtype: torch.dtype, n: int = 2048) -> float:
    """Multiply-adds a second of PyTorch's matrix product in `dtype`, the best of seven."""
    import time

    a = torch.rand(n, n, device=device).to(dtype)
    best = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        float((a @ a)[0, 0])  # reading a number waits for the device
        best = min(best, time.perf_counter() - started)
    return n**3 / best


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--recipe", default="mien-small")
    parser.add_argument("--images", type=int, default=2560, help="in an epoch")
    options = parser.parse_args()
    recipe = load_recipe(options.recipe)
    epochs = options.repeats + 1
    recipe = replace(recipe, optimizer=replace(recipe.optimizer, epochs=epochs, warmup_epochs=0.0, learning_rate=0.01))
    device = pick_device()
    measured = epoch_rates(recipe, options.images, device)
    speed = statistics.median(measured)
    dtype = torch.bfloat16 if has_fast_bf16(device) else torch.float32
    matrix, macs = matrix_rate(device, dtype), macs_per_image(recipe, head_sizes(recipe))
    limit = matrix / (3 * macs)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    spread = (max(measured) - min(measured)) / speed
    row = (
        recipe.name, f"{macs / 1e6:.1f}", recipe.optimizer.batch_size, str(dtype).removeprefix("torch."),
        f"{speed:,.0f}", f"{spread:.0%}", f"{limit:,.0f}", f"{speed / limit:.2f}",
    )  # fmt: skip
    header = ("recipe", "MMAC forward", "batch", "numbers", "images/s", "spread", "limit", "ratio")
    lines = [
        f"{name}. {options.images} random faces in memory, augmentation included; median of {options.repeats} epochs.",
        f"Matrix product in {row[3]}: {matrix / 1e9:.0f} GMAC/s; limit = that / (3 x forward MACs).",
        "",
        *table(header, [row]),
    ]
    write_page(options.results, f"training-{recipe.name}", "Training speed", lines, packages=("torch",))


if __name__ == "__main__":
    main()
