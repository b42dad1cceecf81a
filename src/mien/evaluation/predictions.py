"""Reads the predictions of another tool: CSV, JSON, JSON lines or Parquet. `prediction_matching` matches them to data.

A row has the image, the truth, and the predicted class or a score for each class. `prediction_columns` finds the
columns by their names. A row without a prediction counts as wrong. Files of `mien evaluate` and `mien predict` are also
read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.reading.list_columns import explains
from mien.errors import DataError
from mien.evaluation.prediction_columns import Columns, find_columns, number_order
from mien.evaluation.prediction_files import Table, read_table
from mien.evaluation.prediction_scores import EXACT, Scores, UnclearScoresError, to_probabilities
from mien.labels import EIGHT, canonical

_SHOWN = 5
_TIE = 1e-9
"""Added to the predicted class of the tool where another class has the same score."""
_MISSING = frozenset(
    {"", "-", "--", "?", "none", "nan", "<na>", "na", "n/a", "null", "nil", "nat", "[]", "{}", "-1", "-1.0",
     "no face", "noface", "no face found", "no face detected", "no faces", "face not found", "face not detected",
     "not detected", "undetected", "unknown", "undefined", "missing", "error", "failed", "no answer",
     "no prediction", "unanswered"}
)  # fmt: skip
"""Texts for a missing prediction, in lower case with blanks for _."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The rows of a file, N of them, in its order.

    labels: the L classes that the tool can predict. called: int64 (N,), the predicted index into them; -1 for none.
    truth_names, truth: the same for the file's own labels, -1 for none; truth_names begins with labels. confidence:
    float64 (N,). probabilities: float64 (N, L), rows sum to 1, or 0 without a prediction. None if the file has none.
    lines: each row's number in the file, counted in `unit`; in a table 1 is the header. notes: how the file was read.
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
    unit: str = "line"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.sources)


def read_predictions(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    scores: Scores | None = None,
    classes: Sequence[str] = (),
    with_data: bool = False,
) -> Predictions:
    """Reads a file of predictions: Parquet, JSON, JSON lines or CSV.

    columns: image, truth, answer, confidence -> a column, if names are ambiguous. scores: the kind of scores, if
    numbers are ambiguous. classes: those of the numbers 0, 1, ... with_data: a data set has the truth, so the
    file needs none, but must name its images. Raises DataError that names the unusable rows with their reasons; in
    Parquet, line 2 is the first row.
    """
    table = read_table(Path(path))
    if table.wrong and not table.rows:
        raise DataError(listed(table.path.name, table.wrong, "can't be used"))
    found = find_columns(
        table, named=columns or {}, classes=classes, truth_needed=not with_data, image_needed=with_data
    )
    if not table.rows and not table.wrong:
        raise DataError(f"{path}: has no rows; expected one row for each face")
    return _Reading(table, found, tuple(classes), with_data).predictions(scores)


