"""Several models on the same faces: paired tests, tables for papers, and evaluation protocols."""

import csv
from dataclasses import replace

import numpy as np
import pytest

import mien
from made_data import make
from mien.evaluation.measure import Answers, GroundTruth, measure
from mien.evaluation.paired import differences, same_faces
from mien.evaluation.protocols import PROTOCOLS
from mien.evaluation.side_by_side import evaluate_side_by_side
from mien.evaluation.tables import latex_table, markdown_table
from mien.labels import EIGHT, FER2013
from tiny_models import make_model

LABELS = ("a", "b", "c")


def evaluation(right, *, seed, sources=None):
    """Answers of which the given share is right."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    chosen = np.random.default_rng(seed).random(400) < right
    p = np.full((400, 3), 0.1)
    p[np.arange(400), np.where(chosen, truth, (truth + 1) % 3)] = 0.8
    names = sources or tuple(map(str, range(400)))
    answers = Answers(LABELS, p.argmax(1), p.max(1), p)
    return measure(answers, GroundTruth("label", LABELS, truth, names, None, {}), target_accuracy=None, data="d")


def test_differences_are_paired_with_intervals_and_holms_correction():
    found = {"good": evaluation(0.8, seed=1), "same": evaluation(0.8, seed=2), "poor": evaluation(0.5, seed=3)}
    pairs = differences(found)
    assert [(d.first, d.second) for d in pairs] == [("good", "same"), ("good", "poor"), ("same", "poor")]
    alike, worse, _ = pairs
    assert alike.accuracy_95[0] < 0 < alike.accuracy_95[1]
    assert worse.accuracy == pytest.approx(found["good"].accuracy - found["poor"].accuracy)
    assert worse.macro_recall == pytest.approx(found["good"].balanced_accuracy - found["poor"].balanced_accuracy)
    assert 0 < worse.accuracy_95[0] < worse.accuracy < worse.accuracy_95[1]
    # A paired difference of shares has this standard error (Agresti 2013, section 11.1).
    b, c = worse.mcnemar.only_first / 400, worse.mcnemar.only_second / 400
    error = 1.96 * np.sqrt((b + c - (b - c) ** 2) / 400)
    assert worse.accuracy_95 == pytest.approx((worse.accuracy - error, worse.accuracy + error), abs=0.01)
    assert worse.p_holm >= worse.mcnemar.p_value
    assert differences({"x": found["good"], "y": evaluation(0.8, seed=1, sources=("other",) * 400)}) == ()


def test_each_class_has_three_figures_with_intervals():
    found = evaluation(0.7, seed=1)
    for score in found.per_class:
        assert score.recall_95[0] < score.recall < score.recall_95[1]
        assert score.precision_95[0] < score.precision < score.precision_95[1]
        assert score.f1_95[0] < score.f1 < score.f1_95[1]
        assert score.predicted == found.predicted_index.tolist().count(found.labels.index(score.label))


def test_tables_escape_what_their_language_means():
    assert latex_table(("a_b", "c"), [("50 %", "1 ± 2")]).splitlines()[2:5] == [
        r"a\_b & c \\", r"\midrule", r"50 \% & 1 $\pm$ 2 \\",
    ]  # fmt: skip
    assert markdown_table(("a", "b"), [("x|y", 1)]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n"


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """Eight classes in validation and test, with votes."""
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (160, 48, 48, 1), dtype=np.uint8))
    votes = rng.multinomial(4, np.full(8, 1 / 8), 160).astype(np.float32)
    votes[np.arange(160), np.arange(160) % 8] += 6
    data = make(images, [i % 8 for i in range(160)], ["validation" if i < 80 else "test" for i in range(160)])
    return replace(data, columns={**data.columns, "votes": votes}, label_names=EIGHT)


def test_protocols_choose_split_truth_and_classes(eight, tmp_path):
    model = make_model(tmp_path / "m.onnx", EIGHT)
    found = {name: mien.evaluate(model, eight, protocol=name) for name in PROTOCOLS}
    assert {name: (e.split, e.truth, len(e.labels)) for name, e in found.items()} == {
        "fer2013": ("test", "label", 7), "raf-db": ("test", "label", 7),
        "ferplus-majority": ("test", "votes", 8), "ferplus-probability": ("test", "votes", 8),
        "affectnet-7": ("validation", "label", 7), "affectnet-8": ("validation", "label", 8),
    }  # fmt: skip
    assert found["affectnet-7"].n == 70 and found["affectnet-8"].n == 80
    assert found["ferplus-probability"].kl_n == 80
    assert "protocol affectnet-7: AffectNet's validation set without contempt" in found["affectnet-7"].notes[-1]
    assert mien.evaluate(model, eight, "validation", protocol="fer2013").split == "validation"
    with pytest.raises(mien.ArgumentError, match="measures by 'label', and truth is 'votes'"):
        mien.evaluate(model, eight, truth="votes", protocol="fer2013")
    with pytest.raises(mien.ArgumentError, match="protocol is 'ck'; expected fer2013"):
        mien.evaluate(model, eight, protocol="ck")
    seven = replace(eight, label_names=(*FER2013, "other"))
    with pytest.raises(mien.DataError, match="no class 'contempt', which the protocol measures"):
        mien.evaluate(model, seven, protocol="affectnet-8")


def test_several_models_leave_tables_for_a_paper(eight, undrawn, tmp_path):
    models = [str(make_model(tmp_path / f"{name}.onnx", EIGHT)) for name in ("one", "two")]
    found = evaluate_side_by_side(models, eight, "test", "label", tmp_path / "out", vector_figures=True)
    assert same_faces(*found.values())
    for name in ("models", "classes", "differences"):
        assert all((tmp_path / "out" / f"{name}.{kind}").is_file() for kind in ("md", "tex", "csv"))
    rows = list(csv.DictReader((tmp_path / "out" / "classes.csv").read_text().splitlines()))
    assert len(rows) == 16 and float(rows[0]["f1_low"]) <= float(rows[0]["f1"]) <= float(rows[0]["f1_high"])
    assert undrawn == [True, True]
