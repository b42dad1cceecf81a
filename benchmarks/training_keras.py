"""Measures training images/s beside Keras 3 on TensorFlow, with the same shapes, batch and optimiser, in one run.

    python benchmarks/training_keras.py [--peer-python KERAS_ENV/bin/python]

Random uint8 grey faces in memory, Adam, no augmentation, no moving average on either side; mien trains through its own
loop, Keras through `model.fit`. Each side has its own process; they alternate. Without --peer-python an
environment with tensorflow-cpu is made in a temporary folder.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from page import arguments, table, write_page

PEER = Path(__file__).parent / "peers" / "keras_training.py"
NETWORKS = {"cnn2": (64, 6400), "cnn3-wide": (64, 640), "resnet18": (64, 960)}  # batch, images in an epoch
SIDE = 48


def mien_rates(network: str, batch: int, images: int, epochs: int) -> dict[str, object]:
    """Images/s of each epoch after the first, and the number of parameters."""
    import torch

    from mien.training.devices import pick_device
    from mien.training.loop import network_on
    from mien.training.networks import count_parameters
    from mien.training.recipe import load_recipe
    from training import epoch_rates, head_sizes

    changes = (
        f"input.view={SIDE}", "targets.label_smoothing=0", "optimizer.kind=adam", "optimizer.learning_rate=1e-3",
        "optimizer.weight_decay=0", f"optimizer.batch_size={batch}", f"optimizer.epochs={epochs}", "optimizer.ema=0",
        "optimizer.warmup_epochs=0", "optimizer.schedule=constant", "augment.level=none", "augment.mixup=0",
        f"network.kind={network}", "network.dropout=0",
    )  # fmt: skip
    recipe = load_recipe("scratch-cnn2", changes)
    rates = epoch_rates(recipe, images, pick_device("cpu"))
    parameters = count_parameters(network_on(recipe, head_sizes(recipe), torch.device("cpu")))
    return {"rates": rates, "parameters": parameters}


def ask(command: list[str]) -> dict[str, object]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def keras_python(folder: str) -> str:
    venv.create(folder, with_pip=True)
    python = str(Path(folder) / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "tensorflow-cpu"], check=True)
    return python


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--peer-python", help="a Python with keras and tensorflow-cpu")
    parser.add_argument("--epochs", type=int, default=4, help="of each measurement, the first of which warms up")
    parser.add_argument("--side-of", nargs=4, metavar=("NETWORK", "BATCH", "IMAGES", "EPOCHS"), help="one measurement")
    options = parser.parse_args()
    if options.side_of:
        network, *numbers = options.side_of
        print(json.dumps(mien_rates(network, *map(int, numbers))))
        return
    rows, keras = [], "?"
    with tempfile.TemporaryDirectory() as folder:
        peer = options.peer_python or keras_python(folder)
        for network, (batch, images) in NETWORKS.items():
            ours: list[float] = []
            theirs: list[float] = []
            for _ in range(options.repeats):
                numbers = [str(batch), str(images), str(options.epochs)]
                own = ask([sys.executable, __file__, "--side-of", network, *numbers])
                other = ask([peer, str(PEER), network, str(SIDE), *numbers])
                if own["parameters"] != other["parameters"]:
                    sys.exit(f"{network}: {own['parameters']} parameters here, {other['parameters']} in Keras")
                ours.append(statistics.median(own["rates"]))  # type: ignore[type-var]
                theirs.append(statistics.median(other["rates"]))  # type: ignore[type-var]
                keras = str(other["keras"])
            ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
            rows.append(
                (
                    network,
                    f"{int(own['parameters']):,}",
                    batch,
                    f"{statistics.median(ours):,.0f}",  # type: ignore[call-overload]
                    f"{statistics.median(theirs):,.0f}",
                    f"{statistics.median(ratios):.2f}",
                    f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
                )
            )
    header = ("network", "parameters", "batch", "mien, images/s", "Keras, images/s", "ratio", "over the rounds")
    lines = [
        f"Keras {keras} on TensorFlow, CPU. {SIDE} x {SIDE} grey faces in memory, Adam, no augmentation; "
        f"{options.repeats} rounds of both in turn, each the median of {options.epochs - 1} epochs after a first.",
        "",
        *table(header, rows),
    ]
    write_page(options.results, "training-keras", "Training speed beside Keras", lines, packages=("torch",))


if __name__ == "__main__":
    main()
