"""The curve over the balance, the rule that chooses one, and what calibrating, averaging and reporting make of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mien.balance import Balance
from mien.data.samples import Samples
from mien.errors import ArgumentError
from mien.evaluation import metrics
from mien.evaluation.ensemble import write_ensemble
from mien.evaluation.evaluate import evaluate_samples
from mien.evaluation.folder import write_folder
from mien.evaluation.operating_point import (
    FEWEST,
    GRID,
    balance_points,
    choose_balance,
    default_balance,
    training_mix,
)
from mien.evaluation.recalibrate import write_calibrated
from mien.evaluation.report import report_text
from mien.evaluation.result import BalancePoint
from mien.labels import FER2013
from mien.model_file import ModelFile
from tiny_models import make_model

PRIOR = (0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17)


def drawn(count: int = 1500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities of a problem whose classes are as frequent as PRIOR, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.array(PRIOR) * 4, count)
    return p, (rng.random((count, 1)) > p.cumsum(1)).sum(1).clip(0, 6)


def samples_of(model: ModelFile, count: int = 1200) -> Samples:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (count, 48, 48, 1), np.uint8)
    p = model.probabilities(images)
    labels = (rng.random((count, 1)) > p.cumsum(1)).sum(1).clip(0, 6)
    return Samples(images, labels.astype(np.int64), FER2013, tuple(map(str, range(count))), None)


def test_the_curve_is_what_each_balance_gives() -> None:
    p, truth = drawn()
    points = balance_points(p, Balance(0.4, PRIOR), np.where(np.arange(len(truth)) % 5 == 0, -1, truth))
    assert [point.balance for point in points] == list(GRID)
    kept = np.arange(len(truth)) % 5 != 0
    for point in points[::5]:
        called = Balance(point.balance, PRIOR).apply(p[kept]).argmax(1)
        confusion = metrics.confusion_counts(truth[kept], called, 7)
        assert point.accuracy == metrics.accuracy(confusion)
        assert point.macro_recall == metrics.balanced_accuracy(confusion)
    assert points[-1].macro_recall > points[0].macro_recall  # what the correction is for
    assert balance_points(p, Balance(0.0, ()), truth) == ()


def test_the_rule_takes_the_most_macro_recall_for_half_a_point() -> None:
    def points(*rows: tuple[float, float]) -> list[BalancePoint]:
        return [BalancePoint(step / 20, *row) for step, row in enumerate(rows)]

    assert choose_balance(points((0.9, 0.7), (0.895, 0.72), (0.8949, 0.9))) == 0.05  # exactly half a point is allowed
    assert choose_balance(points((0.9, 0.7), (0.7, 0.8), (0.91, 0.75))) == 0.1  # not the first dip decides
    assert choose_balance(points((0.9, 0.7), (0.9, 0.7))) == 0  # of equal ones the smaller
    assert choose_balance([]) == 0


def test_few_faces_choose_nothing() -> None:
    p, truth = drawn(2 * FEWEST)
    assert default_balance(p, PRIOR, truth) == choose_balance(balance_points(p, Balance(0.0, PRIOR), truth))
    few = np.where(np.arange(len(truth)) < FEWEST - 1, truth, -1)
    assert default_balance(p, PRIOR, few) == default_balance(p, (), truth) == 0


def test_the_training_mix_is_the_mean_target() -> None:
    shares = np.array([[1, 0, 0], [0, 0.5, 0.5], [0, 0, 0], [0, 1, 0]])
    assert training_mix(shares) == (0.333333, 0.5, 0.166667)
    assert training_mix(shares[:1]) == training_mix(shares[2:3]) == ()  # a label without a face has no weight


def test_a_report_states_the_balance_and_both_calibration_errors(tmp_path: Path) -> None:
    model = ModelFile(make_model(tmp_path / "m.onnx", prior=PRIOR, balance=0.5))
    samples = samples_of(model)
    at_0, own = evaluate_samples([model], samples, balance=0), evaluate_samples([model], samples)
    assert own.balance is not None and at_0.balance is not None
    assert (at_0.balance.used, own.balance.used) == (0, 0.5)
    assert own.balance.ece_at_0 == at_0.ece == at_0.balance.ece_at_0
    assert own.ece is not None and at_0.ece is not None and own.ece > at_0.ece  # the labels were drawn at 0
    assert own.balance.points == at_0.balance.points
    assert (own.balance.points[10].accuracy, own.balance.points[10].macro_recall) == (
        own.accuracy,
        own.balanced_accuracy,
    )
    assert own.ece_before_temperature == at_0.ece_before_temperature
    text = report_text(own)
    assert f"balance            0.5  (0: the training mix, 1: an even mix); at 0: accuracy {at_0.accuracy:.4f}" in text
    bare = evaluate_samples([ModelFile(make_model(tmp_path / "bare.onnx"))], samples)
    assert "balance            0  (the model file has no training mix)" in report_text(bare)
    files = write_folder(own, tmp_path / "out", samples=samples)
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())["balance"]
    assert written["used"] == 0.5
    assert len(written["points"]) == len(GRID)
    if files[0].suffix == ".html":
        assert "All other figures of this page are at balance 0.5" in files[0].read_text("utf-8")
        assert (tmp_path / "out" / "figures" / "balance.png").is_file()


def test_the_threshold_for_an_accuracy_is_one_of_balanced_confidence(tmp_path: Path) -> None:
    """What `mien evaluate --target-accuracy` finds is what `--abstain-below` then does."""
    from mien.evaluation.evaluate import Extras
    from mien.recognition.recognizer import Recognizer

    model = ModelFile(make_model(tmp_path / "m.onnx", prior=PRIOR, balance=0.5))
    samples = samples_of(model, 300)
    found = evaluate_samples([model], samples, extras=Extras(target_accuracy=0.7))
    assert found.selective is not None and found.selective.abstention is not None
    wanted = found.selective.abstention
    assert wanted.threshold is not None
    recognizer = Recognizer(model, detector="none", abstain_below=wanted.threshold - 1e-6)
    faces = [result[0] for result in recognizer.predict(list(samples.images[..., 0]))]
    answered = [i for i, face in enumerate(faces) if not face.abstained]
    right = [faces[i].expression == FER2013[samples.labels[i]] for i in answered]
    assert (len(answered), np.mean(right)) == (wanted.n, pytest.approx(wanted.accuracy))


def test_calibrating_chooses_a_balance_and_keeps_the_prior(tmp_path: Path) -> None:
    model = ModelFile(make_model(tmp_path / "m.onnx", prior=PRIOR, balance=0.9))
    samples = samples_of(model)
    made = write_calibrated(model, samples, tmp_path / "c.onnx")
    calibrated = ModelFile(made.path)
    points = evaluate_samples([calibrated], samples).balance.points  # type: ignore[union-attr]
    assert calibrated.info.prior == PRIOR
    assert calibrated.info.balance == choose_balance(points)
    assert write_calibrated(model, samples, tmp_path / "o.onnx", balance=0.3).info.balance == 0.3
    few = samples_of(model, 200)
    assert write_calibrated(model, few, tmp_path / "f.onnx").info.balance == 0.9
    with pytest.raises(ArgumentError, match="balance is 2"):
        write_calibrated(model, few, tmp_path / "x.onnx", balance=2)


def test_calibrating_gives_a_prior_to_a_file_without_one(tmp_path: Path) -> None:
    bare = ModelFile(make_model(tmp_path / "m.onnx"))
    samples = samples_of(bare)
    mix = training_mix(np.eye(7)[samples.labels])
    assert write_calibrated(bare, samples, tmp_path / "c.onnx").info.prior == mix
    old = ModelFile(make_model(tmp_path / "old.onnx", prior=PRIOR))
    assert write_calibrated(old, samples, tmp_path / "v.onnx", method="vector").info.prior == mix


def test_an_ensemble_has_the_mean_prior_and_is_balanced_like_its_members(tmp_path: Path) -> None:
    other = (0.2, 0.1, 0.1, 0.2, 0.1, 0.2, 0.1)
    members = [
        ModelFile(make_model(tmp_path / "a.onnx", prior=PRIOR, balance=0.2)),
        ModelFile(make_model(tmp_path / "b.onnx", seed=1, prior=other, balance=0.4)),
    ]
    made = ModelFile(write_ensemble(members, tmp_path / "ab.onnx").path)
    np.testing.assert_allclose(made.info.prior, (np.array(PRIOR) + other) / 2)
    assert made.info.balance == pytest.approx(0.3)
    samples = samples_of(members[0], 50)
    ours, theirs = evaluate_samples([made], samples), evaluate_samples(members, samples)
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-5)
    assert write_ensemble(members, tmp_path / "c.onnx", balance=0.7).info.balance == 0.7
