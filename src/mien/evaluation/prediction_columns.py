"""Finds the roles of the columns in a file of predictions, by the names that tools use.

Some names have one role: `y_true`, `dominant_emotion`. `label`, `expression`, `emotion` and `class` may be the truth or
the prediction. Beside a column that is clearly the truth they are the prediction, and the other way round. If both are
unclear, `label` is the truth. Any other ambiguity is an error, which `--column` resolves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from mien.errors import DataError
from mien.evaluation.prediction_files import Table
from mien.images import IMAGE_SUFFIXES
from mien.labels import EIGHT, FER2013, canonical

ROLES = ("image", "truth", "answer", "confidence")
"""The roles of a column other than the score of a class. `answer` is the predicted class."""

_IMAGES = (
    "source", "image", "path", "file", "filename", "file_name", "image_path", "img", "img_path", "image_file",
    "image_name", "img_name", "filepath", "file_path", "image_filename", "picture", "photo", "image_id", "uri", "url",
)  # fmt: skip
_IMAGES_AT_NEED = ("input", "name", "id", "key")
_TRUTHS = (
    "truth", "y_true", "ytrue", "true", "target", "ground_truth", "groundtruth", "gt", "true_label", "actual",
    "expected", "gold", "reference", "true_emotion", "true_class", "true_expression", "gt_label",
)  # fmt: skip
_ANSWERS = (
    "prediction", "predicted", "pred", "y_pred", "ypred", "y_hat", "yhat", "dominant_emotion", "top1", "top_1",
    "answer", "predicted_label", "predicted_emotion", "predicted_class", "predicted_expression", "pred_label",
    "pred_class", "top_emotion", "dominant_expression", "emo_label", "emotion_pred", "output",
)  # fmt: skip
_EITHER = ("label", "expression", "emotion", "class")
_CONFIDENCES = (
    "confidence", "conf", "score", "probability", "prob", "emotion_confidence", "expression_confidence", "emo_proba",
    "emotion_score", "top1_score", "max_prob",
)  # fmt: skip
_NAMES = {"image": _IMAGES, "truth": _TRUTHS, "answer": _ANSWERS, "confidence": _CONFIDENCES}
_OWN = {"image": "source", "truth": "label", "answer": "expression", "confidence": "confidence"}
_AFFIXES = frozenset(
    (
        "prob", "probs", "proba", "probability", "probabilities", "p", "score", "scores", "logit", "logits", "conf",
        "confidence", "emotion", "emotions", "emo", "expression", "expressions", "pred", "prediction", "predictions",
        "softmax", "percent", "pct", "result", "results", "list", "label", "class", "cls",
    )
)  # fmt: skip
"""Words before or after the name of a class: prob_happy, emotion.happy, happy_score."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The column index of each role, or None. scores: column index -> class. notes: for the report."""

    image: int | None
    truth: int | None
    answer: int | None
    confidence: int | None
    scores: Mapping[int, str]
    notes: tuple[str, ...]


def find_columns(
    table: Table, *, named: Mapping[str, str], classes: Sequence[str], truth_needed: bool, image_needed: bool
) -> Columns:
    """The roles of a table's columns. named: role -> column, from the user. classes: the classes of 0, 1, ...

    Raises DataError, in one line with the columns found, if a needed role is missing or ambiguous.
    """
    finder = _Finder(table, named)
    image, truth, answer = finder.one("image"), finder.one("truth"), finder.one("answer")
    if image is None:
        image = finder.among("image", finder.called(_IMAGES_AT_NEED)[:1])
    either = [i for i in finder.called(_EITHER) if i not in (image, truth, answer)]
    if truth is None and answer is None:
        truth = next((i for i in either if finder.plain(i) == "label"), None)
    left = [i for i in either if i != truth]
    if answer is None:
        answer = finder.among("answer", left)
    elif truth is None:
        truth = finder.among("truth", left)
    confidence = finder.one("confidence", first=True)
    taken = {i for i in (image, truth, answer, confidence) if i is not None}
    for i in taken:
        if [name.lower() for name in table.columns].count(table.columns[i].lower()) > 1:
            raise DataError(f"{table.path}: line 1: two columns '{table.columns[i]}'; keep one")
    scores, notes = _scores(table, taken, {i for i in (truth, answer) if i is not None}, classes, answer)
    if answer is None and not scores and confidence is not None and not truth_needed:
        answer, truth = truth, None  # label and score: what transformers' pipelines give
    has = f"it has {_shown(table.columns)}"
    if image_needed and image is None:
        raise DataError(f"{table.path}: no column with the images; {has}; name one with  --column image=NAME")
    if truth_needed and truth is None:
        raise DataError(
            f"{table.path}: no column with the truth (label, truth, y_true ...); {has}; name one with  "
            "--column truth=NAME, or give the data set with --data"
        )
    if answer is None and not scores:
        raise DataError(
            f"{table.path}: nothing predicted; {has}; expected an answer (expression, prediction, y_pred, "
            "dominant_emotion ...) or a score for each class; name one with  --column answer=NAME"
        )
    found = {"image": image, "truth": truth, "answer": answer}
    if any(i is not None and table.columns[i].lower() != _OWN[role] for role, i in found.items()):
        parts = [f"{role} '{table.columns[i]}'" for role, i in found.items() if i is not None]
        notes = [f"columns read: {', '.join(parts)}" + (f", scores of {len(scores)} classes" if scores else ""), *notes]
    return Columns(image, truth, answer, confidence, scores, tuple(notes))


