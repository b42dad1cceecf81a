"""Ranking, calibration and abstention against scikit-learn or a naive re-computation, degenerate input included."""

import itertools
import json
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.preprocessing import label_binarize

from mien.evaluation import calibration, curves, metrics


def cases():
    """(truth, probabilities) of 3 to 8 classes: random ones, and all that is degenerate."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        classes, n = 3 + seed % 6, (1, 2, 30, 500)[seed % 4]
        truth = rng.integers(0, classes, n)
        p = rng.dirichlet(np.ones(classes) * 0.5, n) + 0.4 * np.eye(classes)[truth] * rng.random((n, 1))
        yield f"random-{seed}", truth, p / p.sum(1, keepdims=True)
    rng = np.random.default_rng(99)
    p = rng.dirichlet(np.ones(5), 60)
    yield "class-missing-in-truth", rng.integers(1, 5, 60), p
    yield "one-class-in-truth", np.full(60, 3), p
    yield "all-wrong", (p.argmax(1) + 1) % 5, p
    yield "all-right", p.argmax(1), p
    yield "constant", rng.integers(0, 5, 60), np.tile([0.1, 0.4, 0.2, 0.2, 0.1], (60, 1))
    yield "uniform", rng.integers(0, 5, 60), np.full((60, 5), 0.2)
    ties = np.round(p, 1) + 0.02
    yield "ties", rng.integers(0, 5, 60), ties / ties.sum(1, keepdims=True)
    yield "certain", rng.integers(0, 5, 60), np.eye(5)[rng.integers(0, 5, 60)]
    yield "certain-and-one-class", np.zeros(4, int), np.eye(3)[[0, 0, 0, 0]]


CASES = [pytest.param(truth, p, id=name) for name, truth, p in cases()]


def quiet(function, *args, **kwargs):
    """scikit-learn's answer; its warnings about undefined figures are what None stands for here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def same(found, expected):
    if found is None:
        assert np.isnan(expected)
    else:
        assert np.isfinite(found)
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("truth", "p"), CASES)
def test_agreement(truth, p):
    classes, called = p.shape[1], p.argmax(1)
    every = list(range(classes))
    confusion = metrics.confusion_counts(truth, called, classes)
    same(metrics.cohen_kappa(confusion), quiet(sk.cohen_kappa_score, truth, called, labels=every))
    same(metrics.matthews_correlation(confusion), quiet(sk.matthews_corrcoef, truth, called))
    same(metrics.weighted_f1(confusion), quiet(sk.f1_score, truth, called, average="weighted", zero_division=0))
    shares = sk.confusion_matrix(truth, called, labels=every, normalize="true")
    np.testing.assert_allclose(metrics.normalised(confusion), shares, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize(("truth", "p"), CASES)
def test_top_k(truth, p, k):
    classes = p.shape[1]
    found = metrics.top_k_hits(p, truth, k)
    # scikit-learn puts the last of equal scores first, argmax the first: reversed, they are the same.
    expected = quiet(sk.top_k_accuracy_score, classes - 1 - truth, p[:, ::-1], k=k, labels=range(classes))
    assert found.mean() == pytest.approx(expected, abs=1e-6)
    if k == 1:
        np.testing.assert_array_equal(found, p.argmax(1) == truth)


@pytest.mark.parametrize(("truth", "p"), CASES)
def test_brier(truth, p):
    one_hot = label_binarize(truth, classes=range(p.shape[1]))
    expected = np.mean([sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x, y in zip(p, one_hot, strict=True)])
    same(metrics.brier_score(p, truth), expected)
    library = quiet(sk.brier_score_loss, truth, p, labels=range(p.shape[1]), scale_by_half=False)
    same(metrics.brier_score(p, truth), library)


@pytest.mark.parametrize(("truth", "p"), CASES)
def test_areas_and_curves(truth, p):
    for k in range(p.shape[1]):
        positive, scores = truth == k, p[:, k]
        found, recall = curves.roc_curve(positive, scores), curves.precision_recall_curve(positive, scores)
        if not positive.any():
            assert recall is curves.average_precision(positive, scores) is None
        else:
            same(curves.average_precision(positive, scores), sk.average_precision_score(positive, scores))
            y, x, t = sk.precision_recall_curve(positive, scores)
            for ours, theirs in ((recall.x, x[-2::-1]), (recall.y, y[-2::-1]), (recall.thresholds, t[::-1])):
                np.testing.assert_allclose(ours, theirs, atol=1e-12)
        if positive.all() or not positive.any():
            assert found is curves.roc_auc(positive, scores) is None
        else:
            same(curves.roc_auc(positive, scores), sk.roc_auc_score(positive, scores))
            x, y, t = sk.roc_curve(positive, scores, drop_intermediate=False)
            for ours, theirs in ((found.x, x), (found.y, y), (found.thresholds, t)):
                np.testing.assert_allclose(ours, theirs, atol=1e-12)


def naive_error(confidence, right, bins):
    """ECE, bin by bin and sample by sample."""
    total = 0.0
    for i in range(bins):
        chosen = [
            (c, r)
            for c, r in zip(confidence, right, strict=True)
            if i / bins < c <= (i + 1) / bins or (i == 0 and c == 0)
        ]
        if chosen:
            total += len(chosen) * abs(np.mean([r for _, r in chosen]) - np.mean([c for c, _ in chosen]))
    return total / len(confidence)


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize(("truth", "p"), CASES)
def test_calibration_errors(truth, p, bins):
    confidence, right = p.max(1), p.argmax(1) == truth
    same(metrics.expected_calibration_error(p, truth, bins=bins), naive_error(confidence, right, bins))
    by_class = calibration.classwise_calibration_error(p, truth, bins=bins)
    expected = [naive_error(p[:, k], truth == k, bins) for k in range(p.shape[1])]
    np.testing.assert_allclose(by_class, expected, atol=1e-6)
    diagram = calibration.reliability(p, truth, bins=bins)
    assert sum(b.n for b in diagram) == len(p)
    assert all((b.n == 0) == (b.confidence is None) == (b.accuracy is None) for b in diagram)
    error = sum(b.n * abs(b.accuracy - b.confidence) for b in diagram if b.n) / len(p)
    same(metrics.expected_calibration_error(p, truth, bins=bins), error)


def test_calibration_against_shares_of_raters():
    p = np.array([[0.7, 0.3], [0.7, 0.3]])
    shares = np.array([[0.9, 0.1], [0.5, 0.5]])
    assert metrics.expected_calibration_error(p, shares) == pytest.approx(0)
    np.testing.assert_allclose(calibration.classwise_calibration_error(p, shares), [0, 0], atol=1e-12)
    np.testing.assert_allclose(calibration.classwise_calibration_error(p, np.array([0, 0])), [0.3, 0.3])
    with pytest.raises(ValueError, match="truth of shape"):
        calibration.classwise_calibration_error(p, shares[:1])


@pytest.mark.parametrize(("truth", "p"), CASES)
def test_risk_and_coverage(truth, p):
    right, confidence = p.argmax(1) == truth, p.max(1)
    curve = curves.risk_coverage(right, confidence)
    for x, y, threshold in zip(curve.x, curve.y, curve.thresholds, strict=True):
        kept = confidence >= threshold
        assert (x, y) == pytest.approx((kept.mean(), 1 - right[kept].mean()))
    assert curve.x[-1] == 1
    for target in (0.5, 0.9, 1.0):
        fitting = [c for c in confidence if right[confidence >= c].mean() >= target - 1e-12]
        assert curves.threshold_for(right, confidence, target) == min(fitting, default=None)


def test_area_under_risk_coverage():
    right, confidence = np.array([True, False, True, True, False]), np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    assert curves.area_under_risk_coverage(right, confidence) == pytest.approx(np.mean([0, 1 / 2, 1 / 3, 1 / 4, 2 / 5]))
    tied = np.array([0.9, 0.5, 0.5, 0.5, 0.2])
    areas = []
    for order in itertools.permutations([1, 2, 3]):
        wrong = ~right[[0, *order, 4]]
        areas.append(np.mean(np.cumsum(wrong) / np.arange(1, 6)))
    assert curves.area_under_risk_coverage(right, tied) == pytest.approx(np.mean(areas))
    assert curves.area_under_risk_coverage(np.array([False]), np.array([0.3])) == 1


def test_thinned_curves_keep_their_ends_and_shape():
    rng = np.random.default_rng(0)
    positive = rng.random(20_000) < 0.01
    whole = curves.roc_curve(positive, rng.normal(0, 1, 20_000) + 3 * positive)
    thin = whole.thinned()
    assert 150 <= len(thin.x) <= 200
    assert (thin.x[0], thin.y[0], thin.x[-1], thin.y[-1]) == (0, 0, 1, 1)
    area = (np.diff(thin.x) * (thin.y[1:] + thin.y[:-1]) / 2).sum()
    whole_area = (np.diff(whole.x) * (whole.y[1:] + whole.y[:-1]) / 2).sum()
    assert area == pytest.approx(whole_area, abs=2e-3)
    assert thin.thinned() is thin
    flat = curves.Curve(np.zeros(1000), np.zeros(1000), np.arange(1000.0)[::-1])
    assert len(flat.thinned().x) <= 200


@pytest.mark.parametrize(("truth", "p"), CASES)
def test_bootstrap(truth, p):
    confusion = metrics.confusion_counts(truth, p.argmax(1), p.shape[1])
    found = metrics.bootstrap(confusion)
    assert found == metrics.bootstrap(confusion)
    for value, (low, high) in (
        (metrics.accuracy(confusion), found.accuracy),
        (metrics.balanced_accuracy(confusion), found.balanced_accuracy),
        (metrics.macro_f1(confusion), found.macro_f1),
    ):
        assert 0 <= low <= high <= 1
        assert low <= value + 0.08
        assert high >= value - 0.08
    json.dumps([found.accuracy, found.macro_f1], allow_nan=False)


def test_bootstrap_is_that_of_resampled_samples():
    rng = np.random.default_rng(1)
    truth = rng.choice(5, 400, p=[0.5, 0.3, 0.1, 0.07, 0.03])
    called = np.where(rng.random(400) < 0.7, truth, rng.integers(0, 5, 400))
    found = metrics.bootstrap(metrics.confusion_counts(truth, called, 5))
    figures = []
    for _ in range(2000):
        rows = rng.integers(0, 400, 400)
        drawn = metrics.confusion_counts(truth[rows], called[rows], 5)
        figures.append((metrics.accuracy(drawn), metrics.balanced_accuracy(drawn), metrics.macro_f1(drawn)))
    expected = np.percentile(figures, (2.5, 97.5), axis=0).T
    np.testing.assert_allclose((found.accuracy, found.balanced_accuracy, found.macro_f1), expected, atol=0.015)


@pytest.mark.parametrize(
    "call",
    [
        lambda: curves.roc_curve(np.zeros(0, bool), np.zeros(0)),
        lambda: curves.roc_auc(np.array([0, 1]), np.array([0.1, 0.2])),
        lambda: curves.risk_coverage(np.array([True]), np.array([np.nan])),
        lambda: curves.average_precision(np.array([True]), np.array([0.1, 0.2])),
        lambda: calibration.reliability(np.zeros((0, 3)), np.zeros(0, int)),
        lambda: metrics.top_k_hits(np.zeros((2, 3)), np.array([0, 3])),
        lambda: metrics.bootstrap(np.zeros((3, 3), int)),
    ],
)
def test_impossible_input_is_refused(call):
    with pytest.raises(ValueError, match=r"expected|NaN|no samples"):
        call()
