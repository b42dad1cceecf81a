"""Reads Kaggle's fer2013.csv, and the votes of FER+ that belong to its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import CHUNK, SPLITS, Chunk, Problem, Step, text_column
from mien.data.reading.archives import UNREADABLE
from mien.data.reading.csv_rows import MAX_LINE, dict_rows, header_of
from mien.data.reading.trees import Tree, split_named
from mien.errors import DataError
from mien.labels import EIGHT, FER2013, FERPLUS_VOTES

MIN_AGREEMENT, AGREEMENT_ROWS = 0.4, 100
"""FER+'s plurality agrees with FER2013's label on 63 % of rows, and on 18 % where the rows are shifted by one."""

_BLOCK = 64  # rows parsed at once: their bytes and what is made of them stay in the processor's cache

_FERPLUS_COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "nf",
)  # fmt: skip


def ferplus_to_eight(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """FER+'s ten vote columns (N, 10) -> votes for the eight expressions (N, 8) in the order of `labels.EIGHT`."""
    votes = np.zeros((len(raw), len(EIGHT)), np.float32)
    for column, name in enumerate(FERPLUS_VOTES):
        if name is not None:
            votes[:, EIGHT.index(name)] = raw[:, column]
    return votes


def vote_columns(raw: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """FER+'s votes (N, 10) as columns: `votes` (N, 8), and `ferplus_other` (N, 2), unknown and not-a-face."""
    return {"votes": ferplus_to_eight(raw), "ferplus_other": raw[:, -2:]}


@dataclass(frozen=True, slots=True)
class Fer2013:
    """The `Source` of a CSV with a picture's grey values in a column.

    columns: where in a row what stands. side: of the pictures, in pixels. wanted: bool, rows to read. votes: FER+'s,
    float32 (rows, 10).
    """

    tree: Tree
    name: str
    columns: Fer2013Columns
    side: int
    wanted: NDArray[np.bool_]
    fingerprint: str
    votes: NDArray[np.float32] | None = None
    steps: tuple[Step, ...] = ()

    @property
    def kind(self) -> str:
        """What this layout is called."""
        return "fer2013 CSV" if self.votes is None else "fer2013 CSV with FER+ votes"

    @property
    def label_names(self) -> tuple[str, ...]:
        """FER2013's seven."""
        return FER2013

    @property
    def total(self) -> int | None:
        """How many rows are read."""
        return int(self.wanted.sum())

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The wanted rows from `start` on; rows before are only skipped."""
        places = np.flatnonzero(self.wanted)[start:]
        if not len(places):
            return
        held: list[tuple[int, int, bytes]] = []
        wanted = self.wanted.copy()
        wanted[: places[0]] = False
        for row, (number, line) in enumerate(data_lines(self.tree, self.name)):
            if row < len(wanted) and wanted[row]:
                held.append((row, number, line))
                if len(held) == CHUNK:
                    yield self._chunk(held)
                    held = []
        if held:
            yield self._chunk(held)

    def _chunk(self, lines: list[tuple[int, int, bytes]]) -> Chunk:
        file = self.name.rpartition("/")[2]
        problems: dict[int, str] = {}
        kept: list[int] = []
        texts: list[bytes] = []
        labels: list[int] = []
        splits: list[str] = []
        for i, (_, number, line) in enumerate(lines):
            fields = fields_of(line, self.columns)
            reason = fields.reason
            if not reason:
                kept.append(i)
                texts.append(fields.pixels)
                labels.append(fields.label)
                splits.append(fields.split)
            else:
                _check_text(line, f"{self.tree.where(self.name)}:{number}")
                problems[i] = reason
        pictures, wrong = pixels_of(texts, self.side)
        problems |= {kept[i]: reason for i, reason in wrong.items()}
        good = np.array([i for i in range(len(kept)) if i not in wrong], np.intp)
        rows = np.array([lines[i][0] for i in kept], np.intp)[good]
        columns: dict[str, NDArray[Any]] = {
            "source": text_column([f"{file}:{lines[kept[i]][1]}" for i in good.tolist()]),
            "split": text_column([splits[i] for i in good.tolist()]),
            "label": np.array(labels, np.int64)[good],
        }
        if self.votes is not None:
            columns |= vote_columns(self.votes[rows])
        told = tuple(Problem(f"{file}:{lines[i][1]}", problems[i]) for i in sorted(problems))
        return Chunk(pictures[good], columns, told, len(lines))


@dataclass(frozen=True, slots=True)
class Fer2013Columns:
    """Where in a row of fer2013.csv what stands, and how many columns it has."""

    emotion: int
    pixels: int
    usage: int
    count: int


class Fields(NamedTuple):
    """One row of fer2013.csv. reason: why it can't be used, '' where it can. split: '' where it is unknown."""

    pixels: bytes = b""
    label: int = -1
    split: str = ""
    reason: str = ""


def open_fer2013(
    tree: Tree, name: str, *, splits: Sequence[str] | None, ferplus: tuple[Tree, str] | None = None
) -> Fer2013:
    """Kaggle's fer2013.csv or icml_face_data.csv: emotion, pixels and Usage in any order.

    splits: those to read, None for all. ferplus: the tree and name of fer2013new.csv, whose votes belong to the same
    rows; that they do is checked here, for all rows. Raises DataError.
    """
    where = tree.where(name)
    header = header_of(tree, name)
    for column in ("emotion", "pixels", "usage"):
        if column not in header:
            raise DataError(f"{where}: no column '{column}' in its header; expected emotion, pixels, Usage")
    columns = Fer2013Columns(header.index("emotion"), header.index("pixels"), header.index("usage"), len(header))
    codes: list[int] = []
    labels: list[int] = []
    sides: list[float] = []
    for _, line in data_lines(tree, name):
        fields = fields_of(line, columns)
        codes.append(SPLITS.index(fields.split) if fields.split else -1)
        labels.append(fields.label)
        if len(sides) < 100:
            sides.append(len(fields.pixels.split()) ** 0.5)
    squares = [int(s) for s in sides if s and s == int(s)]
    side = max(set(squares), key=squares.count) if squares else 48
    split_codes = np.array(codes, np.int8)
    # Rows of an unknown split stay in, to be told as problems.
    wanted = np.isin(split_codes, [-1, *(SPLITS.index(s) for s in (SPLITS if splits is None else splits))])
    fingerprint = f"{tree.stamp(name)} {','.join(SPLITS if splits is None else splits)}"
    if ferplus is None:
        return Fer2013(tree, name, columns, side, wanted, fingerprint)
    votes, usages = read_ferplus(*ferplus)
    _check_join(where, ferplus[0].where(ferplus[1]), split_codes, usages, np.array(labels), votes)
    return Fer2013(tree, name, columns, side, wanted, f"{fingerprint} {ferplus[0].stamp(ferplus[1])}", votes)


def data_lines(tree: Tree, name: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a CSV behind its header, with their numbers (the header is 1), without blank ones.

    Raises DataError where the file can't be read to its end.
    """
    where = tree.where(name)
    with tree.open(name) as file:
        try:
            file.readline(MAX_LINE)
            number = 1
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE:
                    raise DataError(f"{where}:{number}: a line of more than {MAX_LINE:,} bytes; expected a row a line")
                if not line.isspace():
                    yield number, line
        except UNREADABLE as error:
            raise DataError(f"{where}: can't be read to its end ({error}); get a whole copy of the file") from error


def fields_of(line: bytes, columns: Fer2013Columns) -> Fields:
    """One line of fer2013.csv; its pixels are not looked at."""
    cells = line.split(b",")
    cells[-1] = cells[-1].rstrip(b"\r\n")
    if b'"' in line:
        cells = [c.strip().removeprefix(b'"').removesuffix(b'"') for c in cells]  # no comma is in any field
    if len(cells) < columns.count:
        return Fields(reason=f"{len(cells)} columns; expected {columns.count}")
    usage = cells[columns.usage].decode("utf-8", "replace").strip()
    split = split_named(usage)
    emotion = cells[columns.emotion].strip()
    label = int(emotion) if emotion.isdigit() and len(emotion) < 9 else -1
    pixels = cells[columns.pixels]
    if split is None:
        return Fields(pixels, reason=f"Usage '{usage[:40]}'; expected Training, PublicTest or PrivateTest")
    if not 0 <= label < len(FER2013):
        shown = emotion[:40].decode("utf-8", "replace")
        return Fields(pixels, -1, split, f"label {shown or 'is empty'}; expected 0 to {len(FER2013) - 1}")
    return Fields(pixels, label, split)


def pixels_of(texts: Sequence[bytes], side: int) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Texts of grey values with blanks between -> uint8 (N, side, side, 1), and text -> why it can't be used.

    Pictures of texts that can't be used are black.
    """
    pictures = np.zeros((len(texts), side, side, 1), np.uint8)
    wrong: dict[int, str] = {}
    for first in range(0, len(texts), _BLOCK):
        block, reasons = _block_of_pixels(texts[first : first + _BLOCK], side)
        pictures[first : first + _BLOCK] = block
        wrong |= {first + i: reason for i, reason in reasons.items()}
    return pictures, wrong


def _block_of_pixels(texts: Sequence[bytes], side: int) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """`pixels_of`, all texts in one whole-array arithmetic.

    A number is a digit before a byte that is none, plus 10 and 100 times the digits before it.
    """
    length = side * side
    # Three blanks in front: nothing reaches beyond the array. One behind each text: no number spans two.
    joined = b"   " + b" ".join(texts) + b" "
    starts = 3 + np.concatenate(([0], np.cumsum([len(t) + 1 for t in texts])))
    digits = np.frombuffer(joined, np.uint8) - np.uint8(ord("0"))  # wraps: what is no digit is above 9
    is_digit = digits < 10
    ends = np.flatnonzero(is_digit[:-1] > is_digit[1:])
    tens, hundreds = digits[ends - 1], digits[ends - 2]
    has_tens = tens < 10
    has_hundreds = has_tens & (hundreds < 10)
    values = digits[ends] + np.where(has_tens, tens, 0) * np.uint16(10)
    values += np.where(has_hundreds, hundreds, 0) * np.uint16(100)
    long = has_hundreds & (digits[ends - 3] < 10)
    first = np.searchsorted(ends, starts)
    counts = np.diff(first)

    wrong: dict[int, str] = {}
    for i in np.flatnonzero(counts != length).tolist():
        wrong[i] = f"{counts[i]} pixels; expected {length} ({side} x {side})"
    for at in np.flatnonzero((values > 255) | long).tolist():
        value = "of more than three digits" if long[at] else str(values[at])
        wrong[int(np.searchsorted(first, at, "right")) - 1] = f"a pixel of {value}; expected 0 to 255"
    foreign = np.flatnonzero(~is_digit & (digits != np.uint8(ord(" ") - ord("0") + 256)))
    rows = np.searchsorted(starts, foreign, "right") - 1
    for row, at in zip(*np.unique(rows, return_index=True), strict=True):
        character = chr(joined[foreign[at]])
        wrong[int(row)] = f"{character!r} among the pixels; expected numbers of 0 to 255 with blanks between"
    if not wrong:
        return values.astype(np.uint8).reshape(-1, side, side, 1), {}
    pictures = np.zeros((len(texts), side, side, 1), np.uint8)
    for i in range(len(texts)):
        if i not in wrong:
            pictures[i] = values[first[i] : first[i + 1]].reshape(side, side, 1)
    return pictures, wrong


def _check_text(line: bytes, where: str) -> None:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text: {error}; save the file as UTF-8") from error


# FER+


def read_ferplus(tree: Tree, name: str) -> tuple[NDArray[np.float32], list[str]]:
    """fer2013new.csv: the votes float32 (N, 10) in the order of `labels.FERPLUS_VOTES`, and each row's split.

    Raises DataError where a column is missing, or a row holds no counts.
    """
    where = tree.where(name)
    votes, splits = [], []
    for number, row in dict_rows(tree, name, ("usage", *_FERPLUS_COLUMNS)):
        split = split_named(row["usage"])
        try:
            counts = [float(row[column]) for column in _FERPLUS_COLUMNS]
        except ValueError:
            counts = [-1.0]
        if split is None or not all(0 <= c < 1000 for c in counts):
            raise DataError(
                f"{where}:{number}: no row of FER+; expected Training, PublicTest or PrivateTest and counts"
            )
        votes.append(counts)
        splits.append(split)
    return np.array(votes, np.float32).reshape(-1, len(_FERPLUS_COLUMNS)), splits


def _check_join(
    ours: str,
    theirs: str,
    codes: NDArray[np.int8],
    usages: Sequence[str],
    labels: NDArray[Any],
    votes: NDArray[np.float32],
) -> None:
    """That the rows of both files belong together: as many, of the same splits, and of like expressions."""
    if len(codes) != len(votes):
        raise DataError(
            f"{theirs}: {len(votes):,} rows; {ours} has {len(codes):,}: votes are joined by row, take both files whole"
        )
    other = np.array([SPLITS.index(u) for u in usages], np.int8)
    differ = np.flatnonzero((codes != other) & (codes >= 0))
    if len(differ):
        row = int(differ[0])
        raise DataError(f"{theirs}: row {row + 1} is {SPLITS[other[row]]} there and {SPLITS[codes[row]]} here: "
                        "rows are shifted?")  # fmt: skip
    eight = ferplus_to_eight(votes)
    seen = (labels >= 0) & (eight.sum(1) > 0)
    agreement = float((eight.argmax(1) == labels)[seen].mean()) if seen.any() else 1.0
    if seen.sum() >= AGREEMENT_ROWS and agreement < MIN_AGREEMENT:
        raise DataError(
            f"{theirs}: most votes agree with the label of {ours} on {agreement:.0%} of rows; expected about 63 %: "
            "the files do not belong together, or their rows are shifted"
        )