class _Finder:
    def __init__(self, table: Table, named: Mapping[str, str]) -> None:
        self._table, self._named = table, named
        self._plain = [re.sub(r"[\s\-/]+", "_", name.strip().lower()) for name in table.columns]
        if not any(self._plain):
            raise DataError(f"{table.path}: is empty; expected a header, and a row for each face")
        if file := next((name for name in table.columns if name.lower().endswith(tuple(IMAGE_SUFFIXES))), None):
            raise DataError(
                f"{table.path}: its first line names the image {file}; expected a header, as image,label,prediction"
            )
        for role in named:
            if role not in ROLES:
                raise DataError(f"--column {role}={named[role]}: expected {', '.join(ROLES)} before the =")

    def plain(self, index: int) -> str:
        return self._plain[index].rpartition(".")[2]

    def called(self, names: Collection[str]) -> list[int]:
        """Columns with these names, in the order of the names; of nested names the last part counts."""
        used = {name.lower() for name in self._named.values()}
        free = [i for i, name in enumerate(self._table.columns) if name.lower() not in used]
        return [
            i
            for name in names
            for i in free
            if name in (self._plain[i], self.plain(i), self.plain(i).removesuffix("s"))
        ]

    def one(self, role: str, *, first: bool = False) -> int | None:
        """The column of a role. Of several columns with equal cells the first is taken; with `first`, of any."""
        if role in self._named:
            wanted = self._named[role].lower()
            places = [i for i, name in enumerate(self._table.columns) if name.lower() == wanted]
            if len(places) != 1:
                raise DataError(
                    f"--column {role}={self._named[role]}: {len(places)} such columns; {self._table.path} has "
                    f"{_shown(self._table.columns)}"
                )
            return places[0]
        found = self.called(_NAMES[role])
        return (found[0] if found else None) if first else self.among(role, found)

    def among(self, role: str, found: Sequence[int]) -> int | None:
        if role in self._named:
            return self.one(role)
        if role == "image" and len(found) > 1:  # columns of numbers are row numbers, not paths
            found = [i for i in found if not all(row[i].isdecimal() for row in self._table.rows)] or found
        if not found:
            return None
        texts = [[canonical(row[i]) for row in self._table.rows] for i in found]
        names = [self._table.columns[i] for i in found]
        if any(text != texts[0] for text in texts[1:]):
            raise DataError(
                f"{self._table.path}: the {role} may be {' or '.join(map(repr, names))}; choose one with  "
                f"--column {role}={names[0]}"
            )
        return found[0]


