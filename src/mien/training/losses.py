"""Losses of one head, as pure functions of logits and target distributions.

A loss is a sum over faces and a divisor that depends on the targets alone: so a batch may be divided, on one
machine or several, and the gradients still sum to those of the whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.training.recipe_sections import LossSettings

EFFECTIVE_BETA = 0.999
"""Cui et al.'s beta: near 0 all classes weigh the same, near 1 they weigh the inverse of their count."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadLoss:
    """The loss of one head. `share`: of the whole loss. class_weights, offsets: float32 (K,), or None for none."""

    share: float
    gamma: float = 0.0
    class_weights: Tensor | None = None
    offsets: Tensor | None = None

    def total(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss, summed over faces. logits: float (N, K). target: float32 (N, K); rows of zeros teach nothing."""
        logits = logits.float()
        if self.offsets is not None:
            logits = logits + self.offsets
        logs = F.log_softmax(logits, 1)
        weighed = target if self.class_weights is None else target * self.class_weights
        if self.gamma > 0:
            # Where a probability is 1 in float32, a power below 1 would have no finite gradient.
            weighed = weighed * (1 - logs.exp()).clamp(min=1e-6) ** self.gamma
        return -(weighed * logs).sum(1).sum()

    def divisor(self, target: Tensor) -> Tensor:
        """What `total` is divided by: how many faces teach, or what their classes weigh."""
        weighed = target if self.class_weights is None else target * self.class_weights
        return weighed.sum()


def head_loss(settings: LossSettings, head: str, share: float, counts: Tensor) -> HeadLoss:
    """The loss of a head whose classes have these counts in training, float (K,)."""
    weights = None
    if settings.class_weights != "none":
        weights = balanced_weights(counts) if settings.class_weights == "balanced" else effective_weights(counts)
    offsets = None
    if settings.logit_adjust > 0 and head in settings.logit_adjust_heads:
        offsets = (settings.logit_adjust * log_priors(counts)).float()
    gamma = settings.gamma if settings.kind == "focal" else 0.0
    return HeadLoss(share, gamma, None if weights is None else weights.float(), offsets)


def class_counts(target: Tensor, truth: Tensor) -> Tensor:
    """float64 (K,): how often each class is the truth; where faces have none (votes), its share of the targets."""
    if bool((truth >= 0).all()):
        return torch.bincount(truth, minlength=target.shape[1]).double()
    return target.double().sum(0)


def balanced_weights(counts: Tensor) -> Tensor:
    """Inverse counts, whose mean over faces is 1: scikit-learn's `balanced`. A class without faces counts as one."""
    return counts.sum() / (len(counts) * counts.clamp(min=1))


def effective_weights(counts: Tensor) -> Tensor:
    """Inverse effective numbers (1 - beta^n) / (1 - beta), whose mean over classes is 1 (Cui et al. 2019)."""
    inverse = (1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA ** counts.clamp(min=1))
    return inverse / inverse.mean()


def log_priors(counts: Tensor) -> Tensor:
    """Logarithms of the classes' shares. A class without faces counts as one."""
    counts = counts.clamp(min=1)
    return (counts / counts.sum()).log()
