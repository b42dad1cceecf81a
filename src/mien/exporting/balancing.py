"""Puts the balance of a model into its graph, so that every runtime gives what `mien predict` gives."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mien.balance import Balance
from mien.data.toy import toy_faces
from mien.errors import require_extra
from mien.evaluation.card import write_with_texts
from mien.model_file import CARD_KEY, METADATA_KEY, ModelFile

_WITHIN = 1e-5
_CHECKED = 64


class BalancedModel(ModelFile):
    """A model file in a temporary place whose graph holds the balance. Its checksum is that of its source."""

    def __init__(self, place: Path, source: ModelFile) -> None:
        self._source = source
        super().__init__(place, spin=False)

    @cached_property
    def sha256(self) -> str:
        """The checksum of the file that it was made from."""
        return self._source.sha256


@contextmanager
def with_balance(source: ModelFile, balance: Balance) -> Iterator[ModelFile]:
    """The model with a balance in its graph, or the model itself where it states balance 0 and gets no other.

    The mix that balanced probabilities assume becomes the new prior, and the new balance is 0: the file can be balanced
    further, and says the same where nothing else is requested. Raises MissingExtraError without onnx, ModelFileError
    where the new graph differs from `Balance.apply`.
    """
    if not balance.balance and not source.info.balance:
        yield source
        return
    require_extra("export", "putting a balance into a graph", "onnx")
    with tempfile.TemporaryDirectory(prefix="mien-export-") as folder:
        place = Path(folder, source.path.name)
        if balance.balance:
            _write_balanced(source, balance, place)
        else:
            write_with_texts(source, {METADATA_KEY: replace(source.info, balance=0.0).to_json()}, place)
        yield BalancedModel(place, source)


def _write_balanced(source: ModelFile, balance: Balance, place: Path) -> None:
    import onnx

    from mien.evaluation.graph import save_checked, with_calibration

    weights = balance.weights
    assert weights is not None
    towards = "an even mix" if balance.target is None else "a mix of the user"
    note = f"balance {balance.balance:g} towards {towards} is in the graph"
    data = f"{source.info.data}; {note}" if source.info.data else note
    # The weights belong to no temperature: 1 stands for "no single number".
    info = replace(source.info, prior=balance.mix, balance=0.0, temperature=1.0, data=data)
    graph = with_calibration(source, np.ones(len(weights)), np.log(weights), info)
    if source.card:
        card = f"> In this file, {note}. What is below was measured on {source.info.name}.\n\n{source.card}"
        graph.metadata_props.append(onnx.StringStringEntryProto(key=CARD_KEY, value=card))
    faces = toy_faces(_CHECKED, size=info.size, channels=info.channels).images
    expected = balance.apply(source.probabilities(faces))
    save_checked(graph, place, faces, expected.astype(np.float64), within=_WITHIN)
