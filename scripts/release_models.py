# ruff: noqa: E501 - the card's sentences stand as they are printed
"""Ships the model files of finished runs: copies them into the package, measures them, writes cards and README's table.

    python scripts/release_models.py --data ../shared/data runs/small runs/nano

A card takes its figures from the metrics.json beside it, so the two can't disagree. Every model is measured on both
rulers, on the validation split (PublicTest), which also chose the epoch and the temperature: see the cards' notes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tomllib
from pathlib import Path

from mien.data.readers import read_dataset, require_split
from mien.evaluation.evaluate import Evaluation, evaluate, write_metrics
from mien.model_file import ModelFile, shipped_models

ROOT = Path(__file__).parents[1]

MEANING = {
    "votes": "A probability is **the share of human raters who would say so**, fitted to FER+'s ten votes a face. It is "
    "not the chance that most raters would: that is higher (see *calibration* below).",
    "label": "A probability is the chance that FER2013's **original label** says so. The labels are noisy: FER+'s raters "
    "contradict at least a fifth of them, and two raters agree on two thirds. Use it to compare with the literature; "
    "for photographs take the votes model.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    for run in arguments.runs:
        for file in sorted(run.glob("*.onnx")):
            if file.name.startswith("."):
                continue
            place = ROOT / "src/mien/models" / file.name
            shutil.copyfile(file, place)
            release(place, arguments.data)
    write_table()


def write_table() -> None:
    """The README's table of models, from the committed metrics."""
    lines = [
        "| model | learnt | parameters | file | FER+ majority of eight: accuracy | macro recall | original label: accuracy | macro recall |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, path in sorted(shipped_models().items(), key=lambda item: ("-fer2013" in item[0], "nano" in item[0])):
        info = ModelFile(path).info
        cells = [f"[`{name}`](docs/models/{name}.md)", info.target, f"{info.parameters / 1e6:.2f} M"]
        cells.append(f"{path.stat().st_size / 1e6:.1f} MB")
        for truth in ("votes", "label"):
            figures = json.loads((ROOT / "docs/results" / name / f"metrics-{truth}.json").read_text("utf-8"))
            low, high = figures["accuracy_95"]
            cells.append(f"{figures['accuracy']:.3f} ({low:.3f}-{high:.3f})")
            cells.append(f"{figures['balanced_accuracy']:.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text("utf-8").partition("<!-- models table -->\n")
    _, _, after = rest.partition("<!-- end models table -->")
    table = "\n".join(lines)
    readme.write_text(f"{before}<!-- models table -->\n{table}\n<!-- end models table -->{after}", "utf-8")


def release(path: Path, data: Path) -> None:
    """Measures one shipped model and writes its metrics and card."""
    model = ModelFile(path)
    info = model.info
    dataset = read_dataset(data, size=info.size, channels=info.channels, splits=("validation",))
    samples = require_split(dataset, "validation", data)
    figures = {}
    for truth in ("votes", "label"):
        figures[truth] = evaluate([model], samples, truth=truth, data=data.name, split="validation")  # type: ignore[arg-type]
        write_metrics(figures[truth], ROOT / "docs/results" / info.name / f"metrics-{truth}.json")
    card = ROOT / "docs/models" / f"{info.name}.md"
    card.parent.mkdir(parents=True, exist_ok=True)
    card.write_text(card_text(model, figures), "utf-8")
    print(card.relative_to(ROOT))


def card_text(model: ModelFile, figures: dict[str, Evaluation]) -> str:
    """The model card as Markdown."""
    info, own = model.info, figures[model.info.target]
    recipe = tomllib.loads(info.recipe)["name"]
    lines = [
        f"# {info.name}",
        "",
        MEANING[info.target],
        "",
        f"- **File**: `{model.path.name}`, {model.path.stat().st_size / 1e6:.2f} MB, sha256 `{model.sha256}`",
        f"- **Network**: {info.parameters / 1e6:.3f} M parameters; input {info.size}x{info.size}x{info.channels} uint8; "
        f"labels: {', '.join(info.labels)}",
        f"- **Crop**: margin {info.crop.margin}, align {info.crop.align} ([how it was found](../framing.md))",
        f"- **Recipe**: [`{recipe}`](../../src/mien/recipes/{recipe}.toml), one seed, on a processor in float32; the resolved "
        "recipe is in the file's metadata",
        "- **Data**: FER2013's Training split (28,709 faces) with FER+ votes. Epoch and temperature "
        f"({info.temperature:.3f}) were chosen on PublicTest (3,589 faces).",
        "- **Licence**: weights MIT. The training pictures were collected from the web and their licence is unsettled, "
        "for research; judge for yourself whether that allows your use.",
        "",
        "## Figures",
        "",
        "PublicTest, single view. It chose epoch and temperature, so these are slightly optimistic; PrivateTest was not used.",
        f"`mien evaluate {info.name} --data fer2013-public.parquet --split validation --out OUT --truth votes|label`",
        "",
        "| | FER+ majority of eight | original label |",
        "|---|---|---|",
    ]
    rows = {
        "faces measured (left out)": lambda e: f"{e.n} ({e.n_left_out})",
        "accuracy (95 % interval)": lambda e: f"{e.accuracy:.4f} ({e.accuracy_95[0]:.3f} to {e.accuracy_95[1]:.3f})",
        "macro recall": lambda e: f"{e.balanced_accuracy:.4f}",
        "macro F1": lambda e: f"{e.macro_f1:.4f}",
        "calibration error (ECE)": lambda e: f"{e.ece:.4f}",
        "... before temperature": lambda e: f"{e.ece_before_temperature:.4f}",
        "ECE against the majority": lambda e: "-" if e.ece_majority is None else f"{e.ece_majority:.4f}",
        "negative log-likelihood": lambda e: "-" if e.nll is None else f"{e.nll:.4f}",
        "mean KL to the votes": lambda e: "-" if e.kl_votes is None else f"{e.kl_votes:.4f}",
    }
    for name, text in rows.items():
        lines.append(f"| {name} | {text(figures['votes'])} | {text(figures['label'])} |")
    lines += ["", "Recall by expression, on the ruler that the model was trained for:", "", "| expression | faces | recall | precision |", "|---|---|---|---|"]  # fmt: skip
    for c in own.per_class:
        lines.append(
            f"| {c.label} | {c.support} | {'-' if c.recall is None else f'{c.recall:.3f}'} | {c.precision:.3f} |"
        )
    for truth, e in figures.items():
        if e.dropped_classes or e.missing_classes:
            lines.append(
                f"\nOn the ruler *{truth}*: dropped and renormalised: {', '.join(e.dropped_classes) or 'none'}; "
                f"classes that the model can't say and gets wrong: {', '.join(e.missing_classes) or 'none'}."
            )
    lines += [
        "",
        "## Calibration",
        "",
        "The votes ruler's ECE compares each confidence with the share of raters who agree with the prediction; the "
        "label ruler's with how often the original label agrees. *ECE against the majority* compares it with how often "
        "the majority agrees: for a votes model it is large on purpose, because a face on which 7 of 10 raters agree "
        "has its majority right far more often than 70 % of the time. Abstain with `--abstain-below` on the confidence.",
        "",
        "## Limits",
        "",
        "- Grey 48x48 web pictures of 2013; subgroups (age, skin tone, sex) were never labelled, so gaps between them are unknown.",
        "- Rare classes are weak: read the recall of disgust, fear and contempt above before relying on them. Votes models lean to neutral.",
        "- Faces turned far from the camera, hidden, tiny (under about 20 px) or blurred are guesses.",
        "- About one PublicTest face in thirteen has an exact copy in Training.",
        "",
        "## Use and misuse",
        "",
        "Outputs are *apparent expressions as raters label them*, not felt emotion. Out of scope: hiring, proctoring, monitoring of "
        "workers or pupils, policing, lie detection, diagnosis, covert use. In the EU, inferring emotions at work and in "
        "education is forbidden but for medical or safety reasons (AI Act, Art. 5(1)(f)), and people must be told where "
        "emotion recognition is used. Everything runs locally; mien retains nothing by default.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