def _scores(
    table: Table, taken: Collection[int], named: Collection[int], classes: Sequence[str], answer: int | None
) -> tuple[dict[int, str], list[str]]:
    """The columns with scores of classes. named: columns whose cells name classes."""
    free = [i for i in range(len(table.columns)) if i not in taken]
    known = {i: name for i in free if (name := _class_of(table.columns[i])) in EIGHT}
    met = {canonical(row[i]) for i in named for row in table.rows} | {canonical(name) for name in classes}
    known |= {i: name for i in free if i not in known and (name := _class_of(table.columns[i])) and name in met}
    if not known and (numbered := _numbered(table, free, classes, answer))[0]:
        return numbered
    if len(known) == 1 and answer is not None:
        return {}, []
    known = _completed(table, free, known)
    ordered = dict(sorted(known.items()))
    columns = [table.columns[i] for i in ordered]
    for name in ordered.values():
        same = [column for column, other in zip(columns, ordered.values(), strict=True) if other == name]
        if len(same) > 1:
            raise DataError(f"{table.path}: line 1: '{same[0]}' and '{same[1]}' are both '{name}'; keep one of them")
    return ordered, []


def _class_of(column: str) -> str:
    """The class whose score a column seems to hold: its name without the affixes of tools."""
    for name in (column, column.rpartition(".")[2]):  # of nested names the last part counts
        if canonical(name) in EIGHT:
            return canonical(name)
    parts = [part for part in re.findall(r"[^\W_]+", column.lower()) if part not in _AFFIXES]
    return canonical(parts[0]) if len(parts) == 1 else canonical(column)


def _numbered(
    table: Table, free: Sequence[int], classes: Sequence[str], answer: int | None
) -> tuple[dict[int, str], list[str]]:
    """Columns 0, 1, ... or prob_0, prob_1, ...; they are classes only if the order of the classes is known."""
    digits = {i: int(name) for i in free if (name := _class_of(table.columns[i])).isdecimal()}
    if not digits or (answer is not None and sorted(digits.values()) != list(range(len(classes) or len(FER2013)))):
        return {}, []
    order, note = number_order(set(digits.values()), classes, table.path, "its columns are numbered")
    return {i: order[number] for i, number in sorted(digits.items())}, [note] if note else []


def number_order(
    numbers: Collection[int],
    classes: Sequence[str],
    path: Path,
    what: str,
    beside: Mapping[int, str] = MappingProxyType({}),
) -> tuple[Sequence[str], str]:
    """The classes of numbers, and a note for the report. Raises DataError if their order is unknown.

    beside: number -> class, as another column of the file says.
    """
    if classes:
        if min(numbers) < 0 or max(numbers) >= len(classes):
            raise DataError(f"{path}: {what} up to {max(numbers)}; --classes names {len(classes)}, from 0 on")
        return tuple(canonical(name) for name in classes), ""
    if beside and set(numbers) <= beside.keys():
        said = ", ".join(f"{number} {name}" for number, name in sorted(beside.items()))
        return [beside.get(n, "") for n in range(max(beside) + 1)], f"{what}, named in another column: {said}"
    if not beside and set(numbers) == set(range(len(FER2013))):
        return FER2013, f"{what} 0 to 6, read in FER2013's order (0 angry ... 6 neutral); --classes names another"
    seen = ", ".join(map(str, sorted(numbers)[:9]))
    raise DataError(
        f"{path}: {what} ({seen}), and their order is unknown; name the classes from 0 on, for example  --classes "
        f"{','.join(FER2013)}"
    )


def _completed(table: Table, free: Sequence[int], known: Mapping[int, str]) -> dict[int, str]:
    """Adds columns of unknown classes, if all rows add up to 1, or to 100, only together with them."""
    places = {table.columns[i].rpartition(".")[0] for i in known}  # of nested names: those of one object
    others = [i for i in free if i not in known and table.columns[i] and table.columns[i].rpartition(".")[0] in places]
    unnamed = [i for i in free if not table.columns[i] and i > 0]
    if unnamed:
        raise DataError(f"{table.path}: line 1: a column without a name; name it after its class, or remove it")
    try:
        numbers = [[float(row[i] or "nan") for i in (*known, *others)] for row in table.rows]
    except ValueError:
        return dict(known)
    own = len(known)
    whole = [row for row in numbers if not any(map(math.isnan, row))]
    for total in (1, 100):
        together = whole and all(abs(sum(row) / total - 1) < 2e-3 for row in whole)
        if together and any(abs(sum(row[:own]) / total - 1) > 2e-3 for row in whole):
            return {**known, **{i: canonical(table.columns[i].rpartition(".")[2]) for i in others}}
    return dict(known)


def _shown(columns: Sequence[str]) -> str:
    shown = ", ".join(columns[:12])
    return shown if len(columns) <= 12 else f"{shown} and {len(columns) - 12} more"
