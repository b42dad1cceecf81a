"""Gaps between groups: the tests against scipy and brute force, the table, and what can't be grouped."""

import numpy as np
import pytest
from scipy import stats

from mien.errors import DataError
from mien.evaluation.groups import NONE, compare_groups, gap_test, holm, two_proportion_p


def make(sizes, rights, classes=4, seed=0):
    """Truth and predictions of groups with so many samples and so many right ones, and the groups' names."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, sum(sizes))
    hit = np.concatenate([np.arange(n) < r for n, r in zip(sizes, rights, strict=True)])
    called = np.where(hit, truth, (truth + 1) % classes)
    names = np.repeat([f"g{i}" for i in range(len(sizes))], sizes).astype(object)
    return names, truth, called


@pytest.mark.parametrize(
    ("n", "right"), [((200, 300, 250), (150, 240, 180)), ((500, 500), (400, 350)), ((90, 80, 70, 60), (70, 60, 55, 44))]
)
def test_permutation_test_agrees_with_chi_squared(n, right):
    n, right = np.array(n), np.array(right)
    expected = stats.chi2_contingency([right, n - right], correction=False).pvalue
    found = gap_test(right, n)
    assert found == gap_test(right, n)
    assert found == pytest.approx(expected, abs=0.02)


def test_permutation_test_agrees_with_shuffled_samples():
    n, right = np.array([12, 7, 9]), np.array([10, 2, 6])
    rng = np.random.default_rng(0)
    hits = np.arange(28) < 18
    place = np.repeat([0, 1, 2], n)
    e = n * 18 / 28
    observed = ((right - e) ** 2 / e).sum()
    shuffled = (np.bincount(place, rng.permutation(hits), minlength=3) for _ in range(4000))
    p = np.mean([((counts - e) ** 2 / e).sum() >= observed - 1e-9 for counts in shuffled])
    assert gap_test(right, n) == pytest.approx(p, abs=0.03)


def test_gaps_without_chance_or_without_meaning():
    assert gap_test(np.array([0, 500]), np.array([500, 500])) == pytest.approx(1 / 10_001)
    assert gap_test(np.array([5, 5]), np.array([10, 10])) == 1
    assert gap_test(np.array([5]), np.array([10])) is None
    assert gap_test(np.array([10, 10]), np.array([10, 10])) is None
    assert gap_test(np.array([0, 0]), np.array([10, 10])) is None


def test_two_proportions_are_chi_squared_of_two_groups():
    expected = stats.chi2_contingency([[80, 50], [20, 30]], correction=False).pvalue
    assert two_proportion_p(80, 100, 50, 80) == pytest.approx(expected, abs=1e-12)
    assert two_proportion_p(10, 10, 5, 5) is None
    assert two_proportion_p(1, 2, 0, 0) is None


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # Holm 1979, step by step
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_a_real_gap_is_found_and_chance_is_not():
    (real,) = compare_groups(*as_columns(make((300, 300, 300), (270, 265, 190))), 4)
    assert real.p_value < 0.001
    worst = next(g for g in real.groups if g.value == "g2")
    assert worst.p_holm < 0.001
    assert worst.gap_to_rest == pytest.approx(190 / 300 - 535 / 600)
    assert worst.accuracy_95[0] < 190 / 300 < worst.accuracy_95[1]
    assert worst.balanced_accuracy_95[0] < worst.balanced_accuracy < worst.balanced_accuracy_95[1]
    (chance,) = compare_groups(*as_columns(make((300, 300, 300), (240, 241, 239))), 4)
    assert chance.p_value > 0.5
    assert all(g.p_holm == 1 for g in chance.groups)


def as_columns(made):
    names, truth, called = made
    return {"who": names}, truth, called


def test_order_small_groups_and_missing_values():
    names, truth, called = make((40, 60, 3), (30, 50, 1))
    names[names == "g2"] = [None, "", float("nan")]
    (found,) = compare_groups({"who": names}, truth, called, 4)
    assert [(g.value, g.n, g.small) for g in found.groups] == [("g1", 60, False), ("g0", 40, False), (NONE, 3, True)]


def test_two_groups_are_one_test():
    (found,) = compare_groups(*as_columns(make((100, 100), (90, 75))), 4)
    assert found.groups[0].p_holm == found.groups[0].p_value == found.groups[1].p_holm


def test_numbers_and_one_group():
    _, truth, called = make((50,), (40,))
    (found,) = compare_groups({"fold": np.zeros(50, np.int64)}, truth, called, 4)
    (only,) = found.groups
    assert (found.p_value, only.value, only.gap_to_rest, only.p_value, only.p_holm) == (None, "0", None, None, None)


def test_columns_that_do_not_group_are_refused():
    _, truth, called = make((100,), (50,))
    with pytest.raises(DataError, match="100 different values"):
        compare_groups({"source": np.arange(100)}, truth, called, 4)
    with pytest.raises(DataError, match="one value per face"):
        compare_groups({"votes": np.zeros((100, 8))}, truth, called, 4)
    with pytest.raises(DataError, match="one value per face"):
        compare_groups({"short": np.zeros(3)}, truth, called, 4)
