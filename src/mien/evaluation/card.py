"""The model card (Mitchell et al. 2019) as Markdown: every figure comes from the model file and its evaluations.

A card is a file beside the model, or part of the model's metadata. In the metadata it can't state the size and checksum
of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mien.errors import MissingExtraError
from mien.evaluation.evaluate import evaluate_samples
from mien.evaluation.inputs import read_inputs
from mien.evaluation.result import Evaluation, Truth
from mien.files import atomic_path, write_text
from mien.model_file import CARD_KEY, ModelFile, ModelInfo

_COLUMNS: dict[Truth, str] = {"votes": "FER+ majority of eight", "label": "original label"}

_ROWS: dict[str, Callable[[Evaluation], str]] = {
    "faces measured (left out)": lambda e: f"{e.n} ({e.n_left_out})",
    "accuracy (95 % interval)": lambda e: f"{e.accuracy:.4f} ({e.accuracy_95[0]:.3f} to {e.accuracy_95[1]:.3f})",
    "macro recall": lambda e: f"{e.balanced_accuracy:.4f}",
    "macro F1": lambda e: f"{e.macro_f1:.4f}",
    "calibration error (ECE)": lambda e: f"{e.ece:.4f}",
    "... before temperature, at balance 0": lambda e: f"{e.ece_before_temperature:.4f}",
    "ECE against the majority": lambda e: _figure(e.ece_majority, 4),
    "negative log-likelihood": lambda e: _figure(e.nll, 4),
    "mean KL to the votes": lambda e: _figure(e.kl_votes, 4),
    "balance of these figures": lambda e: f"{e.balance.used:g}" if e.balance else "-",
    "at balance 0: accuracy": lambda e: _figure(_at_0(e, "accuracy"), 4),
    "at balance 0: macro recall": lambda e: _figure(_at_0(e, "macro_recall"), 4),
    "at balance 0: ECE": lambda e: _figure(e.balance.ece_at_0 if e.balance else None, 4),
}

# The shipped model files hold these texts: a change here needs new files and checksums.
_CALIBRATION = (
    "Probabilities correct for the mix of expressions in training: not at all at balance 0, and towards an even mix at "
    "balance 1 (`--balance`, `mien.predict(balance=...)`). The file states its own balance, which is the default. "
    "The ECE by votes compares each confidence with the share of raters who agree with the prediction; the ECE by "
    "labels with how often the original label agrees. *ECE against the majority* compares it with how often the "
    "majority agrees: for a votes model it is large on purpose, because a face on which 7 of 10 raters agree has its "
    "majority right far more often than 70 % of the time. Abstain with `--abstain-below` on the confidence."
)

_USE = (
    "Outputs are *apparent expressions as raters label them*, not felt emotion. Out of scope: hiring, proctoring, "
    "monitoring of workers or pupils, policing, lie detection, diagnosis, covert use. In the EU, inferring emotions at "
    "work and in education is forbidden except for medical or safety reasons (AI Act, Art. 5(1)(f)), and people must "
    "be informed where emotion recognition is used. Everything runs locally; mien retains nothing by default."
)


@dataclass(frozen=True, slots=True)
class CardTexts:
    """The texts of a card that can't be measured, in Markdown.

    meaning: of a probability. crop: a remark after the crop's figures. recipe, data, licence: one entry each. measured:
    the data of the figures, and the method. limits: one entry each.
    """

    meaning: str
    crop: str
    recipe: str
    data: str
    licence: str
    measured: str
    limits: tuple[str, ...]


def texts_from_metadata(info: ModelInfo) -> CardTexts:
    """Default texts, from the metadata of a model file."""
    meaning = {
        "votes": "At balance 0, a probability is **the share of human raters who would choose this expression**. It is "
        "not the chance that most raters would: that is higher (see *calibration* below).",
        "label": "At balance 0, a probability is the chance that the data set's **label** is this expression.",
    }
    recipe = "the resolved recipe is in the file's metadata" if info.recipe else "unknown"
    if info.members:
        recipe = f"the weighted mean of {', '.join(info.members)}; weights and checksums are in the file's metadata"
    return CardTexts(
        meaning=meaning.get(info.target, ""),
        crop="",
        recipe=recipe,
        data=f"{info.data or 'unknown'}. Temperature: {info.temperature:.3f}.",
        licence=info.licence or "unknown",
        measured="Figures of a split that chose the epoch, the temperature or the weights are slightly optimistic.",
        limits=(
            "Rare classes are weak: read the recall of each expression above before relying on it.",
            "Gaps between subgroups (age, skin tone, sex) are unknown unless they were measured.",
            "Faces turned far from the camera, hidden, tiny (under about 20 px) or blurred are guesses.",
        ),
    )


def model_card(
    model: ModelFile,
    evaluations: Mapping[Truth, Evaluation],
    texts: CardTexts | None = None,
    *,
    inside: bool = False,
) -> str:
    """The card of a model file as Markdown.

    evaluations: at least one, by kind of ground truth, in the order of the columns. texts: what can't be measured; None
    takes `texts_from_metadata`. inside: for the metadata, without the line on the file. Raises ValueError without an
    evaluation.
    """
    if not evaluations:
        raise ValueError("no evaluation: a card needs figures")
    info = model.info
    texts = texts or texts_from_metadata(info)
    own = next((e for truth, e in evaluations.items() if truth == info.target), None)
    measured_by = "the ground truth that the model was trained for"
    if own is None:
        own = next(iter(evaluations.values()))
        measured_by = f"the ground truth *{own.truth}*"
    lines = [
        f"# {info.name}",
        "",
        texts.meaning,
        "",
        *([] if inside else [_file_line(model)]),
        f"- **Network**: {info.parameters / 1e6:.3f} M parameters; "
        f"input {info.size}x{info.size}x{info.channels} uint8; labels: {', '.join(info.labels)}",
        f"- **Crop**: margin {info.crop.margin}, align {info.crop.align}{texts.crop}",
        f"- **Recipe**: {texts.recipe}",
        f"- **Data**: {texts.data}",
        f"- **Licence**: {texts.licence}",
        "",
        "## Figures",
        "",
        texts.measured,
        "",
        f"| | {' | '.join(_COLUMNS[truth] for truth in evaluations)} |",
        f"|---|{'---|' * len(evaluations)}",
    ]
    for name, text in _ROWS.items():
        lines.append(f"| {name} | {' | '.join(text(e) for e in evaluations.values())} |")
    lines += ["", f"Recall by expression, on {measured_by}:", "", "| expression | faces | recall | 95 % | precision |"]
    lines.append("|---|---|---|---|---|")
    lines += [
        f"| {c.label} | {c.support} | {_figure(c.recall, 3)} | {_range(c.recall_95)} | {c.precision:.3f} |"
        for c in own.per_class
    ]
    for truth, e in evaluations.items():
        if e.dropped_classes or e.missing_classes:
            lines.append(
                f"\nOn the ground truth *{truth}*: dropped and renormalised: {', '.join(e.dropped_classes) or 'none'}; "
                f"classes that the model lacks, counted as wrong: {', '.join(e.missing_classes) or 'none'}."
            )
    lines += ["", "## Calibration", "", _CALIBRATION, "", "## Limits", ""]
    lines += [f"- {limit}" for limit in texts.limits]
    lines += ["", "## Use and misuse", "", _USE, ""]
    return "\n".join(lines)


def evaluate_for_card(
    model: ModelFile,
    data: Path,
    split: str,
) -> dict[Truth, Evaluation]:
    """Evaluates the model on a split, on each kind of ground truth that the data have: votes, labels.

    Raises DataError.
    """
    inputs = read_inputs(data, split, size=model.info.size, channels=model.info.channels, train=False)
    truths: tuple[Truth, ...] = ("label",) if inputs.samples.votes is None else ("votes", "label")
    name = Path(data).name
    return {truth: evaluate_samples([model], inputs.samples, truth=truth, data=name, split=split) for truth in truths}


def write_card(
    model: ModelFile, evaluations: Mapping[Truth, Evaluation], out: Path, texts: CardTexts | None = None
) -> tuple[Path, Path]:
    """Writes the model file to `out` with its card in the metadata, and the card, with the checksum, beside it as .md.

    Returns both paths. Raises MissingExtraError without onnx, OutputError.
    """
    written = write_with_card(model, model_card(model, evaluations, texts, inside=True), out)
    beside = out.with_suffix(".md")
    write_text(beside, model_card(written, evaluations, texts))
    return out, beside


def write_with_card(model: ModelFile, card: str, out: Path) -> ModelFile:
    """Writes a copy of the model file to `out` with this card in its metadata, see `write_with_texts`."""
    return write_with_texts(model, {CARD_KEY: card}, out)


def write_with_texts(model: ModelFile, texts: Mapping[str, str], out: Path) -> ModelFile:
    """Writes a copy of the model file to `out` with these texts in its metadata; the network is unchanged.

    out may be the model's own path. Raises MissingExtraError without onnx, OutputError.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("train", "writing model files") from error
    loaded = onnx.load(str(model.path))
    others = {p.key: p.value for p in loaded.metadata_props if p.key not in texts}
    del loaded.metadata_props[:]
    onnx.helper.set_model_props(loaded, {**others, **texts})
    with atomic_path(out) as place:
        onnx.save(loaded, str(place))
    return ModelFile(out)


def _file_line(model: ModelFile) -> str:
    return f"- **File**: `{model.path.name}`, {model.path.stat().st_size / 1e6:.2f} MB, sha256 `{model.sha256}`"


def _range(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"


def _at_0(e: Evaluation, figure: str) -> float | None:
    return getattr(e.balance.points[0], figure) if e.balance and e.balance.points else None


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
