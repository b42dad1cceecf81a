"""Metrics against scikit-learn, and calibration against known temperatures."""

import numpy as np
import pytest
from sklearn import metrics as sk

from mien.evaluation import metrics
from mien.evaluation.calibration import HIGHEST, LOWEST, fit_temperature, undo_temperature
from mien.intervals import wilson_interval


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def random_case(seed, n=400, classes=7, leave_out=()):
    rng = np.random.default_rng(seed)
    allowed = [k for k in range(classes) if k not in leave_out]
    truth = rng.choice(allowed, n)
    p = softmax(rng.normal(0, 1.5, (n, classes)) + 2 * np.eye(classes)[truth])
    return truth, p


@pytest.mark.parametrize(
    ("seed", "n", "classes", "leave_out"),
    [(0, 400, 7, ()), (1, 1000, 8, (1, 7)), (2, 1, 3, ()), (3, 5, 8, ()), (4, 50, 2, (0,)), (5, 30, 4, (0, 1, 2))],
)
def test_equal_to_scikit_learn(seed, n, classes, leave_out):
    truth, p = random_case(seed, n, classes, leave_out)
    called = p.argmax(1)
    confusion = metrics.confusion_counts(truth, called, classes)
    every, present = list(range(classes)), sorted(set(truth.tolist()))
    scores = sk.precision_recall_fscore_support(truth, called, labels=every, zero_division=0)
    np.testing.assert_array_equal(confusion, sk.confusion_matrix(truth, called, labels=every))
    np.testing.assert_allclose(metrics.precision(confusion), scores[0], atol=1e-6)
    np.testing.assert_allclose(metrics.recall(confusion), scores[1], atol=1e-6)
    np.testing.assert_allclose(metrics.f1(confusion), scores[2], atol=1e-6)
    assert metrics.accuracy(confusion) == pytest.approx(sk.accuracy_score(truth, called), abs=1e-6)
    balanced = sk.recall_score(truth, called, labels=present, average="macro", zero_division=0)
    assert metrics.balanced_accuracy(confusion) == pytest.approx(balanced, abs=1e-6)
    macro_f1 = sk.f1_score(truth, called, labels=present, average="macro", zero_division=0)
    assert metrics.macro_f1(confusion) == pytest.approx(macro_f1, abs=1e-6)
    log_loss = sk.log_loss(truth, p, labels=every)
    assert metrics.negative_log_likelihood(p, truth) == pytest.approx(log_loss, abs=1e-6)


def test_balanced_accuracy_is_scikit_learns():
    truth, p = random_case(6)
    confusion = metrics.confusion_counts(truth, p.argmax(1), 7)
    assert metrics.balanced_accuracy(confusion) == pytest.approx(sk.balanced_accuracy_score(truth, p.argmax(1)))


def test_nll_of_an_impossible_truth_is_large_and_finite():
    p = np.array([[1.0, 0.0], [1.0, 0.0]])
    truth = np.array([0, 1])
    value = metrics.negative_log_likelihood(p, truth)
    assert value == pytest.approx(sk.log_loss(truth, p, labels=[0, 1]), abs=1e-6)
    assert np.isfinite(value)


def test_ece_by_hand():
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.3, 0.7]])
    truth = np.array([0, 1, 1, 1])
    # Bins of 1/15: the two 0.9 (one right), 0.6, 0.7 (both right).
    assert metrics.expected_calibration_error(p, truth) == pytest.approx((2 * 0.4 + 0.4 + 0.3) / 4)


def test_ece_bins_are_closed_above():
    p = np.array([[0.5, 0.5], [0.75, 0.25]])
    truth = np.array([1, 0])
    # Two bins, (0, 0.5] and (0.5, 1]: wrong at 0.5, right at 0.75. One bin would cancel some of it.
    assert metrics.expected_calibration_error(p, truth, bins=2) == pytest.approx((0.5 + 0.25) / 2)
    assert metrics.expected_calibration_error(p, truth, bins=1) == pytest.approx(abs(1 - 1.25) / 2)


