"""Model cards: those in the repository are what the generator makes, and a card needs nobody's texts."""

import importlib.util

import numpy as np
import pytest

from mien.cli.models import card as command
from mien.cli.models import show
from mien.data.toy import toy_faces, write_toy_folders
from mien.evaluation.card import model_card
from mien.evaluation.ensemble import write_ensemble
from mien.evaluation.evaluate import evaluate_samples
from mien.model_file import ModelFile, load_model, shipped_models
from places import ROOT
from tiny_models import make_model


@pytest.fixture
def release_script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))  # it imports its neighbour
    spec = importlib.util.spec_from_file_location("release_models", ROOT / "scripts" / "release_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_the_cards_in_the_repository_are_what_the_generator_makes_of_the_committed_figures(name, release_script):
    script, model = release_script, load_model(name)
    figures = {t: script.read_short_metrics(ROOT / "docs/results" / name / f"metrics-{t}.json") for t in script.TRUTHS}
    card = model_card(model, figures, script.shipped_texts(model))
    assert card == (ROOT / "docs/models" / f"{name}.md").read_text("utf-8")
    assert model.card == model_card(model, figures, script.shipped_texts(model), inside=True)


def test_a_card_of_any_model_says_what_its_metadata_say(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.evaluation.ensemble._CHECKED", 16)
    members = [ModelFile(make_model(tmp_path / f"{name}.onnx", seed=seed)) for seed, name in enumerate("ab")]
    model = ModelFile(write_ensemble(members, tmp_path / "both.onnx").path)
    result = evaluate_samples([model], toy_faces(21), truth="label")
    card = model_card(model, {"label": result})
    assert f"| accuracy (95 % interval) | {result.accuracy:.4f} (" in card
    assert "weighted mean of a, b" in card
    assert model.sha256 in card
    assert "FER2013" not in card
    with pytest.raises(ValueError, match="needs figures"):
        model_card(model, {})


def test_the_command_puts_a_card_into_a_file_and_shows_it(tmp_path, capsys):
    write_toy_folders(tmp_path / "faces", train=20, validation=40, test=0, seed=3)
    model = ModelFile(make_model(tmp_path / "m.onnx", seed=1))
    show(str(model.path))
    assert "no card; write one:  mien models card" in capsys.readouterr().out
    place = tmp_path / "n.onnx"
    command(str(model.path), data=tmp_path / "faces", split="validation", out=place)
    command(str(place), data=tmp_path / "faces", split="validation", out=place)  # again, in place of the first
    carded, faces = ModelFile(place), toy_faces(14).images
    assert np.array_equal(carded.probabilities(faces), model.probabilities(faces))
    assert carded.info == model.info
    capsys.readouterr()
    show(str(place))
    assert capsys.readouterr().out.endswith(carded.card + "\n")
    beside = (tmp_path / "n.md").read_text("utf-8").splitlines()
    assert [line for line in beside if not line.startswith("- **File**")] == carded.card.splitlines()
    assert carded.sha256 in "".join(beside)
