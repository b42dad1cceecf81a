"""The balance of probabilities: the arithmetic, what a model file states, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.balance import Balance, balance_probabilities, balance_weights, mean_prior, model_balance, read_prior
from mien.crop import CropSpec
from mien.errors import ArgumentError, ModelFileError
from mien.labels import FER2013
from mien.model_file import ModelFile, ModelInfo
from tiny_models import make_model

PRIOR = (0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17)
SHARES = st.lists(st.floats(1e-4, 1), min_size=7, max_size=7)


def rows(seed: int, count: int = 20) -> np.ndarray:
    drawn = np.random.default_rng(seed).dirichlet(np.full(7, 0.5), count)
    return drawn.astype(np.float32)


# The arithmetic


def test_balance_0_returns_the_same_bits() -> None:
    p = rows(0)
    assert balance_probabilities(p, balance_weights(PRIOR, 0.0)) is p
    assert Balance(0.0, PRIOR, (1 / 7,) * 7).apply(p) is p


@given(st.integers(0, 1000), SHARES, st.floats(0.01, 1), st.none() | SHARES)
def test_it_is_the_division_by_hand(seed: int, prior: list[float], balance: float, target: list[float] | None) -> None:
    p = rows(seed)
    found = balance_probabilities(p, balance_weights(prior, balance, target))
    assert (found.dtype, found.shape) == (np.float32, p.shape)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    for row, own in zip(p.astype(float), found, strict=True):
        by_hand = [
            share / part**balance * (1 if target is None else target[k] ** balance)
            for k, (share, part) in enumerate(zip(row, prior, strict=True))
        ]
        np.testing.assert_allclose(own, np.array(by_hand) / sum(by_hand), atol=2e-6)


def test_balance_1_gives_what_bayes_gives() -> None:
    """Two classes whose likelihoods are known: the answer for another mix is exact."""
    likelihood = np.array([[0.9, 0.2], [0.1, 0.8]])
    trained, wanted = np.array([0.8, 0.2]), np.array([0.3, 0.7])
    before = likelihood * trained / (likelihood * trained).sum(1, keepdims=True)
    after = likelihood * wanted / (likelihood * wanted).sum(1, keepdims=True)
    np.testing.assert_allclose(Balance(1.0, tuple(trained), tuple(wanted)).apply(before), after)


def test_a_balance_in_two_steps_is_one_in_their_sum() -> None:
    p = rows(3).astype(np.float64)
    first = Balance(0.3, PRIOR)
    second = Balance(0.5, first.mix)
    np.testing.assert_allclose(second.apply(first.apply(p)), Balance(0.3 + 0.7 * 0.5, PRIOR).apply(p), atol=1e-12)


# What a model file states


def test_prior_and_balance_travel_in_the_file(tmp_path: Path) -> None:
    info = ModelFile(make_model(tmp_path / "m.onnx", prior=PRIOR, balance=0.25)).info
    assert (info.prior, info.balance) == (PRIOR, 0.25)
    without = ModelInfo("m", FER2013, 48, 1, CropSpec(), "label")
    assert {"prior", "balance"}.isdisjoint(json.loads(without.to_json()))


@pytest.mark.parametrize(("prior", "balance"), [((0.5, 0.5), 0.1), ((*PRIOR[:6], 0.0), 0.1), (PRIOR, 1.2), ((), 0.2)])
def test_a_file_that_contradicts_itself_is_refused(prior: tuple[float, ...], balance: float, tmp_path: Path) -> None:
    raw = {"format": 1, "name": "m", "labels": FER2013, "size": 48, "channels": 1, "target": "label"}
    raw |= {"crop": {"margin": 0.0}, "prior": prior, "balance": balance}
    path = make_model(tmp_path / "m.onnx", metadata=json.dumps(raw))
    with pytest.raises(ModelFileError, match=r"m\.onnx: its metadata is damaged \((prior|balance) is"):
        ModelFile(path)


def test_models_are_averaged_by_name(tmp_path: Path) -> None:
    turned = FER2013[::-1]
    one = ModelFile(make_model(tmp_path / "a.onnx", prior=PRIOR, balance=0.2))
    other = ModelFile(make_model(tmp_path / "b.onnx", turned, prior=PRIOR[::-1], balance=0.4))
    found = model_balance([one, other])
    assert found.balance == pytest.approx(0.3)
    np.testing.assert_allclose(found.prior, PRIOR)
    np.testing.assert_allclose(mean_prior([other, one], [0.9, 0.1]), PRIOR[::-1])
    bare = ModelFile(make_model(tmp_path / "c.onnx"))
    assert model_balance([one, bare]).balance == 0
    assert mean_prior([one, bare], [0.5, 0.5]) == ()


# What is refused, and what a user's mix may be


@pytest.mark.parametrize("wrong", [-0.1, 1.01, float("nan")])
def test_a_balance_is_from_0_to_1(wrong: float, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"balance is .*; expected 0 to 1"):
        model_balance([ModelFile(make_model(tmp_path / "m.onnx", prior=PRIOR))], wrong)


def test_a_model_without_a_prior_has_balance_0_and_no_other(tmp_path: Path) -> None:
    bare = ModelFile(make_model(tmp_path / "m.onnx"))
    even = dict.fromkeys(FER2013, 1.0)
    assert model_balance([bare]).balance == model_balance([bare], 0.0, even).balance == 0
    for balance, prior in ((0.3, None), (None, even)):
        with pytest.raises(ModelFileError, match=r"m\.onnx: its metadata has no prior .*mien calibrate MODEL"):
            model_balance([bare], balance, prior)


def test_a_mix_of_the_user_asks_for_the_whole_correction(tmp_path: Path) -> None:
    model = ModelFile(make_model(tmp_path / "m.onnx", prior=PRIOR, balance=0.25))
    mine = dict(zip(("anger", "disgust", "fear", "happiness", "sad", "surprise", "neutral"), range(1, 8), strict=True))
    place = tmp_path / "counts.json"
    place.write_text(json.dumps(mine))
    for prior in (mine, place, str(place)):
        found = model_balance([model], None, prior)
        assert found.balance == 1
        np.testing.assert_allclose(found.target, np.arange(1, 8) / 28)
    assert model_balance([model], 0.5, mine).balance == 0.5
    same = dict(zip(FER2013, PRIOR, strict=True))
    np.testing.assert_allclose(model_balance([model], None, same).apply(rows(1)), rows(1), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"happy": 1}', r"no number for angry, disgust"),
        ('{"happie": 1}', r"unknown label 'happie'; did you mean 'happy'\?"),
        ('{"happy": 0}', r"'happy' is 0; expected a count or share above 0"),
        ('{"happy": 1e999}', r"'happy' is inf; expected"),
        ('{"happy": 1' + 400 * "0" + "}", r"'happy' is 10+; expected"),
        ('{"happy": -2}', r"'happy' is -2; expected"),
        ('{"happy": "many"}', r"'happy' is 'many'; expected"),
        ('{"happy": true}', r"'happy' is True; expected"),
        ('{"happy": NaN}', r"'happy' is nan; expected"),
        ('{"happy": 1, "happiness": 2}', r"label 'happy' is given twice"),
        ("[1, 2]", r"has no labels; expected a JSON file"),
        ("happy: 1", r"is not JSON"),
    ],
)
def test_a_file_of_a_mix_is_checked(text: str, reason: str, tmp_path: Path) -> None:
    place = tmp_path / "counts.json"
    place.write_text(text)
    with pytest.raises(ArgumentError, match=rf"counts\.json: {reason}") as caught:
        read_prior(place, FER2013)
    assert "\n" not in str(caught.value)
    tiny = dict.fromkeys(FER2013, 1.0) | {"sad": 1e-12}
    with pytest.raises(ArgumentError, match=r"prior: 'sad' has less than a billionth"):
        read_prior(tiny, FER2013)
    with pytest.raises(ArgumentError, match=r"gone\.json: can't be read"):
        read_prior(tmp_path / "gone.json", FER2013)
