"""Model cards: those in the repository are what the generator makes, and a card needs nobody's texts."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from mien.data.toy import toy_faces
from mien.evaluation.card import model_card
from mien.evaluation.ensemble import write_ensemble
from mien.evaluation.evaluate import evaluate
from mien.model_file import ModelFile, open_model
from tiny_models import make_model

ROOT = Path(__file__).parents[1]


def release_script():
    spec = importlib.util.spec_from_file_location("release_models", ROOT / "scripts" / "release_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def committed(name, truth):
    figures = json.loads((ROOT / "docs/results" / name / f"metrics-{truth}.json").read_text("utf-8"))
    classes = [SimpleNamespace(label=label, **c) for label, c in figures["per_class"].items()]
    return SimpleNamespace(**(figures | {"per_class": classes}))


@pytest.mark.parametrize("name", ["mien-small", "mien-nano", "mien-small-fer2013", "mien-nano-fer2013"])
def test_the_cards_in_the_repository_are_what_the_generator_makes_of_the_committed_figures(name):
    script, model = release_script(), open_model(name)
    card = model_card(model, {t: committed(name, t) for t in script.RULERS}, script.shipped_texts(model))
    assert card == (ROOT / "docs/models" / f"{name}.md").read_text("utf-8")


def test_a_card_of_any_model_says_what_its_metadata_say(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.evaluation.ensemble._CHECKED", 16)
    members = [ModelFile(make_model(tmp_path / f"{name}.onnx", seed=seed)) for seed, name in enumerate("ab")]
    model = ModelFile(write_ensemble(members, tmp_path / "both.onnx").path)
    result = evaluate([model], toy_faces(21), truth="label")
    card = model_card(model, {"label": result})
    assert f"| accuracy (95 % interval) | {result.accuracy:.4f} (" in card
    assert "weighted mean of a, b" in card
    assert model.sha256 in card
    assert "FER2013" not in card
    with pytest.raises(ValueError, match="needs figures"):
        model_card(model, {})
