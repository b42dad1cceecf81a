"""Matches the rows of a file of predictions with the faces of a data set, by their images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError
from mien.evaluation.predictions import Predictions, listed
from mien.labels import EIGHT


def match_sources(
    predictions: Predictions, sources: Sequence[str], needed: NDArray[np.bool_], data: str
) -> tuple[NDArray[np.intp], NDArray[np.intp], tuple[str, ...]]:
    """The samples that are in the file, int (M,); the file's row of each, int (M,); and notes for the report.

    sources: N of the data set. needed: bool (N,), the samples that must be in the file. If the file's paths are not
    those of the data set, the ends of the paths are compared. Raises DataError if a needed sample is missing, the file
    names other faces, or a source occurs twice.
    """
    known: set[str] = set()
    for source in sources:
        if source in known:
            raise DataError(f"{data}: two faces have the source '{source}', so predictions can't be matched by it")
        known.add(source)
    called, notes = list(predictions.sources), tuple[str, ...]()
    if not known.issuperset(called):
        called, by_end = _by_the_end(called, sources)
        notes = (f"{by_end} images are matched by the end of their paths",) if by_end else ()
    places: dict[str, int] = {}
    for row, source in enumerate(called):
        if source in places:
            first, second = predictions.lines[places[source]], predictions.lines[row]
            raise DataError(
                f"{predictions.name}: {predictions.unit} {second}: '{source}' is already in {predictions.unit} "
                f"{first}; keep one"
            )
        places[source] = row
    foreign = [
        f"{predictions.unit} {predictions.lines[row]}: '{source}'"
        for source, row in places.items()
        if source not in known
    ]
    if foreign:
        raise DataError(listed(predictions.name, foreign, f"name faces that {data} does not have in this split"))
    missing = [s for s, need in zip(sources, needed.tolist(), strict=True) if need and s not in places]
    if missing:
        raise DataError(
            f"{predictions.name}: {len(missing)} of the {int(needed.sum())} faces to measure in {data} are missing, "
            f"first '{missing[0]}'; predict all faces, or add rows without a prediction, which count as wrong"
        )
    rows = [i for i, source in enumerate(sources) if source in places]
    return np.array(rows, np.intp), np.array([places[sources[i]] for i in rows], np.intp), notes


def _by_the_end(called: Sequence[str], sources: Sequence[str]) -> tuple[list[str], int]:
    """Replaces paths by the data set's source with the same end, if there is exactly one; returns how many."""
    known, by_name = set(sources), dict[tuple[str, ...], list[str]]()
    for source in sources:
        by_name.setdefault(_parts(source)[-1:], []).append(source)
    matched, count = [], 0
    for path in called:
        own = _parts(path)
        fits = []
        for source in () if path in known else by_name.get(own[-1:], ()):
            other = _parts(source)
            least = min(len(own), len(other))
            if own[-least:] == other[-least:]:
                fits.append(source)
        matched.append(fits[0] if len(fits) == 1 else path)
        count += len(fits) == 1
    return matched, count


def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath(path.replace("\\", "/").removeprefix("./")).parts


def require_truth(
    predictions: Predictions, order: NDArray[np.intp], names: tuple[str, ...], index: NDArray[np.int64], kind: str
) -> None:
    """Raises DataError if labels in the file contradict the ground truth of the data set.

    order: (M,), rows of the file. names: the classes of the ground truth. index: each face's index in them, -1 for
    none. kind: of the ground truth.
    """
    wrong = []
    for row, right in zip(order.tolist(), index.tolist(), strict=True):
        own = predictions.truth[row]
        said = predictions.truth_names[own]
        if own >= 0 and right >= 0 and said != names[right]:
            line = f"{predictions.unit} {predictions.lines[row]}"
            wrong.append(f"{line}: label '{said}', but the data have '{names[right]}' by '{kind}'")
    if wrong:
        other = "votes" if kind == "label" else "label"
        raise DataError(
            listed(
                predictions.name,
                wrong,
                f"contradict the data; is it  --truth {other}, or another column?",
            )
        )


def called_among(predictions: Predictions, names: tuple[str, ...]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Each row's prediction as an index into `names`, int64 (N,), and notes for the report.

    -1: no prediction, or an expression that is none of the names, which can't be correct. Raises DataError if a
    prediction is not an expression that mien knows, either.
    """
    said = [predictions.labels[i] if i >= 0 else "" for i in predictions.called.tolist()]
    wrong = [
        f"{predictions.unit} {line}: '{name}'"
        for line, name in zip(predictions.lines, said, strict=True)
        if name and name not in names and name not in EIGHT
    ]
    if wrong:
        raise DataError(listed(predictions.name, wrong, f"predict an unknown label; expected {', '.join(names)}"))
    foreign = [name for name in said if name and name not in names]
    counted = ", ".join(f"{name} {foreign.count(name)}" for name in dict.fromkeys(foreign))
    notes = (f"predictions of classes that the data lack, counted as wrong: {counted}",) if foreign else ()
    return np.array([names.index(name) if name in names else -1 for name in said], np.int64), notes
