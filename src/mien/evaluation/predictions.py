"""Reads what another tool predicted, CSV or Parquet, and holds it against a data set by the faces' sources.

Columns: `source`, `label` (the truth) and one probability per class; or `source`, `label`, `expression` (the
prediction) and perhaps `confidence`. The predictions.csv of `mien evaluate` is both and is read too.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError, MissingExtraError
from mien.labels import EIGHT, canonical, canonical_all

_FIXED = ("source", "label", "expression", "confidence")
_SHOWN = 5
_ROUNDING = 1e-3
"""How far the probabilities of a row may be from a sum of 1: tools write few digits."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The rows of a file, N of them, in its order.

    labels: the classes that could be said. called: int64 (N,), an index into them. truth_names, truth: the same of the
    file's own labels; truth_names begins with labels. confidence: float64 (N,); probabilities: float64 (N, L), rows
    summing to 1; None where the file has none. lines: where each row stands, 1 is the header.
    """

    name: str
    labels: tuple[str, ...]
    called: NDArray[np.int64]
    truth_names: tuple[str, ...]
    truth: NDArray[np.int64]
    sources: tuple[str, ...]
    confidence: NDArray[np.float64] | None
    probabilities: NDArray[np.float64] | None
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    source: str
    label: str
    expression: str | None
    confidence: float | None
    probabilities: tuple[float, ...]


def read_predictions(path: Path) -> Predictions:
    """Reads a file of predictions: Parquet by its name, else CSV.

    Raises DataError that names the lines which can't be used, and why; of Parquet, line 2 is the first row.
    """
    path = Path(path)
    rows: list[_Row] = []
    wrong: list[str] = []
    truths: dict[str, _Row] = {}
    try:
        with _lines(path) as lines:
            header = [h.strip() for h in next(lines, (1, []))[1]]
            classes, fixed = _columns(header, path)
            for number, cells in lines:
                if not cells:  # a blank line, often the last one
                    continue
                try:
                    row = _row(cells, header, classes, fixed, number)
                    first = truths.setdefault(row.source, row)
                    if first.label != row.label:
                        raise ValueError(
                            f"'{row.source}' has the label '{row.label}' here and '{first.label}' in line {first.line}"
                        )
                    rows.append(row)
                except ValueError as error:
                    wrong.append(f"line {number}: {error}")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error}") from error
    except (csv.Error, OSError) as error:
        raise DataError(f"{path}: can't read it as CSV: {error}") from error
    if wrong:
        raise DataError(_listed(path.name, wrong, "can't be used"))
    if not rows:
        raise DataError(f"{path}: has no rows; expected one for each face below the header")
    return _predictions(path.name, rows, tuple(classes))


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """The file's lines, each with its number and cells, the header first."""
    if path.suffix.lower() == ".parquet":
        yield _parquet_lines(path)
        return
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        yield ((reader.line_num, cells) for cells in reader)


def _parquet_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("data", "reading Parquet") from error
    try:
        with pq.ParquetFile(path) as file:
            yield 1, list(file.schema_arrow.names)
            number = 2
            for batch in file.iter_batches(10_000):
                columns = [column.to_pylist() for column in batch.columns]
                for values in zip(*columns, strict=True):
                    yield number, ["" if value is None else str(value) for value in values]
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: can't read it as Parquet: {error}") from error