class _Reading:
    """Converts one table to `Predictions`; collects the errors of all rows, to report them together."""

    def __init__(self, table: Table, columns: Columns, classes: tuple[str, ...], with_data: bool) -> None:
        self._table, self._columns, self._with_data = table, columns, with_data
        self._wrong: dict[int, str] = {}
        self.notes = list(columns.notes)
        self._scored = tuple(columns.scores.values())
        self._truth, self._said = self._names({"labels": columns.truth, "answers": columns.answer}, classes)
        self._known = self._known_names()

    def predictions(self, kind: Scores | None) -> Predictions:
        rows = range(len(self._table.rows))
        sources = [self._source(i) for i in rows]
        self._check_truth(sources)
        values, answered = self._values()
        probabilities = self._probabilities(values, answered, kind) if self._scored else None
        confidence = self._confidence(answered) if probabilities is None else None
        for i in rows:
            if answered[i] and self._said and self._said[i] not in (self._scored or self._known or (self._said[i],)):
                self._blame(i, f"unknown expression '{self._said[i]}'; expected one of {', '.join(self._expected())}")
        wrong = [*self._table.wrong, *(self._at(i, text) for i, text in sorted(self._wrong.items()))]
        if wrong:
            raise DataError(listed(self._table.path.name, wrong, "can't be used"))
        if not answered.any():
            raise DataError(f"{self._table.path}: none of its {len(rows)} rows has a prediction")
        return self._made(tuple(sources), answered, probabilities, confidence)

    def _made(
        self,
        sources: tuple[str, ...],
        answered: NDArray[np.bool_],
        probabilities: NDArray[np.float64] | None,
        confidence: NDArray[np.float64] | None,
    ) -> Predictions:
        met = dict.fromkeys(name for name in (*self._truth, *self._said) if name)
        names = (*(n for n in EIGHT if n in met), *(n for n in met if n not in EIGHT and n in self._known))
        labels = self._scored or names or tuple(met)
        if not self._known and not self._scored:
            labels = tuple(dict.fromkeys((*names, *(n for n, a in zip(self._said, answered, strict=True) if a))))
        truth_names = (*labels, *(name for name in names if name not in labels))
        if probabilities is not None:
            called = probabilities.argmax(1)
            confidence = probabilities.max(1)
        else:
            called = np.array([labels.index(n) if a else -1 for n, a in zip(self._said, answered, strict=True)])
        place = {name: i for i, name in enumerate(truth_names)}
        return Predictions(
            name=self._table.path.name,
            labels=labels,
            called=np.where(answered, called, -1).astype(np.int64),
            truth_names=truth_names,
            truth=np.array([place.get(n, -1) for n in self._truth] or [-1] * len(sources), np.int64),
            sources=sources,
            confidence=confidence,
            probabilities=probabilities,
            lines=tuple(self._table.places),
            unit=self._table.unit,
            notes=tuple(dict.fromkeys(self.notes)),
        )

    # Names

    def _names(self, columns: Mapping[str, int | None], classes: Sequence[str]) -> list[list[str]]:
        """The classes of each column, '' for an empty cell; [] without a column. All share one order of numbers."""
        texts = {
            what: [] if c is None else ["" if _is_missing(row[c]) else row[c] for row in self._table.rows]
            for what, c in columns.items()
        }
        numbers = {what: {text: _whole(text) for text in own if text} for what, own in texts.items()}
        numbered = [what for what, own in numbers.items() if own and None not in own.values()]
        order: Sequence[str] = ()
        if numbered:
            met = {n for what in numbered for n in numbers[what].values() if n is not None}
            named = f"its {' and '.join(numbered)} are numbers"
            beside = {} if classes else self._named_beside([c for what in numbered if (c := columns[what]) is not None])
            order, note = number_order(met, classes, self._table.path, named, beside)
            self.notes += [note] if note else []
        return [
            [order[numbers[what][text] or 0] if text else "" for text in own]
            if what in numbered
            else [canonical(text) for text in own]
            for what, own in texts.items()
        ]

    def _named_beside(self, numbers: Sequence[int]) -> dict[int, str]:
        """Number -> class, where a further column has the names of one of these columns' numbers."""
        rows, columns = self._table.rows, range(len(self._table.columns))
        for i, j in ((i, j) for i in numbers for j in columns if j != i):
            pairs = [(row[i], row[j]) for row in rows if not _is_missing(row[i]) and not _is_missing(row[j])]
            if explains(pairs):
                return {int(float(number)): canonical(name) for number, name in pairs}
        return {}

    def _known_names(self) -> tuple[str, ...]:
        """The possible classes; () if only the data set has them."""
        own = {name for name in self._truth if name}
        if self._scored:
            return (*self._scored, *(name for name in EIGHT if name not in self._scored))
        if own & set(EIGHT):
            return EIGHT
        return () if self._with_data else tuple(dict.fromkeys(name for name in self._truth if name)) or EIGHT

    def _expected(self) -> tuple[str, ...]:
        return self._scored or self._known

    def _check_truth(self, sources: Sequence[str]) -> None:
        first: dict[str, int] = {}
        for i, (source, label) in enumerate(zip(sources, self._truth, strict=bool(self._truth))):
            if not label and not self._with_data:
                self._blame(i, "no label; expected the truth of each row")
            elif label and self._known and label not in self._known:
                self._blame(i, f"unknown label '{label}'; expected one of {', '.join(self._expected())}")
            before = first.setdefault(source, i)
            if self._truth[before] != label:
                here = f"'{source}' has the label '{label}' here and '{self._truth[before]}' in "
                self._blame(i, f"{here}{self._table.unit} {self._table.places[before]}")

    def _source(self, i: int) -> str:
        if self._columns.image is None:
            return f"{self._table.unit} {self._table.places[i]}"
        text = self._table.rows[i][self._columns.image]
        if not text:
            self._blame(i, "no source")
        return text

    # Numbers

    def _values(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The scores (N, L) as written, and which rows have a prediction, bool (N,)."""
        values = np.zeros((len(self._table.rows), len(self._scored)))
        answered = np.array([bool(name) for name in self._said] or [True] * len(values), bool)
        for i, row in enumerate(self._table.rows if self._scored else []):
            cells = [row[column] for column in self._columns.scores]
            if all(_is_missing(cell) and cell not in ("-1", "-1.0") for cell in cells):
                if self._said and answered[i]:
                    self._blame(i, f"the prediction '{self._said[i]}', but no scores")
                answered[i] = False
                continue
            if not answered[i]:
                continue
            for k, (column, cell) in enumerate(zip(self._columns.scores, cells, strict=True)):
                best_only = not cell and self._table.unit == "record"  # a list that ends with the best few
                values[i, k] = math.nan if best_only else self._number(i, cell, self._table.columns[column])
            answered[i] = bool(values[i].any())  # all zeros: the tool detected no face
        if np.isnan(values).any():
            self._share_rest(values)
        return values, answered & np.array([i not in self._wrong for i in range(len(values))], bool)

    def _share_rest(self, values: NDArray[np.float64]) -> None:
        """Gives the classes that a record does not name equal shares of what its scores leave of 1, or of 100."""
        total = 100.0 if np.nanmax(values) > 1 + EXACT else 1.0
        rest = np.maximum(total - np.nansum(values, 1), 0.0)
        for i in np.flatnonzero(np.isnan(values).any(1)):
            named, gaps = values[i][~np.isnan(values[i])], np.isnan(values[i])
            if named.min() < 0 or rest[i] > named.min() * gaps.sum() + EXACT * total:
                self._blame(int(i), f"scores of {len(named)} classes of {len(gaps)} alone, which are not the best ones")
            values[i, gaps] = rest[i] / gaps.sum()
        self.notes.append("records name the best classes alone: the others get equal shares of the rest")

    def _probabilities(
        self, values: NDArray[np.float64], answered: NDArray[np.bool_], kind: Scores | None
    ) -> NDArray[np.float64] | None:
        rows = np.flatnonzero(answered)
        made: NDArray[np.float64] = np.zeros(values.shape)
        if not len(rows):
            return made
        decimals = max(_decimals(self._table.rows[i][c]) for i in rows for c in self._columns.scores)
        try:
            made[rows], note, wrong = to_probabilities(values[rows], decimals, kind)
        except UnclearScoresError as error:
            if self._wrong:  # these errors are more specific
                return made
            raise DataError(f"{self._table.path}: {error}") from error
        if note:
            self.notes.append(note)
        for row, text in wrong.items():
            self._blame(int(rows[row]), text)
        for i in rows if self._said else []:
            name = self._said[i]
            if name not in self._scored:
                continue
            own, best = self._scored.index(name), int(values[i].argmax())
            if values[i, own] < values[i, best] - 10.0**-decimals - 1e-5 * abs(values[i, best]):
                self._blame(int(i), f"expression '{name}', but '{self._scored[best]}' is more probable")
            made[i, own] = max(made[i, own], made[i].max() + _TIE)
            made[i] /= made[i].sum() or 1.0
        return made

    def _confidence(self, answered: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        column = self._columns.confidence
        if column is None:
            return None
        cells = [row[column] for row in self._table.rows]
        if any(_is_missing(cell) for cell, said in zip(cells, answered, strict=True) if said):
            return None
        name = self._table.columns[column]
        sure = np.array(
            [self._number(i, c, name) if a else 0.0 for i, (c, a) in enumerate(zip(cells, answered, strict=True))]
        )
        if sure.max(initial=0.0) > 2 and sure.max() <= 100:
            self.notes.append(f"'{name}' is percent: divided by 100")
            sure /= 100
        for i in np.flatnonzero((sure < 0) | (sure > 1.001)):
            self._blame(int(i), f"{cells[i]} in the column '{name}'; expected 0 to 1")
        clipped: NDArray[np.float64] = np.clip(sure, 0.0, 1.0)
        return clipped

    def _number(self, i: int, cell: str, column: str) -> float:
        text = cell.replace(",", ".") if self._table.decimal_comma else cell
        try:
            value = float(text.removesuffix("%"))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self._blame(i, f"'{cell}' in the column '{column}' is not a number")
            return 0.0
        return value

    def _blame(self, i: int, text: str) -> None:
        self._wrong.setdefault(i, text)

    def _at(self, i: int, text: str) -> str:
        return f"{self._table.unit} {self._table.places[i]}: {text}"


def _is_missing(text: str) -> bool:
    return re.sub(r"[\s_]+", " ", text.strip().lower()) in _MISSING


def _whole(text: str) -> int | None:
    """An integer, also written as 3.0; None for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def _decimals(cell: str) -> int:
    """The number of digits after the decimal point."""
    if "e" in cell.lower():
        return 12
    return len(re.sub(r"\D.*", "", re.split(r"[.,]", cell + ".")[1]))


def listed(name: str, wrong: list[str], what: str) -> str:
    """One line for many rows: their number, and the first ones."""
    more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return f"{name}: rows that {what} ({len(wrong)}): {'; '.join(wrong[:_SHOWN])}{more}"
