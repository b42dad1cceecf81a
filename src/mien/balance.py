"""The balance: probabilities corrected for the mix of expressions among the faces that a model was trained on.

p_k becomes proportional to p_k * (target_k / prior_k) ** balance. `prior` is the training mix, in the model's metadata;
`target` is an even mix, or the user's own. Balance 1 is the classical correction (Saerens, Latinne & Decaestecker 2002,
doi:10.1162/089976602753284446), 0 changes nothing, and values between them assume the mix prior^(1-b) * target^b.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError, ModelFileError
from mien.labels import canonical, canonical_all
from mien.model_file import ModelFile
from mien.suggestions import did_you_mean

Prior = Mapping[str, float] | str | Path
"""A mix of expressions: label -> count or share, or a JSON file of that."""

_LEAST, _MOST = 1e-9, 1e300
"""The least share of a user's mix, far from what float32 can't hold; and the largest count."""

Probabilities = TypeVar("Probabilities", NDArray[np.float32], NDArray[np.float64])


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits (N, K) as probabilities."""
    powers: NDArray[np.float64] = np.exp(logits - logits.max(1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return shares


def balance_probabilities(probabilities: Probabilities, weights: NDArray[np.float64] | None) -> Probabilities:
    """Probabilities (N, K) times weights (K,), rows made to sum to 1 again; without weights they are returned as is."""
    if weights is None:
        return probabilities
    weighed = probabilities * weights.astype(probabilities.dtype)
    weighed /= weighed.sum(axis=1, keepdims=True)
    return weighed


def balance_weights(
    prior: Sequence[float], balance: float, target: Sequence[float] | None = None
) -> NDArray[np.float64] | None:
    """(target / prior) ** balance, float64 (K,), the largest 1; None for balance 0. target: None for an even mix."""
    if balance == 0:
        return None
    ratio = (1.0 if target is None else np.asarray(target, np.float64)) / np.asarray(prior, np.float64)
    weights: NDArray[np.float64] = (ratio / ratio.max()) ** balance
    return weights


@dataclass(frozen=True, slots=True, eq=False)
class Balance:
    """How the probabilities of one model, or of the mean of several, are balanced.

    balance: 0 to 1. prior: the training mix, (K,) in the order of the labels; () where it is unknown. target: the
    user's mix, (K,), sum 1; None for an even one.
    """

    balance: float
    prior: tuple[float, ...]
    target: tuple[float, ...] | None = None

    @property
    def weights(self) -> NDArray[np.float64] | None:
        """What each probability is multiplied with, float64 (K,); None for balance 0."""
        return balance_weights(self.prior, self.balance, self.target)

    @property
    def mix(self) -> tuple[float, ...]:
        """The mix of expressions that balanced probabilities assume, (K,), sum 1; () where the prior is unknown."""
        weights = self.weights
        if weights is None:
            return self.prior
        shares = np.asarray(self.prior) * weights
        return tuple((shares / shares.sum()).tolist())

    def apply(self, probabilities: Probabilities) -> Probabilities:
        """The balanced probabilities, (N, K)."""
        return balance_probabilities(probabilities, self.weights)


def model_balance(models: Sequence[ModelFile], balance: float | None = None, prior: Prior | None = None) -> Balance:
    """The balance of one model, or of the mean of several, in the order of the first one's labels.

    Args:
        models: At least one; several have the same labels in any order. Their training mixes are averaged.
        balance: 0 to 1; None takes the mean of what the model files state, or 1 if `prior` is given.
        prior: The user's own mix of expressions; None for an even one.

    Raises:
        ArgumentError: The balance is out of range, or the prior can't be used.
        ModelFileError: A balance is requested of a model whose file has no training mix.
    """
    check_balance(balance)
    labels = canonical_all(models[0].info.labels, str(models[0].path))
    target = None if prior is None else tuple(read_prior(prior, labels).values())
    without = next((model for model in models if not model.info.prior), None)
    if without is not None:
        if balance or (target is not None and balance is None):
            raise ModelFileError(
                f"{without.path}: its metadata has no prior (the mix of its training faces), which a balance needs; "
                "write a file that has one with  mien calibrate MODEL --data DATA --out FILE, or use balance 0"
            )
        return Balance(0.0, (), target)
    if balance is None:
        stated = sum(model.info.balance for model in models) / len(models)
        balance = stated if target is None else 1.0
    return Balance(balance, mean_prior(models, [1 / len(models)] * len(models)), target)


def check_balance(balance: float | None) -> None:
    """Raises ArgumentError for a balance that is not from 0 to 1."""
    if balance is not None and not 0.0 <= balance <= 1.0:
        raise ArgumentError(f"balance is {balance}; expected 0 to 1")


def mean_prior(models: Sequence[ModelFile], shares: Sequence[float]) -> tuple[float, ...]:
    """The weighted mean of the models' training mixes, in the order of the first one's labels; () if one has none."""
    if not all(model.info.prior for model in models):
        return ()
    names = canonical_all(models[0].info.labels, str(models[0].path))
    mean = dict.fromkeys(names, 0.0)
    for model, share in zip(models, shares, strict=True):
        own = canonical_all(model.info.labels, str(model.path))
        for name, value in zip(own, model.info.prior, strict=True):
            mean[name] += share * value
    return tuple(mean.values())


def read_prior(prior: Prior, labels: Sequence[str]) -> dict[str, float]:
    """A mix of expressions as shares that sum to 1, in the order of `labels`, mien's spelling of a model's own.

    prior: label -> count or share, every number above 0; or a JSON file of that. Raises ArgumentError.
    """
    source = str(prior) if isinstance(prior, str | Path) else "prior"
    found: dict[str, float] = {}
    for spelt, value in _items(prior, source):
        name = canonical(spelt)
        if name not in labels:
            hint = did_you_mean(spelt, labels)
            raise ArgumentError(f"{source}: unknown label '{spelt}'; {hint}expected {', '.join(labels)}")
        if name in found:
            raise ArgumentError(f"{source}: label '{name}' is given twice; give each label once")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < _MOST:
            raise ArgumentError(f"{source}: '{spelt}' is {value!r}; expected a count or share above 0")
        found[name] = float(value)
    if missing := [name for name in labels if name not in found]:
        raise ArgumentError(f"{source}: no number for {', '.join(missing)}; give a count or share for each label")
    total = math.fsum(found.values())
    if least := next((name for name, value in found.items() if value < _LEAST * total), None):
        raise ArgumentError(f"{source}: '{least}' has less than a billionth of the whole; give it a larger number")
    return {name: found[name] / total for name in labels}


def _items(prior: Prior, source: str) -> list[tuple[str, Any]]:
    """The pairs of a mapping or of a JSON file, in order; equal names of a file are all kept."""
    if isinstance(prior, Mapping):
        return [(str(name), value) for name, value in prior.items()]
    expected = 'expected a JSON file like {"angry": 120, "happy": 900, ...}'
    try:
        pairs = json.loads(Path(prior).read_text("utf-8"), object_pairs_hook=_Pairs)
    except OSError as error:
        raise ArgumentError(f"{source}: can't be read ({error.strerror}); {expected}") from error
    except ValueError as error:
        raise ArgumentError(f"{source}: is not JSON ({error}); {expected}") from error
    if not isinstance(pairs, _Pairs):
        raise ArgumentError(f"{source}: has no labels; {expected}")
    return list(pairs)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as the pairs that are written, where a dictionary would keep the last of two equal names."""
