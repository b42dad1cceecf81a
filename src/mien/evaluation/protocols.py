"""Evaluation protocols by name: the split, the ground truth and the classes of published figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from mien.data.samples import of_labels
from mien.errors import ArgumentError, DataError
from mien.evaluation.inputs import Inputs
from mien.evaluation.result import Truth
from mien.labels import EIGHT, FER2013

ProtocolName = Literal["fer2013", "ferplus-majority", "ferplus-probability", "raf-db", "affectnet-7", "affectnet-8"]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a published figure is measured. figure: the one that papers report. classes: faces of others are left out."""

    about: str
    split: str
    truth: Truth
    classes: tuple[str, ...]
    figure: str


PROTOCOLS: Mapping[str, Protocol] = {
    "fer2013": Protocol(
        "FER2013's PrivateTest by its labels (Goodfellow et al. 2013)", "test", "label", FER2013, "accuracy"
    ),
    "ferplus-majority": Protocol(
        "FER+: faces of PrivateTest on which more than half of the votes agree, eight expressions "
        "(Barsoum et al. 2016)", "test", "votes", EIGHT, "accuracy",
    ),
    "ferplus-probability": Protocol(
        "FER+: the distribution of the votes, of every face with votes (Barsoum et al. 2016)",
        "test", "votes", EIGHT, "kl_votes",
    ),
    "raf-db": Protocol(
        "RAF-DB's test split, seven basic expressions; accuracy, and the mean of the classes' recalls (Li et al. 2017)",
        "test", "label", FER2013, "balanced_accuracy",
    ),
    "affectnet-7": Protocol(
        "AffectNet's validation set without contempt (Mollahosseini et al. 2017)",
        "validation", "label", FER2013, "accuracy",
    ),
    "affectnet-8": Protocol(
        "AffectNet's validation set with contempt (Mollahosseini et al. 2017)",
        "validation", "label", EIGHT, "accuracy",
    ),
}  # fmt: skip
"""The protocols. Training and model selection never use the split that is named here."""


def find_protocol(name: str | None, split: str | None, truth: Truth | None) -> Protocol | None:
    """The protocol of a name, or None without one. split: another one, such as PublicTest, may be given.

    Raises ArgumentError for an unknown name, or a ground truth that contradicts it.
    """
    if name is None:
        return None
    if name not in PROTOCOLS:
        raise ArgumentError(f"protocol is {name!r}; expected {', '.join(PROTOCOLS)}")
    found = PROTOCOLS[name]
    if truth not in (None, found.truth):
        raise ArgumentError(f"protocol {name} measures by '{found.truth}', and truth is '{truth}'; leave truth out")
    return found if split is None else replace(found, split=split)


def with_protocol(inputs: Inputs, protocol: Protocol, name: str) -> Inputs:
    """The inputs without faces of other classes. Raises DataError if the data lack a class of the protocol."""
    if protocol.truth == "votes":
        return inputs
    samples = inputs.samples
    lacking = [label for label in protocol.classes if label not in samples.label_names]
    if lacking:
        raise DataError(f"{name}: no class '{lacking[0]}', which the protocol measures; choose another protocol")
    rows, labels = of_labels(samples.labels, samples.label_names, protocol.classes)
    kept = replace(
        samples,
        images=samples.images[rows],
        labels=labels,
        label_names=protocol.classes,
        sources=tuple(samples.sources[row] for row in rows.tolist()),
        votes=None if samples.votes is None else samples.votes[rows],
    )
    return replace(inputs, samples=kept, columns={key: values[rows] for key, values in inputs.columns.items()})
