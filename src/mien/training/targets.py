"""The targets of each head: target distributions, weights, and ground truth for its measurement."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mien.data.samples import Split, vote_majority, vote_shares
from mien.errors import DataError
from mien.evaluation.operating_point import training_mix
from mien.labels import EIGHT
from mien.training.recipe_sections import TargetSettings


@dataclass(frozen=True, slots=True, eq=False)
class HeadTargets:
    """One head's targets for one split.

    distribution: float32 (N, K), rows that sum to 1; a row of zeros teaches nothing (no rater voted).
    truth: int64 (N,), the class that counts as right; -1 where none does.
    """

    head: str
    labels: tuple[str, ...]
    weight: float
    distribution: NDArray[np.float32]
    truth: NDArray[np.int64]


def head_targets(samples: Split, settings: TargetSettings, *, source: str) -> tuple[HeadTargets, ...]:
    """The targets of every head with a weight above 0. Raises DataError where votes are wanted and there are none."""
    votes = samples.votes
    if votes is None and (settings.votes > 0 or settings.label_blend > 0):
        raise DataError(f"{source}: has no ferplus_votes; set targets.votes and targets.label_blend to 0")
    made = []
    if settings.votes > 0 and votes is not None:
        made.append(HeadTargets("votes", EIGHT, settings.votes, vote_shares(votes), vote_majority(votes)))
    if settings.label > 0:
        hard = np.eye(len(samples.label_names), dtype=np.float32)[samples.labels]
        if settings.label_blend > 0 and votes is not None:
            hard = _blend(hard, votes, samples.label_names, settings.label_blend)
        smooth = settings.label_smoothing
        soft = hard * (1 - smooth) + smooth / len(samples.label_names)
        made.append(HeadTargets("label", samples.label_names, settings.label, soft.astype(np.float32), samples.labels))
    return tuple(made)


def training_mixes(train: Split, settings: TargetSettings, *, source: str) -> dict[str, tuple[float, ...]]:
    """The training mix of each head, see `mien.evaluation.operating_point.training_mix`: its targets as the data have
    them, without label smoothing and teachers."""
    targets = head_targets(train, replace(settings, label_smoothing=0.0), source=source)
    return {target.head: training_mix(target.distribution) for target in targets}


def _blend(
    hard: NDArray[np.float32], votes: NDArray[np.float32], names: tuple[str, ...], share: float
) -> NDArray[np.float32]:
    """Label and vote distribution mixed; a face without votes for any of the labels keeps its label alone."""
    columns = [EIGHT.index(n) if n in EIGHT else None for n in names]
    known = np.stack([votes[:, c] if c is not None else np.zeros(len(votes), np.float32) for c in columns], 1)
    shares = vote_shares(known)
    voted = known.sum(1, keepdims=True) > 0
    return np.where(voted, hard * (1 - share) + shares * share, hard).astype(np.float32)