def test_ece_of_certainty():
    p = np.eye(3)[[0, 1, 2]]
    assert metrics.expected_calibration_error(p, np.array([0, 1, 2])) == 0
    assert metrics.expected_calibration_error(p, np.array([1, 2, 0])) == 1


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # 81 of 263: the worked example of Newcombe 1998; 0 of n: its upper end is z^2 / (n + z^2).
    [(81, 263, 0.2553, 0.3662), (50, 100, 0.4038, 0.5962), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)],
)
def test_wilson(right, n, low, high):
    assert wilson_interval(right, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_covers():
    rng = np.random.default_rng(0)
    counts = rng.binomial(200, 0.9, 4000)
    covered = [low <= 0.9 <= high for low, high in (wilson_interval(int(c), 200) for c in counts)]
    assert 0.93 <= np.mean(covered) <= 0.97


def test_kl():
    shares = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    assert metrics.mean_kl(shares, shares) == pytest.approx(0, abs=1e-12)
    p = np.array([[0.25, 0.25, 0.5], [0.5, 0.25, 0.25]])
    assert metrics.mean_kl(shares, p) == pytest.approx(np.log(2))
    assert np.isfinite(metrics.mean_kl(shares, np.array([[0, 0, 1.0], [0, 0, 1.0]])))


LABELS = np.array([0, 1])
GOOD = np.array([[0.6, 0.4], [0.1, 0.9]])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: metrics.accuracy(np.zeros((3, 3), np.int64)), "no samples"),
        (lambda: metrics.balanced_accuracy(np.zeros((3, 3), np.int64)), "no samples"),
        (lambda: metrics.macro_f1(np.zeros((3, 3), np.int64)), "no samples"),
        (lambda: wilson_interval(0, 0), "at least one sample"),
        (lambda: wilson_interval(3, 2), "3 right of 2"),
        (lambda: metrics.confusion_counts(LABELS, LABELS[:1], 2), "2 and 1 samples"),
        (lambda: metrics.confusion_counts(LABELS, LABELS + 1, 2), "expected 0 to 1"),
        (lambda: metrics.confusion_counts(LABELS - 1, LABELS, 2), "expected 0 to 1"),
        (lambda: metrics.confusion_counts(LABELS.astype(float), LABELS, 2), "expected integers"),
        (lambda: metrics.negative_log_likelihood(GOOD, LABELS[:1]), "2 and 1 samples"),
        (lambda: metrics.negative_log_likelihood(GOOD * 2, LABELS), "no distribution"),
        (lambda: metrics.negative_log_likelihood(GOOD - [[1, -1]], LABELS), "no distribution"),
        (lambda: metrics.negative_log_likelihood(GOOD[:, 0], LABELS), "shape"),
        (lambda: metrics.negative_log_likelihood(GOOD[:0], LABELS[:0]), "shape"),
        (lambda: metrics.expected_calibration_error(np.array([[np.nan, 1.0]]), LABELS[:1]), "NaN"),
        (lambda: metrics.expected_calibration_error(GOOD, LABELS, bins=0), "bins"),
        (lambda: metrics.mean_kl(GOOD[:1], GOOD), "same shape"),
        (lambda: metrics.mean_kl(GOOD * 0, GOOD), "shares in row 0"),
    ],
)
def test_degenerate_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# Temperature


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("soft", [False, True])
def test_recovers_a_known_temperature(temperature, soft):
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (60_000, 7))
    p = softmax(logits)
    labels = (p.cumsum(1) > rng.random((len(p), 1))).argmax(1)
    found = fit_temperature(logits * temperature, p if soft else labels)
    assert found == pytest.approx(temperature, rel=1e-4 if soft else 0.03)


def test_temperature_is_the_minimum():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 3, (500, 5))
    labels = rng.integers(0, 5, 500)
    labels[:300] = logits[:300].argmax(1)
    best = fit_temperature(logits, labels)

    def loss(t):
        return metrics.negative_log_likelihood(softmax(logits / t), labels)

    assert loss(best) <= min(loss(best * 1.001), loss(best / 1.001), loss(1.0))
    assert best == fit_temperature(logits, np.eye(5)[labels])
    assert best == pytest.approx(fit_temperature(logits + 1000, labels), rel=1e-4)


def test_temperature_ignores_rows_without_votes():
    rng = np.random.default_rng(3)
    logits, shares = rng.normal(0, 2, (300, 4)), rng.dirichlet(np.ones(4), 300)
    more = np.concatenate((shares, np.zeros((50, 4))))
    wild = np.concatenate((logits, rng.normal(0, 50, (50, 4))))
    assert fit_temperature(wild, more) == pytest.approx(fit_temperature(logits, shares), rel=1e-5)


def test_temperature_stays_in_bounds():
    logits = np.eye(3) * 10
    assert fit_temperature(logits, np.array([0, 1, 2])) == pytest.approx(LOWEST, rel=1e-3)
    assert fit_temperature(logits, np.array([1, 2, 0])) == pytest.approx(HIGHEST, rel=1e-3)


@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        (np.zeros((0, 3)), np.zeros(0, np.int64)),
        (np.full((2, 3), np.nan), np.array([0, 1])),
        (np.zeros((2, 3)), np.array([0, 3])),
        (np.zeros((2, 3)), np.array([0])),
        (np.zeros((2, 3)), np.zeros((2, 3))),
        (np.zeros((2, 3)), np.full((2, 3), -1.0)),
        (np.zeros((2, 3)), np.array([0.0, 1.0])),
    ],
)
def test_impossible_temperature_is_refused(logits, targets):
    with pytest.raises(ValueError, match=r"logits|targets?|labels"):
        fit_temperature(logits, targets)


def test_undoing_a_temperature():
    logits = np.random.default_rng(4).normal(0, 4, (200, 8))
    calibrated = softmax(logits / 1.7).astype(np.float32)
    np.testing.assert_allclose(undo_temperature(calibrated, 1.7), softmax(logits), atol=1e-6)
    np.testing.assert_allclose(undo_temperature(calibrated, 1.0), calibrated, atol=1e-6)
    with pytest.raises(ValueError, match="above 0"):
        undo_temperature(calibrated, 0.0)
