"""Losses against values computed by hand, schedules at their turning points, blending of faces."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from mien.training.augment import augment, blend
from mien.training.losses import (
    HeadLoss,
    balanced_weights,
    class_counts,
    effective_weights,
    head_loss,
    log_priors,
)
from mien.training.recipe_sections import AugmentSettings, LossSettings, OptimizerSettings
from mien.training.schedule import learning_rate, plateaus, should_stop

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0], [0.0, 0.0, 3.0], [1.0, 1.0, 1.0]])
TRUTH = torch.tensor([0, 1, 1, 2])
HARD = F.one_hot(TRUTH, 3).float()
COUNTS = torch.tensor([100.0, 10.0, 1000.0], dtype=torch.float64)


def mean(loss: HeadLoss, target=HARD):
    return float(loss.total(LOGITS, target) / loss.divisor(target))


def test_losses_are_those_of_pytorch():
    assert mean(HeadLoss(1.0)) == pytest.approx(float(F.cross_entropy(LOGITS, TRUTH)))
    smooth = HARD * 0.9 + 0.1 / 3
    expected = float(F.cross_entropy(LOGITS, TRUTH, label_smoothing=0.1))
    assert mean(HeadLoss(1.0), smooth) == pytest.approx(expected)
    weights = torch.tensor([1.0, 4.0, 0.5])
    expected = float(F.cross_entropy(LOGITS, TRUTH, weights))
    assert mean(HeadLoss(1.0, class_weights=weights)) == pytest.approx(expected)


def test_focal_loss_by_hand():
    p = torch.softmax(LOGITS, 1)[torch.arange(4), TRUTH]
    expected = float((-((1 - p) ** 2) * p.log()).mean())
    assert mean(head_loss(LossSettings(kind="focal", gamma=2.0), "label", 1.0, COUNTS)) == pytest.approx(expected)
    sure = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    HeadLoss(1.0, gamma=0.5).total(sure, HARD[:1]).backward()
    assert torch.isfinite(sure.grad).all()


def test_a_face_that_teaches_nothing_is_not_counted():
    silent = HARD.clone()
    silent[0] = 0
    assert mean(HeadLoss(1.0), silent) == pytest.approx(float(F.cross_entropy(LOGITS[1:], TRUTH[1:])))


def test_class_weights_and_priors():
    labels = np.repeat([0, 1, 2], [100, 10, 1000])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_weights(COUNTS).numpy(), expected)
    numbers = np.array([(1 - 0.999**n) / (1 - 0.999) for n in (100, 10, 1000)])
    np.testing.assert_allclose(effective_weights(COUNTS).numpy(), (1 / numbers) / (1 / numbers).mean())
    np.testing.assert_allclose(log_priors(COUNTS).exp().numpy(), COUNTS.numpy() / 1110)
    for one in (balanced_weights, effective_weights, log_priors):
        assert torch.isfinite(one(torch.tensor([5.0, 0.0]))).all()  # a class without faces


def test_logit_adjustment_adds_the_priors():
    settings = LossSettings(logit_adjust=1.5, logit_adjust_heads=("label",))
    expected = float(F.cross_entropy(LOGITS + 1.5 * (COUNTS / 1110).log().float(), TRUTH))
    assert mean(head_loss(settings, "label", 1.0, COUNTS)) == pytest.approx(expected)
    assert mean(head_loss(settings, "votes", 1.0, COUNTS)) == pytest.approx(float(F.cross_entropy(LOGITS, TRUTH)))


def test_classes_are_counted_by_truth_and_for_votes_by_share():
    assert class_counts(HARD * 0.9 + 0.1 / 3, TRUTH).tolist() == [1, 2, 1]
    assert class_counts(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([-1, 0])).tolist() == [1.5, 0.5]


# Schedules


def rates(settings, steps=10, losses=()):
    return [learning_rate(settings, step, steps, losses) for step in range(settings.epochs * steps + 1)]


def test_every_schedule_at_its_turning_points():
    plain = OptimizerSettings(learning_rate=1.0, epochs=7, warmup_epochs=0)
    cosine = rates(plain)
    assert (cosine[0], cosine[35], cosine[70]) == pytest.approx((1, 0.5, 0))
    restarts = rates(replace(plain, schedule="warm-restarts", restarts=3))  # 1 + 2 + 4 epochs
    assert [restarts[s] for s in (0, 5, 10, 20, 30, 50, 70)] == pytest.approx([1, 0.5, 1, 0.5, 1, 0.5, 0], abs=1e-9)
    cycle = rates(replace(plain, schedule="one-cycle", warmup_epochs=3))
    assert (cycle[0], max(cycle), cycle.index(max(cycle))) == pytest.approx((1 / 25, 1, 21))
    assert cycle[-1] == pytest.approx(4e-6)
    constant = rates(replace(plain, schedule="constant", warmup_epochs=1))
    assert constant[0] == pytest.approx(1 / 11)
    assert constant[10:] == [1.0] * 61


def test_one_cycle_is_pytorchs():
    settings = OptimizerSettings(learning_rate=0.3, epochs=5, schedule="one-cycle")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.3)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=2001, cycle_momentum=False)
    for step in range(2001):
        # Their peak comes one step before 0.3 of all.
        assert learning_rate(settings, step, 400) == pytest.approx(theirs.get_last_lr()[0], abs=1e-3)
        optimizer.step()
        theirs.step()


def test_plateau_waits_for_its_patience_again_after_each_cut():
    settings = OptimizerSettings(schedule="plateau", plateau_patience=2, plateau_factor=0.1, learning_rate=1.0)
    settings = replace(settings, warmup_epochs=0)
    assert [plateaus(settings, losses) for losses in ([3, 2, 1], [1, 2], [1, 2, 2], [1] * 5, [1, 2, 2, 0.5, 1])] == [
        0, 0, 1, 2, 1,
    ]  # fmt: skip
    assert learning_rate(settings, 50, 10, [1, 2, 2]) == pytest.approx(0.1)


def test_stopping_early():
    settings = OptimizerSettings(stop_after=2)
    assert [should_stop(settings, scores) for scores in ([], [0.5, 0.4], [0.5, 0.4, 0.5], [0.5, 0.4, 0.6])] == [
        False, False, True, False,
    ]  # fmt: skip
    assert not should_stop(replace(settings, stop_after=0), [1.0] * 9)


# Augmentation

STILL = AugmentSettings(flip=False, rotate_deg=0, scale=0, shift=0, brightness=0, contrast=0, erase=0)


def test_shear_moves_rows_against_each_other_and_leaves_other_draws():
    faces = torch.zeros(4, 1, 48, 48, dtype=torch.uint8)
    faces[:, :, :, 22:26] = 255  # an upright bar
    views = augment(faces, replace(STILL, shear_deg=40), view=48, generator=torch.Generator().manual_seed(3))
    columns = torch.arange(48.0)
    middle = (views[:, 0] * columns).sum(2) / views[:, 0].sum(2)  # of the bar, in each row
    assert (middle[:, 24] - 23.5).abs().max() < 1
    assert (middle[:, 4] - middle[:, 44]).abs().min() > 1
    np.testing.assert_allclose((middle[:, 44] - middle[:, 24]), (middle[:, 24] - middle[:, 4]), atol=0.5)


def test_cutmix_blends_targets_by_the_pixels_that_it_took():
    views = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 40, 40).contiguous()
    targets = {"label": torch.eye(6)}
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        mixed, new = blend(views, targets, AugmentSettings(cutmix=1.0), generator)
        for i in range(6):
            shares = torch.bincount(mixed[i].long().flatten(), minlength=6) / 1600
            torch.testing.assert_close(new["label"][i], shares)


def test_mixup_and_cutmix_take_turns():
    views, targets = torch.rand(8, 1, 16, 16), {"label": torch.eye(8)}
    generator = torch.Generator().manual_seed(0)
    both = AugmentSettings(mixup=1.0, cutmix=1.0)
    kinds = set()
    for _ in range(20):
        mixed, _ = blend(views, targets, both, generator)
        kinds.add(bool(torch.isin(mixed, views).all()))  # cutmix makes no new values
    assert kinds == {True, False}
    assert math.isclose(float(blend(views, targets, both, generator)[1]["label"].sum()), 8, rel_tol=1e-5)