def match_sources(
    predictions: Predictions, sources: Sequence[str], needed: NDArray[np.bool_], data: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which samples are in the file, int (M,), and the file's row for each of them, int (M,).

    sources: N of the data set. needed: bool (N,), the samples that must be there. Raises DataError where one of them
    is missing, the file names others, or a source is there twice.
    """
    places: dict[str, int] = {}
    for row, source in enumerate(predictions.sources):
        if source in places:
            first, second = predictions.lines[places[source]], predictions.lines[row]
            raise DataError(
                f"{predictions.name}: line {second}: '{source}' is there already, in line {first}; keep one"
            )
        places[source] = row
    known: set[str] = set()
    for source in sources:
        if source in known:
            raise DataError(f"{data}: two faces have the source '{source}', so predictions can't be told apart by it")
        known.add(source)
    foreign = [f"line {predictions.lines[row]}: '{source}'" for source, row in places.items() if source not in known]
    if foreign:
        raise DataError(_listed(predictions.name, foreign, f"name faces that {data} does not have in this split"))
    missing = [s for s, need in zip(sources, needed.tolist(), strict=True) if need and s not in places]
    if missing:
        raise DataError(
            f"{predictions.name}: {len(missing)} of the {int(needed.sum())} faces to measure in {data} are not in it, "
            f"first '{missing[0]}'; predict all of them"
        )
    rows = [i for i, source in enumerate(sources) if source in places]
    return np.array(rows, np.intp), np.array([places[sources[i]] for i in rows], np.intp)


def require_truth(
    predictions: Predictions, order: NDArray[np.intp], names: tuple[str, ...], index: NDArray[np.int64], ruler: str
) -> None:
    """Raises DataError where the file's labels are not the truth that the data set has for the same faces.

    order: (M,), rows of the file. names, index: the ruler's classes and each face's index in them, -1 for none.
    """
    wrong = []
    for row, right in zip(order.tolist(), index.tolist(), strict=True):
        said = predictions.truth_names[predictions.truth[row]]
        if right >= 0 and said != names[right]:
            line = predictions.lines[row]
            wrong.append(f"line {line}: label '{said}', but by '{ruler}' the data say '{names[right]}'")
    if wrong:
        other = "votes" if ruler == "label" else "label"
        raise DataError(_listed(predictions.name, wrong, f"contradict the data; is it  --truth {other}?"))


def called_among(predictions: Predictions, names: tuple[str, ...]) -> NDArray[np.int64]:
    """Each row's prediction as an index into other names (N,). Raises DataError where one is not among them."""
    said = [predictions.labels[i] for i in predictions.called.tolist()]
    wrong = [f"line {line}: '{name}'" for line, name in zip(predictions.lines, said, strict=True) if name not in names]
    if wrong:
        raise DataError(_listed(predictions.name, wrong, f"predict what is no label here; expected {', '.join(names)}"))
    return np.array([names.index(name) for name in said], np.int64)


def _columns(header: list[str], path: Path) -> tuple[list[str], dict[str, int]]:
    """The classes that have a column, in mien's spelling, and where the other columns stand."""
    if not any(header):
        raise DataError(f"{path}: is empty; expected a header with source, label and a column for each class")
    lowered = [h.lower() for h in header]
    for name in _FIXED:
        if lowered.count(name) > 1:
            raise DataError(f"{path}: line 1: two columns '{name}'; keep one")
    fixed = {name: lowered.index(name) for name in _FIXED if name in lowered}
    for name in ("source", "label"):
        if name not in fixed:
            raise DataError(f"{path}: line 1: no column '{name}'; it has {', '.join(header)}")
    spelled = [h for h in header if h.lower() not in _FIXED]
    if "" in spelled:
        raise DataError(f"{path}: line 1: a column without a name; name it after its class, or remove it")
    classes = list(canonical_all(spelled, f"{path}: line 1"))
    if not classes and "expression" not in fixed:
        raise DataError(f"{path}: line 1: nothing predicted; expected a column for each class, or 'expression'")
    return classes, fixed


def _row(cells: list[str], header: list[str], classes: list[str], fixed: dict[str, int], line: int) -> _Row:
    """One row, checked. Raises ValueError that says what is wrong with it."""
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} columns; expected {len(header)}")
    known = {*classes, *EIGHT}
    source, label = cells[fixed["source"]].strip(), canonical(cells[fixed["label"]])
    if not source:
        raise ValueError("no source")
    if label not in known:
        raise ValueError(f"unknown label '{cells[fixed['label']]}'; expected one of {', '.join(classes or EIGHT)}")
    expression = confidence = None
    if "expression" in fixed:
        expression = canonical(cells[fixed["expression"]])
        if expression not in (classes or known):
            raise ValueError(
                f"unknown expression '{cells[fixed['expression']]}'; expected one of {', '.join(classes or EIGHT)}"
            )
    if "confidence" in fixed:
        confidence = _number(cells[fixed["confidence"]], "confidence")
    taken = set(fixed.values())
    p = tuple(_number(cell, header[i]) for i, cell in enumerate(cells) if i not in taken)
    if p and abs(sum(p) - 1) > _ROUNDING:
        raise ValueError(f"its probabilities add up to {sum(p):.4g}; expected 1")
    if p and expression is not None and p[classes.index(expression)] < max(p) - 1e-5:
        raise ValueError(f"expression '{expression}', but '{classes[p.index(max(p))]}' is more probable")
    return _Row(line, source, label, expression, confidence, p)


def _number(cell: str, column: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            f"'{cell}' in the column '{column}' is no number "
            f"(columns other than {', '.join(_FIXED)} hold probabilities)"
        )
    if not -1e-9 <= value <= 1 + _ROUNDING:
        raise ValueError(f"{cell} in the column '{column}'; expected 0 to 1")
    return min(max(value, 0.0), 1.0)


def _predictions(name: str, rows: list[_Row], classes: tuple[str, ...]) -> Predictions:
    met = {row.label for row in rows} | {row.expression for row in rows}
    labels = classes or tuple(label for label in EIGHT if label in met)
    truth_names = (*labels, *(label for label in EIGHT if label in met and label not in labels))
    probabilities = None
    if classes:
        p = np.array([row.probabilities for row in rows])
        probabilities = p / p.sum(1, keepdims=True)
        called, confidence = probabilities.argmax(1).astype(np.int64), probabilities.max(1)
    else:
        called = np.array([labels.index(row.expression or "") for row in rows], np.int64)
        confidence = np.array([row.confidence for row in rows], np.float64)
    return Predictions(
        name=name,
        labels=labels,
        called=called,
        truth_names=truth_names,
        truth=np.array([truth_names.index(row.label) for row in rows], np.int64),
        sources=tuple(row.source for row in rows),
        confidence=None if np.isnan(confidence).any() else confidence,
        probabilities=probabilities,
        lines=tuple(row.line for row in rows),
    )


def _listed(name: str, wrong: list[str], what: str) -> str:
    """One line for many rows: how many, and the first of them."""
    more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return f"{name}: rows that {what} ({len(wrong)}): {'; '.join(wrong[:_SHOWN])}{more}"
